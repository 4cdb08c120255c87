"""A set of digests in 14 bytes each, since a million rows are looked up while clips are made."""

import re

_DIGEST = re.compile(r"[0-9a-f]{64}")
_BYTES = 14


def is_digest(value: object) -> bool:
    """Whether a value is a SHA-256 as all of ours are written: 64 digits of base 16, in small letters."""
    return isinstance(value, str) and bool(_DIGEST.fullmatch(value))


class Digests:
    """Digests, of which the first 16 bytes count: two choose a bucket, where the others follow each other.

    Of a million, a bucket has 15.
    """

    def __init__(self):
        self._buckets = [b""] * 2**16

    def __contains__(self, digest: str) -> bool:
        number, rest = _divided(digest)
        bucket = self._buckets[number]
        place = bucket.find(rest)
        while place % _BYTES and place >= 0:  # across two others
            place = bucket.find(rest, place + 1)
        return place >= 0

    def __len__(self) -> int:
        return sum(map(len, self._buckets)) // _BYTES

    def add(self, digest: str) -> None:
        """Adds a digest that is not in the set."""
        number, rest = _divided(digest)
        self._buckets[number] += rest


def _divided(digest: str) -> tuple[int, bytes]:
    """The number of a digest's bucket, and what stands there."""
    return int(digest[:4], 16), bytes.fromhex(digest[4 : 4 + 2 * _BYTES])
