"""What a command line makes of which pictures, and where it goes."""

import importlib.metadata
import io

import pytest
from PIL import Image

from stillmotion.headless.command_line import INTERRUPTED, OK, REFUSED, main
from stillmotion.headless.files import destinations
from stillmotion.headless.files.videos import read_metadata
from stillmotion.headless.pipeline import Pipeline
from support import checkpoints

QUICK = ("--frames", "2", "--width", "64", "--height", "64", "--steps", "1")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder: a picture, and a folder with two and a text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "many").mkdir()
    for name, colour in (("photo.jpg", "red"), ("many/a.png", "green"), ("many/b.webp", "blue")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / name)
    (tmp_path / "many" / "notes.txt").write_text("no picture")
    return tmp_path


def names(place) -> list[str]:
    """The files that are there beside those of the fixture."""
    given = {"photo.jpg", "many/a.png", "many/b.webp", "many/notes.txt"}
    files = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    return sorted(files - given)


def run(*words: str) -> int:
    return main(["animate", *words, *QUICK])


class TestDefaultOutput:
    def test_a_picture_alone_becomes_an_mp4_beside_it(self, capsys, place):
        assert run("photo.jpg") == OK
        assert names(place) == ["photo.mp4"]
        assert capsys.readouterr().out.strip() == str(place / "photo.mp4")

    def test_never_over_a_file_that_is_there(self, place):
        (place / "photo.mp4").write_text("precious")
        assert run("photo.jpg") == OK
        assert names(place) == ["photo-2.mp4", "photo.mp4"]
        assert (place / "photo.mp4").read_text() == "precious"

    def test_each_picture_of_a_folder_has_its_own(self, capsys, place):
        assert run("many") == OK
        assert names(place) == ["many/a.mp4", "many/b.mp4"]
        assert read_metadata("many/b.mp4")["image"] == "b.webp"
        assert "b.webp: 2 of 2" in capsys.readouterr().err

    def test_pictures_of_one_name_have_two(self, place):
        Image.new("RGB", (64, 64)).save(place / "photo.png")
        assert run("photo.jpg", "photo.png") == OK
        assert names(place) == ["photo-2.mp4", "photo.mp4", "photo.png"]

    def test_saved_latents_become_one_too(self, place):
        assert run("photo.jpg", "--save-latents", "l.safetensors") == OK
        assert names(place) == ["l.safetensors"]
        assert main(["animate", "--decode-latents", "l.safetensors"]) == OK
        assert names(place) == ["l.mp4", "l.safetensors"]

    def test_standard_input_has_none(self, capsys, place, monkeypatch):
        picture = io.TextIOWrapper(io.BytesIO((place / "photo.jpg").read_bytes()))
        monkeypatch.setattr("sys.stdin", picture)
        assert run("-") == REFUSED
        assert "has no name for its clip; give --output" in capsys.readouterr().err
        assert run("-", "--output", "clip.png") == OK
        assert read_metadata("clip.png")["image"] == "standard input"

    def test_a_name_of_any_length_that_the_disk_takes_will_do(self, capsys, place):
        longest = "n" * 251
        (place / "photo.jpg").rename(place / f"{longest}.jpg")
        assert run(f"{longest}.jpg") == OK
        assert (
            run(f"{longest}.jpg", "--output", "é" * 127, "--save-latents", "é" * 121 + ".safetensors") == OK
        )
        assert run(f"{longest}.jpg", "--output", "é" * 126 + ".gif") == REFUSED
        assert "name too long" in capsys.readouterr().err

    def test_names_that_differ_in_case_only_are_one_on_many_disks(self, place):
        (place / "photo.jpg").rename(place / "a.jpg")
        Image.new("RGB", (64, 64)).save(place / "A.png")
        assert run("a.jpg", "A.png") == OK
        assert {"a.mp4", "A-2.mp4"} < set(names(place))


