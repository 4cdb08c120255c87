"""A set of digests in 14 bytes each, since a million rows are looked up while clips are made."""

_DIGITS, _BUCKET_DIGITS = 32, 4
_BYTES = (_DIGITS - _BUCKET_DIGITS) // 2


class Digests:
    """Digests of base 16, of which the first 32 digits count.

    Those that begin with the same four digits have the rest of theirs one after the other in one bytes
    object: of a million 15 each, and a search in it costs no more than looking up one.
    """

    def __init__(self):
        self._buckets = [b""] * 16**_BUCKET_DIGITS

    def __contains__(self, digest: str) -> bool:
        bucket, rest = self._buckets[int(digest[:_BUCKET_DIGITS], 16)], _rest(digest)
        place = bucket.find(rest)
        while place % _BYTES and place >= 0:  # across two others
            place = bucket.find(rest, place + 1)
        return place >= 0

    def __len__(self) -> int:
        return sum(map(len, self._buckets)) // _BYTES

    def add(self, digest: str) -> None:
        """Adds a digest that is not in the set."""
        self._buckets[int(digest[:_BUCKET_DIGITS], 16)] += _rest(digest)


def _rest(digest: str) -> bytes:
    return bytes.fromhex(digest[_BUCKET_DIGITS:_DIGITS])
