"""Warps look at the pixels that a part reaches, and find what a look at all of them would."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.clips.motion import warp
from stillmotion.clips.motion.warp import Layer, Pose

HEIGHT, WIDTH = 24, 40
poses = st.builds(Pose, st.floats(-40, 80), st.floats(-40, 80), st.floats(0.1, 10), st.floats(-1080, 1080))


@settings(max_examples=40)
@given(poses, st.lists(st.integers(0, HEIGHT * WIDTH - 1), min_size=1, max_size=4), st.integers(0, 99))
def test_a_part_is_drawn_wherever_it_is_seen(pose, places, seed):
    picture, background = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(1, HEIGHT * WIDTH)
    mask[:, places] = 1
    mask = mask.view(1, HEIGHT, WIDTH)
    origin = warp.origin_of(mask)
    video, seen = warp.drawn(picture, background, [Layer(mask, origin, [pose])])

    x, y = warp.sources(range(HEIGHT), range(WIDTH), pose, origin, picture.device)
    column, row = (x + 0.5).floor().long(), (y + 0.5).floor().long()
    inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
    expected = inside & (mask[0, row.clamp(0, HEIGHT - 1), column.clamp(0, WIDTH - 1)] > 0)
    assert torch.equal(seen[0, 0].bool(), expected)
    assert torch.equal(video[0], torch.where(expected, warp.bilinear(picture, x, y), background))
