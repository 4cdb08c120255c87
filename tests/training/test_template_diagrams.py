"""The drawn pictures of templates: of each that needs a file of Stability AI's, and the one beside it."""

import numpy as np
from PIL import Image

from support.graphs import AT_ONCE, NAMES, TEMPLATES
from training import template_diagrams


def test_drawn_are_the_templates_that_need_a_file():
    assert set(template_diagrams.drawn()) == set(NAMES) - set(AT_ONCE)


def test_the_pictures_beside_the_templates_are_the_drawn_ones():
    for name, picture in template_diagrams.drawn().items():
        stored = np.asarray(Image.open(TEMPLATES / f"{name}.jpg"), dtype=float)
        assert np.abs(stored - np.asarray(picture, dtype=float)).mean() < 4  # JPEG's own loss is about 1


def test_the_camera_stands_where_sv3d_puts_it():
    """Bright dots: 20 places in one colour, and the picture's own view in another, in front."""
    picture = np.asarray(template_diagrams.drawn()["8 SV3D orbit"], dtype=int)
    marked = (np.abs(picture - (0xF2, 0xB1, 0x34)).max(axis=-1) < 40)[200:212]
    columns = np.nonzero(marked.any(axis=0))[0]
    assert columns.size and abs(columns.mean() - picture.shape[1] / 2) < 2
