"""Pictures: from wherever the user has one to pixels, and from frames back to 8 bits.

The way in is read_image and to_tensor, then clips.picture; the way back for the frames is to_uint8.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

logger = logging.getLogger(__name__)

MAX_PIXELS = 100_000_000  # by the header, before a pixel is decoded
MIN_SIDE = 8  # one pixel of the latent

Picture = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray | Tensor

# Pillow's own list is longer; EPS and PDF start other programs, and a few kinds have no signature.
_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "JPEG2000", "PPM", "QOI")
_CHANNELS = (1, 3, 4)
_ORIENTATION_TAG = 0x0112
# What undoes the EXIF orientations 2 to 8; 1 is upright.
_UNDO = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
_UPRIGHT = {orientation: Image.Transpose[name] for orientation, name in enumerate(_UNDO.split(), start=2)}


class ImageError(ValueError):
    """A picture that can't be used; the message has its name, the fault and the remedy."""


def read_image(source: Picture) -> Image.Image:
    """Read a picture, upright and in sRGB; of an animation, the first frame, or where the caller left it.

    `source` is a path, a file opened for bytes, the bytes themselves, an opened Pillow image, or pixels in an
    array or a tensor: (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels, also as a batch of one, in
    uint8, uint16 or bool, or as floats in [0, 1]. The way that a picture comes does not change its pixels.

    Returns 8 bits a channel, "RGBA" where not all pixels are opaque, "RGB" otherwise. 16-bit greyscale
    is scaled, not clipped; floating-point pictures have to lie in [0, 1]. An ICC profile is applied; a broken
    one is ignored, with a warning in the log. Raises ImageError for an unreadable picture.
    """
    name, image = _open(source)
    colour, alpha = _split(name, image)
    if profile := image.info.get("icc_profile"):
        colour = _to_srgb(name, colour, profile)
    colour = colour.convert("RGB")
    if alpha is not None and alpha.getextrema()[0] < 255:
        colour.putalpha(alpha)
    colour.info = {}  # or Pillow would write the old profile and EXIF data into files saved from this image
    return colour


def _open(source: Picture) -> tuple[str, Image.Image]:
    """Name of the picture in messages, and its pixels, upright and of an accepted size."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return str(path), _of_path(path)
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "") or "the picture")
        with _in_words(name):
            return name, _loaded(name, source)
    if isinstance(source, bytes | bytearray | memoryview):
        name = f"the picture of {len(source)} bytes"
        return name, _of_file(name, io.BytesIO(source))
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        name = name if isinstance(name, str) and name else "the opened file"
        if isinstance(source, io.TextIOBase):
            raise ImageError(f"{name} is opened as text. Open it for bytes, with the mode 'rb'.")
        return name, _of_file(name, source)
    if isinstance(source, Tensor) or hasattr(source, "__array__"):
        name = f"the {type(source).__name__}"
        return name, _of_pixels(name, source)
    raise ImageError(
        f"the picture is a {type(source).__name__}. Give a path, an opened file, bytes, a Pillow image, or "
        "pixels in an array or a tensor."
    )


def _of_path(path: Path) -> Image.Image:
    with _in_words(str(path)):
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise ImageError(f"{path} is a folder or a device. Name one picture file.")
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ImageError(f"{path} is empty (0 bytes). Copy or download it again.")
            return _of_file(str(path), file)


def _of_file(name: str, file: BinaryIO) -> Image.Image:
    with _in_words(name):
        return _loaded(name, Image.open(file, formats=_formats()))


def size_of(name: str, file: BinaryIO) -> tuple[int, int]:
    """Width and height of a picture by its header, before a pixel is decoded; raises ImageError for none."""
    with _in_words(name), Image.open(file, formats=_formats()) as image:
        size = image.size
    file.seek(0)
    return size


def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]  # an older Pillow lacks some


def _loaded(name: str, image: Image.Image) -> Image.Image:
    """Check the header, decode the pixels as they are and turn them upright."""
    check_size(name, *image.size)
    _decode(image)
    return _upright(name, image)


def _decode(image: Image.Image) -> None:
    """Have Pillow decode the pixels."""
    path = getattr(image, "filename", "") if image.format == "TIFF" else ""
    if path:  # by which Pillow 13 maps a file that lies on its side with width and height exchanged
        image.filename = ""
    try:
        image.load()
    finally:
        if path:
            image.filename = path


def check_size(name: str, width: int, height: int) -> None:
    """Raise ImageError for a picture of too many pixels, or of too short a side."""
    if width * height > MAX_PIXELS or min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name} has {width}×{height} = {width * height} pixels; accepted are sides of at least "
            f"{MIN_SIDE} and at most {MAX_PIXELS} pixels in all. Resize it first."
        )


@contextmanager
def _in_words(name: str) -> Iterator[None]:
    """Within the block every error of reading is an ImageError."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of pictures that are below MAX_PIXELS and so accepted here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        hint = "Save other kinds (HEIC, camera raw, SVG, PSD) as PNG or JPEG first."
        found = f"{name} is no picture of a known kind, or its header is damaged"
        raise ImageError(f"{found}. Accepted: {', '.join(_formats())}. {hint}") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, met before the size is known here
        raise ImageError(f"{name} is too large. {error} Resize it to at most {MAX_PIXELS} pixels.") from error
    except Exception as error:  # damaged data make Pillow's parsers raise errors of many types
        if reason := getattr(error, "strerror", None):  # the system's word, not Pillow's
            raise ImageError(f"{name} cannot be opened: {reason}. Check path and permissions.") from error
        raise ImageError(f"{name} is damaged or cut short: {error}. Copy or save it again.") from error


