"""SVD Load LoRA in a running ComfyUI: patches of the host that stack, and are undone."""

import numpy as np
import pytest
import torch

from stillmotion.svd_model.networks.unet import VideoUNet
from support import checkpoints, golden_family, graphs, headers, host, in_host, lora_files, tiny
from support.graphs import node
from support.host_pictures import close, frames_of

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")

SCRIPT = """
import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import folder_paths
from pathlib import Path
from pack.nodes import loaders
from pack.headless import Pipeline
folder_paths.add_model_folder_path("checkpoints", folder)
folder_paths.add_model_folder_path("loras", folder)
model = loaders.LoadCheckpoint.execute(checkpoint="tiny.safetensors").result[0]
def weights():
    return {key: tensor.clone() for key, tensor in model.model.diffusion_model.state_dict().items()}
def with_lora(model, name, strength, spatial, temporal):
    return loaders.LoadLoRA.execute(
        model=model, lora=name, strength=strength, spatial=spatial, temporal=temporal).result[0]
before = weights()
patched = with_lora(with_lora(model, "one.safetensors", 0.7, 1.0, 0.5), "other.safetensors", -1.0, 2.0, 1.0)
comfy.model_management.load_models_gpu([patched])
after = weights()
comfy.model_management.unload_all_models()
undone = weights()
loras = [(folder + "/one.safetensors", 0.7, 0.35), (folder + "/other.safetensors", -2.0, -1.0)]
folded = Pipeline.open(folder + "/tiny.safetensors", device="cpu", loras=loras).unet.state_dict()
changed = [key for key in before if not before[key].equal(after[key])]
# Units in the last place of a sum's largest part, of which each door rounds a few: product, sums, strength.
errors = [
    ((after[key] - folded[key]).abs().max() * 2**23 / max(
        before[key].abs().max(), (folded[key] - before[key]).abs().max())).item()
    for key in changed
]
# Core's own SVD, at full size without weights.
shapes = {key: tuple(shape) for key, shape in json.loads(Path(keys).read_text()).items()}
meta = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
config = comfy.model_detection.model_config_from_unet(meta, "model.diffusion_model.")
core = config.get_model(meta, "model.diffusion_model.", device="meta")
core = comfy.model_patcher.ModelPatcher(core, torch.device("cpu"), torch.device("cpu"))
of_core = with_lora(core, "full_size.safetensors", 1.0, 1.0, 1.0).patches
print(json.dumps({
    "core": [type(core.model).__name__, len(of_core)],
    "undone": all(before[key].equal(undone[key]) for key in before),
    "changed": len(changed),
    "as_folded": [key for key in before if not before[key].equal(folded[key])] == changed,
    "error": max(errors),
    "clones": [len(each.patches) for each in (model, patched)],
}))
"""


def of_small(*modules: str, seed: int = 0) -> dict[str, torch.Tensor]:
    shapes = lora_files.shapes(VideoUNet(tiny.SMALL.unet, device="meta"))
    return lora_files.random_pairs(shapes, *modules, seed=seed)


@pytest.fixture(scope="module")
def add(base):
    """Writes a LoRA for layers into the host's folder; gives its name."""

    def write(name, tensors):
        lora_files.write(base / "models" / "loras" / name, tensors)
        return name

    return write


@pytest.fixture(scope="module")
def run(server, base):
    """Frames of the first video with LoRAs in a row: names and strengths."""

    def frames(*loras):
        return frames_of(base, server.run(graph_of(*loras)))

    return frames


def graph_of(*loras) -> dict:
    model, chain = ["load", 0], {}
    for index, (name, strengths) in enumerate(loras):
        inputs = {"model": model, "lora": name, **graphs.STRENGTHS, **strengths}
        chain[f"lora{index}"] = node("StillmotionLoadLoRA", **inputs)
        model = [f"lora{index}", 0]
    return graphs.first_video(seed=5, **chain, sample={"model": model})


@pytest.fixture(scope="module")
def plain(run, add):
    add("first.safetensors", of_small(*ATTENTION))  # before the host lists its files
    add("second.safetensors", of_small(*ATTENTION, seed=1))
    return run()


