"""One step of each stage, on little data: the networks of inference hand gradients to all that is trained."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file, save
from torch import nn

from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.notes import METADATA_KEY
from training import (
    autoencoder,
    clips,
    denoiser,
    latent_colours,
    latents,
    loop,
    measures,
    photographs,
    run,
    scenes,
    sizes,
)

ROOT = Path(__file__).parent.parent.parent

WINDOW = denoiser.Batch(clips=1, frames=3, window=16)


def fake_pool() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "latents": torch.randn(2, 14, 4, 16, 16, generator=generator).half(),
        "concats": torch.randn(2, 3, 4, 16, 16, generator=generator).half(),
        "augs": torch.rand(2, 3, generator=generator),
        "contexts": torch.randn(2, sizes.CONTEXT_DIM, generator=generator),
        "numbers": torch.tensor([[5.0, 127.0], [11.0, 20.0]]),
    }


def filled(network: nn.Module) -> nn.Module:
    """Layers that begin at zero hand no gradient on: not to test."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return network


def without_gradient(network: nn.Module) -> list[str]:
    return [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not torch.isfinite(parameter.grad).all() or not parameter.grad.any()
    ]


def test_the_loss_of_the_unet_has_a_gradient_for_every_weight():
    unet = filled(sizes.unet())
    examples = denoiser.draw(fake_pool(), WINDOW, (1, 1))
    denoiser.loss(unet, examples, torch.randn(examples.latents.shape)).mean().backward()
    # With one token of context, and so one key, queries and keys of cross-attention change nothing, nor does
    # the norm before the queries.
    idle = (".attn2.to_q.", ".attn2.to_k.", ".norm2.")
    assert [name for name in without_gradient(unet) if not any(part in name for part in idle)] == []


def test_the_losses_of_the_vae_have_one_too():
    network = filled(autoencoder.PictureAutoencoder())
    reconstruction, divergence = network(torch.rand(1, 3, 64, 64), torch.randn(1, 4, 8, 8))
    (reconstruction.square().mean() + divergence).backward()
    assert without_gradient(network) == []
    temporal = filled(sizes.temporal_decoder())
    temporal(torch.randn(3, 4, 8, 8), 3).square().mean().backward()
    assert without_gradient(temporal) == []


def test_a_temporal_decoder_begins_as_the_frame_wise_one():
    """But for the border, where it pads with zeros before what was the 1×1 convolution's bias."""
    frame_wise = filled(sizes.frame_wise_decoder())
    with torch.no_grad():
        frame_wise.post_quant_conv.bias.zero_()
        latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(
            autoencoder.with_time(frame_wise)(latents, 3), frame_wise(latents, 3), atol=1e-4, rtol=0
        )


def test_the_target_is_what_the_preconditioning_asks_for():
    """A network that knows v = (noise − σ·x)/√(σ² + 1) has no loss (Salimans & Ho, 2022)."""
    examples = denoiser.draw(fake_pool(), WINDOW, (1, 2))
    noise = torch.randn(examples.latents.shape)
    sigma = float(examples.sigmas[0])
    velocity = (noise - sigma * examples.latents) / math.sqrt(sigma**2 + 1)

    def knowing(*inputs):
        return velocity.flatten(0, 1)

    assert float(denoiser.loss(knowing, examples, noise).max()) < 1e-6


def test_latents_are_standardised_and_decode_to_the_same():
    network = filled(autoencoder.PictureAutoencoder()).eval().requires_grad_(False)
    pool = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    images = pool.float() / 127.5 - 1
    before = network.decoder(network.encoder(images), 1)
    autoencoder.standardise(network, pool)
    latents = 0.18215 * network.encoder(images).transpose(0, 1).flatten(1)
    torch.testing.assert_close(latents.mean(dim=1), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(latents), torch.eye(4), atol=1e-2, rtol=0)
    torch.testing.assert_close(network.decoder(network.encoder(images), 1), before, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["pan", "zoom", "turn"])
def test_a_camera_moves_as_fast_as_it_is_said_to(kind):
    motion = clips.Motion(127.0, 6.0, kind, 1.0)
    maps = clips.cameras(motion)
    half = clips.SIZE / 2
    y, x = np.mgrid[-half + 0.5 : half, -half + 0.5 : half]
    points = torch.from_numpy(np.stack([x.ravel(), y.ravel(), np.full(x.size, half)])).float()
    places = maps @ points  # where each pixel lies in the scene, (T, 2, N)
    flow = (places[1] - places[0]).norm(dim=0).mean()
    assert float(flow) == pytest.approx(motion.step, rel=0.03)
    assert motion.step == pytest.approx(14 * 127 / 255 / 6)


