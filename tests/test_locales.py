"""Translations of the page: each language has every label, tooltip, setting and word, and none too many."""

import json
import re

import pytest

from support.pages import ROOT, SCHEMAS

LANGUAGES = ("zh", "zh-TW", "ja", "ko", "fr", "es", "ru", "pt-BR")
FILES = ("main", "nodeDefs", "settings", "commands")
SCRIPTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "web").rglob("*.js")))
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def read(language: str, name: str) -> dict:
    return json.loads((ROOT / "locales" / language / f"{name}.json").read_text(encoding="utf-8"))


def flat(table: dict, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """The strings of nested tables, by the path of their keys."""
    found = {}
    for key, value in table.items():
        found |= flat(value, (*path, key)) if isinstance(value, dict) else {(*path, key): value}
    return found


def english_of_nodes() -> dict[tuple[str, ...], str]:
    """What nodeDefs.json translates; outputs without a name of their own are called by their type."""
    found = {}
    for schema in SCHEMAS:
        found[schema.node_id, "description"] = schema.description
        for port in schema.inputs:
            found[schema.node_id, "inputs", port.id, "name"] = port.options.get("display_name", port.id)
            found[schema.node_id, "inputs", port.id, "tooltip"] = port.options["tooltip"]
        for index, port in enumerate(schema.outputs):
            if not port.id.isupper():
                found[schema.node_id, "outputs", str(index), "name"] = port.id
            found[schema.node_id, "outputs", str(index), "tooltip"] = port.options["tooltip"]
    return found


def english_of_scripts() -> dict[str, str]:
    """The words of our own in the page, by their keys."""
    calls = r"(?:words|say|refuse|Refusal)\("
    found = dict(re.findall(calls + r'\s*"([^"]+)",\s*"([^"]*)"', SCRIPTS))
    constants = dict(re.findall(r'^const (\w+) = "([^"]+)"$', SCRIPTS, re.MULTILINE))
    found |= {key: constants[name] for key, name in re.findall(calls + r'\s*"([^"]+)",\s*(\w+)', SCRIPTS)}
    for tool, name, use in re.findall(r'^  \["(\w+)", "([^"]+)", "([^"]+)"\],$', SCRIPTS, re.MULTILINE):
        found |= {f"tool_{tool}": name, f"tool_{tool}_use": use}
    views = re.findall(r'"([^"]+)"', re.search(r"VIEWS = \[(.*?)\]", SCRIPTS)[1])
    orders = re.findall(r'"?([\w ]+)"?:', re.search(r"ROUNDS = \{(.*?)\}", SCRIPTS)[1])
    found |= {f"view_{name}": name for name in views if name not in "AB"}
    return found | {f"order_{name.strip()}": name.strip() for name in orders}


def english_of_settings() -> dict[tuple[str, str], str]:
    """Name and tooltip of the settings, as the scripts register them; a dot in an id is `_` in a key."""
    ids = re.findall(r'export const \w+ = "(Stillmotion\.[\w.]+)"', SCRIPTS)
    names = re.findall(r'name: "([^"]+)",\s*tooltip: "([^"]+)"', SCRIPTS)
    assert len(ids) == len(names) > 0
    return {
        (number.replace(".", "_"), part): words
        for number, pair in zip(ids, names, strict=True)
        for part, words in zip(("name", "tooltip"), pair, strict=True)
    }


def english_of_commands() -> dict[tuple[str, str], str]:
    """The labels of commands, which the page lists by their ids."""
    constants = dict(re.findall(r'^const (\w+) = "([^"]+)"$', SCRIPTS, re.MULTILINE))
    listed = re.findall(r"commands: \[\{ id: (\w+), icon: [^,]+, label: (\w+)", SCRIPTS)
    return {(constants[id].replace(".", "_"), "label"): constants[label] for id, label in listed}


def english(name: str) -> dict[tuple[str, ...], str]:
    if name == "nodeDefs":
        return english_of_nodes()
    if name == "commands":
        return english_of_commands()
    if name == "settings":
        return english_of_settings()
    categories = {schema.category.partition("/")[2] for schema in SCHEMAS} - {""}
    own = categories - {"conditioning", "loaders", "sampling"}  # the others are core's, in every language
    groups = re.findall(r'category: \["Stillmotion", "(\w+)", "(\w+)"\]', SCRIPTS)
    return (
        {("nodeCategories", category): category for category in own}
        | {("settingsCategories", group): group for pair in groups for group in pair}
        | {("stillmotion", key): words for key, words in english_of_scripts().items()}
    )


def test_the_languages_are_these():
    """English is in the code, but for the labels of commands, which menus take from here alone."""
    assert {path.name for path in (ROOT / "locales").iterdir()} == {*LANGUAGES, "en"}
    assert flat(read("en", "commands")) == english("commands")
    for language in LANGUAGES:
        assert {path.stem for path in (ROOT / "locales" / language).iterdir()} == set(FILES)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_key_and_none_too_many(language, name):
    found, expected = flat(read(language, name)), english(name)
    assert expected
    assert found.keys() == expected.keys()
    assert [path for path, words in found.items() if not words.strip()] == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_and_places_stay(language, name):
    """A number that changed in English has to change in every language."""
    found = flat(read(language, name))
    for path, words in english(name).items():
        numbers = set(NUMBER.findall(words))
        assert numbers <= set(NUMBER.findall(found[path])) <= numbers | {"1", "2"}, path  # one, two, both
        places = [sorted(re.findall(r"\{\w+\}", text)) for text in (found[path], words)]
        assert places[0] == places[1], path


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_are_translated_and_have_no_signs_that_the_page_reads_itself(language):
    found = flat(read(language, "nodeDefs"))
    for path, words in english("nodeDefs").items():
        text = found[path]
        assert not set("{}@|") & set(text), path
        if path[-1] != "name":
            assert text != words, path
