"""read_image, to_tensor, to_uint8: every picture is made here."""

import logging
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from stillmotion.headless.files.images import (
    MAX_PIXELS,
    ImageError,
    read_image,
    to_tensor,
    to_uint8,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def saved(folder: Path, image: Image.Image, name: str = "picture.png", **options) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def noise(width: int = 24, height: int = 16, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG file by hand: its header need not agree with its rows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    end = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + end


# XYZ (D50) of the primaries, one a column: Display P3 and sRGB, as their ICC profiles have them.
P3_TO_XYZ = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB_TO_XYZ = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)


def icc_profile(to_xyz: np.ndarray, gamma: float | None, name: bytes = b"made by hand") -> bytes:
    """A version 2 ICC display profile of three primaries and a gamma, or the curve of sRGB for None."""

    def xyz(values) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    if gamma is None:
        level = np.linspace(0, 1, 1024)
        points = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4) * 65535
    else:
        points = np.array([gamma * 256])
    curve = b"curv\0\0\0\0" + struct.pack(">I", len(points)) + np.rint(points).astype(">u2").tobytes()
    description = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + b"\0" + bytes(78)
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    tags |= {key: xyz(to_xyz[:, i]) for i, key in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, data = struct.pack(">I", len(tags)), b""
    for key, value in tags.items():
        table += key + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    size = struct.pack(">I", 128 + len(table) + len(data))
    head = size + bytes(4) + bytes([2, 0x20, 0, 0]) + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += xyz((0.9642, 1.0, 0.8249))[8:] + bytes(48)
    return head + table + data


def as_srgb(pixels: np.ndarray, to_xyz: np.ndarray, gamma: float) -> np.ndarray:
    """The closed form of the conversion, by way of linear light and clipped to the gamut of sRGB."""
    linear = (pixels / 255) ** gamma @ (np.linalg.inv(SRGB_TO_XYZ) @ to_xyz).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def refusal(path) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path)
    return str(caught.value)


# What read_image accepts


@pytest.mark.parametrize("name", ["p.png", "p.bmp", "p.tif", "p.ppm", "p.qoi", "p.webp", "p.jp2"])
def test_lossless_rgb_kinds_are_read_exactly(tmp_path, name):
    pixels = noise()
    options = {"lossless": True} if name == "p.webp" else {}
    image = read_image(saved(tmp_path, Image.fromarray(pixels), name, **options))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("name", ["p.jpg", "p.avif"])
def test_lossy_kinds_are_read(tmp_path, name):
    image = read_image(saved(tmp_path, Image.new("RGB", (24, 16), (200, 100, 50)), name))
    np.testing.assert_allclose(np.asarray(image), np.broadcast_to((200, 100, 50), (16, 24, 3)), atol=4)


def test_the_content_counts_and_not_the_suffix(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (9, 9), RED), "p.png")
    assert read_image(path.rename(tmp_path / "p.jpg")).getpixel((0, 0)) == RED


def test_a_path_may_be_a_string(tmp_path):
    assert read_image(str(saved(tmp_path, Image.new("RGB", (9, 9), RED)))).size == (9, 9)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, WHITE),
        ("LA", (77, 255), (77, 77, 77)),
        ("RGBA", (1, 2, 3, 255), (1, 2, 3)),
    ],
)
def test_opaque_pictures_become_rgb(tmp_path, mode, colour, expected):
    image = read_image(saved(tmp_path, Image.new(mode, (9, 9), colour)))
    assert (image.mode, image.getpixel((4, 4))) == ("RGB", expected)


def test_rgba_is_read_exactly(tmp_path):
    pixels = noise(channels=4)
    image = read_image(saved(tmp_path, Image.fromarray(pixels)))
    assert image.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_grey_with_alpha_keeps_its_alpha(tmp_path):
    image = read_image(saved(tmp_path, Image.new("LA", (9, 9), (77, 12))))
    assert (image.mode, image.getpixel((4, 4))) == ("RGBA", (77, 77, 77, 12))