def _upright(name: str, image: Image.Image) -> Image.Image:
    """Undo the EXIF orientation. Not ImageOps.exif_transpose, which also fails on damage in other tags."""
    try:
        method = _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG))
    except Exception as error:  # of many types, as above
        logger.warning("%s: damaged EXIF data ignored; the picture may lie on its side (%s)", name, error)
        return image
    return image if method is None else image.transpose(method)


def _of_pixels(name: str, pixels: Tensor | np.ndarray) -> Image.Image:
    """The picture of an array or a tensor, 8 bits a channel."""
    if isinstance(pixels, Tensor):
        try:
            pixels = pixels.detach().cpu()
            pixels = (pixels.float() if pixels.dtype == torch.bfloat16 else pixels).numpy()  # which it lacks
        except (TypeError, RuntimeError) as error:  # NotImplementedError too: sparse, quantised, meta
            raise ImageError(f"{name} can't become an array: {error} Give a plain, dense one.") from error
    values = np.asarray(pixels)
    shape = values.shape
    if values.ndim == 4 and shape[0] == 1:
        values = values[0]
    # Sides are longer than that, so channels can't be mistaken for one.
    if values.ndim == 3 and values.shape[0] in _CHANNELS and values.shape[2] not in _CHANNELS:
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in _CHANNELS)):
        accepted = "(H, W), (H, W, C) and (C, H, W) with 1, 3 or 4 channels, and a batch of one"
        raise ImageError(f"{name} has the shape {tuple(shape)}; accepted are {accepted}.")
    check_size(name, values.shape[1], values.shape[0])
    if values.dtype == bool:
        values = values * np.uint8(255)
    elif values.dtype.str[1:] == "u2" or values.dtype.kind == "f":
        values = _to_eight_bits(name, values, str(values.dtype), 65535 if values.dtype.kind == "u" else 1)
    elif values.dtype != np.uint8:
        accepted = "uint8, uint16, bool, and floats from 0 to 1"
        raise ImageError(f"{name} holds {values.dtype}; accepted are {accepted}. Convert it first.")
    return Image.fromarray(np.ascontiguousarray(values))


def _split(name: str, image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Part the picture into 8-bit colour ("L", "RGB" or "CMYK") and alpha ("L"), if it has one."""
    if image.mode == "F" or image.mode.startswith("I"):
        mode, top = f"mode {image.mode}", 1 if image.mode == "F" else 65535
        return Image.fromarray(_to_eight_bits(name, np.asarray(image), mode, top)), None
    if image.mode == "La":
        image = image.convert("LA")
    grey = image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return image.convert("L") if grey else rgba.convert("RGB"), rgba.getchannel("A")
    return image if image.mode == "CMYK" else image.convert("L" if grey else "RGB"), None


def _to_eight_bits(name: str, values: np.ndarray, kind: str, top: int) -> np.ndarray:
    """Scale 0..top to 0..255, rounded to the nearest; Pillow's own conversion clips at 255."""
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # false for NaN, too
        found = f"{name} has values from {low} to {high}; in {kind}, 0 to {top} are accepted"
        raise ImageError(f"{found}. Scale it to that range, or save it as an 8-bit picture.")
    return np.rint(values * np.float32(255 / top)).astype(np.uint8)


def _to_srgb(name: str, colour: Image.Image, profile: bytes) -> Image.Image:
    """Convert from the embedded ICC profile; without this, wide-gamut photographs look dull."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if colour.mode == "L" and source.profile.xcolor_space.strip() == "RGB":
            colour = colour.convert("RGB")
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), colour.mode, "RGB")
        if colour.mode == "RGB" and _changes_little(transform):
            return colour
        return ImageCms.applyTransform(colour, transform)
    except (OSError, ValueError, TypeError, ImportError, ImageCms.PyCMSError) as error:
        logger.warning("%s: its colour profile cannot be used and is ignored (%s)", name, error)
        return colour


def _changes_little(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether the profile is sRGB already, by what it does: names such as "linear sRGB" mislead."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    changed = np.asarray(ImageCms.applyTransform(Image.fromarray(colours), transform))
    return np.abs(changed.astype(int) - colours).max() <= 2


def to_tensor(image: Image.Image) -> Tensor:
    """Turns an RGB(A) image into (3 or 4, H, W) float32 in [0, 1]: x / 255. ImageError for other modes."""
    if image.mode not in ("RGB", "RGBA"):
        raise ImageError(f"the image is {image.mode}, not RGB or RGBA. See read_image.")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (H, W, C) -> (C, H, W)
    return pixels.contiguous().float().div_(255)


def to_uint8(frames: Tensor) -> np.ndarray:
    """Turn (T, 3, H, W) floats in [-1, 1], of any precision and device, into (T, H, W, 3) uint8 in 0..255.

    Clamps, and rounds to the nearest; the reference truncates, half a level darker on average. Works frame
    by frame, without a second copy of the clip in floats. Raises ImageError for another shape, for whole
    numbers, and for NaN, which would become black without a word.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or not frames.is_floating_point():
        raise ImageError(
            f"frames are (T, 3, H, W) floats in [-1, 1], not {tuple(frames.shape)} {frames.dtype}."
        )
    t, _, h, w = frames.shape
    pictures = np.empty((t, h, w, 3), np.uint8)
    for index, frame in enumerate(frames.detach()):
        if frame.isnan().any():
            raise ImageError(f"frame {index} of {t} holds NaN. Compute in bfloat16 or float32, not float16.")
        levels = frame.float().clamp(-1, 1).add_(1).mul_(127.5).round_()
        # (3, H, W) -> (H, W, 3)
        pictures[index] = levels.to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return pictures
