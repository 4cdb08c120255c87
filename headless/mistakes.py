"""All that is wrong with what was asked, so that it is said at once."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class Mistakes:
    """Collects errors of the user's; the work begins only where there are none."""

    def __init__(self):
        self._found: list[str] = []

    def add(self, text: object) -> None:
        """One more, unless it has been said."""
        if str(text) not in self._found:
            self._found.append(str(text))

    @property
    def any(self) -> bool:
        """Whether there are some."""
        return bool(self._found)

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Within it, an error of the user's is collected, and what is left of the block is not done."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.add(error)

    def raise_any(self) -> None:
        """Raises ValueError with all of them, a line each where there are several."""
        if len(self._found) == 1:
            raise ValueError(self._found[0])
        if self._found:
            listed = "\n".join(f"  - {text}" for text in self._found)
            raise ValueError(f"{len(self._found)} mistakes:\n{listed}")


def did_you_mean(word: str, accepted: Iterable[str]) -> str:
    """ "; did you mean …?" where something accepted is much like the word, else nothing."""
    close = difflib.get_close_matches(word, list(accepted), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