def test_a_run_goes_on_as_if_it_had_not_been_cut_off(tmp_path):
    def run(folder, steps):
        torch.manual_seed(0)
        network = nn.Linear(3, 1)
        stage = loop.Stage("stage", 6, 0.1, warm_up=2, save_every=2)
        seen = []

        def losses(step):
            if step == steps:
                raise KeyboardInterrupt
            seen.append(step)
            inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            return {"loss": network(inputs).square().mean()}

        try:
            return loop.train(stage, network, losses, folder), seen
        except KeyboardInterrupt:
            return None, seen

    whole, _ = run(tmp_path / "whole", 6)
    run(tmp_path / "cut", 3)  # one step after the last checkpoint
    again, seen = run(tmp_path / "cut", 6)
    assert seen == [2, 3, 4, 5]
    for ours, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    rows = (tmp_path / "cut" / "stage.jsonl").read_text().splitlines()
    assert json.loads(rows[0])["step"] == 0


def test_training_ends_in_words_when_gradients_stay_infinite(tmp_path):
    network = nn.Linear(3, 1)
    before = network.weight.clone()

    def losses(step):
        return {"loss": network(torch.full((4, 3), torch.inf)).square().mean()}

    with pytest.raises(FloatingPointError, match="stage: infinite gradients at step 10; lower"):
        loop.train(loop.Stage("stage", 20, 0.1), network, losses, tmp_path)
    assert torch.equal(network.weight, before)


TWO_STAGE = loop.Stage("stage", 3, 0.1, warm_up=2)


def share_of_a_step(network: nn.Module, number: int) -> dict[str, torch.Tensor]:
    """The losses of one process' examples: of two processes, numbers 2n and 2n + 1 are those of step n."""
    inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(number))
    return {"loss": network(inputs).square().mean()}


def trained_on_both_shares(folder) -> dict[str, torch.Tensor]:
    """By one process, which takes the shares of two together."""
    torch.manual_seed(0)
    network = nn.Linear(3, 1)

    def losses(step):
        both = [share_of_a_step(network, 2 * step + rank)["loss"] for rank in (0, 1)]
        return {"loss": sum(both) / 2}

    return loop.train(TWO_STAGE, network, losses, folder).state_dict()


def check_one_process_does_not_go_on(folder) -> None:
    with pytest.raises(ValueError, match="2 processes"):
        loop.train(replace(TWO_STAGE, steps=4), nn.Linear(3, 1), lambda step: {}, folder)


def test_a_process_of_two_takes_the_step_of_the_mean_gradient(tmp_path, monkeypatch):
    """The other process being a sum over processes that adds what its share would."""
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    shares = []

    def losses(number):
        shares.append(number)
        return share_of_a_step(network, number)

    def all_reduce(flat):
        other = share_of_a_step(network, shares[-1] + 1)["loss"]
        flat += torch.cat([each.flatten() for each in torch.autograd.grad(other, list(network.parameters()))])

    with monkeypatch.context() as patch:
        patch.setattr(loop, "WORLD_SIZE", 2)
        patch.setattr(loop.distributed, "is_initialized", lambda: True)
        patch.setattr(loop.distributed, "all_reduce", all_reduce)
        ours = loop.train(TWO_STAGE, network, losses, tmp_path).state_dict()
    assert shares == [0, 2, 4]
    for name, weight in trained_on_both_shares(tmp_path / "alone").items():
        torch.testing.assert_close(ours[name], weight)
    check_one_process_does_not_go_on(tmp_path)


STEPS_OF_TWO = """
import sys
from pathlib import Path
import torch
from training import loop
sys.path.insert(0, sys.argv[2])
import test_training as tests

torch.manual_seed(0)
network = torch.nn.Linear(3, 1)
folder = Path(sys.argv[1])
losses = lambda number: tests.share_of_a_step(network, number)
trained = loop.train(tests.TWO_STAGE, network, losses, folder)
torch.save(trained.state_dict(), folder / f"rank{loop.RANK}.pt")
"""


@pytest.mark.long
def test_two_processes_take_the_step_of_the_mean_gradient(tmp_path):
    """Under torchrun, which starts three interpreters."""
    script = tmp_path / "steps.py"
    script.write_text(STEPS_OF_TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += [script, tmp_path, Path(__file__).parent]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, weight in trained_on_both_shares(tmp_path / "alone").items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], weight)
    check_one_process_does_not_go_on(tmp_path)


