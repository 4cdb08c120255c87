"""Courses: masks and latents that a clip follows, and what is pasted over its frames."""

from functools import partial

import pytest
import torch

from stillmotion.clips.motion import course, tracks
from stillmotion.clips.motion.coarse import coarse

PICTURE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
SQUARE = torch.zeros(1, 1, 64, 64)
SQUARE[..., 20:44, 12:36] = 1
Z_MOVED, Z_STILL = torch.full((5, 4, 8, 8), 2.0), torch.full((1, 4, 8, 8), -1.0)


def motion(text: str) -> tracks.Motion:
    return tracks.parse(text)[0]


DRAG = motion('{"drags": [{"path": [{"x": 0.3, "y": 0.5}, {"x": 0.6, "y": 0.5}], "width": 0.2}]}')
SKY = motion('{"regions": [{"kind": "freeze", "polygon": [[0, 0], [1, 0], [1, 0.25], [0, 0.25]]}]}')


def test_the_frames_of_a_motion_are_its_coarse_video_and_start_with_the_picture():
    drawn = course.of_motion(DRAG, PICTURE, 5, {})
    expected = coarse(DRAG, (PICTURE[0] + 1) / 2, 5, {})
    assert torch.equal((drawn.frames + 1) / 2, (expected.frames * 2 - 1 + 1) / 2)
    assert (drawn.frames[0] - PICTURE[0]).abs().max() < 1e-6
    assert drawn.mask.shape == (5, 1, 8, 8) and drawn.frozen is None
    assert (drawn.mask.amax((1, 2, 3)) == 1).all()


def test_a_frozen_part_alone_moves_nothing_and_no_motion_is_none():
    still = course.of_motion(SKY, PICTURE, 5, {}, SQUARE)
    assert still.frames is None and still.mask is None
    assert still.frozen[0, 0, :16].all() and still.frozen[0, 0, 20:44, 12:36].all()
    assert course.of_motion(motion("{}"), PICTURE, 5, {}) == course.Course(None, None, None)


def test_a_users_mask_is_taken_at_every_eighth_pixel_and_may_be_one_for_all_frames():
    mask = torch.full((1, 3, 64, 64), -1.0)
    mask[:, 1, 8:9, 16:17] = 1  # one channel of the pixel that stands for its 8×8
    followed = course.of_video(PICTURE.expand(5, -1, -1, -1), mask)
    assert followed.mask.shape == (1, 1, 8, 8)
    assert followed.mask.sum() == 1 and followed.mask[0, 0, 1, 2] == 1
    for fault, words in ((mask.roll(1, 2), "thinner than 8"), (torch.full_like(mask, -1), "black; paint")):
        with pytest.raises(ValueError, match=words):
            course.of_video(PICTURE, fault)


def test_a_frozen_part_goes_before_a_moved_one_by_its_share():
    moved = torch.zeros(5, 1, 8, 8)
    moved[..., :4] = 1
    frozen = torch.zeros(1, 1, 64, 64)
    frozen[..., :12] = 1  # a whole column of latents, and a half
    frozen[..., 32:36] = 1  # half of one that does not move
    held = course.constraint_of(course.Course(PICTURE, moved, frozen), Z_MOVED, Z_STILL, 31.0)
    assert held.until == 31 and held.leads
    assert held.mask[0, 0, 0].tolist() == [1, 1, 1, 1, 0.5, 0, 0, 0]
    assert held.frozen[0, 0, 0].tolist() == [1, 0.5, 0, 0, 0.5, 0, 0, 0]
    assert held.latents[3, 0, 0].tolist() == [-1, 0.5, 2, 2, -1, 2, 2, 2]


def test_one_constraint_is_a_moved_part_under_a_frozen_one():
    """Above its level: the estimate first follows the moved part, then, over it, the frozen one."""
    generator = torch.Generator().manual_seed(1)
    draw = partial(torch.rand, generator=generator, dtype=torch.float64)
    estimate, moved, still = draw(5, 4, 8, 8), draw(5, 4, 8, 8), draw(1, 4, 8, 8)
    mask = draw(5, 1, 8, 8).round()
    frozen = (2 * draw(1, 1, 64, 64) - 0.5).clamp(0, 1) * (draw(1, 1, 8, 8) > 0.3).repeat_interleave(
        8, 2
    ).repeat_interleave(8, 3)
    held = course.constraint_of(course.Course(PICTURE, mask, frozen), moved, still, 31.0)
    expected = torch.lerp(torch.lerp(estimate, moved, mask), still, held.frozen)
    assert (torch.lerp(estimate, held.latents, held.mask) - expected).abs().max() < 1e-14


def test_a_frozen_part_alone_holds_at_all_levels_and_starts_from_noise():
    held = course.constraint_of(course.Course(None, None, SQUARE), None, Z_STILL, None)
    assert held.until == 0 and not held.leads and held.latents is Z_STILL
    assert held.mask.min() == 0 and held.mask.max() == 1 and 0 < held.mask[0, 0, 2, 1] < 1


def test_the_picture_is_whole_in_its_frozen_part_and_fades_within_eight_pixels_around():
    paste = course.paste_of(course.Course(None, None, SQUARE), PICTURE)
    frames = -PICTURE.expand(3, -1, -1, -1)
    pasted = paste.over(frames)
    assert torch.equal(pasted[..., 20:44, 12:36], PICTURE[..., 20:44, 12:36].expand(3, -1, -1, -1))
    row = paste.area[0, 0, 32]
    assert (row[36:44].diff() < 0).all() and row[36] < 1 and row[43] > 0 and not row[44:].any()
    assert torch.equal(pasted[..., 52:, :], frames[..., 52:, :])
    assert course.paste_of(course.Course(PICTURE, SQUARE, None), PICTURE) is None
