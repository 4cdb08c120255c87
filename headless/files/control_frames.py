"""Pictures for the frames of a clip, read one by one: of a video, a folder, one picture, or the caller's."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from PIL import Image

from .images import ImageError, Picture, check_size, read_image
from .sources import existing, pictures_in

Frames = str | os.PathLike[str] | Iterable[Picture]

CONTAINERS = {
    # Named, lest FFmpeg guesses and follows a playlist that is called .mp4.
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".webm": "matroska",
    ".mkv": "matroska",
    ".avi": "avi",
}
"""Extensions of videos, and FFmpeg's names of their formats."""


def read_frames(source: Frames) -> Iterator[Image.Image]:
    """Reads pictures one after another, upright and in sRGB; raises ImageError.

    source: the path of a video, of a folder of pictures in the order of their names, or of one picture; or
    several pictures, of any kind that `read_image` reads, such as a batch (T, H, W, 3).
    """
    if not isinstance(source, str | os.PathLike):
        if not isinstance(source, Iterable):
            raise ImageError(
                f"the frames are a {type(source).__name__}. Give the path of a video or a folder, or "
                "a list of pictures."
            )
        return map(read_image, source)
    path = existing(source)
    if path.is_dir():
        return map(read_image, pictures_in(path))
    if path.suffix.lower() in CONTAINERS:
        return _video(path)
    return map(read_image, [path])


def _video(path: Path) -> Iterator[Image.Image]:
    """Decodes the frames of a video in the order they are shown, one at a time."""
    convert = VideoReformatter()
    try:
        with av.open(os.fspath(path.absolute()), format=CONTAINERS[path.suffix.lower()]) as container:
            if not container.streams.video:
                raise ImageError(f"{path} holds no video. Name one that does, or a folder of pictures.")
            stream = container.streams.video[0]
            check_size(str(path), stream.width, stream.height)
            for frame in container.decode(stream):
                check_size(str(path), frame.width, frame.height)  # which may change on the way
                yield Image.fromarray(_pixels(convert, frame))
    except av.error.FFmpegError as error:
        reason = error.strerror or error
        raise ImageError(
            f"{path} is no video that can be read, or is damaged: {reason}. Convert it."
        ) from error


def _pixels(convert: VideoReformatter, frame: av.VideoFrame) -> np.ndarray:
    """RGB pixels of a frame, upright, by the matrix that it names; without a name, by the usual one."""
    usual = Colorspace.ITU709 if frame.height > 576 else Colorspace.ITU601
    named = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601}
    space = named.get(int(frame.colorspace), usual)
    pixels = convert.reformat(frame, format="rgb24", src_colorspace=space).to_ndarray()
    return np.rot90(pixels, round(frame.rotation / 90))  # counter-clockwise: phones store them on their side
