"""How a command line is read: all mistakes are found, and none hides another."""

import pytest

from stillmotion.clips.mistakes import Mistakes, MistakesError
from stillmotion.headless.options import parse


def parsed(line: str | list[str]):
    mistakes = Mistakes()
    options = parse(line.split() if isinstance(line, str) else line, "1.2.3", mistakes)
    mistakes.raise_any()
    return options


def mistakes_of(line: str | list[str]) -> list[str]:
    with pytest.raises(MistakesError) as error:
        parsed(line)
    return list(error.value.found)


def test_options_may_stand_anywhere():
    options = parsed("animate a.png --steps 3 b.png --output=x.mp4 -- --c.png")
    assert options.images == ["a.png", "b.png", "--c.png"]
    assert (options.steps, options.output, options.command) == (3, ["x.mp4"], "animate")


@pytest.mark.parametrize("line", ["animate", "animate --fps 6 --decode-latents l.safetensors"])
def test_without_pictures_there_are_none(line):
    assert parsed(line).images == []


def test_all_that_can_not_be_read_is_said_and_the_rest_is_kept():
    mistakes = Mistakes()
    line = "animate --steps many a.png --seeed 5 --guidance-interval 1 x b.png --width=wide --frames 2"
    options = parse(line.split(), "", mistakes)
    with pytest.raises(MistakesError) as error:
        mistakes.raise_any()
    assert sorted(text.partition(":")[0].partition(" is")[0] for text in error.value.found) == [
        "--guidance-interval",
        "--seeed",
        "--steps",
        "--width",
    ]
    assert (options.images, options.num_frames) == (["a.png", "b.png"], 2)


def test_the_value_of_an_option_that_is_none_is_no_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").touch()
    assert mistakes_of("animate --brightness red photo.jpg --wobble photo.jpg") == [
        "--brightness is no option; --help lists them.",
        "--wobble is no option; --help lists them.",
    ]


def test_an_empty_name_is_said_with_all_else():
    assert mistakes_of(["animate", "a.png", "--frames", "many", "", "--output", ""]) == [
        "--frames: 'many' is no whole number",
        "--output: the name is empty, as that of a variable of the shell that is not set",
        "IMAGE: the name is empty, as that of a variable of the shell that is not set",
    ]
    assert mistakes_of(["inspect", ""])[0].startswith("FILE: the name is empty")


@pytest.mark.parametrize(
    ("line", "hint"),
    [("animate a.png --azimuths -1,2", True), ("animate a.png --guidance-interval 3", False)],
)
def test_a_value_that_begins_with_a_minus_is_explained_where_that_helps(line, hint):
    (said,) = mistakes_of(line)
    assert ("begins with a minus" in said) == hint


def test_options_are_not_shortened():
    """What a short form means would change with each new option."""
    assert mistakes_of("animate a.png --ste 3") == ["--ste is no option; did you mean --steps?"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no command is given; accepted are animate, batch, serve, inspect, and --help."),
        ("animat x", "animat is no command; accepted are animate, .* did you mean animate"),
        ("tests", "tests is no command; to animate it: animate tests"),
        (
            "--verbose",
            "--verbose stands before a command; accepted are animate, batch, serve, inspect, and --help.",
        ),
    ],
)
def test_commands(line, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").mkdir()
    with pytest.raises(ValueError, match=message):
        parsed(line)


@pytest.mark.parametrize(
    ("line", "shown"), [("--version", "Stillmotion 1.2.3"), ("animate --help", "--overwrite")]
)
def test_help_and_version_are_shown(capsys, line, shown):
    with pytest.raises(SystemExit) as status:
        parsed(line)
    assert status.value.code == 0
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize("text", ["1024x576x25", "1024×576×25", "1024X576X25"])
def test_a_clip_to_inspect_is_width_height_and_frames(text):
    options = parsed(f"inspect a.safetensors --for {text} --device cuda --dtype float16")
    assert options.clip == (1024, 576, 25)
    assert (options.device, options.dtype, options.decode_dtype) == ("cuda", "float16", "float32")
    assert parsed("inspect a.safetensors").clip is None


@pytest.mark.parametrize("text", ["1024x576", "big", "1024x576x25x2", "-1x2x3", "9999999x1x1"])
def test_other_clips_to_inspect_are_refused(text):
    (said,) = mistakes_of(f"inspect a.safetensors --for={text}")
    assert said == f"--for: '{text}' is no width, height and frames such as 1024x576x25"
