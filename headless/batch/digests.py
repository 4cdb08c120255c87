"""A set of digests in 16 bytes each, since a million rows are looked up while clips are made."""

import numpy as np

_BYTES, _RECENT = 16, 65_536
_KIND = np.dtype(f"S{_BYTES}")  # NumPy drops zeros at the end, alike in all digests


class Digests:
    """Digests of base 16, of which the first 32 digits count."""

    def __init__(self):
        self._recent: set[bytes] = set()
        self._sorted: list[np.ndarray] = []  # each at least twice as long as its successor

    def __contains__(self, digest: str) -> bool:
        value = bytes.fromhex(digest[: 2 * _BYTES])
        return value in self._recent or any(_has(run, value) for run in self._sorted)

    def __len__(self) -> int:
        return len(self._recent) + sum(map(len, self._sorted))

    def add(self, digest: str) -> None:
        """Adds a digest that is not in the set."""
        self._recent.add(bytes.fromhex(digest[: 2 * _BYTES]))
        if len(self._recent) < _RECENT:
            return
        run = np.sort(np.frombuffer(b"".join(self._recent), _KIND))
        self._recent.clear()
        while self._sorted and len(self._sorted[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._sorted.pop(), run]))
        self._sorted.append(run)


def _has(run: np.ndarray, value: bytes) -> bool:
    index = np.searchsorted(run, np.frombuffer(value, _KIND)[0])
    return index < len(run) and run[index] == value.rstrip(b"\0")
