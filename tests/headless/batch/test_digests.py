"""The set of digests, against Python's own set."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.headless.batch import digests
from stillmotion.headless.batch.digests import Digests

# Numbers with zeros at either end, which NumPy's texts of bytes treat in their own way.
SMALL = st.integers(0, 40).map(lambda number: f"{number << (8 * (number % 13)):032x}".ljust(64, "0"))


@settings(max_examples=60, deadline=None)
@given(st.lists(SMALL, max_size=80))
def test_it_holds_what_was_added_and_nothing_else(added):
    digests._RECENT, recent = 4, digests._RECENT
    try:
        found, expected = Digests(), set()
        for digest in added:
            assert (digest in found) == (digest in expected)
            if digest not in expected:
                found.add(digest)
                expected.add(digest)
        assert len(found) == len(expected)
        for number in range(41):
            digest = f"{number << (8 * (number % 13)):032x}".ljust(64, "0")
            assert (digest in found) == (digest in expected)
    finally:
        digests._RECENT = recent


def test_runs_stay_few():
    found = Digests()
    for number in range(3 * 65_536):
        found.add(hashlib.sha256(str(number).encode()).hexdigest())
    assert len(found) == 3 * 65_536 and len(found._sorted) <= 2
    assert hashlib.sha256(b"100000").hexdigest() in found and "0" * 64 not in found
