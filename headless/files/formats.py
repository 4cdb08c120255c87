"""Formats of clips: for each a writer, and a reader of the metadata that the writer stores.

.mp4 (H.264) and .webm (VP9) are BT.709 in limited range; .webp, .gif and the lossless .png are animated
images; "" is a folder of PNG frames. Animated images store repeated frames once, shown for longer: fewer
frames, equal playback.

A writer takes the temporary path, the frame rate and the metadata's text. It is a generator to which frames
are sent, None after the last. Videos and folders hold no frame that they have encoded; animated images, of
which Pillow wants all frames at once, hold the clip.
"""

import itertools
import os
import struct
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import ExifTags, Image, PngImagePlugin

from ...svd_model.checkpoint.notes import METADATA_KEY
from .destinations import OutputError

BT709 = 1  # the code of BT.709 in H.273, alike for matrix, primaries and transfer
PALETTE_SAMPLE_FRAMES, PALETTE_SAMPLE_PIXELS = 8, 2**16  # more is slower and hardly better
DAMAGED_INPUT_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, RecursionError)
DAMAGED_INPUT_ERRORS += (av.error.FFmpegError, Image.DecompressionBombError)

ENCODINGS = {
    # For equal bytes each time: one thread, since their number shows, and no macroblock tree, since the
    # AVX-512 code of x264 165 for it reads memory nobody has written (at widths such as 64 and 576).
    ".mp4": {"crf": "16", "preset": "medium", "threads": "1", "mbtree": "0"},
    # A bit rate of 0 leaves the size to the constant quality alone.
    ".webm": {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "1"},
    ".webp": {"quality": 90, "method": 4},
    ".gif": {},
    ".png": {},
}
"""Options of each format's encoder, on which the bytes of a clip depend."""

Writer = Generator[None, np.ndarray | None, None]


def _durations(count: int, rate: Fraction, tick: int, fewest_ticks: int = 1) -> list[int]:
    """Return `count` durations in ms, multiples of `tick` ms, rounded such that the sum keeps to the rate."""
    moments = [round(index * Fraction(1000, tick) / rate) for index in range(count + 1)]
    return [tick * max(fewest_ticks, end - start) for start, end in itertools.pairwise(moments)]


def _write_mp4(temporary: Path, rate: Fraction, text: str | None) -> Writer:
    return _encode(temporary, rate, text, "mp4", "libx264", ENCODINGS[".mp4"], {"movflags": "+faststart"})


def _write_webm(temporary: Path, rate: Fraction, text: str | None) -> Writer:
    return _encode(temporary, rate, text, "webm", "libvpx-vp9", ENCODINGS[".webm"], {})


