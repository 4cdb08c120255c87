"""A picture as a file, or as whatever a Python caller has of it: equal pixels, and equal words of refusal."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from stillmotion.headless.files.images import ImageError, read_image

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (16, 24), dtype=np.uint8)
COLOURS = RNG.integers(0, 256, (16, 24, 3), dtype=np.uint8)
WITH_ALPHA = RNG.integers(0, 256, (16, 24, 4), dtype=np.uint8)
SIXTEEN_BITS = RNG.integers(0, 65536, (16, 24), dtype=np.uint16)


def in_mode(mode: str) -> Image.Image:
    """A picture of 24×16 in a mode of Pillow's, with transparency where the mode has it."""
    if mode in ("I;16", "I"):
        return Image.fromarray(SIXTEEN_BITS if mode == "I;16" else SIXTEEN_BITS.astype(np.int32))
    if mode == "F":
        return Image.fromarray((SIXTEEN_BITS / 65535).astype(np.float32))
    if mode in ("LA", "La"):
        return Image.fromarray(WITH_ALPHA).convert("LA").convert(mode)
    if mode in ("RGBA", "RGBa"):
        return Image.fromarray(WITH_ALPHA).convert(mode)
    return Image.fromarray(COLOURS).quantize(64) if mode == "P" else Image.fromarray(COLOURS).convert(mode)


# The modes that files hold, with a kind of file that holds them as they are.
STORED = {
    "1": "PNG",
    "L": "PNG",
    "LA": "PNG",
    "P": "PNG",
    "RGB": "PNG",
    "RGBA": "PNG",
    "I;16": "PNG",
    "I": "TIFF",
    "F": "TIFF",
    "CMYK": "TIFF",
    "YCbCr": "TIFF",
    "LAB": "TIFF",
}
PROFILES = {
    "none": None,
    "wide": "a profile",
    "damaged": b"no profile",
}


def wide_gamut() -> bytes:
    """sRGB's profile with red and green exchanged: no one overlooks whether it was applied."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = struct.unpack(">I", profile[128:132])[0]
    table = bytearray(profile)
    places = {bytes(table[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    table[red + 4 : red + 12], table[green + 4 : green + 12] = (
        table[green + 4 : green + 12],
        table[red + 4 : red + 12],
    )
    return bytes(table)


WIDE_GAMUT = wide_gamut()


def saved(path: Path, mode: str, orientation: int, profile: str, key: bool) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif}
    if profile != "none":
        options["icc_profile"] = WIDE_GAMUT if profile == "wide" else PROFILES[profile]
    picture = in_mode(mode)
    if key and mode in ("P", "L", "RGB"):
        options["transparency"] = picture.getpixel((3, 3))
    picture.save(path, STORED[mode], **options)
    return path


def readable(path: Path) -> bool:
    """Whether this Pillow reads its own file: some before 13 don't, where it is a TIFF of YCbCr."""
    try:
        Image.open(path).load()
    except OSError:
        return False
    return True


def ways_in(path: Path) -> dict[str, object]:
    """Everything that a caller may have of a picture file."""
    opened, copied = Image.open(path), Image.open(path)
    return {
        "text": str(path),
        "bytes": path.read_bytes(),
        "a bytearray": bytearray(path.read_bytes()),
        "a file in memory": io.BytesIO(path.read_bytes()),
        "opened": opened,
        "opened and copied": copied.copy(),
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(STORED)), st.integers(1, 8), st.sampled_from(sorted(PROFILES)), st.booleans())
def test_a_file_and_what_the_caller_has_of_it_give_equal_pixels(tmp_path, mode, orientation, profile, key):
    path = saved(tmp_path / "p", mode, orientation, profile, key)
    assume(readable(path))
    expected = read_image(path)
    assert expected.size == ((24, 16) if orientation < 5 else (16, 24))
    for name, picture in ways_in(path).items():
        if name == "opened and copied" and STORED[mode] == "TIFF":
            continue  # Pillow leaves a TIFF's orientation and profile out of its copies
        image = read_image(picture)
        assert image.mode == expected.mode, name
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected), err_msg=name)
    with path.open("rb") as file:
        for _ in range(2):  # from its beginning each time, and it stays open
            assert read_image(file).tobytes() == expected.tobytes()
        assert not file.closed


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB"]
)
def test_every_mode_of_pillow_is_taken_and_left_as_it_was(mode):
    picture = in_mode(mode)
    before = picture.tobytes(), dict(picture.info)
    image = read_image(picture)
    assert (picture.mode, picture.tobytes(), dict(picture.info)) == (mode, *before)
    assert image.mode == ("RGBA" if mode.upper() in ("LA", "RGBA") else "RGB")
    expected = in_mode(mode).convert("LA" if mode == "La" else mode.upper() if mode == "RGBa" else mode)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected.convert(image.mode)))