def test_a_palette_without_transparency_becomes_rgb(tmp_path):
    picture = Image.new("P", (9, 9), 1)
    picture.putpalette(RED + GREEN)
    image = read_image(saved(tmp_path, picture))
    assert (image.mode, image.getpixel((4, 4))) == ("RGB", GREEN)


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"], ids=["one index", "a table"])
def test_a_palette_with_transparency_becomes_rgba_without_a_warning(tmp_path, transparency):
    picture = Image.new("P", (9, 9), 1)
    picture.putpalette(RED + GREEN)
    picture.putpixel((0, 0), 0)
    path = saved(tmp_path, picture, transparency=transparency)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(path)
    assert (image.getpixel((0, 0))[3], image.getpixel((4, 4))) == (0, (*GREEN, 255))


@pytest.mark.parametrize(
    ("mode", "colour", "expected"), [("L", 77, (77, 77, 77, 255)), ("RGB", RED, (*RED, 255))]
)
def test_a_transparent_colour_becomes_alpha(tmp_path, mode, colour, expected):
    picture = Image.new(mode, (9, 9), colour)
    key = 5 if mode == "L" else (5, 5, 5)
    picture.putpixel((0, 0), key)
    image = read_image(saved(tmp_path, picture, transparency=key))
    assert (image.getpixel((0, 0)), image.getpixel((4, 4))) == ((5, 5, 5, 0), expected)


@pytest.mark.parametrize("name", ["p.gif", "p.webp", "p.png"])
def test_of_an_animation_the_first_frame_is_read(tmp_path, name):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], lossless=True)
    assert Image.open(path).n_frames == 3
    assert read_image(path).convert("RGB").getpixel((8, 8)) == RED


def test_a_cmyk_jpeg_is_not_inverted(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "p.jpg", quality=100)
    assert b"Adobe" in path.read_bytes()  # Adobe's CMYK is stored inverted
    np.testing.assert_allclose(read_image(path).getpixel((8, 8)), (0, 255, 255), atol=2)


def test_ycbcr_becomes_rgb(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (16, 16), RED).convert("YCbCr"), "p.tif")
    np.testing.assert_allclose(read_image(path).getpixel((8, 8)), RED, atol=2)


def test_lab_becomes_rgb(tmp_path):
    path = saved(tmp_path, Image.new("LAB", (16, 16), (255, 128, 128)), "p.tif")
    np.testing.assert_allclose(read_image(path).getpixel((8, 8)), WHITE, atol=1)


SIXTEEN_BITS = np.array([0, 1, 128, 129, 257, 385, 386, 32767, 32768, 65406, 65407, 65535])
NEAREST_OF_EIGHT = [0, 0, 0, 1, 1, 1, 2, 127, 128, 254, 255, 255]


@pytest.mark.parametrize("kind", ["png", "little-endian tiff", "big-endian tiff", "32-bit tiff", "pgm"])
def test_sixteen_bit_grey_is_scaled_and_rounded_to_the_nearest(tmp_path, kind):
    values = np.tile(SIXTEEN_BITS, (8, 1))
    path = tmp_path / "p"
    if kind == "pgm":
        path.write_bytes(b"P5 12 8 65535\n" + values.astype(">u2").tobytes())
    elif kind == "png":
        path.write_bytes(png(12, 8, 16, 0, b"".join(b"\0" + row.tobytes() for row in values.astype(">u2"))))
    elif kind == "big-endian tiff":
        picture = Image.frombytes("I;16B", (12, 8), values.astype(">u2").tobytes())
        picture.save(path, "TIFF")
    else:
        Image.fromarray(values.astype(np.int32 if kind == "32-bit tiff" else np.uint16)).save(path, "TIFF")
    image = read_image(path)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.tile(np.c_[NEAREST_OF_EIGHT], (8, 1, 3)))


@pytest.mark.parametrize("bad", [-1, 65536])
def test_whole_numbers_beyond_16_bits_are_refused(tmp_path, bad):
    message = refusal(saved(tmp_path, Image.fromarray(np.full((8, 8), bad, np.int32)), "p.tif"))
    assert "p.tif" in message and str(bad) in message and "65535" in message


def test_floats_are_scaled_and_rounded_to_the_nearest(tmp_path):
    values = np.tile(np.float32([0, 0.001, 0.002, 0.25, 0.5, 0.75, 0.999, 1]), (8, 1))
    image = read_image(saved(tmp_path, Image.fromarray(values), "p.tif"))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 64, 128, 191, 255, 255]


