"""Rows of Parquet files, by pyarrow, where it is installed."""

from collections.abc import Iterator
from typing import BinaryIO

_ROWS_AT_ONCE = 1024


def _opened(file: BinaryIO, name: str):
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise ValueError(
            f"{name} is a Parquet file, for which the package pyarrow is missing: pip install pyarrow, or "
            "give a .jsonl or a .csv."
        ) from error
    try:
        return parquet.ParquetFile(file)
    except ArrowException as error:
        raise ValueError(f"{name} is no Parquet file, or is cut short ({error}); write it anew.") from error


def columns(file: BinaryIO, name: str) -> list[str]:
    """Names of the columns."""
    return _opened(file, name).schema_arrow.names


def count(file: BinaryIO, name: str) -> int:
    """Number of rows, by the file's own footer."""
    return _opened(file, name).metadata.num_rows


def rows(file: BinaryIO, name: str) -> Iterator[dict]:
    """Yields each row as a dict."""
    for batch in _opened(file, name).iter_batches(_ROWS_AT_ONCE):
        yield from batch.to_pylist()