def test_no_strength_is_none_byte_for_byte(run, plain, lora_of_diffusers):
    assert not close(run((lora_of_diffusers, {})), plain)
    assert np.array_equal(run((lora_of_diffusers, {"strength": 0.0})), plain)
    assert np.array_equal(run((lora_of_diffusers, {"spatial": 0.0, "temporal": 0.0})), plain)


def test_two_loras_add_up_and_so_do_their_parts(run, plain, add):
    """As a file of twice the rank that holds both, one at half its strength."""
    first, second = (of_small(*ATTENTION, seed=seed) for seed in (0, 1))
    half = {key: (0.5 if "lora_up" in key else 1.0) * tensor for key, tensor in second.items()}
    joined = {key: torch.cat([first[key], half[key]], int("lora_up" in key)) for key in first}
    both = run((add("both.safetensors", joined), {}))
    stacked = run(("first.safetensors", {}), ("second.safetensors", {"strength": 0.5}))
    assert close(stacked, both) and not close(stacked, run(("first.safetensors", {})))
    parts = (("first.safetensors", {"spatial": 0.0}), ("first.safetensors", {"temporal": 0.0}))
    assert close(run(*parts), run(("first.safetensors", {})))
    assert not close(run(parts[0]), run(parts[1]))


def test_constant_cross_attention_sees_it(run, plain, add):
    """To a single token queries and keys don't matter, values and the output do."""
    changes = {
        layer: not close(run((add(f"{layer}.safetensors", of_small(f"attn2.{layer}")), {})), plain)
        for layer in ATTENTION
    }
    assert changes == {"to_q": False, "to_k": False, "to_v": True, "to_out.0": True}


def test_the_model_is_as_it_was_without_it(run, plain, server):
    assert not close(run(("first.safetensors", {"strength": 1.01})), plain)
    server.freed()
    assert np.array_equal(run(), plain)


def test_a_file_in_cores_names_is_as_in_cores_loader(server, base, run, plain):
    core = node("LoraLoaderModelOnly", model=["load", 0], lora_name="first.safetensors", strength_model=0.8)
    entry = server.run(graphs.first_video(seed=5, core=core, sample={"model": ["core", 0]}))
    assert close(frames_of(base, entry), run(("first.safetensors", {"strength": 0.8})))


def test_what_can_not_be_added_is_said(server, add, plain):
    add("sdxl.safetensors", {f"lora_unet_x.lora_{x}.weight": torch.ones(1, 1) for x in ("up", "down")})
    said = host.error_of(server.run(graph_of(("sdxl.safetensors", {}))))
    assert "none of its 1 modules (x) is a layer of this UNet; it is a LoRA for another model." in said
    add("loha.safetensors", {"lora_unet_x.hada_w1_a": torch.ones(1)})
    assert "is a LoHa, which can't be applied" in host.error_of(
        server.run(graph_of(("loha.safetensors", {})))
    )


def test_weights_are_as_folded_by_the_command_and_are_undone(tmp_path):
    """Two LoRAs with strengths of their own for both kinds of layers; and core's own SVD takes one."""
    checkpoints.write(tmp_path / "tiny.safetensors", sizes=tiny.SMALL)
    for seed, name in enumerate(("one", "other")):
        lora_files.write(tmp_path / f"{name}.safetensors", of_small(*ATTENTION, "proj_in", seed=seed))
    keys = golden_family.keys("lora_diffusers_r4")
    full_size = {key: torch.zeros(shape) for key, shape in keys.items()}
    lora_files.write(tmp_path / "full_size.safetensors", full_size)
    released = str(headers.GOLDEN / "keys_svd_xt.json")
    measured = in_host.result_of(f"folder, keys = {str(tmp_path)!r}, {released!r}\n" + SCRIPT)
    assert measured.pop("core") == ["SVD_img2vid", 256]
    changed = len(of_small(*ATTENTION, "proj_in")) // 2
    assert measured.pop("error") <= 8
    assert measured == {"undone": True, "changed": changed, "as_folded": True, "clones": [0, changed]}
