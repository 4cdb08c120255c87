"""Sources: every kind gives its rows one by one, and manifests name nothing outside of the user's folders."""

import ast
import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.clips.settings import FIELDS
from stillmotion.headless.batch import rows as rows_module
from stillmotion.headless.batch.places import Roots
from stillmotion.headless.batch.rows import MOST_BYTES, Row, canonical, row_of
from stillmotion.headless.batch.sources import find_source
from stillmotion.headless.batch.texts import MOST_CLIPS_OF_A_ROW, Sweep, sweeps_of, swept, value_of
from stillmotion.headless.batch.work import read_picture


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two pictures, in the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.png", "in/deep/a.JPG", "in/c10.png", "in/c9.png", "in/notes.txt", "secret.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path / "in"


def rows(name, *folders) -> list[Row]:
    source = find_source(str(name), folders)
    found = list(source.rows())
    assert source.count() == len(found)
    return found


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("in/b.png", ["in/b.png"]),
        ("in", ["in/b.png", "in/c9.png", "in/c10.png"]),
        ("in/c*.png", ["in/c10.png", "in/c9.png"]),
        ("in/**/*.JPG", ["in/deep/a.JPG"]),
    ],
)
def test_pictures_folders_and_globs(name, images, folder):
    found = rows(name)
    assert [row.image for row in found] == images
    assert all(row.place == os.path.realpath(row.image) and not row.fault for row in found)


def test_manifests_of_all_kinds_have_equal_rows(folder):
    content = [
        {"image": "b.png", "id": "one", "seed": 3, "guidance_interval": [1.5, 50.0]},
        {"image": "deep/a.JPG", "id": "2", "sha256": "AB" * 32, "ring": True, "guidance": [1.0, 2.5]},
        {"image": "c9.png", "id": "three, with a comma", "sampler": "heun", "fps": 7.5},
    ]
    (folder / "a.jsonl").write_text("\n\n".join(map(json.dumps, content)) + "\n", encoding="utf-8-sig")
    head = ["image", "id", "sha256", "seed", "guidance_interval", "ring", "guidance", "sampler", "fps"]
    lines = [",".join(head), 'b.png,one,,3,"1.5,50",,,,', f'deep/a.JPG,2,{"AB" * 32},,,yes,"1,2.5",,', ""]
    lines.append('c9.png,"three, with a comma",,,,,,heun,7.5')
    (folder / "a.csv").write_text("\r\n".join(lines), encoding="utf-8-sig")
    of_json, of_csv = rows(folder / "a.jsonl"), rows(folder / "a.csv")
    assert [row.text for row in of_json] == [row.text for row in of_csv]
    assert of_json[1].sha256 == "ab" * 32 and of_json[0].settings["guidance_interval"] == (1.5, 50.0)
    assert of_json[1].place == str(folder / "deep" / "a.JPG")
    (folder / "manifests").mkdir()
    for number in range(2):
        (folder / "manifests" / f"{number}.jsonl").write_text(json.dumps({"image": "../b.png"}))
    assert [bool(row.fault) for row in rows(folder / "manifests")] == [True, True]
    assert [row.fault for row in rows(folder / "manifests", str(folder))] == ["", ""]


