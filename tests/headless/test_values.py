"""Values on the command line, as text becomes what an option takes."""

import argparse

import pytest

from stillmotion.headless.values import lora


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("a.safetensors", ("a.safetensors", 1.0, None)),
        ("a.safetensors:0.7", ("a.safetensors", 0.7, None)),
        ("a.safetensors:-1e-1", ("a.safetensors", -0.1, None)),
        ("a.safetensors:1:.5", ("a.safetensors", 1.0, 0.5)),
        (r"C:\x.safetensors", (r"C:\x.safetensors", 1.0, None)),
        (r"C:\x.safetensors:2", (r"C:\x.safetensors", 2.0, None)),
        (r"C:\2:0.5:0", (r"C:\2", 0.5, 0.0)),
        ("a:b.safetensors", ("a:b.safetensors", 1.0, None)),
        ("a.safetensors:strong", ("a.safetensors:strong", 1.0, None)),
    ],
)
def test_a_lora_and_its_strengths_are_read_from_a_word(text, choice):
    assert lora(text) == choice


def test_a_file_whose_name_ends_in_a_number_is_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:2").touch()
    assert lora("a:2") == ("a:2", 1.0, None)
    assert lora("a:2:3") == ("a:2", 3.0, None)


@pytest.mark.parametrize("text", ["a:abc", "a:nan", "a:", "a:1:", "a:1:x", "a:1:2:3"])
def test_a_strength_that_is_no_number_is_named(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").touch()
    with pytest.raises(argparse.ArgumentTypeError, match=rf"'{text}' is no file, nor a with .* as in a:0\.7"):
        lora(text)


@pytest.mark.parametrize("text", ["", "a:1e999"])
def test_what_is_no_lora_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"empty|beyond all numbers"):
        lora(text)
