"""JSON files beside weights, and of users: bounded, and refused in words."""

import json
from pathlib import Path
from typing import TypeVar

from .sources import CheckpointError

Content = TypeVar("Content", dict, list)


def read_json(path: Path, kind: type[Content], largest: int, remedy: str) -> Content:
    """The object (dict) or list in a file of at most `largest` bytes; raises CheckpointError for any other.

    remedy: what to do, a clause at the end of the message.
    """
    if not path.is_file():  # nor a pipe, which would be waited for
        raise CheckpointError(f"{path} is no file; {remedy}.")
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8") if size <= largest else None
        content = None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no JSON; {remedy}.") from error
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}; {remedy}.") from error
    if text is None:
        raise CheckpointError(f"{path} has {size:,} bytes, more than {largest:,}; {remedy}.")
    if not isinstance(content, kind):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; {remedy}.")
    return content
