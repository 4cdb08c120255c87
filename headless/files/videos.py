"""Writers of clips, in the format that the extension of the file asks for.

.mp4 (H.264) and .webm (VP9) are BT.709 in limited range; .webp, .gif and the lossless .png are animated
images; a path without extension, or ending in a slash, is a folder of PNG frames. An interrupted run leaves
neither half a file nor a damaged older one (destinations.py). Equal frames and metadata give equal bytes.
Animated images store repeated frames once, shown for longer: fewer frames, equal playback.

A writer is a generator to which frames are sent, None after the last, so that several write one clip while
it is decoded. Videos and folders hold no frame that they have encoded; animated images, of which Pillow
wants all frames at once, hold the clip.
"""

import contextlib
import itertools
import json
import os
import re
import struct
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import ExifTags, Image, PngImagePlugin

from ...clips.mistakes import Mistakes
from ...clips.values import plain
from ...svd_model.checkpoint.notes import METADATA_KEY
from . import destinations
from .destinations import OutputError

FIRST_FRAME_NAME = "frame_0000.png"
FRAME_NAME = re.compile(r"frame_\d{4,}\.png")
BT709 = 1  # the code of BT.709 in H.273, alike for matrix, primaries and transfer
SLOWEST, FASTEST = 0.1, 1000  # frames per second that every format can time
PALETTE_SAMPLE_FRAMES, PALETTE_SAMPLE_PIXELS = 8, 2**16  # more is slower and hardly better
DAMAGED_INPUT_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, RecursionError)
DAMAGED_INPUT_ERRORS += (av.error.FFmpegError, Image.DecompressionBombError)

Writer = Generator[None, np.ndarray | None, None]


def check_output(path: str | os.PathLike, overwrite: bool = False) -> Path:
    """Returns the path that `write_video` would write; raises OutputError where it could not.

    Without `overwrite` an existing file raises ExistsError. Leaves nothing behind.
    """
    final, extension = _destination(path)
    destinations.check_parent(final, is_folder=not extension)
    if extension:
        destinations.check_free(final, overwrite)
    elif os.path.lexists(final):
        _replaceable(final, overwrite)
    return final


