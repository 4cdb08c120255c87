"""The canvas of a clip: which widths and heights there are, and how a picture is fitted to them."""

SIZE_STEP, LARGEST_SIDE = 64, 4096
"""Widths and heights are multiples of the step, in pixels, up to the largest side."""

FITS = ("crop", "pad", "stretch")
"""Ways to fit a picture of another shape: cut off its edges, add bars, or distort it."""


def nearest_side(side: int) -> int:
    """The accepted width or height nearest to a number of pixels; halfway between two it is the larger."""
    return min(max((side + SIZE_STEP // 2) // SIZE_STEP, 1) * SIZE_STEP, LARGEST_SIDE)
