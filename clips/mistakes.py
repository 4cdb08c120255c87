"""All that is wrong with what was asked, so that it is said at once."""

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
        """One more, or several, unless they have been said."""
        for text in mistake.found if isinstance(mistake, MistakesError) else (str(mistake),):
            if text not in self._found:
                self._found.append(text)

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
        """Raises MistakesError where there are some."""
        if self._found:
            raise MistakesError(self._found)


def did_you_mean(word: object, accepted: Iterable[str]) -> str:
    """Asks, after a semicolon, whether something accepted was meant, where it is much like the word."""
    close = difflib.get_close_matches(word, list(accepted), n=1, cutoff=0.7) if isinstance(word, str) else ()
    return f"; did you mean {close[0]}?" if close else ""
