"""Command line: `python -m stillmotion animate`, `batch`, `serve` and `inspect`."""

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Sequence
from typing import TextIO

from ..clips.mistakes import Mistakes
from ..clips.settings import FIELDS
from ..svd_model.layerwise import is_out_of_memory
from .commands import ranks as several
from .commands.animate import KEEP_LATENTS, animate, version
from .commands.batch import batch
from .commands.checkpoints import open_checkpoint, read_loras
from .commands.inspect import describe, describe_clip
from .commands.serve import serve
from .commands.statuses import CUT_SHORT, INTERRUPTED, NOT_WHOLE, OK, REFUSED
from .engine.memory import REMEDIES
from .engine.ranks import RankLostError, abandon
from .files.sources import STANDARD_INPUT
from .options import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status; prints all mistakes together on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a caller's stream may lack it
            with contextlib.suppress(OSError, ValueError):  # raised by a closed stream
                stream.reconfigure(errors="replace")  # for a console without × or …
    status = _run(sys.argv[1:] if arguments is None else list(map(os.fspath, arguments)))
    if status != OK:
        abandon(status)
    return status


def _run(words: Sequence[str]) -> int:
    mistakes = Mistakes()
    try:
        options = parse(words, version(), mistakes)
        if options.command == "animate" and several.are_to_start(options, mistakes):
            return several.run(words, options.gpus, _say)
        commands = {"animate": _animate, "batch": _batch, "serve": _serve, "inspect": _inspect}
        return commands[options.command](options, mistakes)
    except KeyboardInterrupt:
        _say("stopped; no half-written file is left.")
        return INTERRUPTED
    except RankLostError as error:
        _say(f"error: {error}")
        return CUT_SHORT
    except (ValueError, OSError) as error:
        _say(f"error: {error}")
        return REFUSED
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _say(f"error: there is not enough memory for this. {REMEDIES} {KEEP_LATENTS}")
        return REFUSED


def _animate(options: argparse.Namespace, mistakes: Mistakes) -> int:
    terminal = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
    alone, writes = several.count(options) == 1, several.is_first(options)
    ask = _ask if terminal and STANDARD_INPUT not in options.images and alone else None
    several.watch_parent()
    try:
        for path in animate(options, mistakes, _say if writes else _say_nothing, ask):
            _print(str(path))
    except ValueError as error:  # a row of a batch keeps the names of settings, which it has itself
        raise ValueError(_by_options(str(error))) from error
    return OK


def _batch(options: argparse.Namespace, mistakes: Mistakes) -> int:
    return batch(options, mistakes, _say, _print)


def _serve(options: argparse.Namespace, mistakes: Mistakes) -> int:
    return serve(options, mistakes, _say, _print)


def _inspect(options: argparse.Namespace, mistakes: Mistakes) -> int:
    mistakes.raise_any()
    checkpoint = open_checkpoint(options.file, options)
    loras = read_loras(checkpoint, options)
    reports = [describe(checkpoint), *(f"LoRA         {applied.lora.report}" for applied in loras)]
    if options.clip is not None and checkpoint.complete:
        reports.append(describe_clip(checkpoint, options))
    _print("\n".join(reports))
    return OK if checkpoint.complete else NOT_WHOLE


def _by_options(message: str) -> str:
    """A message in which settings have the names of their options, where these are others."""
    for field in FIELDS.values():
        if field.option:  # but not inside a file's name
            message = re.sub(rf"(?<![\w./\\-]){field.name}(?![\w./\\-])", field.option, message)
    return message


def _ask(question: str) -> bool:
    """Asks the user at a terminal; returns whether the answer is yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201 (it talks to its user)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _print(text: str) -> None:
    """Prints a result on standard output; a closed output must not stop the work."""
    try:
        print(text, flush=True)  # noqa: T201 (the command line talks to its user)
    except (OSError, ValueError) as error:
        _silence(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # a reader that has read enough
            reason = getattr(error, "strerror", None) or error
            _say(f"warning: standard output can't be written ({reason}).")


def _say(text: str) -> None:
    """Prints a notice or an error on standard error, if the process has one."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 (the command line talks to its user)
    except (OSError, ValueError):  # there is no stream left to report it on
        _silence(sys.stderr)


def _say_nothing(text: str) -> None:
    """Drops a notice, which the first of several ranks prints."""


def _silence(stream: TextIO) -> None:
    """Redirects a broken stream to the null device, since Python would fail on it again when it exits."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a caller's stream without a file
        number = stream.fileno()
        void = os.open(os.devnull, os.O_WRONLY)
        os.dup2(void, number)
        os.close(void)
