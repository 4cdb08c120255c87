"""The small decoders against the reference's numbers, diffusers, and frames one by one."""

import pytest
import torch
from diffusers.models import AutoencoderTiny

from stillmotion.svd_model.networks.taesd import SmallDecoder, SmallDecoderParams
from support import golden_family
from support.golden_family import NAMED

LATENTS = NAMED.input("family.latents", (1, 3, 4, 4, 6))[0]
NARROW = 8


def released(memory: bool) -> SmallDecoder:
    """The decoder of the released size, with the golden numbers' weights."""
    decoder = SmallDecoder(SmallDecoderParams(memory=memory), device="meta")
    return NAMED.fill(decoder, "taesdv.decoder." if memory else "taesd.decoder.")


def narrow(memory: bool) -> SmallDecoder:
    decoder = SmallDecoder(SmallDecoderParams(NARROW, memory=memory), device="meta")
    return NAMED.fill(decoder, "narrow.")


def test_golden_family_taesdv():
    golden_family.check("taesdv.decode", released(memory=True)(LATENTS))


def test_golden_family_taesd():
    golden_family.check("taesd.decode", released(memory=False)(LATENTS[:1]))


@pytest.mark.parametrize("name", ["taesd_decoder", "taesdv"])
def test_its_keys_and_shapes_are_the_released_ones(name):
    memory = name == "taesdv"
    keys = golden_family.keys(name)
    expected = {
        key.removeprefix("decoder."): shape for key, shape in keys.items() if not key.startswith("encoder.")
    }
    decoder = SmallDecoder(SmallDecoderParams(memory=memory), device="meta")
    assert {key: tuple(tensor.shape) for key, tensor in decoder.state_dict().items()} == expected


def test_taesd_is_the_decoder_of_diffusers():
    """Its pictures lie in [−1, 1], and its places are one lower, behind a clamp that has none."""
    decoder = narrow(memory=False)
    widths = (NARROW,) * 4
    theirs = AutoencoderTiny(decoder_block_out_channels=widths, encoder_block_out_channels=widths).decoder
    names = {key: key.partition(".") for key in decoder.state_dict()}
    state = {
        f"layers.{int(place) - 1}.{rest}": decoder.state_dict()[key]
        for key, (place, _, rest) in names.items()
    }
    theirs.load_state_dict(state, strict=True)
    with torch.no_grad():
        expected = theirs(LATENTS) / 2 + 0.5
    torch.testing.assert_close(decoder(LATENTS), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("at_once", [1, 2, 3, 5])
def test_groups_of_frames_make_the_pictures_of_the_whole_video(memory, at_once):
    decoder = narrow(memory).double()
    latents = torch.cat([LATENTS, LATENTS.flip(0)]).double()
    found = torch.cat(list(decoder.in_groups(latents, at_once)))
    torch.testing.assert_close(found, decoder(latents), rtol=1e-12, atol=1e-12)


def test_with_memory_a_picture_depends_on_earlier_frames_alone():
    decoder = narrow(memory=True)
    whole = decoder(LATENTS)
    torch.testing.assert_close(decoder(LATENTS[:2]), whole[:2])
    assert (decoder(LATENTS[1:]) - whole[1:]).abs().max() > 1e-3


def test_the_latents_stay_as_they_were():
    latents = LATENTS.clone()
    narrow(memory=True)(latents)
    assert torch.equal(latents, LATENTS)
