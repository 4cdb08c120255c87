"""Requests before they wait: settings in JSON and pictures of all odd kinds, refused early and in words."""

import io
import json
import struct
import zlib

import pytest
from PIL import Image

from stillmotion.headless.files import images
from stillmotion.headless.serve.asked import check_picture, row_of_request
from stillmotion.headless.serve.limits import Limits, Refusal
from support.serving import picture

LIMITS = Limits()


def test_settings_become_a_row():
    row = row_of_request(b'{"seed": 3, "guidance": [1, 2.5], "ring": null}', "the picture", LIMITS)
    assert (row.image, row.settings) == ("the picture", {"seed": 3, "guidance": (1, 2.5)})
    assert row_of_request(b"", "the picture", LIMITS).settings == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[]", "are no object"),
        (b"3", "are no object"),
        (b"{", "are no JSON"),
        (b"\xff\xfe", "are no JSON"),
        (b'{"fps": NaN}', "NaN is no number of JSON"),
        (b'{"fps": -Infinity}', "-Infinity is no number of JSON"),
        (b'{"fps": 1e999}', "1e999 is no number of JSON"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "are no JSON"),
        (b'{"seed": 18446744073709551617}', "a number up to"),
        (b'{"seed": 1, "seed": 2}', "a name stands twice"),
        (b'{"image": "/etc/passwd"}', "image is no setting"),
        (b'{"id": "../../x", "sha256": "0"}', "id and sha256 is no setting"),
        (b'{"checkpoint": "/etc/passwd"}', "checkpoint can't stand in a row"),
        (b'{"../../x": 1}', "is no setting"),
        (b'{"camera": {"a": 1}}', "give text, a number"),
        (b'{"poses\\u0000": 1}', "is no setting"),
        (json.dumps({f"name{number}": 1 for number in range(4000)}).encode(), "have 4,000 names"),
        (b"[" * 60_000, "nested too deep"),
        (b'{"camera": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", "nested too deep"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested too deep"),
    ],
)
def test_other_settings_are_refused_at_once(text, words):
    with pytest.raises(ValueError, match=words):
        row_of_request(text, "the picture", LIMITS)


def test_a_hundred_thousand_names_are_too_many_bytes():
    text = json.dumps({str(number): number for number in range(10**5)}).encode()
    with pytest.raises(Refusal, match="at most 64,000"):
        row_of_request(text, "the picture", LIMITS)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, data: bytes, *further: bytes) -> bytes:
    """A PNG of 8-bit grey that says a size, whatever its data are."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(further) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("P", (16, 16)).save(file, "GIF")
    content = bytearray(file.getvalue())
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def webp(width: int, height: int) -> bytes:
    """A WebP whose canvas says a size."""
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + struct.pack("<I", width - 1)[:3]
    canvas += struct.pack("<I", height - 1)[:3]
    frame = picture(kind="WEBP")[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(frame)) + b"WEBP" + canvas + frame


def bmp(width: int, height: int) -> bytes:
    content = bytearray(picture(kind="BMP"))
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


TEXT = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10**8), 9))
PROFILE = chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(10**8), 9))
NESTED = zlib.compress(zlib.compress(bytes(10**8), 9), 9)


@pytest.mark.parametrize(
    "content",
    [
        png(50_000, 50_000, zlib.compress(b"")),
        png(8_001, 8_000, zlib.compress(bytes(8_001 * 8_000))),
        png(2**31 - 1, 2**31 - 1, b""),
        gif(65_535, 65_535),
        webp(16_000, 16_000),
        bmp(30_000, -30_000),
    ],
    ids=["png", "just too large", "largest", "gif", "webp", "bmp"],
)
def test_pictures_that_say_they_are_huge_are_not_decoded(content, monkeypatch):
    monkeypatch.setattr(images, "read_image", None)
    with pytest.raises(ValueError, match="the picture"):
        check_picture(content, "the picture", LIMITS)
    assert len(content) < 200_000


@pytest.mark.parametrize(
    "content",
    [
        png(16, 16, NESTED),
        png(16, 16, b"no deflate"),
        png(16, 16, zlib.compress(b""), TEXT),
        picture(size=(4, 4)),
    ],
    ids=["nested", "no deflate", "text", "small"],
)
def test_pictures_with_nonsense_inside_are_refused(content):
    with pytest.raises(ValueError, match="the picture"):
        check_picture(content, "the picture", LIMITS)


def test_data_beyond_the_picture_and_large_profiles_are_not_kept():
    check_picture(png(16, 16, zlib.compress(bytes(17 * 16) + bytes(10**8), 9)), "the picture", LIMITS)
    with_profile = png(16, 16, zlib.compress(bytes(17 * 16)), PROFILE)
    try:
        check_picture(with_profile, "the picture", LIMITS)
    except ValueError as error:
        assert "the picture" in str(error)


def test_a_progressive_picture_of_very_many_scans_is_refused():
    file = io.BytesIO()
    Image.effect_noise((4096, 4096), 60).save(file, "JPEG", progressive=True)
    plain = file.getvalue()
    check_picture(plain, "the picture", LIMITS)
    start = plain.rindex(b"\xff\xda")
    many = plain[:start] + plain[start:-2] * 70 + plain[-2:]
    with pytest.raises(ValueError, match="scans of 4096×4096"):
        check_picture(many, "the picture", LIMITS)
