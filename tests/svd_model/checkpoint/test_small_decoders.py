"""Files of the small decoders: under the names that users have, and refused in words."""

import pytest
import torch
from diffusers.models import AutoencoderTiny
from safetensors.torch import save_file

from stillmotion.svd_model.checkpoint import Checkpoint, CheckpointError, small_decoders
from stillmotion.svd_model.checkpoint.small_decoders import open_small_decoder, small_decoder_of
from stillmotion.svd_model.networks.taesd import SmallDecoder, SmallDecoderParams
from support import golden_family, headers
from support.golden_family import NAMED

LATENTS = NAMED.input("family.latents", (1, 3, 4, 4, 6))[0]
NARROW = 8


def narrow(memory: bool = False, latents: int = 4) -> dict[str, torch.Tensor]:
    decoder = SmallDecoder(SmallDecoderParams(NARROW, latents, memory), device="meta")
    return dict(NAMED.fill(decoder, "narrow.").state_dict())


def saved(path, tensors: dict[str, torch.Tensor]):
    (torch.save if path.suffix in (".pth", ".pt") else save_file)(tensors, path)
    return path


def pictures(part) -> torch.Tensor:
    return part.load(dtype=torch.float32, device="cpu")(LATENTS)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "taesd_decoder.", "decoder.", "module.decoder."])
@pytest.mark.parametrize("memory", [False, True])
def test_names_and_suffixes_do_not_change_the_pictures(tmp_path, suffix, prefix, memory):
    tensors = narrow(memory)
    path = saved(tmp_path / f"small{suffix}", {prefix + key: value for key, value in tensors.items()})
    part = open_small_decoder(path)
    assert part.params == SmallDecoderParams(NARROW, memory=memory)
    whole = SmallDecoder(part.params, device="meta")
    whole.load_state_dict(tensors, assign=True)
    assert torch.equal(pictures(part), whole(LATENTS))


@pytest.mark.parametrize("name", ["taesd_decoder", "taesdv"])
def test_released_lists_of_keys_are_whole(name):
    """TAESDV's file has an encoder too, whose keys look alike."""
    part = small_decoder_of(headers.file(golden_family.keys(name)))
    assert part.params == SmallDecoderParams(memory=name == "taesdv")


def test_a_file_of_diffusers_gives_its_pictures(tmp_path):
    widths = (NARROW,) * 4
    theirs = AutoencoderTiny(decoder_block_out_channels=widths, encoder_block_out_channels=widths)
    theirs = NAMED.fill(theirs)
    theirs.save_pretrained(tmp_path)
    part = open_small_decoder(tmp_path / "diffusion_pytorch_model.safetensors")
    with torch.no_grad():
        expected = theirs.decoder(LATENTS) / 2 + 0.5
    torch.testing.assert_close(pictures(part), expected, rtol=1e-5, atol=1e-5)


def test_half_precision_is_computed_in_the_precision_asked_for(tmp_path):
    path = saved(tmp_path / "small.pth", {key: value.half() for key, value in narrow().items()})
    found = pictures(open_small_decoder(path))
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()


def refusal(shapes, dtypes=None) -> str:
    with pytest.raises(CheckpointError) as caught:
        small_decoder_of(headers.file(shapes, dtypes))
    return str(caught.value)


def shapes_of(tensors) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def test_what_is_missing_or_of_another_shape_is_named():
    shapes = shapes_of(narrow())
    assert "1 are missing" in refusal({key: shapes[key] for key in shapes if key != "1.weight"})
    assert "12.weight is [8, 8, 1, 1]" in refusal(shapes | {"12.weight": (8, 8, 1, 1)})


@pytest.mark.parametrize("shape", [(), (8,), (0, 8, 3, 3), (2**30, 8, 3, 3)])
def test_widths_are_bounded(shape):
    assert str(list(shape)) in refusal(shapes_of(narrow()) | {"3.conv.0.weight": shape})


def test_decoders_of_other_latents_are_refused():
    assert "latents of 16 channels; SVD's have 4" in refusal(shapes_of(narrow(latents=16)))


def test_whole_numbers_are_refused():
    shapes = shapes_of(narrow())
    assert "int8" in refusal(shapes, dict.fromkeys(shapes, torch.int8))
    assert "I4" in refusal(shapes, dict.fromkeys(shapes, "I4"))


def test_encoders_and_other_files_are_refused(tmp_path):
    encoder = {
        key.removeprefix("encoder."): shape
        for key, shape in golden_family.keys("taesdv").items()
        if key.startswith("encoder.")
    }
    assert "no small decoder" in refusal(encoder)
    assert "no small decoder" in refusal(headers.tiny())
    (tmp_path / "small.pth").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match="web page"):
        open_small_decoder(tmp_path / "small.pth")


def test_large_files_are_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(small_decoders, "LARGEST_FILE", 100)
    path = saved(tmp_path / "small.pth", narrow())
    with pytest.raises(CheckpointError, match="100"):
        open_small_decoder(path)


@pytest.mark.parametrize("prefix", ["", "decoder."])
@pytest.mark.parametrize("memory", [False, True])
def test_as_a_checkpoint_it_is_named(tmp_path, memory, prefix):
    path = saved(tmp_path / "taesd.pth", {prefix + key: value for key, value in narrow(memory).items()})
    with pytest.raises(CheckpointError, match="vae_approx"):
        Checkpoint.open(path)
