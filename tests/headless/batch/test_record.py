"""Reading a record, in which others may have left what is none."""

import json

import pytest

from stillmotion.headless.batch.outcomes import DONE, REFUSED
from stillmotion.headless.batch.record import Past, lines
from stillmotion.headless.batch.stores import FolderStore

DIGEST = "0a" * 32


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "[1]",
        json.dumps({"state": DONE}),
        json.dumps({"digest": "0a", "state": DONE}),
        json.dumps({"digest": "0a " + "0a" * 30 + " ", "state": DONE}),
        json.dumps({"digest": DIGEST.upper(), "state": DONE}),
        json.dumps({"digest": "0x" + "a0" * 31, "state": DONE}),
        json.dumps({"digest": 7, "state": DONE}),
        json.dumps({"digest": DIGEST, "state": "else"}),
        json.dumps({"digest": DIGEST, "state": [DONE]}),
    ],
)
def test_a_line_that_is_no_record_is_passed_over(tmp_path, line):
    store, known = FolderStore(tmp_path), {"digest": "b0" * 32, "state": REFUSED}
    store.put("done/00000-of-00001/a-0.jsonl", f"{line}\n{json.dumps(known)}\n".encode())
    assert list(lines(store)) == [known]
    past = Past(store, (0, 1))
    assert past.state_of("b0" * 32) == REFUSED and past.state_of(DIGEST) is None