class TestSeveral:
    def test_a_name_in_the_output_stands_for_each_picture(self, place):
        (place / "out").mkdir()
        words = ("--output", "out/{name}.png", "--output", "out/{name}-frames", "--save-latents")
        assert run("many", "photo.jpg", *words, "out/{name}.safetensors") == OK
        frames = [f"{name}-frames/frame_000{index}.png" for name in ("a", "b", "photo") for index in (0, 1)]
        files = [f"{name}.{kind}" for name in ("a", "b", "photo") for kind in ("png", "safetensors")]
        assert names(place) == sorted(f"out/{name}" for name in (*files, *frames))

    def test_one_name_for_several_clips_is_refused_with_an_example(self, capsys, place):
        assert run("many", "--output", "clips/x.mp4", "--save-latents", "l") == REFUSED
        said = capsys.readouterr().err
        assert "--output clips/x.mp4 is one name for 2 clips" in said
        assert "the picture's: clips/{name}.mp4" in said
        assert "the picture's: l/{name}" in said

    def test_what_is_wrong_with_one_does_not_keep_the_others_from_it(self, capsys, place):
        (place / "many" / "aa.png").write_text("no picture")
        assert run("many") == REFUSED
        assert names(place) == ["many/a.mp4", "many/aa.png", "many/b.mp4"]
        said = capsys.readouterr().err
        assert "aa.png is no picture" in said
        assert "1 of 3 pictures were not animated; why is said above." in said

    def test_what_this_run_has_written_is_not_replaced_by_it(self, capsys, place, monkeypatch):
        """Two names may become one file: by a link made meanwhile, or where a disk ignores case."""
        (place / "y").mkdir()
        (place / "x").mkdir()
        moved = destinations._move_file

        def move(temporary, final, overwrite):
            moved(temporary, final, overwrite)
            if final.parent.name == "x":
                (place / "y" / "clip.gif").symlink_to(final)

        monkeypatch.setattr(destinations, "_move_file", move)
        assert run("photo.jpg", "--output", "x/clip.gif", "--output", "y/clip.gif", "--overwrite") == REFUSED
        said = capsys.readouterr()
        assert "kept as" in said.err
        assert said.out.split() == [str(place / "x" / "clip.gif")]
        assert names(place) == ["x/clip.gif", "y/clip-2.gif", "y/clip.gif"]
        assert (place / "y" / "clip.gif").is_symlink()

    def test_what_is_wrong_with_the_checkpoint_is_said_once(self, capsys, place):
        path = checkpoints.write(place / "c.safetensors", **{"first_stage_model.decoder.norm_out.bias": None})
        assert run("many", "photo.jpg", "--checkpoint", str(path), "--output", "{name}.gif") == REFUSED
        assert capsys.readouterr().err.count("error:") == 1

    def test_ctrl_c_stops_them_all(self, place, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(Pipeline, "sample_run", interrupt)
        assert run("many") == INTERRUPTED
        assert names(place) == []


class TestReplacing:
    @pytest.fixture
    def old(self, place):
        (place / "old.mp4").write_text("precious")
        return place / "old.mp4"

    @pytest.fixture
    def terminal(self, monkeypatch):
        """Has the command run at a terminal, where the user answers; what it shows there."""

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        def start(answer: str) -> Terminal:
            shown = Terminal()
            monkeypatch.setattr("sys.stdin", Terminal(answer))
            monkeypatch.setattr("sys.stderr", shown)
            return shown

        return start

    def test_what_is_there_stays_and_how_to_replace_it_is_said(self, capsys, place, old):
        assert run("photo.jpg", "--output", "old.mp4") == REFUSED
        assert (
            "old.mp4 is there already and stays; name another, or add --overwrite." in capsys.readouterr().err
        )
        assert old.read_text() == "precious"

    def test_overwrite_replaces_it(self, place, old):
        assert run("photo.jpg", "--output", "old.mp4", "--overwrite") == OK
        assert read_metadata("old.mp4")["image"] == "photo.jpg"
        assert names(place) == ["old.mp4"]

    @pytest.mark.parametrize(
        ("answer", "status"), [("y\n", OK), ("Yes\n", OK), ("\n", REFUSED), ("", REFUSED)]
    )
    def test_at_a_terminal_the_user_is_asked(self, terminal, place, old, answer, status):
        shown = terminal(answer)
        assert run("photo.jpg", "--output", "old.mp4") == status
        assert "old.mp4 is there already. Replace it? [y/N]" in shown.getvalue()
        assert (old.read_bytes() == b"precious") == (status == REFUSED)

    def test_nobody_is_asked_where_something_else_is_wrong(self, terminal, place, old):
        shown = terminal("y\n")
        assert run("photo.jpg", "--output", "old.mp4", "--fit", "banana") == REFUSED
        assert "[y/N]" not in shown.getvalue()
        assert "2 mistakes:" in shown.getvalue()
        assert old.read_bytes() == b"precious"


class TestMistakes:
    def test_all_of_a_command_line_are_said_at_once(self, capsys, place):
        words = ("--seeed", "5", "--steps", "0", "--fit", "corp", "--output", "x.avi", "--output", "no/x.mp4")
        words += ("--checkpoint", "none.safetensors", "--device", "tpu", "--sampler", "heum")
        assert main(["animate", "foto.jpg", "many/a.pgn", *words]) == REFUSED
        said = capsys.readouterr().err
        for mistake in (
            "--seeed is no option; did you mean --seed?",
            "foto.jpg: there is no such file; did you mean photo.jpg?",
            "many/a.pgn: there is no such file; did you mean a.png?",
            "unknown extension .avi",
            "the folder",
            "device tpu can't be used here",
            "none.safetensors: there is no such file",
            "steps is 0;",
            "did you mean crop?",
            "did you mean heun?",
        ):
            assert mistake in said, mistake
        assert names(place) == []

    def test_those_of_the_settings_too(self, capsys, place):
        words = ("--steps", "0", "--fit", "corp", "--sampler", "heum", "--width", "100")
        assert main(["animate", "photo.jpg", *words]) == REFUSED
        said = capsys.readouterr().err
        assert "4 mistakes:" in said
        for mistake in ("steps is 0;", "did you mean crop?", "did you mean heun?", "The nearest is 128."):
            assert mistake in said, mistake

    @pytest.mark.parametrize(
        "words",
        [
            [""],
            ["photo.jpg", "--output", ""],
            ["photo.jpg", "--save-latents="],
            ["--decode-latents", ""],
            ["photo.jpg", "--checkpoint", ""],
            ["photo.jpg", "--scratch", ""],
            ["photo.jpg", "--device", ""],
        ],
    )
    def test_an_empty_name_is_refused_and_not_taken_for_the_current_folder(self, capsys, place, words):
        """As a variable of a shell gives it that was never set."""
        assert run(*words) == REFUSED
        option = next((word.rstrip("=") for word in words if word.startswith("-")), "IMAGE")
        assert f"{option}: the name is empty" in capsys.readouterr().err
        assert names(place) == []

    def test_an_output_of_a_picture_that_is_not_there_is_not_looked_for(self, capsys, place):
        (place / "picture.gif").write_text("precious")
        (place / "x.gif").write_text("precious")
        assert run("nowhere.jpg", "--output", "{name}.gif", "--output", "{name}.mov") == REFUSED
        said = capsys.readouterr().err
        assert "nowhere.jpg: there is no such file" in said and "unknown extension .mov" in said
        assert "there already" not in said
        assert run("nowhere.jpg", "--output", "x.gif") == REFUSED
        assert "x.gif is there already" in capsys.readouterr().err

    def test_an_option_of_a_letter_takes_its_value_with_it(self, capsys, place):
        assert run("photo.jpg", "-o", "x.mp4") == REFUSED
        said = capsys.readouterr().err
        assert "-o is no option" in said and "x.mp4" not in said

    def test_clips_are_not_written_to_standard_output(self, capsys, place):
        assert run("photo.jpg", "--output", "-") == REFUSED
        assert "are not written to standard output" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "words",
        [
            ("--output", "s3://bucket/x.mp4"),
            ("--checkpoint", "https://x.org/a"),
            ("--save-latents", "hf://a/b"),
        ],
    )
    def test_urls_are_refused_by_that_word(self, capsys, place, words):
        assert run("photo.jpg", *words) == REFUSED
        assert "is a URL" in capsys.readouterr().err


def test_after_an_installation_the_command_has_a_name():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="stillmotion")
    assert script.load().__module__ == "stillmotion.__main__"
