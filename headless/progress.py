"""Progress bars for the stages of a run."""

import sys

from tqdm import tqdm


class ProgressBars:
    """One bar a stage, on standard error; none if it is not a terminal or nothing is to be shown."""

    def __init__(self, shown: bool = True):
        self._shown = shown
        self._stage = None
        self._bar = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Shows `done` of `total` units of a stage."""
        if not self._shown or not hasattr(sys.stderr, "isatty") or not sys.stderr.isatty():
            return
        if stage != self._stage:
            self.close()
            self._stage = stage
            self._bar = tqdm(total=total, desc=stage, leave=True, dynamic_ncols=True)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Ends the bar of the current stage."""
        if self._bar is not None:
            self._bar.close()
        self._stage = self._bar = None
