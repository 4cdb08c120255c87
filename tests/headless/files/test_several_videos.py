"""Several files of one clip, written while its frames come."""

import subprocess
import sys
import weakref

import numpy as np
import pytest

from stillmotion.clips.mistakes import MistakesError
from stillmotion.headless.files import formats
from stillmotion.headless.files.videos import read_metadata, write_video, write_videos

STREAMING = ["a.mp4", "b.webm", "frames"]
ALL = [*STREAMING, "c.webp", "d.gif", "e.png"]
METADATA = {"seed": 5}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def clip(count=6, height=64, width=64):
    for index in range(count):
        yield np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)


def write(names, frames, overwrite=False):
    return list(write_videos(dict.fromkeys(names, overwrite), frames, 8, METADATA))


def content(path):
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file.read_bytes() for file in files]


def names_in(place):
    return sorted(path.name for path in place.iterdir())


def test_each_is_the_file_that_is_written_alone(place):
    assert write(ALL, clip()) == ALL
    for name in ALL:
        write_video(f"alone-{name}", clip(), 8, METADATA)
        assert content(place / name) == content(place / f"alone-{name}"), name
        assert read_metadata(name) == METADATA


def test_a_frame_is_let_go_of_before_the_next_but_one_comes(place):
    alive, most = set(), [0]

    def counted():
        for frame in clip(40):
            alive.add(id(frame))
            weakref.finalize(frame, alive.discard, id(frame))
            most[0] = max(most[0], len(alive))
            yield frame

    write(STREAMING, counted())
    assert most[0] <= 3


MEASURE = """
import resource, sys
import numpy as np
from stillmotion.headless.files.videos import write_videos
noise = np.random.default_rng(0).integers(0, 256, (128, 256, 3), np.uint8)
frames = (np.roll(noise, index, axis=1) for index in range(int(sys.argv[1])))
list(write_videos({"a.mp4": False, "b.webm": False, "frames": False}, frames, 8))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted as Linux does")
def test_a_process_takes_no_more_memory_for_four_times_the_frames(place):
    """Less than 20 of the 300 frames more, which is what a heap's blocks may differ by."""
    peaks = []
    for count in (100, 400):
        folder = place / str(count)
        folder.mkdir()
        command = [sys.executable, "-c", MEASURE, str(count)]
        result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
        peaks.append(1024 * int(result.stdout))
    assert peaks[1] - peaks[0] < 20 * 128 * 256 * 3


def test_one_that_fails_at_once_does_not_keep_the_others_from_it(place):
    """Frames of an odd width are for pictures only."""
    with pytest.raises(MistakesError, match=r"63x64, and \.mp4 needs an even width") as error:
        write(ALL, clip(width=63))
    assert len(error.value.found) == 2
    assert names_in(place) == ["c.webp", "d.gif", "e.png", "frames"]
    assert len(list((place / "frames").iterdir())) == 6


def test_one_that_fails_in_the_middle_does_not_either(place, monkeypatch):
    save, saved = formats.Image.Image.save, []

    def fail_at_the_third(image, path, *arguments, **options):
        saved.append(path)
        if len(saved) == 3:
            raise OSError(28, "No space left on device")
        return save(image, path, *arguments, **options)

    monkeypatch.setattr(formats.Image.Image, "save", fail_at_the_third)
    with pytest.raises(MistakesError, match=r"frames: could not be written \(No space left on device\)"):
        write(STREAMING, clip())
    assert names_in(place) == ["a.mp4", "b.webm"]
    assert len(saved) == 3


def test_one_that_fails_at_the_end_does_not_either(place, monkeypatch):
    """A file that has come there meanwhile stays, and the clip is kept beside it."""

    def frames():
        yield from clip()
        (place / "a.mp4").write_text("precious")

    with pytest.raises(MistakesError, match="kept as"):
        write(["a.mp4", "b.webm"], frames())
    assert names_in(place) == ["a-2.mp4", "a.mp4", "b.webm"]
    assert (place / "a.mp4").read_text() == "precious"


def test_no_more_frames_are_decoded_once_all_have_failed(place):
    asked = []

    def frames():
        for index, frame in enumerate(clip(width=63)):
            asked.append(index)
            yield frame

    with pytest.raises(MistakesError, match="2 mistakes"):
        write(["a.mp4", "b.webm"], frames())
    assert asked == [0]
    assert names_in(place) == []


@pytest.mark.parametrize("exception", [ValueError, OSError, KeyboardInterrupt])
@pytest.mark.parametrize("good_frames", [0, 3])
def test_an_interruption_leaves_everything_as_it_was(place, exception, good_frames):
    write(ALL, clip(2))
    before = {name: content(place / name) for name in ALL}

    def interrupted():
        yield from clip(good_frames)
        raise exception("halfway")

    with pytest.raises(exception, match="halfway"):
        write(ALL, interrupted(), overwrite=True)
    assert {name: content(place / name) for name in ALL} == before
    assert names_in(place) == sorted(ALL)


def test_no_frames_are_no_clip(place):
    with pytest.raises(ValueError, match="there are no frames to write"):
        write(ALL, iter(()))
    assert names_in(place) == []