def _encode(
    temporary: Path,
    rate: Fraction,
    text: str | None,
    container_format: str,
    codec: str,
    codec_options: dict[str, str],
    container_options: dict[str, str],
) -> Writer:
    frame = yield
    height, width, _ = frame.shape
    if width % 2 or height % 2:
        found = f"the frames are {width}x{height}, and .{container_format} needs an even width and height"
        raise OutputError(f"{found}; crop them to even sizes, or write .webp or .png")
    options = {**container_options, "fflags": "+bitexact"}  # no random segment id, no library version
    with av.open(os.fspath(temporary), "w", format=container_format, options=options) as container:
        if text is not None:
            container.metadata["comment"] = text
        stream = container.add_stream(codec, rate=rate, options=codec_options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / rate
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        bt709 = {"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.MPEG}  # default: BT.601
        converter = VideoReformatter()
        for index in itertools.count():
            rgb = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = converter.reformat(rgb, format="yuv420p", **bt709)
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(stream.encode(picture))
            if (frame := (yield)) is None:
                break
        container.mux(stream.encode())


def _read_container(source: Path) -> str | None:
    container_format = source.suffix[1:].lower()  # named, lest FFmpeg follows a playlist that is called .mp4
    with av.open(os.fspath(source), format=container_format) as container:
        return container.metadata.get("comment") or container.metadata.get("COMMENT")  # the latter in WebM


def _all_frames() -> Generator[None, np.ndarray | None, list[Image.Image]]:
    """Pictures of all frames, with memory of their own: a decoder may reuse the buffer of a frame."""
    pictures = []
    while (frame := (yield)) is not None:
        pictures.append(Image.fromarray(frame))
    return pictures


def _write_webp(temporary: Path, rate: Fraction, text: str | None) -> Writer:
    first, *rest = yield from _all_frames()
    exif = Image.Exif()
    if text is not None:
        exif[ExifTags.Base.ImageDescription] = text
    packet = exif.tobytes().removeprefix(b"Exif\0\0") if exif else b""  # WebP's begins with the TIFF header
    durations = _durations(1 + len(rest), rate, tick=1)
    options = {"loop": 0, "exif": packet, "save_all": True, "append_images": rest, "duration": durations}
    first.save(temporary, "WEBP", **ENCODINGS[".webp"], **options)


def _read_webp(source: Path) -> str | None:
    with Image.open(source, formats=["WEBP"]) as image:
        return image.getexif().get(ExifTags.Base.ImageDescription)


def _write_gif(temporary: Path, rate: Fraction, text: str | None) -> Writer:
    clip = yield from _all_frames()
    # One palette for all, since one each flickers.
    sample = [np.asarray(picture) for picture in clip[:: -(-len(clip) // PALETTE_SAMPLE_FRAMES)]]
    step = int(np.ceil(np.sqrt(len(sample) * sample[0].size / 3 / PALETTE_SAMPLE_PIXELS)))
    sheet = np.concatenate([frame[::step, ::step] for frame in sample])  # n·(H, W, 3) -> (n·H, W, 3)
    palette = Image.fromarray(sheet).quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1)
    # Error diffusion: an ordered pattern keeps still areas stiller, but loses the colours of photographs.
    dithering = {"palette": palette, "dither": Image.Dither.FLOYDSTEINBERG}
    first, *rest = (picture.quantize(**dithering) for picture in clip)
    durations = _durations(len(clip), rate, tick=10, fewest_ticks=2)  # browsers slow down what is shorter
    # Naming the palette makes it the only one in the file; otherwise Pillow repeats it for every frame.
    options = {"palette": bytes(first.palette.palette), "loop": 0, "comment": text or ""}
    first.save(temporary, "GIF", save_all=True, append_images=rest, duration=durations, **options)


def _read_gif(source: Path) -> bytes | None:
    with Image.open(source, formats=["GIF"]) as image:
        return image.info.get("comment")


def _write_png(temporary: Path, rate: Fraction, text: str | None) -> Writer:
    first, *rest = yield from _all_frames()
    options = {"duration": float(1000 / rate), "loop": 0, "pnginfo": _png_text(text)}
    first.save(temporary, "PNG", save_all=True, append_images=rest, **options)


def _write_folder(temporary: Path, rate: Fraction, text: str | None) -> Writer:
    temporary.mkdir()
    for index in itertools.count():
        if (frame := (yield)) is None:
            return
        Image.fromarray(frame).save(temporary / f"frame_{index:04d}.png", "PNG", pnginfo=_png_text(text))


def _png_text(text: str | None) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    if text is not None:
        chunks.add_text(METADATA_KEY, text)
    return chunks


def _read_png(source: Path) -> str | None:
    with Image.open(source, formats=["PNG"]) as image:
        return image.info.get(METADATA_KEY)


FORMATS = {
    ".mp4": (_write_mp4, _read_container),
    ".webm": (_write_webm, _read_container),
    ".webp": (_write_webp, _read_webp),
    ".gif": (_write_gif, _read_gif),
    ".png": (_write_png, _read_png),
    "": (_write_folder, _read_png),
}
EXTENSIONS = tuple(extension for extension in FORMATS if extension)