def test_an_opened_picture_is_turned_upright_and_its_profile_applied(tmp_path):
    path = saved(tmp_path / "p", "RGB", 6, "wide", key=False)
    image = read_image(Image.open(path))
    assert image.size == (16, 24)
    plain = np.asarray(Image.fromarray(COLOURS).transpose(Image.Transpose.ROTATE_270))
    assert np.abs(np.asarray(image).astype(int) - plain).max() > 50


def test_reading_what_was_read_changes_nothing(tmp_path):
    image = read_image(saved(tmp_path / "p", "RGBA", 6, "wide", key=False))
    assert read_image(image).tobytes() == image.tobytes()


def test_of_an_opened_animation_the_frame_that_the_caller_is_at_is_taken(tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "p.png", save_all=True, append_images=frames[1:])
    opened = Image.open(tmp_path / "p.png")
    opened.seek(2)
    assert read_image(opened).getpixel((8, 8)) == (0, 0, 255)


FLOATS = (WITH_ALPHA / 255).astype(np.float64)
ARRAYS = {
    "(H, W) uint8": (GREY, Image.fromarray(GREY)),
    "(H, W, 1) uint8": (GREY[..., None], Image.fromarray(GREY)),
    "(1, H, W) uint8": (GREY[None], Image.fromarray(GREY)),
    "(H, W, 3) uint8": (COLOURS, Image.fromarray(COLOURS)),
    "(1, H, W, 3) uint8": (COLOURS[None], Image.fromarray(COLOURS)),
    "(3, H, W) uint8": (COLOURS.transpose(2, 0, 1), Image.fromarray(COLOURS)),
    "(1, 3, H, W) uint8": (COLOURS.transpose(2, 0, 1)[None], Image.fromarray(COLOURS)),
    "(H, W, 4) uint8": (WITH_ALPHA, Image.fromarray(WITH_ALPHA)),
    "(4, H, W) uint8": (WITH_ALPHA.transpose(2, 0, 1), Image.fromarray(WITH_ALPHA)),
    "bool": (GREY > 99, Image.fromarray((GREY > 99) * np.uint8(255))),
    "uint16": (SIXTEEN_BITS, Image.fromarray(SIXTEEN_BITS)),
    "float64": (FLOATS, Image.fromarray(WITH_ALPHA)),
    "float32": (FLOATS.astype(np.float32), Image.fromarray(WITH_ALPHA)),
    "float16": (FLOATS.astype(np.float16), Image.fromarray(WITH_ALPHA)),
    "big-endian float32": (FLOATS.astype(">f4"), Image.fromarray(WITH_ALPHA)),
    "big-endian uint16": (SIXTEEN_BITS.astype(">u2"), Image.fromarray(SIXTEEN_BITS)),
    "mirrored": (COLOURS[:, ::-1], Image.fromarray(np.ascontiguousarray(COLOURS[:, ::-1]))),
}
arrays = pytest.mark.parametrize(("array", "picture"), ARRAYS.values(), ids=ARRAYS)


def same(image: Image.Image, picture: Image.Image) -> bool:
    expected = read_image(picture)
    return (image.mode, image.tobytes()) == (expected.mode, expected.tobytes())


@arrays
def test_an_array_of_pixels_is_a_picture(array, picture):
    before = array.copy()
    assert same(read_image(array), picture)
    assert (array == before).all()


@arrays
@pytest.mark.parametrize("grad", [False, True])
def test_a_tensor_of_pixels_is_a_picture(array, picture, grad):
    tensor = torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))
    assert same(read_image(tensor.requires_grad_(grad and tensor.is_floating_point())), picture)


def test_a_tensor_in_bfloat16_is_rounded_like_any_other():
    tensor = torch.linspace(0, 1, 16 * 24).reshape(16, 24).bfloat16()
    assert read_image(tensor).tobytes() == read_image(tensor.float()).tobytes()


