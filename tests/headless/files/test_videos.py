"""Output files: what lies in them, which are refused, and what an interruption leaves behind."""

import errno
import itertools
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from stillmotion.headless.files.destinations import ExistsError, OutputError
from stillmotion.headless.files.formats import EXTENSIONS
from stillmotion.headless.files.videos import check_output, read_metadata, write_video

ALL = [*EXTENSIONS, ""]  # "" is a folder of PNG frames
VIDEO, LOSSLESS = [".mp4", ".webm"], [".png", ""]
MARKER = "kingfisher-4711"
METADATA = {
    "prompt": 'Möwe "über" \\ 海 🐦',
    "seed": 2**53 + 1,
    "cfg": 2.5,
    "note": MARKER,
    "nested": {"a": [1, None]},
}
PLAIN_COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)]
PLAIN_COLOURS += [(0, 0, 0), (255, 255, 255), (128, 128, 128), (224, 172, 105)]

every_format = pytest.mark.parametrize("extension", ALL)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder: what else lies in it after a test was left behind."""
    return tmp_path


def moving_gradient(count: int = 6, height: int = 64, width: int = 64) -> np.ndarray:
    time, y, x = np.mgrid[:count, :height, :width]
    waves = [np.sin((x + 4 * time) / 20), np.cos((y - 3 * time) / 24), np.sin((x + y + 5 * time) / 40)]
    return np.rint(128 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)  # (T, H, W, 3)


def plain(colour: tuple[int, int, int], count: int = 1) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (count, 64, 64, 3))


def bt709_to_rgb(picture: av.VideoFrame) -> np.ndarray:
    """Limited range BT.709 to RGB by the standard's equations (K_r 0.2126, K_b 0.0722), not by swscale."""
    planes = picture.to_ndarray().astype(float)  # (3·H/2, W): Y, then U and V of a quarter of the size
    height, width = picture.height, picture.width
    luma = (planes[:height] - 16) / 219
    blue, red = (planes[height:].reshape(2, height // 2, width // 2) - 128) / 224
    blue, red = (plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (blue, red))
    r, b = luma + 1.5748 * red, luma + 1.8556 * blue
    g = (luma - 0.2126 * r - 0.0722 * b) / 0.7152
    return np.clip(255 * np.stack([r, g, b], axis=-1), 0, 255)


def read_back(path: Path) -> tuple[np.ndarray, list[float | None]]:
    """The frames (T, H, W, 3) and the seconds after which each ends, None where the format has no time."""
    if path.is_dir():
        names = [path / f"frame_{index:04d}.png" for index in range(len(list(path.iterdir())))]
        return np.stack([np.asarray(Image.open(name)) for name in names]).astype(float), [None] * len(names)
    if path.suffix in VIDEO:
        with av.open(path) as container:
            pictures = list(container.decode(video=0))
            starts = [picture.time for picture in pictures]
            return np.stack([bt709_to_rgb(p) for p in pictures]), [*starts[1:], container.duration / 1e6]
    with Image.open(path) as image:
        frames, durations = [], []
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGB"), dtype=float))
            durations.append(frame.info.get("duration"))
    ends = [None] if durations == [None] else [end / 1000 for end in itertools.accumulate(durations)]
    return np.stack(frames), ends


def all_bytes(path: Path) -> bytes:
    return (
        b"".join(file.read_bytes() for file in sorted(path.iterdir())) if path.is_dir() else path.read_bytes()
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


class TestFrames:
    @every_format
    @pytest.mark.parametrize("size", [(64, 64), (64, 128)])
    def test_number_and_size_are_kept(self, place, extension, size):
        write_video(place / f"clip{extension}", moving_gradient(6, *size), 8)
        frames, _ = read_back(place / f"clip{extension}")
        assert frames.shape == (6, *size, 3)

    @every_format
    def test_a_single_frame_is_a_clip(self, place, extension):
        clip = moving_gradient(1)
        write_video(place / f"clip{extension}", clip, 8, METADATA)
        frames, _ = read_back(place / f"clip{extension}")
        assert frames.shape == clip.shape
        assert np.abs(frames - clip).mean() < 6
        assert read_metadata(place / f"clip{extension}") == METADATA

    @every_format
    def test_frames_may_be_a_stream_that_reuses_its_buffer(self, place, extension):
        def stream():
            buffer = np.empty((64, 64, 3), np.uint8)
            for frame in moving_gradient():
                buffer[:] = frame
                yield buffer

        write_video(place / f"streamed{extension}", stream(), 8)
        write_video(place / f"whole{extension}", moving_gradient(), 8)
        assert all_bytes(place / f"streamed{extension}") == all_bytes(place / f"whole{extension}")

    @every_format
    def test_frames_may_be_a_tensor(self, place, extension):
        write_video(place / f"tensor{extension}", torch.from_numpy(moving_gradient()), 8)
        write_video(place / f"array{extension}", moving_gradient(), 8)
        assert all_bytes(place / f"tensor{extension}") == all_bytes(place / f"array{extension}")

    @every_format
    def test_frames_may_be_views_that_are_not_contiguous(self, place, extension):
        write_video(place / f"view{extension}", moving_gradient(6, 64, 128)[:, :, ::-2], 8)
        assert read_back(place / f"view{extension}")[0].shape == (6, 64, 64, 3)

    @pytest.mark.parametrize("extension", [*VIDEO, ""])
    def test_streaming_formats_hold_no_more_than_they_encode(self, place, extension):
        """The first frame has been reported before the last is asked for."""
        events = []

        def stream():
            for index, frame in enumerate(moving_gradient()):
                events.append(("asked", index))
                yield frame

        write_video(
            place / f"clip{extension}", stream(), 8, progress=lambda done: events.append(("done", done))
        )
        assert events.index(("done", 1)) < events.index(("asked", 5))

    @every_format
    def test_progress_counts_every_frame_once(self, place, extension):
        done = []
        write_video(place / f"clip{extension}", moving_gradient(), 8, progress=done.append)
        assert done == [1, 2, 3, 4, 5, 6]


class TestColours:
    @pytest.mark.parametrize("extension", LOSSLESS)
    def test_png_is_exact(self, place, extension):
        write_video(place / f"clip{extension}", moving_gradient(), 8)
        assert np.array_equal(read_back(place / f"clip{extension}")[0], moving_gradient())

    @pytest.mark.parametrize(
        ("extension", "tolerance"), [(".mp4", 2), (".webm", 3), (".webp", 3), (".gif", 6)]
    )
    def test_lossy_formats_stay_close_on_a_moving_gradient(self, place, extension, tolerance):
        write_video(place / f"clip{extension}", moving_gradient(), 8)
        assert np.abs(read_back(place / f"clip{extension}")[0] - moving_gradient()).mean() < tolerance

    @pytest.mark.parametrize("extension", [*VIDEO, ".webp", ".gif"])
    def test_plain_colours_come_back(self, place, extension):
        """BT.601 instead of BT.709 misses pure green by over 20 levels."""
        for colour in PLAIN_COLOURS:
            write_video(place / f"clip{extension}", plain(colour), 8, overwrite=True)
            frames, _ = read_back(place / f"clip{extension}")
            assert np.abs(frames - plain(colour)).max() <= 4, colour

    @pytest.mark.parametrize("extension", VIDEO)
    def test_video_is_tagged_as_bt709_in_limited_range(self, place, extension):
        write_video(place / f"clip{extension}", moving_gradient(), 8)
        with av.open(place / f"clip{extension}") as container:
            context = container.streams.video[0].codec_context
            tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
            assert tags == (1, 1, 1, 1)
            assert context.pix_fmt == "yuv420p"

    def test_gif_has_one_palette_for_all_frames(self, place):
        write_video(place / "clip.gif", moving_gradient(), 8)
        frames, _ = read_back(place / "clip.gif")
        assert len(np.unique(frames.reshape(-1, 3), axis=0)) <= 256

    def test_gif_palette_serves_colours_that_only_late_frames_have(self, place):
        clip = np.concatenate([plain((200, 30, 30), 5), plain((20, 60, 220), 1)])
        write_video(place / "clip.gif", clip, 8)
        assert np.abs(read_back(place / "clip.gif")[0][-1] - clip[-1]).max() <= 4


class TestTime:
    @pytest.mark.parametrize("extension", EXTENSIONS)
    @pytest.mark.parametrize("fps", [7, 7.5, 24, 29.97, Fraction(30000, 1001)])
    def test_every_frame_ends_when_its_rate_says(self, place, extension, fps):
        write_video(place / f"clip{extension}", moving_gradient(), fps)
        _, ends = read_back(place / f"clip{extension}")
        # GIF counts in 10 ms, WebP and WebM in ms; each moment is rounded by itself, so nothing adds up
        tolerance = {".gif": 0.005, ".webp": 0.0005, ".webm": 0.001}.get(extension, 2e-6)
        assert ends == pytest.approx(
            [float((index + 1) / Fraction(fps)) for index in range(6)], abs=tolerance + 1e-6
        )

    @pytest.mark.parametrize("extension", VIDEO)
    def test_video_states_the_exact_rate(self, place, extension):
        for fps, expected in [
            (7.5, Fraction(15, 2)),
            (29.97, Fraction(2997, 100)),
            (30000 / 1001, Fraction(30000, 1001)),
        ]:
            write_video(place / f"clip{extension}", moving_gradient(), fps, overwrite=True)
            with av.open(place / f"clip{extension}") as container:
                assert container.streams.video[0].average_rate == expected

    def test_gif_frames_are_never_shorter_than_browsers_show(self, place):
        write_video(place / "clip.gif", moving_gradient(), 60)
        assert read_back(place / "clip.gif")[1] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.10, 0.12])

    @pytest.mark.parametrize("extension", [".webp", ".gif", ".png"])
    def test_animated_images_loop_for_ever(self, place, extension):
        write_video(place / f"clip{extension}", moving_gradient(), 8)
        with Image.open(place / f"clip{extension}") as image:
            assert image.info["loop"] == 0

    @pytest.mark.parametrize("extension", [".webp", ".gif", ".png"])
    def test_a_repeated_frame_keeps_its_time(self, place, extension):
        write_video(place / f"clip{extension}", moving_gradient()[[0, 1, 1, 2]], 10)
        assert read_back(place / f"clip{extension}")[1][-1] == pytest.approx(0.4)

    def test_mp4_can_start_before_it_is_loaded(self, place):
        write_video(place / "clip.mp4", moving_gradient(), 8)
        content = (place / "clip.mp4").read_bytes()
        assert 0 < content.index(b"moov") < content.index(b"mdat")


class TestMetadata:
    @every_format
    def test_comes_back(self, place, extension):
        write_video(place / f"clip{extension}", moving_gradient(), 8, METADATA)
        assert MARKER.encode() in all_bytes(place / f"clip{extension}")
        assert read_metadata(place / f"clip{extension}") == METADATA

    @every_format
    def test_a_file_is_read_as_what_its_name_says(self, place, extension):
        """FFmpeg left to guess would also take lists of other files, and open those."""
        other = ".webm" if extension == ".mp4" else ".mp4"
        write_video(place / f"clip{other}", moving_gradient(2), 8, METADATA)
        (place / f"clip{other}").rename(place / (f"clip{extension}" if extension else "frame_0000.png"))
        assert read_metadata(place / f"clip{extension}" if extension else place) is None

    @every_format
    def test_long_metadata_comes_back(self, place, extension):
        long = {"text": 'é"\\' * 30000}
        write_video(place / f"clip{extension}", moving_gradient(2), 8, long)
        assert read_metadata(place / f"clip{extension}") == long

    @every_format
    def test_none_leaves_no_trace(self, place, extension):
        write_video(place / f"clip{extension}", moving_gradient(), 8, METADATA)
        write_video(place / f"clip{extension}", moving_gradient(), 8, None, overwrite=True)
        content = all_bytes(place / f"clip{extension}")
        traces = [MARKER, "prompt", "stillmotion", "comment", "COMMENT", "Exif", "EXIF", "tEXt", "!\xfe"]
        assert [trace for trace in traces if trace.encode("latin-1") in content] == []
        assert read_metadata(place / f"clip{extension}") is None

    @every_format
    def test_the_file_does_not_tell_its_name_or_folder(self, place, extension):
        folder = place / "private-folder-name"
        folder.mkdir()
        write_video(folder / f"private-file-name{extension}", moving_gradient(), 8, METADATA)
        assert b"private" not in all_bytes(folder / f"private-file-name{extension}")

    @every_format
    @pytest.mark.parametrize("damaged", [b"", b"neither a picture nor a video", bytes(1000)])
    def test_damaged_files_have_none(self, place, extension, damaged):
        file = place / (f"clip{extension}" if extension else "frame_0000.png")
        file.write_bytes(damaged)
        assert read_metadata(file if extension else place) is None

    @every_format
    @pytest.mark.parametrize("text", [b'{"a": "b!', b'["a", "b"]', b"__import__"])
    def test_damaged_metadata_is_none(self, place, extension, text):
        file = place / f"clip{extension}"
        write_video(file, moving_gradient(), 8, {"a": "b"})
        stored = b'{"a": "b"}'
        for part in file.iterdir() if file.is_dir() else [file]:
            part.write_bytes(part.read_bytes().replace(stored, text.ljust(len(stored))))
        assert read_metadata(file) is None

    @every_format
    def test_metadata_of_no_file_is_an_error(self, place, extension):
        with pytest.raises(FileNotFoundError, match="there is no such file"):
            read_metadata(place / f"absent{extension}")

    def test_what_json_cannot_hold_is_refused(self, place):
        with pytest.raises(OutputError, match="metadata: not what JSON can hold"):
            write_video(place / "clip.mp4", moving_gradient(), 8, {"array": np.zeros(3)})
        assert snapshot(place) == {}


@every_format
@pytest.mark.parametrize("size", [(64, 64), (64, 128)])
def test_the_same_input_gives_the_same_bytes(place, extension, size):
    """Three times, under two names, since an encoder with threads differs only now and then."""
    contents = set()
    for name in ("first", "second", "second"):
        write_video(place / f"{name}{extension}", moving_gradient(6, *size), 7.5, METADATA, overwrite=True)
        contents.add(all_bytes(place / f"{name}{extension}"))
    assert len(contents) == 1


def test_the_bytes_of_video_do_not_depend_on_what_lay_in_memory(place):
    """glibc fills fresh memory with MALLOC_PERTURB_; x264's macroblock tree lets that through on AVX-512."""
    program = """if True:
        import sys, numpy as np
        from stillmotion.headless.files.videos import write_video
        y, x = np.mgrid[:64, :64]
        clip = [np.stack([x + 4 * t, 3 * y + t, x + y], axis=-1).astype(np.uint8) for t in range(6)]
        for extension in (".mp4", ".webm"):
            write_video(sys.argv[1] + extension, clip, 8)
    """
    for fill in ("85", "170"):
        command = [sys.executable, "-c", program, str(place / f"filled-{fill}")]
        subprocess.run(command, check=True, env={**os.environ, "MALLOC_PERTURB_": fill})
    for extension in VIDEO:
        assert all_bytes(place / f"filled-85{extension}") == all_bytes(place / f"filled-170{extension}")


def test_mp4_does_not_depend_on_the_number_of_cores(place):
    """x264 notes its thread count in the stream, and chooses otherwise for each."""
    write_video(place / "clip.mp4", moving_gradient(), 8)
    assert b" threads=1 " in (place / "clip.mp4").read_bytes()


class TestReplacing:
    @every_format
    def test_an_older_output_is_replaced_and_nothing_else_is_left(self, place, extension):
        write_video(place / f"clip{extension}", moving_gradient(6), 8, METADATA)
        write_video(place / f"clip{extension}", moving_gradient(3), 8, METADATA, overwrite=True)
        assert len(read_back(place / f"clip{extension}")[0]) == 3
        assert [entry.name for entry in place.iterdir()] == [f"clip{extension}"]

    @every_format
    @pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
    @pytest.mark.parametrize("good_frames", [0, 3])
    @pytest.mark.parametrize("older", [False, True])
    def test_an_interruption_leaves_the_folder_as_it_was(
        self, place, extension, exception, good_frames, older
    ):
        if older:
            write_video(place / f"clip{extension}", moving_gradient(2), 8, METADATA)
        before = snapshot(place)

        def interrupted():
            yield from moving_gradient(good_frames or 1)[:good_frames]
            raise exception("halfway")

        with pytest.raises(exception, match="halfway"):
            write_video(place / f"clip{extension}", interrupted(), 8, overwrite=True)
        assert snapshot(place) == before
        assert len(list(place.iterdir())) == older

    @every_format
    def test_an_interruption_during_progress_cleans_up_too(self, place, extension):
        def interrupt(done: int) -> None:
            if done == 6:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_video(place / f"clip{extension}", moving_gradient(), 8, progress=interrupt)
        assert list(place.iterdir()) == []

    @every_format
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
    def test_a_full_disk_is_told_in_words_and_keeps_the_older_file(self, place, extension, share):
        resource = pytest.importorskip("resource", reason="file size limits are POSIX")
        clip = moving_gradient()
        write_video(place / f"clip{extension}", clip, 8, METADATA)
        before = snapshot(place)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * max(map(len, before.values()))), limits[1]))
        try:
            with pytest.raises(OutputError, match=r"clip.*could not be written \(File too large\)"):
                write_video(place / f"clip{extension}", clip, 8, METADATA, overwrite=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert snapshot(place) == before
        assert len(list(place.iterdir())) == 1

    @every_format
    def test_what_is_there_is_kept_where_nobody_said_to_replace_it(self, place, extension):
        write_video(place / f"clip{extension}", moving_gradient(2), 8, METADATA)
        before = snapshot(place)
        with pytest.raises(ExistsError):
            write_video(place / f"clip{extension}", moving_gradient(), 8, METADATA)
        assert snapshot(place) == before

    @every_format
    def test_a_file_that_came_meanwhile_stays_and_the_clip_is_kept_beside_it(self, place, extension):
        name = f"clip{extension}" if extension else "clip/mine.txt"

        def frames():
            yield from moving_gradient(2)
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text("precious")

        with pytest.raises(OutputError, match=rf"what was made is kept as .*clip-2{extension}"):
            write_video(place / f"clip{extension}", frames(), 8)
        assert (place / name).read_text() == "precious"
        assert len(read_back(place / f"clip-2{extension}")[0]) == 2
        assert len(list(place.iterdir())) == 2

    def test_frames_of_another_tool_are_never_replaced(self, place):
        (place / "frames").mkdir()
        for index in range(1, 4):
            Image.new("RGB", (64, 64)).save(place / "frames" / f"frame_{index:04d}.png")
        before = snapshot(place)
        with pytest.raises(OutputError, match=r"holds 'frame_0001\.png', no frame with Stillmotion's"):
            write_video(place / "frames", moving_gradient(), 8, METADATA, overwrite=True)
        assert snapshot(place) == before

    @every_format
    def test_a_failing_rename_keeps_the_older_file_and_the_new_clip(self, place, extension, monkeypatch):
        write_video(place / f"clip{extension}", moving_gradient(2), 8, METADATA)
        before, functions = snapshot(place), {name: getattr(os, name) for name in ("replace", "rename")}

        def refusing(name):
            def refuse(source, target):
                if f"clip{extension}" in Path(target).parts and ".partial" in str(source):
                    monkeypatch.setattr(os, name, functions[name])
                    raise PermissionError(errno.EACCES, "in use by a player")
                functions[name](source, target)

            return refuse

        for name in functions:
            monkeypatch.setattr(os, name, refusing(name))
        with pytest.raises(OutputError, match=rf"in use by a player.* is kept as .*clip-2{extension}"):
            write_video(place / f"clip{extension}", moving_gradient(), 8, overwrite=True)
        after = snapshot(place)
        assert {name: after[name] for name in before} == before
        assert len(read_back(place / f"clip-2{extension}")[0]) == 6
        assert len(list(place.iterdir())) == 2

    def test_a_link_stays_a_link(self, place):
        (place / "real").mkdir()
        try:
            (place / "link.mp4").symlink_to(place / "real" / "clip.mp4")
        except OSError:
            pytest.skip("no links without privileges here")
        write_video(place / "link.mp4", moving_gradient(), 8)
        assert (place / "link.mp4").is_symlink()
        assert [entry.name for entry in (place / "real").iterdir()] == ["clip.mp4"]

    @pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
    @every_format
    def test_the_permissions_of_an_older_output_stay(self, place, extension):
        write_video(place / f"clip{extension}", moving_gradient(1), 8, METADATA)
        (place / f"clip{extension}").chmod(0o700)
        write_video(place / f"clip{extension}", moving_gradient(1), 8, overwrite=True)
        assert (place / f"clip{extension}").stat().st_mode & 0o777 == 0o700


class TestNaming:
    @pytest.mark.parametrize("name", ["clip.MP4", "a.b.webm", "Möwe 100%.gif", "a%03d.png", "file:x.mp4"])
    def test_the_name_is_taken_literally(self, place, name, monkeypatch):
        if os.name == "nt" and ":" in name:
            pytest.skip("no colons in names on Windows")
        monkeypatch.chdir(place)
        write_video(name, moving_gradient(2), 8, METADATA)
        assert [entry.name for entry in place.iterdir()] == [name]
        assert read_metadata(name) == METADATA

    @pytest.mark.parametrize("name", ["frames", "frames/", "frames.mp4/", "frames.v2/"])
    def test_no_extension_or_a_slash_is_a_folder_of_frames(self, place, name):
        write_video(f"{place}/{name}", moving_gradient(2), 8)
        assert sorted(entry.name for entry in (place / name).iterdir()) == [
            "frame_0000.png",
            "frame_0001.png",
        ]

    @pytest.mark.parametrize("name", ["frames", "frames.v2"])
    def test_an_existing_empty_folder_is_filled(self, place, name):
        (place / name).mkdir()
        write_video(place / name, moving_gradient(2), 8)
        assert len(list((place / name).iterdir())) == 2

    def test_older_frames_are_replaced_and_what_file_browsers_put_beside_them_stays(self, place):
        write_video(place / "frames", moving_gradient(6), 8, METADATA)
        (place / "frames" / ".DS_Store").write_bytes(b"how the icons lie")
        write_video(place / "frames", moving_gradient(2), 8, overwrite=True)
        assert sorted(entry.name for entry in (place / "frames").iterdir()) == [
            ".DS_Store",
            "frame_0000.png",
            "frame_0001.png",
        ]
        assert (place / "frames" / ".DS_Store").read_bytes() == b"how the icons lie"


REFUSED_PATHS = [
    ("", r"'' names no output file; accepted are names that end in \.mp4, \.webm, \.webp, \.gif, \.png"),
    (".mp4", r"names no output file"),
    ("nul\0.mp4", r"names no output file"),
    (
        "clip.avi",
        r"clip\.avi: unknown extension \.avi; accepted are \.mp4, \.webm, \.webp, \.gif, \.png, or no",
    ),
    ("take1.5", r"take1\.5: unknown extension \.5; accepted .* final slash for a folder"),
    ("absent/clip.mp4", r"clip\.mp4: the folder .*absent does not exist; create it or name another folder"),
    ("absent/frames", r"frames: the folder .*absent does not exist"),
    ("plain/clip.mp4", r"clip\.mp4: the folder .*plain is a file; create it or name another folder"),
    ("folder.mp4", r"folder\.mp4: is a folder; name a file, or end it in a slash"),
    ("plain", r"plain: is a file; name a folder for PNG frames or a file ending in \.mp4"),
    ("plain/", r"plain: is a file; name a folder"),
    (
        "mixed",
        r"mixed: holds 'frame_0000\.png', no frame with Stillmotion's metadata, and it stays; name a new",
    ),
    ("mixed/", r"mixed: holds 'frame_0000\.png'"),
    ("named", r"named: holds 'frame_final\.png'"),
    (".", r"holds 'folder\.mp4', no frame"),
    ("x" * 252 + ".mp4", r"x\.mp4: not writable \(.*\); shorten the name"),
]


class TestRefusals:
    @pytest.fixture
    def place(self, tmp_path, monkeypatch) -> Path:
        """A folder with something of each kind in the way."""
        (tmp_path / "folder.mp4").mkdir()
        (tmp_path / "plain").write_bytes(b"a file")
        for folder, name in [
            ("mixed", "frame_0000.png"),
            ("mixed", "holiday.jpg"),
            ("named", "frame_final.png"),
        ]:
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_bytes(b"a picture")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    @pytest.mark.parametrize(("name", "message"), REFUSED_PATHS)
    @pytest.mark.parametrize("write", [False, True], ids=["check_output", "write_video"])
    def test_paths(self, place, name, message, write):
        before = snapshot(place)
        with pytest.raises(OutputError, match=message):
            write_video(name, moving_gradient(), 8) if write else check_output(name)
        assert snapshot(place) == before
        assert len(list(place.iterdir())) == 4

    @pytest.mark.parametrize("name", [*(f"new{extension}" for extension in ALL), "new/"])
    def test_an_accepted_path_is_checked_without_a_trace(self, place, name):
        before = sorted(place.rglob("*"))
        assert check_output(name) == place / name.rstrip("/")
        assert sorted(place.rglob("*")) == before

    @every_format
    def test_a_check_leaves_an_older_output_alone(self, place, extension):
        write_video(f"clip{extension}", moving_gradient(2), 8, METADATA)
        before = snapshot(place)
        check_output(f"clip{extension}", overwrite=True)
        with pytest.raises(ExistsError, match=r"is there already and stays; name another, or ask"):
            check_output(f"clip{extension}")
        assert snapshot(place) == before

    @every_format
    def test_a_folder_that_cannot_be_written_to(self, place, extension, monkeypatch):
        def refuse(self, *_, **__):
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(Path, "touch", refuse)
        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(
            OutputError, match=r"clip.*: not writable \(Read-only file system\); name another"
        ):
            check_output(f"clip{extension}")

    @pytest.mark.parametrize(
        ("extension", "message"),
        [(".mp4", "is no writable file; make it"), ("", "is a folder without write permis")],
    )
    def test_a_write_protected_older_output(self, place, extension, message, monkeypatch):
        write_video(f"clip{extension}", moving_gradient(1), 8, METADATA)
        monkeypatch.setattr(
            os, "access", lambda path, mode: Path(path).name != f"clip{extension}"
        )  # root may all
        with pytest.raises(OutputError, match=rf"clip.*: {message}"):
            check_output(f"clip{extension}")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
    def test_a_pipe_is_no_file(self, place):
        os.mkfifo("pipe.mp4")
        with pytest.raises(OutputError, match=r"pipe\.mp4: is no writable file"):
            check_output("pipe.mp4")

    def test_the_current_folder_is_filled_where_it_is_empty(self, place, monkeypatch):
        Path("empty").mkdir()
        monkeypatch.chdir("empty")
        write_video(".", moving_gradient(2), 8)
        assert len(os.listdir(".")) == 2

    def test_files_added_to_the_folder_meanwhile_are_not_deleted(self, place):
        Path("frames").mkdir()

        def frames():
            yield from moving_gradient(2)
            Path("frames", "mine.txt").write_text("precious")

        with pytest.raises(OutputError, match=r"holds 'mine\.txt'.*what was made is kept as .*frames-2"):
            write_video("frames", frames(), 8)
        assert [entry.name for entry in Path("frames").iterdir()] == ["mine.txt"]
        assert len(list(Path("frames-2").iterdir())) == 2

    @pytest.mark.parametrize("fps", [0, -8, float("nan"), float("inf"), 0.05, 5000, "fast", None])
    def test_rates(self, place, fps):
        message = rf"fps: got {re.escape(repr(fps))}, accepted are frames per second from 0\.1 to 1000"
        with pytest.raises(OutputError, match=message):
            write_video("clip.mp4", moving_gradient(), fps)

    @every_format
    @pytest.mark.parametrize(
        ("frames", "message"),
        [
            ([], "there are no frames to write; a clip needs at least one"),
            (np.zeros((2, 64, 64, 3)), r"frame 0: is float64 of shape \(64, 64, 3\); convert it to uint8"),
            (
                np.zeros((2, 3, 64, 64), np.uint8),
                r"frame 0: is uint8 of shape \(3, 64, 64\); .*\(height, width, 3\)",
            ),
            (np.zeros((2, 64, 64, 4), np.uint8), r"frame 0: is uint8 of shape \(64, 64, 4\)"),
            (np.zeros((64, 64), np.uint8), r"frame 0: is uint8 of shape \(64,\)"),
            (np.zeros((1, 0, 64, 3), np.uint8), r"frame 0: is uint8 of shape \(0, 64, 3\)"),
            (
                [*moving_gradient(1), *moving_gradient(1, 64, 32)],
                "frame 1: is 32x64 and frame 0 is 64x64; bring all",
            ),
        ],
    )
    def test_frames(self, place, extension, frames, message):
        before = sorted(place.rglob("*"))
        with pytest.raises(OutputError, match=message):
            write_video(f"clip{extension}", frames, 8)
        assert sorted(place.rglob("*")) == before

    @pytest.mark.parametrize("extension", VIDEO)
    @pytest.mark.parametrize(("height", "width"), [(63, 64), (64, 63)])
    def test_odd_sizes_of_video(self, place, extension, height, width):
        with pytest.raises(
            OutputError, match=rf"{width}x{height}, and {extension} needs an even width and height; crop"
        ):
            write_video(f"clip{extension}", moving_gradient(2, height, width), 8)

    @pytest.mark.parametrize("extension", [".webp", ".gif", *LOSSLESS])
    def test_odd_sizes_of_images_are_fine(self, place, extension):
        write_video(f"clip{extension}", moving_gradient(2, 63, 65), 8)
        assert read_back(Path(f"clip{extension}"))[0].shape == (2, 63, 65, 3)
