"""Control pictures from videos, folders, single pictures and callers' own; damaged ones are refused."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from stillmotion.headless.files.control_frames import CONTAINERS, read_frames
from stillmotion.headless.files.images import ImageError
from stillmotion.headless.files.videos import write_video


def clip(frames: int = 4) -> list[np.ndarray]:
    """Smooth colours that change from frame to frame."""
    y, x = np.mgrid[0:64, 0:96]

    def frame(t: int) -> np.ndarray:
        colours = (128 + 90 * np.sin(x / 20 + t), 128 + 90 * np.sin(y / 15 - t), 40.0 + 50 * t + 0 * x)
        return np.stack(colours, axis=-1).astype(np.uint8)

    return [frame(t) for t in range(frames)]


def arrays(source) -> list[np.ndarray]:
    return [np.asarray(image) for image in read_frames(source)]


@pytest.mark.parametrize("extension", [".mp4", ".webm"])
def test_a_video_gives_its_frames_in_order_and_in_its_colours(tmp_path, extension):
    path = tmp_path / f"clip{extension}"
    write_video(path, clip(), 6)
    found = arrays(path)
    assert len(found) == 4
    for ours, frame in zip(found, clip(), strict=True):
        assert np.abs(ours.astype(int) - frame).mean() < 3  # 8 to 20 where the matrix is another


def test_a_video_that_lies_on_its_side_stands_upright(tmp_path):
    path = tmp_path / "clip.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=6, width=96, height=64, pix_fmt="yuv420p")
        # (x, y) -> (−y, x) with y down: what was at the top is at the right
        stream.set_display_matrix([0, 2**16, 0, -(2**16), 0, 0, 0, 0, 2**30])
        for pixels in clip():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    found = arrays(path)
    for ours, frame in zip(found, clip(), strict=True):
        clockwise = frame[::-1].transpose(1, 0, 2)
        assert ours.shape == clockwise.shape
        assert np.abs(ours.astype(int) - clockwise).mean() < 10  # 30 and more for the other way round


@pytest.mark.parametrize("names", [("0", "1", "2"), ("f_9", "f_10", "f_100"), ("a1b2", "a01b3", "a1b10")])
def test_a_folder_gives_its_pictures_by_name(tmp_path, names):
    for number in (2, 0, 1):
        Image.fromarray(clip()[number]).save(tmp_path / f"{names[number]}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert all(map(np.array_equal, arrays(tmp_path), clip()))


def test_one_picture_and_a_batch_of_pixels(tmp_path):
    Image.fromarray(clip()[0]).save(tmp_path / "a.png")
    assert np.array_equal(arrays(tmp_path / "a.png")[0], clip()[0])
    assert all(map(np.array_equal, arrays(np.stack(clip())), clip()))
    assert all(map(np.array_equal, arrays([tmp_path / "a.png", clip()[1]]), clip()))


@pytest.mark.parametrize("extension", CONTAINERS)
def test_what_is_no_video_is_refused(tmp_path, extension):
    path = tmp_path / f"clip{extension}"
    for content in (b"", b"#EXTM3U\n/etc/passwd\n", bytes(range(256)) * 20):
        path.write_bytes(content)
        with pytest.raises(ImageError, match="no video"):
            arrays(path)


def test_a_truncated_video_is_refused(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, clip(), 6)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ImageError, match="damaged"):
        arrays(path)


@pytest.mark.parametrize("source", [Path("there.mp4"), "https://example.org/clip.mp4"])
def test_what_is_not_there_is_refused(source):
    with pytest.raises(ValueError, match=r"no such file|URL"):
        arrays(source)


def test_what_is_no_list_is_refused():
    with pytest.raises(ImageError, match="a int"):
        read_frames(5)
