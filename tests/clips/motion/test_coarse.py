"""Coarse videos of a motion: frame 0 is the picture, areas are where they were drawn, and move as asked."""

import itertools
import json
import math
import random

import pytest
import torch

from stillmotion.clips.motion import areas, camera
from stillmotion.clips.motion.coarse import coarse
from stillmotion.clips.motion.tracks import parse

HEIGHT, WIDTH, FRAMES = 32, 48, 5
PICTURE = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
BOX = [[0.25, 0.25], [0.5, 0.25], [0.5, 0.75], [0.25, 0.75]]  # columns 12 to 23, rows 8 to 23


def of(content: dict, sources=None):
    motion, _ = parse(json.dumps(content))
    return coarse(motion, PICTURE, FRAMES, sources or {})


def test_a_polygon_holds_the_pixels_whose_centre_is_inside():
    area = areas.of_polygon([areas.pixel(point, HEIGHT, WIDTH) for point in BOX], HEIGHT, WIDTH)
    expected = torch.zeros(1, HEIGHT, WIDTH)
    expected[:, 8:24, 12:24] = 1
    assert torch.equal(area, expected)


def test_a_disc_and_a_line_have_their_area():
    disc = areas.of_line([(23.5, 15.5)], 10.0, HEIGHT, WIDTH)
    assert float(disc.sum()) == pytest.approx(math.pi * 100, rel=0.03)
    line = areas.of_line([(13.5, 15.5), (33.5, 15.5)], 5.0, HEIGHT, WIDTH)
    assert float(line.sum()) == pytest.approx(20 * 10 + math.pi * 25, rel=0.05)


def test_strokes_are_added_and_erased_in_order():
    stroke = {"points": [[0.5, 0.5]], "width": 0.4}
    erased = {"regions": [{"kind": "freeze", "strokes": [stroke, {**stroke, "width": 0.2, "erase": True}]}]}
    ring = of(erased).frozen
    outer, inner = (areas.of_line([(23.5, 15.5)], radius * WIDTH / 2, HEIGHT, WIDTH) for radius in (0.4, 0.2))
    assert torch.equal(ring[0], outer - inner)


def test_frame_0_is_the_picture_and_a_region_without_a_path_stays():
    moved = of(
        {"regions": [{"polygon": BOX}], "drags": [{"path": [{"x": 0.8, "y": 0.5}, {"x": 0.5, "y": 0}]}]}
    )
    disc = areas.of_line([areas.pixel((0.8, 0.5), HEIGHT, WIDTH)], 0.05 * WIDTH, HEIGHT, WIDTH).bool()
    seen = moved.mask[0, 0] > 0
    assert torch.equal(moved.frames[0][:, seen], PICTURE[:, seen]) and (seen | ~disc[0]).all()
    assert torch.equal(moved.frames[-1][:, 8:24, 12:24], PICTURE[:, 8:24, 12:24])


def test_a_region_goes_along_its_path():
    path = [{"x": 0.1, "y": 0.1}, {"x": 0.1 + 8 / WIDTH, "y": 0.1 + 4 / HEIGHT}]
    moved = of({"regions": [{"polygon": BOX, "path": path}]})
    torch.testing.assert_close(moved.frames[-1][:, 12:28, 20:32], PICTURE[:, 8:24, 12:24])
    assert moved.mask[-1].sum() == 12 * 16 and moved.mask[-1, 0, 12:28, 20:32].all()


def test_a_camera_moves_the_background_and_is_held_there():
    moved = of({"camera": {"pan": [8 / WIDTH, 0]}})
    torch.testing.assert_close(moved.frames[-1][:, :, 8:], PICTURE[:, :, :-8])
    assert not moved.mask[-1, 0, :, :8].any() and moved.mask[-1, 0, :, 8:].all()
    assert not of({}).mask.any()


def test_eases_begin_and_end_alike():
    assert camera.shares(5, "linear") == [0, 0.25, 0.5, 0.75, 1]
    assert camera.shares(5, "smooth") == [0, 0.15625, 0.5, 0.84375, 1]


def test_nearness_of_1_is_a_pan():
    near = {0: torch.ones(1, HEIGHT, WIDTH)}
    moved = of({"camera": {"pan": [8 / WIDTH, 0], "nearness": 0}}, near)
    torch.testing.assert_close(moved.frames[-1][:, :, 8:], PICTURE[:, :, :-8])


def test_a_region_outside_of_the_picture_is_refused():
    with pytest.raises(ValueError, match="region 1 has no pixel"):
        of({"regions": [{"polygon": [[1.1, 1.1], [1.2, 1.1], [1.2, 1.2]]}]})


@pytest.mark.parametrize("seed", range(20))
def test_areas_are_those_of_every_pixel_looked_at_alone(seed):
    """Shapes inside, across and outside of the picture's edges, some with corners on pixel centres."""
    draw = random.Random(seed)
    points = [(draw.uniform(-20, 60), draw.uniform(-20, 50)) for _ in range(draw.randint(3, 8))]
    points = [(float(round(x)), float(round(y))) for x, y in points] if seed % 2 else points
    radius = draw.choice([0.4, 3.0, 25.0])
    y, x = torch.meshgrid(torch.arange(HEIGHT).double(), torch.arange(WIDTH).double(), indexing="ij")
    inside, near = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool), torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        crosses = (y0 <= y) != (y1 <= y)
        inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / ((y1 - y0) or 1))
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        share = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / (((x1 - x0) ** 2 + (y1 - y0) ** 2) or 1)
        share = share.clamp(0, 1)
        near |= (x - x0 - share * (x1 - x0)) ** 2 + (y - y0 - share * (y1 - y0)) ** 2 <= radius**2
    assert torch.equal(areas.of_polygon(points, HEIGHT, WIDTH)[0] > 0, inside)
    assert torch.equal(areas.of_line(points, radius, HEIGHT, WIDTH)[0] > 0, near)