def test_the_card_names_each_photograph_with_its_licence():
    card = (ROOT / "builtin_model" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for photograph in photographs.PHOTOGRAPHS:
        row = next(line for line in card.splitlines() if line.startswith(f"| {photograph.name} |"))
        assert photograph.licence in row
        assert ("held out" in row) == photograph.held_out


def test_textures_come_from_the_seed():
    first, again = (scenes.texture(np.random.default_rng(5), 64) for _ in range(2))
    assert first.shape == (64, 64, 3)
    assert np.array_equal(first, again)


@pytest.mark.parametrize("step", [0.15, 1.2, 2.7])
def test_the_report_measures_the_speed_of_a_pan(step):
    """Known from the camera alone, to parts of a pixel; soft frames have one too."""
    motion = clips.Motion(255 * step * 6 / clips.FASTEST, 6.0, "pan", 0.1)
    canvas = torch.from_numpy(scenes.texture(np.random.default_rng(5), clips.CANVAS)).permute(2, 0, 1) / 255
    clip = clips.film(canvas, clips.centred(motion))
    frames = (clip.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).numpy()
    down, right = measures.velocity(frames)
    # What the camera passes goes the other way.
    assert right == pytest.approx(-step * math.cos(0.1), abs=0.1)
    assert down == pytest.approx(-step * math.sin(0.1), abs=0.1)
    assert measures.speed(frames) == pytest.approx(step, abs=0.1)


def test_the_whole_run_writes_a_file_that_loads(tmp_path, monkeypatch):
    """One step of each stage on one example, of textures: photographs are in packages only training needs."""
    monkeypatch.setattr(scenes, "photograph", lambda rng, size: scenes.texture(rng, size))
    pictures = autoencoder.pictures
    monkeypatch.setattr(autoencoder, "pictures", lambda number=0, seed=(0, 0): pictures(2, seed))
    monkeypatch.setattr(autoencoder, "BATCH", 1)
    monkeypatch.setattr(autoencoder, "EXCERPTS", 1)
    monkeypatch.setattr(autoencoder, "FRAMES", 2)
    monkeypatch.setattr(autoencoder, "PICTURE_STAGES", tuple(map(one_step, autoencoder.PICTURE_STAGES)))
    monkeypatch.setattr(autoencoder, "CLIP_STAGE", one_step(autoencoder.CLIP_STAGE))
    # The last one of the UNet is the third at another learning rate.
    small = ((one_step(stage), one_clip(batch)) for stage, batch in denoiser.STAGES[:-1])
    monkeypatch.setattr(denoiser, "STAGES", tuple(small))
    monkeypatch.setattr(latents, "CLIPS", 1)
    run.train(tmp_path / "training", tmp_path / "tiny.safetensors")
    checkpoint = Checkpoint.open(tmp_path / "tiny.safetensors")
    assert checkpoint.complete
    assert checkpoint.variant.num_frames == clips.NUM_FRAMES
    stages = {"vae", "vae_longer", "unet_pictures", "unet_windows", "unet", "temporal_decoder"}
    for ending in (".pt", ".jsonl", ".png"):
        assert {path.stem for path in (tmp_path / "training").glob("*" + ending)} == stages
    run.train(tmp_path / "training", tmp_path / "again.safetensors")  # nothing is left to do
    first, again = (load_file(tmp_path / f"{name}.safetensors") for name in ("tiny", "again"))
    assert first.keys() == again.keys()
    assert all(torch.equal(weight, again[key]) for key, weight in first.items())


def one_step(stage: loop.Stage) -> loop.Stage:
    return replace(stage, steps=1)


def one_clip(batch: denoiser.Batch) -> denoiser.Batch:
    """At most three frames of it."""
    return replace(batch, clips=1, frames=min(batch.frames, 3))


def test_the_colours_of_latents_are_those_of_a_linear_code():
    """Latents that are a linear function of the colours give that function's inverse."""
    mix = torch.tensor([[1.0, 0.2, -0.3], [0.0, 1.0, 0.5], [0.4, 0.0, 1.0], [0.3, -0.6, 0.2]])
    offset = torch.tensor([0.1, -0.2, 0.3, 0.4])

    class Encoder(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            means = nn.functional.avg_pool2d(images, 8)
            return (
                torch.einsum("zc,nchw->nzhw", mix, means) + offset[:, None, None]
            ) / latent_colours.LATENT_SCALE

    generator = torch.Generator().manual_seed(0)
    pool = torch.randint(0, 256, (20, 3, 32, 32), generator=generator, dtype=torch.uint8)
    *factors, bias = torch.tensor(latent_colours.fit(Encoder(), pool), dtype=torch.float32)
    colours = torch.rand(50, 3, generator=generator)
    again = (colours @ mix.T + offset) @ torch.stack(factors) + bias
    torch.testing.assert_close(again, colours, atol=1e-3, rtol=0)


def test_notes_are_added_without_touching_the_tensors():
    tensors = {"a": torch.arange(5.0), "b": torch.ones(3, dtype=torch.float16)}
    before = save(tensors, {METADATA_KEY: json.dumps({"num_frames": 14}), "format": "pt"})
    after = latent_colours.with_notes(before, {"latent_rgb": [[1.0]]})
    data = sum(tensor.nbytes for tensor in tensors.values())
    assert after[-data:] == before[-data:]
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in load(after).items())
    length = int.from_bytes(after[:8], "little")
    metadata = json.loads(after[8 : 8 + length])["__metadata__"]
    assert json.loads(metadata[METADATA_KEY]) == {"num_frames": 14, "latent_rgb": [[1.0]]}
    assert metadata["format"] == "pt"
