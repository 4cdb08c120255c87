"""LoRAs of a pipeline: how they are named, and what they change."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion.clips.settings import Settings
from stillmotion.headless.pipeline import Pipeline
from stillmotion.svd_model.adapters.lora import LoRA, is_temporal
from stillmotion.svd_model.checkpoint import Checkpoint, CheckpointError
from stillmotion.svd_model.checkpoint.sources import TensorFile
from support import checkpoints, lora_files, tiny

QUICK = Settings(num_frames=3, width=64, height=64, steps=2)
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


@functools.cache
def checkpoint(dtype=torch.float32, kind="svd") -> Checkpoint:
    tensors = checkpoints.tensors(kind, dtype, tiny.SMALL)
    return Checkpoint(TensorFile.of_tensors(Path("tiny.safetensors"), tensors))


def shapes():
    return checkpoint().unet.expected


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    """Writes a LoRA for the layers whose names end with one of the words; gives its path."""
    folder = tmp_path_factory.mktemp("loras")

    @functools.cache
    def write(*modules, seed=0):
        tensors = lora_files.random_pairs(shapes(), *modules, seed=seed)
        return lora_files.write(folder / f"{'_'.join(modules)}{seed}.safetensors", tensors)

    return write


def clip(*loras, dtype=torch.float32, **options) -> bytes:
    pipeline = Pipeline(checkpoint(dtype), device="cpu", loras=loras, **options)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    return pipeline.animate(picture, QUICK).frames.tobytes()


@functools.cache
def plain() -> bytes:
    return clip()


@pytest.mark.parametrize(
    "loras",
    [
        "a.safetensors",
        Path("a"),
        None,
        5,
        [3],
        [("a", "b")],
        [("a", 1.0, 1.0, 1.0)],
        [("a", float("nan"))],
        [()],
    ],
)
def test_what_is_no_list_of_choices_is_refused(loras):
    with pytest.raises(ValueError, match=r"LoRA is given as|give a list of files"):
        Pipeline(checkpoint(), device="cpu", loras=loras)


def test_one_that_was_opened_for_another_unet_is_refused(lora):
    opened = Pipeline(checkpoint(), device="cpu", loras=[lora(*ATTENTION)]).loras
    other = checkpoints.tensors("svd", sizes=tiny.GOLDEN)
    other = Checkpoint(TensorFile.of_tensors(Path("other.safetensors"), other))
    with pytest.raises(CheckpointError, match="was opened for another UNet"):
        Pipeline(other, device="cpu", loras=opened)


def test_without_strength_nothing_changes(lora):
    assert clip((lora(*ATTENTION), 0.0)) == plain()
    assert clip((lora(*ATTENTION), 0.0, None)) == plain()


def test_a_lora_changes_the_clip_and_two_add_up(lora):
    """A LoRA and its opposite leave no more than the rounding of two sums."""
    first, second = lora(*ATTENTION), lora(*ATTENTION, seed=1)
    one = clip(first)
    assert one != plain() and one != clip(second)
    both = Pipeline(checkpoint(), device="cpu", loras=[first, (second, 0.5)]).unet.state_dict()
    alone = [LoRA.open(path, shapes()) for path in (first, second)]
    for key, weight in checkpoint().unet.tensors().items():
        changes = [each.deltas[key].difference() for each in alone if key in each.deltas]
        expected = weight + sum(factor * change for factor, change in zip((1, 0.5), changes, strict=False))
        torch.testing.assert_close(both[key], expected, rtol=1e-6, atol=1e-6)


def test_layers_over_time_take_their_own_strength(lora):
    path = lora(*ATTENTION)
    changed = {}
    for name, choice in (("spatial", (path, 1.0, 0.0)), ("temporal", (path, 0.0, 1.0))):
        state = Pipeline(checkpoint(), device="cpu", loras=[choice]).unet.state_dict()
        changed[name] = {key for key, w in checkpoint().unet.tensors().items() if not w.equal(state[key])}
    deltas = LoRA.open(path, shapes()).deltas
    assert changed["temporal"] == set(filter(is_temporal, deltas)) != set()
    assert changed["spatial"] == set(deltas) - changed["temporal"] != set()


def test_constant_cross_attention_is_computed_after_it(lora):
    """Of a single token queries and keys don't matter, values and the output do."""
    assert clip(lora("attn2.to_q", "attn2.to_k")) == plain()
    for layer in ("attn2.to_v", "attn2.to_out.0"):
        assert clip(lora(layer)) != plain()


def test_only_touched_weights_are_copied(lora):
    """All others stay views of the file; a weight of 8 bits becomes float16, in which a LoRA is not lost."""
    path = lora("attn1.to_q")
    touched = set(LoRA.open(path, shapes()).deltas)
    for dtype, wider in ((torch.float16, torch.float16), (torch.float8_e4m3fn, torch.float16)):
        part = Pipeline(checkpoint(dtype), device="cpu", loras=[path]).checkpoint.unet
        own = checkpoint(dtype).unet
        for key, tensor in part.tensors().items():
            stored = own.file.read(own.prefix + key)
            assert (tensor is stored) == (key not in touched)
            assert tensor.dtype == (wider if key in touched else dtype)
        sizes = part.sizes_in(torch.float32)
        assert sizes == {key: tensor.nbytes for key, tensor in part.tensors().items()}
        assert part.size == sum(sizes.values())


def test_a_difference_is_rounded_once(lora):
    """In the stored dtype: half a unit in the last place from the sum in float64."""
    path = lora("attn1.to_q")
    part = Pipeline(checkpoint(torch.float16), device="cpu", loras=[(path, 0.3)]).checkpoint.unet
    own = checkpoint(torch.float16).unet.tensors()
    for key, delta in LoRA.open(path, shapes()).deltas.items():
        exact = own[key].double() + 0.3 * (delta.up.double() @ delta.down.double())
        error = (part.tensors()[key].double() - exact).abs()
        assert (error <= 2**-11 * exact.abs() * 1.001 + 2**-20).all()


def test_weights_that_are_read_again_have_it_too(lora):
    """As on a device without room, where each network leaves before the next one comes."""
    path = lora(*ATTENTION)
    pipeline = Pipeline(checkpoint(), device="cpu", loras=[path])
    least = pipeline.fit.needed((3, 8, 8), False)
    tight, roomy = clip(path, memory_budget=least), clip(path)
    values = [np.frombuffer(frames, np.uint8).astype(int) for frames in (tight, roomy)]
    assert np.abs(values[0] - values[1]).max() <= 1  # of 255, by other groups of the same sums


def test_modules_are_counted_and_a_file_for_another_network_is_refused(lora, tmp_path):
    pipeline = Pipeline(checkpoint(), device="cpu", loras=[lora(*ATTENTION)])
    (applied,) = pipeline.loras
    assert applied.lora.report.endswith(f"all {applied.lora.found} modules found their layer.")
    other = {"text_model.lora_A.weight": torch.ones(1, 1), "text_model.lora_B.weight": torch.ones(1, 1)}
    with pytest.raises(CheckpointError, match="none of its 1 modules"):
        Pipeline(checkpoint(), loras=[lora_files.write(tmp_path / "o.safetensors", other)])
