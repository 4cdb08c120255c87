"""The set of digests, against Python's own set."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.headless.batch.digests import Digests

# Numbers with zeros at either end, many of which begin alike, and which others contain at an odd place.
SMALL = st.integers(0, 40).map(lambda number: f"{number << (8 * (number % 13)):032x}".ljust(64, "0"))


@settings(max_examples=60, deadline=None)
@given(st.lists(SMALL, max_size=80))
def test_it_holds_what_was_added_and_nothing_else(added):
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


def test_the_end_of_one_and_the_begin_of_the_next_are_none():
    first, second = "0000" + "11" * 7 + "22" * 7, "0000" + "33" * 7 + "44" * 7
    found = Digests()
    found.add(first)
    found.add(second)
    across = "0000" + "22" * 7 + "33" * 7
    assert across not in found
    found.add(across)
    assert all(digest in found for digest in (first, second, across)) and len(found) == 3


def test_of_many_all_are_found():
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(100_000)]
    found = Digests()
    for digest in digests[::2]:
        found.add(digest)
    assert [digest in found for digest in digests] == [True, False] * 50_000
