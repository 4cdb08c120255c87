"""Pictures that a motion names, fitted to a clip as its own picture is."""

from torch import Tensor

from ..picture import to_canvas


def fitted(name: str, pixels: Tensor, picture: tuple[int, int], clip: tuple[int, int], fit: str) -> Tensor:
    """A greyscale picture at the size of a clip, (3, H, W) in [0, 1] -> (1, height, width).

    picture, clip: width and height of the input picture and of the clip; of one of the two it must be. The
    brightest channel counts. Raises ValueError for another size.
    """
    size = pixels.shape[2], pixels.shape[1]
    if size not in (picture, clip):
        raise ValueError(
            f"{name} is {sides(size)}; accepted is the size of the picture, {sides(picture)}, or the "
            f"clip's, {sides(clip)}."
        )
    return (to_canvas(pixels, *clip, fit)[0].amax(0, keepdim=True) + 1) / 2


def sides(size: tuple[int, int]) -> str:
    """A width and a height in words."""
    return f"{size[0]}×{size[1]}"