def write_video(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    metadata: Mapping[str, Any] | None = None,
    progress: Callable[[int], object] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write `frames`, an iterable of uint8 (H, W, 3) RGB arrays, to `path` at `fps` frames per second.

    `metadata` is stored as one JSON text, None stores nothing; `progress` is called with the number of frames
    taken in so far. `overwrite` allows replacing a file that is there, or a folder of frames whose metadata
    say that they were written here; any other folder with something in it is refused. Raises OutputError for
    arguments that cannot be written and errors of the disk, passes on any other exception of `frames` or
    `progress`, and then leaves the folder as it was before; if only the last move fails, the clip is kept
    under the name that the error gives.
    """
    check_output(path, overwrite)
    with contextlib.closing(_writer(path, fps, metadata, overwrite)) as writer:
        next(writer)
        for done, frame in enumerate(_checked(frames), start=1):
            writer.send(frame)
            if progress is not None:
                progress(done)
        _finish(writer)


def write_videos(
    outputs: Mapping[str, bool],
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    metadata: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Write a clip to several paths while its frames come, and yield each path once it is written.

    `outputs`: whether each path may be replaced. `check_output` has accepted them earlier; a file that has
    come there since stays, and the clip is kept beside it. An output that fails does not keep the others from
    being written; all failures are raised at the end, as MistakesError. An exception of `frames` ends all
    outputs, and leaves their folders as they were before.
    """
    failed, writers = Mistakes(), {}
    with contextlib.ExitStack() as stack:
        for path, overwrite in outputs.items():
            writer = stack.enter_context(contextlib.closing(_writer(path, fps, metadata, overwrite)))
            if _succeeds(failed, next, writer):
                writers[path] = writer
        if writers:
            for frame in _checked(frames):
                writers = {p: w for p, w in writers.items() if _succeeds(failed, w.send, frame)}
                if not writers:
                    break
        for path, writer in writers.items():
            if _succeeds(failed, _finish, writer):
                yield path
    failed.raise_any()


def _succeeds(failed: Mistakes, step: Callable, argument: object) -> bool:
    """Take a step of a writer, and tell whether it succeeds; its error is collected."""
    with failed.collected():
        step(argument)
        return True
    return False


def _writer(
    path: str | os.PathLike, fps: float | Fraction, metadata: Mapping[str, Any] | None, overwrite: bool
) -> Writer:
    """Writer of checked frames to a path, which is replaced once None is sent."""
    final, extension = _destination(path)
    rate, text = _frame_rate(fps), _metadata_text(metadata)
    write, _ = FORMATS[extension]
    try:
        with destinations.replacing(final, overwrite, lambda folder: _replaceable(folder, overwrite)) as part:
            yield from write(part, rate, text)
    except OSError as error:
        reason = error.strerror or error  # Pillow raises some without
        raise OutputError(f"{final}: could not be written ({reason}); name another folder") from error


def _finish(writer: Writer) -> None:
    """Tell a writer that all frames have come."""
    with contextlib.suppress(StopIteration):
        writer.send(None)


def read_metadata(path: str | os.PathLike) -> dict[str, Any] | None:
    """Return the metadata stored in `path` (in the first frame of a folder); None if absent or damaged.

    Raises FileNotFoundError if there is no such file, OutputError for an unknown extension.
    """
    _, extension = _destination(path)
    source = Path(path).absolute()  # or FFmpeg would read "file:" in a name as a protocol
    source = source if extension else source / FIRST_FRAME_NAME
    if not source.is_file():
        raise FileNotFoundError(f"{source}: there is no such file to read metadata from")
    _, read = FORMATS[extension]
    try:
        metadata = json.loads(read(source) or "null")
    except DAMAGED_INPUT_ERRORS:
        return None
    return metadata if isinstance(metadata, dict) else None


# Where the output goes


def _destination(path: str | os.PathLike) -> tuple[Path, str]:
    """Return the path behind any links, which stay links, and the extension, "" for a frame folder."""
    name = os.fsdecode(path)
    accepted = f"{', '.join(EXTENSIONS)}, or no extension or a final slash for a folder of PNG frames"
    if not name or "\0" in name or Path(name).name.lower() in EXTENSIONS:
        raise OutputError(f"{name!r} names no output file; accepted are names that end in {accepted}")
    final, extension = destinations.real(Path(name)), Path(name).suffix.lower()
    is_folder = not extension or name.endswith(("/", os.sep)) or (extension not in FORMATS and final.is_dir())
    if is_folder or extension in FORMATS:
        return final, "" if is_folder else extension
    raise OutputError(f"{name}: unknown extension {extension}; accepted are {accepted}")


def _replaceable(folder: Path, overwrite: bool) -> list[str]:
    """List the replaceable frames of a folder; raise OutputError where other files are in it."""
    if not folder.is_dir():
        accepted = ", ".join(EXTENSIONS)
        raise OutputError(f"{folder}: is a file; name a folder for PNG frames or a file ending in {accepted}")
    names = [name for name in os.listdir(folder) if not destinations.is_system_file(name)]
    foreign = [name for name in names if not _is_ours(folder / name)]
    if foreign:
        raise OutputError(
            f"{folder}: holds {min(foreign)!r}, no frame with Stillmotion's metadata, and it stays; name a "
            "new or an empty folder"
        )
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: is a folder without write permission; grant it or name another folder")
    if names and not overwrite:
        raise destinations.ExistsError(folder)
    return names


def _is_ours(frame: Path) -> bool:
    """Tell whether `write_video` wrote the file, as a frame with metadata."""
    if not FRAME_NAME.fullmatch(frame.name) or frame.is_symlink() or not frame.is_file():
        return False
    try:
        return isinstance(json.loads(_read_png(frame) or "null"), dict)
    except DAMAGED_INPUT_ERRORS:
        return False


# What is written


def _frame_rate(fps: float | Fraction) -> Fraction:
    """Return the rate as a fraction that video containers hold exactly (29.97 is 2997/100)."""
    try:
        number = plain(fps)
        rate = 0 if isinstance(number, bool) else Fraction(number).limit_denominator(1001)
    except (TypeError, ValueError, OverflowError):  # not a number, NaN, infinity
        rate = 0
    if not SLOWEST <= rate <= FASTEST:
        raise OutputError(f"fps: got {fps!r}, accepted are frames per second from {SLOWEST} to {FASTEST}")
    return rate


def _metadata_text(metadata: Mapping[str, Any] | None) -> str | None:
    try:
        return None if metadata is None else json.dumps(dict(metadata), sort_keys=True, ensure_ascii=True)
    except (TypeError, ValueError) as error:
        raise OutputError(f"metadata: not what JSON can hold ({error}); use text and numbers") from error


def _checked(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield `frames` one by one after checking each."""
    first = None
    for index, frame in enumerate(map(_as_array, frames)):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
            found = f"{frame.dtype} of shape {frame.shape}"
            raise OutputError(f"frame {index}: is {found}; convert it to uint8 of shape (height, width, 3)")
        height, width, _ = frame.shape
        first = first or (height, width)
        if (height, width) != first:
            found = f"is {width}x{height} and frame 0 is {first[1]}x{first[0]}"
            raise OutputError(f"frame {index}: {found}; bring all frames to one size")
        yield np.ascontiguousarray(frame)
    if first is None:
        raise OutputError("there are no frames to write; a clip needs at least one")


def _as_array(frame) -> np.ndarray:
    """Converts a frame of any kind to an array, also a tensor on a device."""
    return np.asarray(frame.detach().cpu() if hasattr(frame, "detach") else frame)


def _durations(count: int, rate: Fraction, tick: int, fewest_ticks: int = 1) -> list[int]:
    """Return `count` durations in ms, multiples of `tick` ms, rounded such that the sum keeps to the rate."""
    moments = [round(index * Fraction(1000, tick) / rate) for index in range(count + 1)]
    return [tick * max(fewest_ticks, end - start) for start, end in itertools.pairwise(moments)]


# The formats: a writer takes the temporary path, the frame rate and the metadata text a reader returns


def _write_mp4(temporary: Path, rate: Fraction, text: str | None) -> Writer:
    # For equal bytes each time: one thread, since their number shows, and no macroblock tree, since the
    # AVX-512 code of x264 165 for it reads memory nobody has written (at widths such as 64 and 576).
    codec_options = {"crf": "16", "preset": "medium", "threads": "1", "mbtree": "0"}
    return _encode(temporary, rate, text, "mp4", "libx264", codec_options, {"movflags": "+faststart"})


def _write_webm(temporary: Path, rate: Fraction, text: str | None) -> Writer:
    # A bit rate of 0 leaves the size to the constant quality alone.
    codec_options = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "1"}
    return _encode(temporary, rate, text, "webm", "libvpx-vp9", codec_options, {})


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
    options = {"quality": 90, "method": 4, "loop": 0, "exif": packet}
    first.save(temporary, "WEBP", save_all=True, append_images=rest, duration=durations, **options)


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