@given(st.sampled_from([(16, 24), (16, 24, 3), (3, 16, 24), (1, 16, 24, 4)]), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_every_level_comes_through_as_a_float(shape, seed):
    levels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    for dtype in (np.float16, np.float32, np.float64):
        assert read_image((levels / 255).astype(dtype)).tobytes() == read_image(levels).tobytes()


class OfArray:
    """What has an array's protocol, as the arrays of other libraries do."""

    def __array__(self, dtype=None, copy=None):
        return COLOURS


def test_what_gives_an_array_is_taken():
    assert same(read_image(OfArray()), Image.fromarray(COLOURS))


# The same words


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (None, "the picture is a NoneType. Give a path, an opened file, bytes, a Pillow image, or"),
        (7, "the picture is a int. Give a path"),
        ([[0, 1], [2, 3]], "the picture is a list. Give a path"),
        (np.zeros((16, 24, 2)), r"the ndarray has the shape \(16, 24, 2\); accepted are \(H, W\)"),
        (np.zeros((2, 16, 24, 3)), r"the ndarray has the shape \(2, 16, 24, 3\)"),
        (np.zeros(16), r"the ndarray has the shape \(16,\)"),
        (torch.zeros(5, 16, 24), r"the Tensor has the shape \(5, 16, 24\)"),
        (torch.zeros(16, 24, 3).to_sparse(), "the Tensor can't become an array: .*Give a plain, dense one"),
        (torch.zeros(16, 24, 3, device="meta"), "the Tensor can't become an array"),
        (torch.zeros(16, 24, 3).to(torch.float8_e4m3fn), "the Tensor can't become an array"),
        (np.zeros((16, 24), np.int64), "the ndarray holds int64; accepted are uint8, uint16, bool,"),
        (np.zeros((16, 24), complex), "the ndarray holds complex128; accepted are"),
        (np.zeros((16, 24), object), "the ndarray holds object; accepted are"),
        (np.full((16, 24), -0.5), "the ndarray has values from -0.5 to -0.5; in float64, 0 to 1 are"),
        (np.full((16, 24, 3), 255.0), "the ndarray has values from 255.0 to 255.0; in float64, 0 to 1 are"),
        (torch.full((3, 16, 24), torch.nan), "the Tensor has values from nan to nan; in float32, 0 to 1 are"),
        (np.zeros((7, 64)), "the ndarray has 64×7 = 448 pixels; accepted are sides of at least 8"),
        (np.zeros((0, 64, 3)), "the ndarray has 64×0 = 0 pixels"),
        (np.broadcast_to(np.uint8(0), (10001, 10000)), "the ndarray has 10000×10001 = 100010000 pixels"),
        (Image.new("RGB", (7, 64)), "the picture has 7×64 = 448 pixels; accepted are sides of at least 8"),
        (Image.new("1", (10001, 10000)), "the picture has 10001×10000 = 100010000 pixels; accepted"),
        (Image.new("F", (16, 16), 2.0), "the picture has values from 2.0 to 2.0; in mode F, 0 to 1 are"),
        (Image.new("I", (16, 16), -1), "the picture has values from -1 to -1; in mode I, 0 to 65535"),
        (b"", "the picture of 0 bytes is no picture of a known kind, or its header is damaged. Acc"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "the picture of 24 bytes is no picture of a known kind"),
        (io.BytesIO(b"words"), "the opened file is no picture of a known kind"),
        (io.StringIO("words"), "the opened file is opened as text. Open it for bytes"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused(picture, words):
    with pytest.raises(ImageError, match=words):
        read_image(picture)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_picture_cut_short_is_refused_however_it_comes(tmp_path, kind):
    whole = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(whole, kind)
    path = tmp_path / "short"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    pictures = [path, path.read_bytes(), io.BytesIO(path.read_bytes())]
    if kind in ("PNG", "JPEG"):  # the others are refused when they are opened
        pictures.append(Image.open(path))
    for picture in pictures:
        with pytest.raises(ImageError, match="damaged or cut short"):
            read_image(picture)


def test_a_file_on_the_disk_is_called_by_its_name(tmp_path):
    (tmp_path / "words.png").write_text("just words")
    with (
        (tmp_path / "words.png").open("rb") as file,
        pytest.raises(ImageError, match=r"words\.png is no picture"),
    ):
        read_image(file)
    with (
        (tmp_path / "words.png").open() as file,
        pytest.raises(ImageError, match=r"words\.png is opened as text"),
    ):
        read_image(file)
    Image.new("RGB", (7, 7)).save(tmp_path / "small.png")
    with pytest.raises(ImageError, match=r"small\.png has 7×7"):
        read_image(Image.open(tmp_path / "small.png"))


def test_a_file_that_was_closed_is_refused(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "p.png")
    file = (tmp_path / "p.png").open("rb")
    file.close()
    with pytest.raises(ImageError, match="closed file"):
        read_image(file)
    opened = Image.open(tmp_path / "p.png")
    opened.close()
    with pytest.raises(ImageError, match="closed"):
        read_image(opened)
