"""A picture of plain colours, and the mean colours of a picture's regions."""

import numpy as np

RED, GREEN, BLUE = range(3)
STRONGEST = (((0, 1), BLUE), ((3, 3), GREEN), ((2, 1), RED))
"""Strongest colour of three of the sixteen regions."""


def landscape() -> np.ndarray:
    """Draws a blue sky over green grass, a red house and a white cloud: (128, 128, 3) uint8."""
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[:64], picture[64:] = (90, 150, 230), (70, 140, 40)
    picture[48:96, 16:64] = (200, 40, 30)
    picture[8:40, 80:120] = (245, 245, 245)
    return picture


def colours(picture: np.ndarray) -> np.ndarray:
    """Mean colours of 4×4 regions, (4, 4, 3)."""
    height, width = (side // 4 * 4 for side in picture.shape[:2])
    return picture[:height, :width].reshape(4, height // 4, 4, width // 4, 3).mean(axis=(1, 3))
