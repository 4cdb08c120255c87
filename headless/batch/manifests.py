"""Manifests: files with a row a clip, .jsonl, .csv or .parquet, which are read row by row."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ...clips.settings import FIELDS
from . import parquet, remote
from .places import is_address
from .rows import MOST_BYTES, OWN, Row, row_of, unknown_names
from .texts import value_of

EXTENSIONS = (".jsonl", ".csv", ".parquet")


def rows_of(name: str) -> Iterator[Row]:
    """Yields the rows of a manifest, whose pictures have no place yet; raises ValueError for no manifest."""
    extension, short = Path(name).suffix.lower(), name.rpartition("/")[2]
    with _opened(name) as file:
        if extension == ".parquet":
            for number, content in enumerate(parquet.rows(file, name), start=1):
                yield _bounded(content, f"row {number} of {short}")
        else:
            yield from (_of_csv if extension == ".csv" else _of_jsonl)(file, short)


def check(name: str) -> None:
    """Raises ValueError for a table with a column that is no setting, or without pictures."""
    extension = Path(name).suffix.lower()
    if extension == ".jsonl":
        return
    with _opened(name) as file:
        names = parquet.columns(file, name) if extension == ".parquet" else next(_table(file, name), [])
    faults = list(unknown_names(column for column in names if column not in OWN))
    if "image" not in names:
        faults.insert(0, "there is no column image, for the paths of the pictures.")
    if faults:
        raise ValueError(f"{name}: {' '.join(faults)}")


def count(name: str) -> int:
    """Number of rows of a manifest."""
    with _opened(name) as file:
        if Path(name).suffix.lower() == ".parquet":
            return parquet.count(file, name)
        if Path(name).suffix.lower() == ".csv":
            return max(sum(1 for cells in _table(file, name) if any(cells)) - 1, 0)
        return sum(1 for line, _ in _lines(file) if line.strip())


def _opened(name: str) -> BinaryIO:
    return remote.opened(name) if is_address(name) else open(name, "rb")


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Lines, and whether each is whole; of one beyond MOST_BYTES there is only the beginning."""
    while line := file.readline(MOST_BYTES + 1):
        whole = len(line) <= MOST_BYTES
        rest = line
        while not whole and rest and not rest.endswith(b"\n"):
            rest = file.readline(MOST_BYTES)
        yield line, whole


def _of_jsonl(file: BinaryIO, short: str) -> Iterator[Row]:
    for number, (line, whole) in enumerate(_lines(file), start=1):
        name = f"line {number} of {short}"
        if not whole:
            yield _too_long(name)
        elif line.strip():
            try:
                content = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except (ValueError, RecursionError) as error:
                yield Row(name, fault=f"{name} is no JSON ({error}); write an object with an image.")
            else:
                yield row_of(content, name)


def _text(file: BinaryIO) -> Iterator[str]:
    """Lines of a table; raises ValueError for one that is no text, and for one that is too long."""
    for line, whole in _lines(file):
        if not whole:
            raise ValueError(f"a line of the table has over {MOST_BYTES:,} bytes; split it, or mend a quote.")
        try:
            yield line.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"the table is no text in UTF-8 ({error.reason}); save it so.") from error


def _table(file: BinaryIO, name: str) -> Iterator[list[str]]:
    """Cells of each line of a table; raises ValueError for what is none."""
    reader = csv.reader(_text(file))  # which itself refuses a cell of over 128 kB, an open quote's
    try:
        yield from reader
    except csv.Error as error:
        raise ValueError(f"{name} is no table, at line {reader.line_num}: {error}.") from error


def _of_csv(file: BinaryIO, short: str) -> Iterator[Row]:
    table = _table(file, short)
    names = next(table, [])
    for number, cells in enumerate(table, start=1):
        name = f"row {number} of {short}"
        if len(cells) > len(names):
            yield Row(name, fault=f"{name} has {len(cells)} cells, and the head {len(names)}; mend it.")
        elif any(cells):
            yield _of_cells(dict(zip(names, cells, strict=False)), name)


def _of_cells(cells: dict[str, str], name: str) -> Row:
    content = {}
    for key, text in cells.items():
        if not text.strip():
            continue
        try:
            content[key] = value_of(FIELDS[key], text.strip()) if key in FIELDS else text
        except ValueError as error:
            return Row(name, fault=f"{name}: {error}")
    return _bounded(content, name)


def _bounded(content: dict, name: str) -> Row:
    row = row_of(content, name)
    return row if len(row.text) <= MOST_BYTES else _too_long(name)


def _too_long(name: str) -> Row:
    return Row(name, fault=f"{name} has over {MOST_BYTES:,} bytes; no row has as many.")
