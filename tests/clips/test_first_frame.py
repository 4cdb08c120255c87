"""The picture as the first frame, and the frames after it: shares, bounds, seams; on known decoded frames."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.clips.first_frame import DETAIL_FRAMES, LARGEST_TONE, led_from, smooth
from stillmotion.clips.plan import Plan
from stillmotion.clips.settings import Settings
from stillmotion.svd_model.checkpoint.variants import SV3D_U, SVD_XT


def noise(*shape: int, scale: float = 0.1) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def put(picture, decoded, **options):
    return torch.stack(list(led_from(picture, len(decoded), **options).over(decoded)))


def steps(frames):
    return frames.diff(dim=0).abs().mean((1, 2, 3))


def test_the_first_frame_is_the_picture_and_a_perfect_decoder_leaves_all_others():
    picture = noise(1, 3, 32, 48)
    decoded = torch.cat([picture, noise(5, 3, 32, 48, scale=0.3)])
    assert torch.equal(put(picture, decoded), decoded)


def test_every_frame_gets_a_shift_of_colour_and_no_more_of_it_than_the_bound():
    decoded = noise(14, 3, 32, 32)
    for shift, expected in ((0.1, 0.1), (0.6, LARGEST_TONE)):
        shifted = put(decoded[:1] + shift, decoded)
        assert torch.equal(shifted[0], decoded[0] + shift)
        assert torch.allclose(shifted[DETAIL_FRAMES:], decoded[DETAIL_FRAMES:] + expected, atol=1e-6)


def test_detail_goes_within_some_frames_by_the_smallest_steps_at_both_ends():
    still, picture = torch.zeros(14, 3, 64, 64), noise(1, 3, 64, 64)
    frames = put(picture, still)
    tone = smooth(picture)
    assert torch.allclose(frames[DETAIL_FRAMES:], tone.expand(4, -1, -1, -1), atol=1e-6)
    taken = steps(frames)[:DETAIL_FRAMES]
    assert taken[0] < 0.2 * taken.max() and torch.allclose(taken, taken.flip(0), atol=1e-6)


def test_a_ring_is_led_to_the_picture_from_both_sides():
    still, picture = torch.zeros(30, 3, 64, 64), noise(1, 3, 64, 64)
    frames = put(picture, still, ring=True)
    assert torch.allclose(frames[1:], frames[1:].flip(0), atol=1e-6)
    assert not torch.allclose(frames[-1], smooth(picture)[0], atol=1e-3)


@given(frames=st.integers(1, 40), next_picture=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_the_next_picture_is_left_alone(frames, next_picture):
    led = led_from(torch.zeros(1, 3, 8, 8), frames, next_picture=next_picture)
    assert led.tone.shape == led.detail.shape == (frames,) and led.tone[0] == led.detail[0] == 1
    assert not led.tone[next_picture:].any() and not led.detail[next_picture:].any()
    assert (led.tone.diff() <= 0).all() and (led.detail.diff() <= 0).all()


def a_plan(variant=SVD_XT, keyframes=(), **chosen) -> Plan:
    return Plan.of(Settings(width=64, height=64, **chosen), variant, keyframes)


def test_a_plan_leads_from_the_picture_only_where_the_settings_say_so():
    picture = torch.zeros(1, 3, 64, 64)
    assert a_plan().first_frame(picture) is None and a_plan(keep_first="off").first_frame(picture) is None
    led = a_plan(keep_first="exact").first_frame(picture)
    assert led.picture is picture and torch.equal(led.tone, torch.ones(25))
    assert a_plan(keep_first="exact", keyframes=[8, 20]).first_frame(picture).tone[8] == 0
    around = a_plan(keep_first="exact", loop="pinned").first_frame(picture)
    assert torch.equal(around.detail[1:], around.detail[1:].flip(0)) and torch.equal(around.tone, led.tone)


@pytest.mark.parametrize(
    ("variant", "chosen", "message"),
    [
        (SVD_XT, {"loop": "shift"}, "keep_first exact can't go with the loop shift"),
        (SV3D_U, {}, "keep_first"),
    ],
)
def test_a_clip_without_the_picture_as_its_first_frame_is_refused(variant, chosen, message):
    with pytest.raises(ValueError, match=message):
        a_plan(variant, keep_first="exact", **chosen)
