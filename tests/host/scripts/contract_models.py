"""Our MODEL and core's with the same weights, in this process: sampled, patched alike, and compared.

The arguments are those of contract.py, which is what is run.
"""

import sys
from pathlib import Path

sys.path.insert(0, ".")
PACK, FILE, KEYS = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
sys.argv = ["main.py"]

import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True

import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import torch  # noqa: E402

sys.path.append(str(PACK / "tests"))

from support.by_path import load_pack  # noqa: E402
from support.cores_model import core_model  # noqa: E402

load_pack(PACK)

from stillmotion.nodes import host  # noqa: E402
from stillmotion.svd_model.checkpoint import Checkpoint  # noqa: E402

SHIPPED = PACK / "builtin_model" / "stillmotion_tiny.safetensors"
FRAMES, HEIGHT, WIDTH = 4, 8, 16
STEPS = 2
LAYER = "diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.weight"
LORA = "lora_unet_middle_block_1_transformer_blocks_0_ff_net_2"

CHECKPOINT = Checkpoint.open(FILE)
OURS, CORE = host.load_model(CHECKPOINT), core_model(CHECKPOINT)
NETWORKS = {patcher.model: patcher.model.diffusion_model for patcher in (OURS, CORE)}
generator = torch.Generator().manual_seed(0)
PICTURE = torch.randn(1, 4, HEIGHT, WIDTH, generator=generator)
EMBEDDING = torch.randn(1, 1, CHECKPOINT.unet.params.context_dim, generator=generator)


def sampled(
    model,
    steps: int = STEPS,
    positive: dict | None = None,
    frames: int = FRAMES,
    both: dict | None = None,
    **options,
):
    """Latents of a few steps of Euler, by the host's own sampling; both: options of both conditionings."""
    said = {"motion_bucket_id": 127, "fps": 6, "augmentation_level": 0.02} | (both or {})
    shown = said | {"concat_latent_image": PICTURE} | (positive or {})
    hidden = said | {"concat_latent_image": torch.zeros_like(PICTURE)}
    latent = torch.zeros(frames, 4, HEIGHT, WIDTH)
    noise = comfy.sample.prepare_noise(latent, 1)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "karras", steps)
    return comfy.sample.sample_custom(
        model,
        noise,
        2.5,
        comfy.samplers.sampler_object("euler"),
        sigmas,
        [[EMBEDDING, shown]],
        [[torch.zeros_like(EMBEDDING), hidden]],
        latent,
        disable_pbar=True,
        seed=1,
        **options,
    )


def close(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool((first - second).abs().max() <= 2e-3 * second.abs().max())


PLAIN = sampled(OURS)
assert close(PLAIN, sampled(CORE))


def copy_with(model, change):
    """A clone that `change` has patched; change may give another in its place."""
    patched = model.clone()
    return change(patched) or patched


def as_in_core(change, moves: bool = True, **options) -> None:
    """The same patch on both gives the same latents, and others than without where it is to move them."""
    ours = sampled(copy_with(OURS, change), **options)
    theirs = sampled(copy_with(CORE, change), **options)
    assert torch.isfinite(ours).all()
    assert close(ours, theirs), (ours - theirs).abs().max()
    if not options:
        assert close(ours, PLAIN) != moves


def refused(change, **options) -> str:
    """What is said of a patch."""
    try:
        sampled(copy_with(OURS, change), **options)
    except ValueError as error:
        return str(error)
    raise AssertionError("nothing was said")


def seen_by_both(change, **options) -> list:
    """What change(model, seen) has written into the list `seen`: it must be the same on both."""
    lists = []
    for model in (OURS, CORE):
        seen = []
        result = sampled(copy_with(model, lambda patched, seen=seen: change(patched, seen)), **options)
        lists.append(seen)
        assert torch.isfinite(result).all()
    assert lists[0], "never called"
    assert lists[0] == lists[1], (len(lists[0]), len(lists[1]), lists[0][:3], lists[1][:3])
    return lists[0]


def spatial(options: dict, tokens: torch.Tensor) -> bool:
    """Whether these are the positions of a picture: core's patches reach attention over time too."""
    return tokens.shape[1] == options["activations_shape"][2] * options["activations_shape"][3]