@pytest.mark.parametrize("bad", [-0.01, 1.01, float("nan"), float("inf"), float("-inf")])
def test_floats_beyond_0_to_1_are_refused(tmp_path, bad):
    values = np.zeros((8, 8), np.float32)
    values[3, 3] = bad
    message = refusal(saved(tmp_path, Image.fromarray(values), "p.tif"))
    assert "p.tif" in message and "0 to 1 are accepted" in message


# EXIF: where row 0 and column 0 of the stored pixels are seen, after the standard's table of orientations

STORED = {  # the stored pixels of an upright picture U
    1: lambda u: u,
    2: lambda u: u[:, ::-1],  # column 0 is seen on the right
    3: lambda u: u[::-1, ::-1],  # row 0 at the bottom, column 0 on the right
    4: lambda u: u[::-1],  # row 0 at the bottom
    5: lambda u: u.transpose(1, 0, 2),  # row 0 on the left, column 0 at the top
    6: lambda u: u.transpose(1, 0, 2)[::-1],  # row 0 on the right, column 0 at the top
    7: lambda u: u.transpose(1, 0, 2)[::-1, ::-1],  # row 0 on the right, column 0 at the bottom
    8: lambda u: u.transpose(1, 0, 2)[:, ::-1],  # row 0 on the left, column 0 at the bottom
}


@pytest.mark.parametrize("name", ["p.png", "p.webp", "p.tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_the_exif_orientation_is_applied_once(tmp_path, orientation, name):
    upright = noise()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name == "p.webp" else {}
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    path = saved(tmp_path, stored, name, exif=exif, **options)
    np.testing.assert_array_equal(np.asarray(read_image(path)), upright)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_unknown_orientation_is_upright(tmp_path, value):
    exif = Image.Exif()
    exif[0x0112] = value
    pixels = noise()
    np.testing.assert_array_equal(
        np.asarray(read_image(saved(tmp_path, Image.fromarray(pixels), exif=exif))), pixels
    )


def test_damaged_exif_data_are_ignored_with_a_warning_in_the_log(tmp_path, caplog):
    path = saved(tmp_path, Image.new("RGB", (9, 9), RED), "p.png", exif=b"Exif\0\0MM\0\0\0\0\0\x08damaged")
    with caplog.at_level(logging.WARNING, "stillmotion"):
        assert read_image(path).getpixel((4, 4)) == RED
    assert "p.png" in caplog.text and "EXIF" in caplog.text


def test_the_orientation_is_applied_though_another_tag_is_damaged(tmp_path):
    # Two entries: orientation 6, and a date that is a fraction (at byte 38) instead of text.
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">HHII", 0x0132, 5, 1, 38)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + entries + bytes(4) + struct.pack(">II", 72, 1)
    path = saved(tmp_path, Image.new("RGB", (20, 10)), exif=exif)
    assert read_image(path).size == (10, 20)


# Colour profiles


@pytest.mark.parametrize("name", ["p.png", "p.tif"])
@pytest.mark.parametrize(
    ("to_xyz", "gamma"), [(P3_TO_XYZ, 2.2), (SRGB_TO_XYZ, 1.0)], ids=["wide gamut", "linear"]
)
def test_an_icc_profile_is_converted_to_srgb(tmp_path, to_xyz, gamma, name):
    pixels = noise() // 2 + 64
    # The name misleads: what the profile does counts.
    profile = icc_profile(to_xyz, gamma, b"linear sRGB")
    image = read_image(saved(tmp_path, Image.fromarray(pixels), name, icc_profile=profile))
    assert np.abs(as_srgb(pixels, to_xyz, gamma) - pixels).max() > 10
    np.testing.assert_allclose(np.asarray(image), as_srgb(pixels, to_xyz, gamma), atol=2)


def test_alpha_is_not_touched_by_a_profile(tmp_path):
    pixels = noise(channels=4)
    profile = icc_profile(P3_TO_XYZ, 2.2)
    image = np.asarray(read_image(saved(tmp_path, Image.fromarray(pixels), icc_profile=profile)))
    np.testing.assert_array_equal(image[..., 3], pixels[..., 3])
    np.testing.assert_allclose(image[..., :3], as_srgb(pixels[..., :3], P3_TO_XYZ, 2.2), atol=2)


def test_a_palette_is_converted_by_its_profile(tmp_path):
    picture = Image.new("P", (9, 9), 0)
    picture.putpalette((100, 150, 200))
    image = read_image(saved(tmp_path, picture, icc_profile=icc_profile(P3_TO_XYZ, 2.2)))
    expected = as_srgb(np.array((100, 150, 200)), P3_TO_XYZ, 2.2)
    np.testing.assert_allclose(image.getpixel((4, 4)), expected, atol=2)


def test_grey_is_converted_by_an_rgb_profile(tmp_path):
    picture = Image.new("L", (9, 9), 100)
    image = read_image(saved(tmp_path, picture, icc_profile=icc_profile(SRGB_TO_XYZ, 1.0)))
    expected = as_srgb(np.array((100, 100, 100)), SRGB_TO_XYZ, 1.0)
    np.testing.assert_allclose(image.getpixel((4, 4)), expected, atol=2)


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        icc_profile(SRGB_TO_XYZ, None),
        icc_profile(SRGB_TO_XYZ * 0.994, None),
    ],
    ids=["of Pillow", "by hand", "off by a level"],
)
def test_an_srgb_profile_changes_nothing(tmp_path, caplog, profile):
    pixels = noise()
    image = read_image(saved(tmp_path, Image.fromarray(pixels), icc_profile=profile))
    np.testing.assert_array_equal(np.asarray(image), pixels)
    assert not caplog.records


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", b"not a profile"),
        ("RGB", icc_profile(P3_TO_XYZ, 2.2)[:200]),
        ("CMYK", icc_profile(P3_TO_XYZ, 2.2)),
    ],
    ids=["nonsense", "cut short", "of another colour space"],
)
def test_a_profile_that_cannot_be_used_is_ignored_with_a_warning_in_the_log(tmp_path, caplog, mode, profile):
    picture = Image.new("RGB", (9, 9), (100, 150, 200)).convert(mode)
    with caplog.at_level(logging.WARNING, "stillmotion"):
        image = read_image(saved(tmp_path, picture, "p.tif", icc_profile=profile))
    assert image.getpixel((4, 4)) == (100, 150, 200)
    assert "p.tif" in caplog.text and "profile" in caplog.text