def test_rows_of_parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"image": ["b.png", "c9.png"], "seed": [3, None], "sampler": [None, "heun"]})
    parquet.write_table(table, folder / "rows.parquet")
    first, second = rows(folder / "rows.parquet")
    assert (first.settings, second.settings) == ({"seed": 3}, {"sampler": "heun"})
    (folder / "rows.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match="is no Parquet file"):
        find_source(str(folder / "rows.parquet"))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "is no JSON"),
        ("[1]", "give an object with an image"),
        ('{"id": "a"}', "image is None"),
        ('{"image": 3}', "image is 3"),
        ('{"image": "b.png", "seeed": 3}', "did you mean seed?"),
        ('{"image": "b.png", "checkpoint": "x"}', "a batch has one"),
        ('{"image": "b.png", "sha256": "12"}', "give 64 digits"),
        ('{"image": "b.png", "sampler": [{"a": 1}]}', "give text, a number up to"),
        (f'{{"image": "b.png", "steps": {10**400}}}', "give text, a number up to"),
        ('{"image": "b.png", "id": [1]}', "give a text or a whole number"),
        ('{"image": "../secret.png"}', "lies in none of the folders"),
        ('{"image": "deep/../../secret.png"}', "lies in none of the folders"),
        ('{"image": "link.png"}', "lies in none of the folders"),
        ('{"image": "up/secret.png"}', "lies in none of the folders"),
        ('{"image": "b.png\\u0000"}', "give the path or the address"),
        ('{"image": "/etc/passwd"}', "lies in none of the folders"),
        ('{"image": "s3://bucket/a.png"}', "lies in none of the folders"),
        ('{"image": "https://user:word@host/a.png"}', "holds a user, a password"),
        ('{"image": "https://host/a.png?token=word"}', "holds a user, a password"),
        ('{"image": "HTTPS://user:word@host/a.png"}', "holds a user, a password"),
        ('{"image": "zip://a.png::/etc/word"}', "chains several"),
        ('{"image": "b.png", "id": "https://user:word@host/a.png"}', "id holds a user, a password"),
        ('{"image": "b.png", "id": "https://host/a.png?token=word"}', "id holds a user, a password"),
        ('{"image": "file:///etc/word"}', "is a file of this machine"),
        ('{"image": "http://169.254.169.254/latest"}', "lies in none of the folders"),
        ("[" * 60_000, "is no JSON"),
        (json.dumps({"image": "b.png", "id": "x" * MOST_BYTES}), "has over 64,000 bytes"),
    ],
    ids=lambda value: value[:40],
)
def test_a_row_that_is_none_has_a_fault_and_the_next_one_is_read(line, fault, folder):
    os.symlink(folder.parent / "secret.png", folder / "link.png")
    os.symlink(folder.parent, folder / "up")
    (folder / "rows.jsonl").write_text(f'{line}\n{{"image": "b.png"}}\n')
    first, second = rows(folder / "rows.jsonl")
    assert fault in first.fault and not first.place
    assert "word@" not in str(first) and "token" not in str(first)
    assert second.place == str(folder / "b.png") and not second.fault


