"""The user's mistakes, collected, so that all of them are said at once."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence


class MistakesError(ValueError):
    """One mistake, or several with a line each."""

    def __init__(self, found: Sequence[str]):
        listed = "\n".join(f"  - {text}" for text in found)
        super().__init__(found[0] if len(found) == 1 else f"{len(found)} mistakes:\n{listed}")
        self.found = found


class Mistakes:
    """Collects errors of the user's; the work begins only where there are none."""

    def __init__(self):
        self._found: list[str] = []

    def add(self, mistake: str | Exception) -> None:
        """Adds a mistake, or all of a MistakesError, unless it is there already."""
        for text in mistake.found if isinstance(mistake, MistakesError) else (str(mistake),):
            if text not in self._found:
                self._found.append(text)

    @property
    def any(self) -> bool:
        """Whether there are mistakes."""
        return bool(self._found)

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """A block that ends at the first error of the user's, which is collected."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.add(error)

    def raise_any(self) -> None:
        """Raises MistakesError where there are mistakes."""
        if self._found:
            raise MistakesError(self._found)


def did_you_mean(word: object, accepted: Iterable[str]) -> str:
    """A question, after a semicolon, for the accepted word most like this one; empty where none is close."""
    close = difflib.get_close_matches(word, list(accepted), n=1, cutoff=0.7) if isinstance(word, str) else ()
    return f"; did you mean {close[0]}?" if close else ""
