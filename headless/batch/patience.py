"""Calls of stores and networks that fail now and then are tried again, after waits that double."""

import functools
import random
import time

TRIES, FIRST_WAIT = 3, 0.5

_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors that another try would meet again."""


def pause(first: float, attempt: int) -> None:
    """Waits so many seconds after a first attempt, and about twice as long after each later one."""
    time.sleep(first * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))


def patient(call):
    """Decorates a call: OSError is tried again, up to TRIES; every other error becomes one at once.

    The packages of protocols raise errors of many kinds; ValueError, which is in words already, stays.
    """

    @functools.wraps(call)
    def tried(*arguments):
        for attempt in range(1, TRIES + 1):
            try:
                return call(*arguments)
            except (ValueError, *_FINAL):
                raise
            except Exception as error:
                if not isinstance(error, OSError):
                    raise OSError(f"{type(error).__name__}: {error}") from error
                if attempt == TRIES:
                    raise
                pause(FIRST_WAIT, attempt)
        raise AssertionError  # not reached

    return tried