def test_an_address_is_accepted_in_a_folder_that_the_user_names(folder):
    roots = Roots(str(folder), ["s3://bucket/pictures", str(folder.parent)])
    assert roots.place("s3://bucket/pictures/a.png") == "s3://bucket/pictures/a.png"
    assert roots.place("../secret.png") == str(folder.parent / "secret.png")
    up = ("s3://bucket/pictures/../b.png", "s3://bucket/pictures/%2E%2e/b.png")
    for other in ("s3://bucket/picturesque/a.png", *up, "s3://other/a.png"):
        with pytest.raises(ValueError):
            roots.place(other)
    assert Roots("s3://bucket/in").place("deep/a.png") == "s3://bucket/in/deep/a.png"
    with pytest.raises(ValueError, match="goes up"):
        Roots("s3://bucket/in").place("../a.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("picture,seed\na.png,3\n", "there is no column image"),
        ("image,seeed\na.png,3\n", "did you mean seed?"),
        ('image,"seed\n' + 3000 * ("x" * 99 + "\n"), "is no table"),
    ],
)
def test_a_table_with_a_wrong_head_is_refused_at_once(content, message, folder):
    (folder / "rows.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        find_source(str(folder / "rows.csv"))


def test_wrong_cells_are_faults_of_their_rows(folder):
    (folder / "rows.csv").write_text(
        "image,seed,ring\nb.png,many,\nb.png,3,perhaps\nb.png,3,,4\nb.png,3,no\n"
    )
    first, second, third, last = rows(folder / "rows.csv")
    assert "'many' is no whole number" in first.fault and "accepted are true and false" in second.fault
    assert "4 cells" in third.fault and last.settings == {"seed": 3, "ring": False}


def test_a_folder_of_both_kinds_and_of_none_is_refused(folder):
    (folder / "rows.csv").write_text("image\n")
    with pytest.raises(ValueError, match="holds pictures and manifests"):
        find_source(str(folder))
    with pytest.raises(ValueError, match="names pictures and manifests"):
        find_source(str(folder / "*"))
    with pytest.raises(ValueError, match="names no picture"):
        find_source(str(folder / "*.txt"))


def test_sweeps_multiply_rows():
    sweeps = sweeps_of(["seed=0:3", "guidance=1,2;linear", "fit=crop,pad"])
    found = list(swept(Row("a", "a.png", settings={"steps": 4}), sweeps))
    assert len(found) == len({row.text for row in found}) == 12
    assert found[0].settings == {"steps": 4, "seed": 0, "guidance": (1.0, 2.0), "fit": "crop"}
    (refused,) = swept(Row("a", "a.png", settings={"seed": 4}), sweeps)
    assert "stands in the row and in --sweep" in refused.fault
    assert list(Sweep("steps=2:11:4").values) == [2, 6, 10]
    assert len(sweeps_of([f"seed=0:{MOST_CLIPS_OF_A_ROW}"])[0].values) == MOST_CLIPS_OF_A_ROW
    assert list(Sweep(f"seed={2**64 - 2}:{2**64}").values) == [2**64 - 2, 2**64 - 1]
    for texts, words in (
        (["seed=0:1001", "steps=0:1000"], "makes 1,001,000 clips"),
        ([f"seed=0:{10**30}"], "too many values"),  # which no len() counts
        ([f"seed={10**30}:0:-1"], "too many values"),
        (["seed=1", "seed=2"], "twice"),
        (["seed"], "give values"),
        (["seed=x"], "no whole number"),
    ):
        with pytest.raises(ValueError, match=words):
            sweeps_of(texts)


def test_every_setting_has_a_value_from_text():
    texts = {"guidance_interval": "1,50", "skip_scale": "1,2", "ring": "true"}
    for name, field in FIELDS.items():
        default = field.default if isinstance(field.default, str | int | float) else "1"
        value_of(field, texts.get(name, str(default)))


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
ANY = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
NAMES = st.sampled_from(["image", "id", "sha256", *FIELDS]) | st.text(max_size=9)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(NAMES, ANY, max_size=5) | ANY)
def test_whatever_stands_in_a_row_is_a_row_or_a_fault(content):
    row = row_of(content, "line 1")
    assert row.fault or row.image == content["image"]
    assert 0 <= row.shard_of(7) < 7 and json.loads(canonical(row.settings)) is not None


def test_a_shard_is_alike_on_all_machines():
    """Numbers of an independent computation: the row's canonical JSON, hashed."""
    row = Row("a", "a.png", "/one/a.png", settings={"steps": 4.0, "seed": 1})
    text = '["a","a.png",null,{"seed":1,"steps":4},""]'
    assert row.text == text
    assert row.shard_of(1000) == int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) % 1000


def test_packages_that_may_be_missing_are_imported_in_one_file_each_where_they_are_used():
    folder, found = Path(rows_module.__file__).parent, {}
    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {name.partition(".")[0] for name in names} & {"fsspec", "pyarrow", "ray"}:
                assert node not in tree.body
                found.setdefault(name, set()).add(path.name)
    assert found == {"fsspec": {"remote.py"}, "pyarrow": {"parquet.py"}, "ray": {"ray_data.py"}}


def test_rows_and_pictures_at_an_address():
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    system.pipe_file("/bucket/in/a.png", b"x")
    system.pipe_file("/bucket/in/rows.jsonl", b'{"image": "a.png"}\n{"image": "memory://bucket/b.png"}\n')
    system.pipe_file("/bucket/tables/1.csv", b"image\n../in/a.png\n")
    first, second = rows("memory://bucket/in/rows.jsonl")
    assert first.place == "memory://bucket/in/a.png" and read_picture(first) == b"x"
    assert "lies in none of the folders" in second.fault
    (picture,) = rows("memory://bucket/in/*.png")
    assert read_picture(picture) == b"x"
    (escaping,) = rows("memory://bucket/tables", "memory://bucket/in")
    assert "goes up" in escaping.fault
    with pytest.raises(ValueError, match="names no picture"):
        find_source("memory://bucket/nothing/*")
