"""Motions of a table that the page's script reads too: what is read, and what is refused with which words."""

import json
from pathlib import Path

import pytest

from stillmotion.clips.motion.tracks import parse

TABLE = json.loads((Path(__file__).parents[2] / "web" / "tables" / "motions.json").read_text())


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row.get("refused") or row.get("motion"))[:40])
def test_a_motion_is_read_or_refused_as_the_table_says(row):
    text = row["text"] if "text" in row else json.dumps(row["motion"])
    if "refused" not in row:
        parse(text)
        return
    with pytest.raises(ValueError) as error:
        parse(text)
    assert row["refused"] in str(error.value) and "\n" not in str(error.value)
