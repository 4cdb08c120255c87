"""What an error must say: facts, in whatever sentence."""

import contextlib
from collections.abc import Iterator

import pytest

from stillmotion.svd_model.checkpoint import CheckpointError


@contextlib.contextmanager
def refusal(*facts: object, error: type[Exception] = CheckpointError) -> Iterator[pytest.ExceptionInfo]:
    """Expects an error whose message holds each fact: the input's name, what came, what is accepted."""
    with pytest.raises(error) as raised:
        yield raised
    message = str(raised.value)
    absent = [str(fact) for fact in facts if str(fact) not in message]
    assert not absent, f"{absent} not in: {message}"
