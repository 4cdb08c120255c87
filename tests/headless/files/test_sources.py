"""What a command reads: files, folders, standard input; and what is refused by its name alone."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from stillmotion.clips.mistakes import Mistakes, MistakesError
from stillmotion.headless.files.images import ImageError
from stillmotion.headless.files.sources import Picture, find_pictures, refuse_url


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with pictures and other files in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("b.JPG", "a.png"):
        Image.new("RGB", (64, 64), (200, 80, 30)).save(tmp_path / "in" / name, "PNG")
    for name in ("notes.txt", ".hidden.png", "clip.mp4"):
        (tmp_path / "in" / name).write_bytes(b"")
    (tmp_path / "empty").mkdir()
    return tmp_path


def found(*names: str) -> list[str]:
    mistakes = Mistakes()
    pictures = find_pictures(names, mistakes)
    mistakes.raise_any()
    return [str(picture.path) for picture in pictures]


def test_a_folder_stands_for_its_pictures_by_name(folder):
    assert found("in") == ["in/a.png", "in/b.JPG"]
    assert found("in/", "in/a.png") == ["in/a.png", "in/b.JPG"]


def test_a_file_that_is_named_may_be_called_anything(folder):
    assert found("in/notes.txt") == ["in/notes.txt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("in/a.pgn", r"in/a\.pgn: there is no such file; did you mean a\.png\?"),
        ("in/zebra", r"in/zebra: there is no such file; check its name\."),
        ("absent/a.png", r"absent/a\.png: there is no such file, nor the folder absent\."),
        ("empty", r"empty holds no picture \(\.png, .*name another folder"),
        ("https://example.org/a.png", "is a URL, and Stillmotion does not use the network; name a file"),
        ("data:image/png", r"data:image/png: there is no such file, nor the folder data:image"),
    ],
)
def test_what_is_not_there_is_said_with_what_may_be_meant(folder, name, message):
    with pytest.raises(MistakesError, match=message):
        found(name)


def test_every_name_that_is_wrong_is_said(folder):
    with pytest.raises(
        MistakesError, match=r"3 mistakes:\n  - x\.png.*\n  - y\.png.*\n  - s3://a/b is a URL"
    ):
        found("x.png", "in", "y.png", "s3://a/b")


@pytest.mark.parametrize(
    "name", ["http://x.org/a.png", "hf://a/b", "file:///a.png", Path("https://x.org/a.png")]
)
def test_urls_are_refused_by_that_word(name):
    with pytest.raises(ValueError, match="is a URL"):
        refuse_url(name)


@pytest.mark.parametrize(
    "name", ["C:/pictures/a.png", "C:\\a.png", "a:b.png", "photo.jpg", "../x", "a/b://c"]
)
def test_names_of_files_are_none(name):
    refuse_url(name)


def standard_input(monkeypatch, content: bytes | None) -> None:
    stream = None if content is None else SimpleNamespace(buffer=io.BytesIO(content))
    monkeypatch.setattr("sys.stdin", stream)


def test_standard_input_is_a_picture(folder, monkeypatch):
    standard_input(monkeypatch, (folder / "in" / "a.png").read_bytes())
    (picture,) = find_pictures(["-"], Mistakes())
    assert picture.read().getpixel((5, 5)) == (200, 80, 30)
    assert (picture.name, picture.stem) == ("standard input", "picture")


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_standard_input_without_a_picture_is_refused(monkeypatch, content):
    standard_input(monkeypatch, content)
    with pytest.raises(ImageError):
        Picture(None).read()


def test_standard_input_holds_one_picture(folder):
    with pytest.raises(MistakesError, match="- is given twice"):
        found("-", "in", "-")


def test_a_link_that_leads_nowhere_is_said_before_any_work(folder):
    (folder / "link.png").symlink_to("gone.png")
    mistakes = Mistakes()
    assert find_pictures([str(folder / "link.png")], mistakes) == []
    with pytest.raises(MistakesError, match=r"link\.png is a link to gone\.png, which is not there"):
        mistakes.raise_any()