def test_neither_profile_nor_exif_data_reach_files_saved_later(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    profile = icc_profile(P3_TO_XYZ, 2.2)
    image = read_image(saved(tmp_path, Image.new("RGB", (9, 9)), exif=exif, icc_profile=profile))
    again = Image.open(saved(tmp_path, image, "again.png"))
    assert "icc_profile" not in again.info and not again.getexif()


# What read_image refuses


def test_a_missing_file_is_refused(tmp_path):
    message = refusal(tmp_path / "absent.png")
    assert "absent.png cannot be opened: No such file" in message and "Check" in message


def test_a_folder_is_refused(tmp_path):
    assert f"{tmp_path} is a folder" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "device" in refusal(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0character"])
def test_an_impossible_path_is_refused(tmp_path, name):
    assert refusal(tmp_path / name)


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.new("RGB", (9, 9)))

    def denied(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)  # a test run as root may read everything
    assert "picture.png cannot be opened: Permission denied. Check path and permissions" in refusal(path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "p.png").touch()
    assert "p.png is empty (0 bytes)" in refusal(tmp_path / "p.png")


@pytest.mark.parametrize(
    "content",
    [
        b"just words, no picture\n" * 20,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n",
        b"\0" * 512,
    ],
)
def test_what_is_no_picture_is_refused_with_the_kinds_that_are(tmp_path, content):
    (tmp_path / "p.png").write_bytes(content)
    message = refusal(tmp_path / "p.png")
    assert "p.png is no picture" in message and "PNG, JPEG, WEBP" in message and "HEIC" in message


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
@pytest.mark.parametrize(
    "name", ["p.jpg", "p.png", "p.webp", "p.gif", "p.tif", "p.bmp", "p.avif", "p.jp2", "p.ppm"]
)
def test_a_truncated_file_is_refused(tmp_path, name, keep):
    path = saved(tmp_path, Image.fromarray(noise(96, 64)), name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow on the TIFF's tags, which lie at the end
        message = refusal(path)
    assert name in message and ("damaged" in message or "cut short" in message)


@pytest.mark.parametrize("size", [(7, 64), (64, 7), (1, 1)])
def test_a_picture_too_small_is_refused(tmp_path, size):
    message = refusal(saved(tmp_path, Image.new("RGB", size)))
    assert f"{size[0]}×{size[1]}" in message and "at least 8" in message


def test_a_picture_of_8_pixels_is_accepted(tmp_path):
    assert read_image(saved(tmp_path, Image.new("RGB", (8, 8)))).size == (8, 8)


def test_a_png_of_no_size_is_refused(tmp_path):
    (tmp_path / "p.png").write_bytes(png(0, 64, 8, 2, b""))
    assert "p.png" in refusal(tmp_path / "p.png")


@pytest.mark.parametrize("pillows_limit", [None, 1000, Image.MAX_IMAGE_PIXELS])
@pytest.mark.parametrize("size", [(60000, 60000), (10001, 10000)])
def test_a_picture_too_large_is_refused_by_its_header(tmp_path, monkeypatch, size, pillows_limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows_limit)
    (tmp_path / "p.png").write_bytes(png(*size, 8, 2, b""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refusal(tmp_path / "p.png")
    assert "p.png" in message and str(size[0] * size[1]) in message and str(MAX_PIXELS) in message


def test_a_picture_that_only_pillow_warns_of_passes_the_header(tmp_path):
    (tmp_path / "p.png").write_bytes(png(10000, 10000, 1, 0, b""))  # without pixels, to keep the test light
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "cut short" in refusal(tmp_path / "p.png")


# to_tensor and to_uint8


@pytest.mark.parametrize("channels", [3, 4])
def test_a_tensor_has_channels_first_and_lies_in_0_to_1(channels):
    pixels = noise(24, 16, channels)
    pixels[0, 0], pixels[0, 1] = 0, 255
    tensor = to_tensor(Image.fromarray(pixels))
    expected = ((channels, 16, 24), torch.float32, True)
    assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == expected
    assert (tensor.min(), tensor.max()) == (0, 1)
    np.testing.assert_allclose(tensor.numpy(), pixels.transpose(2, 0, 1) / 255, atol=1e-7)


def test_a_tensor_is_made_of_rgb_and_rgba_alone():
    with pytest.raises(ImageError, match=r"the image is L, not RGB or RGBA\. See read_image"):
        to_tensor(Image.new("L", (64, 64)))


def test_every_level_comes_back():
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(3).reshape(16, 16, 3))
    np.testing.assert_array_equal(to_uint8(2 * to_tensor(image)[None] - 1)[0], np.asarray(image))


def test_frames_are_clamped_and_rounded_to_the_nearest():
    levels = torch.tensor([0, 0.49, 0.51, 127.4, 127.6, 254.49, 254.51, 255])
    values = torch.cat([levels / 127.5 - 1, torch.tensor([-1.5, 1.5, float("-inf"), float("inf")])])
    frames = to_uint8(values.expand(1, 3, 1, -1))
    assert frames[0, 0, :, 0].tolist() == [0, 0, 1, 127, 128, 254, 255, 255, 0, 255, 0, 255]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_frames_of_any_precision_become_channels_last(dtype):
    frames = torch.zeros(2, 3, 8, 16, dtype=dtype)
    frames[1, 0, 2, 5] = 1
    pictures = to_uint8(frames)
    assert (pictures.shape, pictures.dtype) == ((2, 8, 16, 3), np.uint8)
    assert (pictures[1, 2, 5].tolist(), pictures[0, 2, 5].tolist()) == ([255, 128, 128], [128, 128, 128])


def test_frames_are_not_changed_and_may_carry_gradients():
    frames = torch.full((1, 3, 8, 8), 1.5, requires_grad=True)
    to_uint8(frames)
    assert torch.equal(frames.detach(), torch.full((1, 3, 8, 8), 1.5))


def test_nan_is_refused_with_its_frame():
    frames = torch.zeros(3, 3, 8, 8)
    frames[1, 2, 4, 4] = float("nan")
    with pytest.raises(ImageError, match="frame 1 of 3 holds NaN"):
        to_uint8(frames)


@pytest.mark.parametrize(
    "frames", [torch.zeros(3, 8, 8), torch.zeros(2, 8, 8, 3), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)]
)
def test_other_frames_are_refused_with_their_shape(frames):
    with pytest.raises(ImageError, match="T, 3, H, W"):
        to_uint8(frames)
