"""Options of the command `serve`: where it listens, who may ask, and what for."""

import argparse

from .options_of_batch import between, duration
from .options_of_files import add_checkpoint
from .serve.limits import Limits
from .values import file_name, number

HOST, PORT = "127.0.0.1", 8765
AUTO, MOST_WORKERS, MOST_QUEUE, MOST_OF_CLIENT = "auto", 64, 10_000, 10_000

_USUAL = Limits()


def workers(text: str) -> int | None:
    """A number of workers, None for one each GPU."""
    return None if text == AUTO else between(1, MOST_WORKERS)(text)


def port(text: str) -> int:
    """A port, 0 for any that is free."""
    return between(0, 65535)(text)


def multiple(text: str) -> float:
    """A positive number."""
    if not 0 < number(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return number(text)


def add_serve(parser: argparse.ArgumentParser) -> None:
    """What the service makes clips with, where it listens, and its limits."""
    parser.set_defaults(format="mp4")  # the one that all browsers play
    _add_files(parser)
    _add_service(parser.add_argument_group("service"))
    _add_limits(parser.add_argument_group("limits"))


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_checkpoint(parser)
    add(
        "--store",
        type=file_name,
        default=None,
        metavar="OUT",
        help="the folder or address of clips and queue, with which a restart goes on, as batch's --out; "
        "without: a temporary folder, gone at the end",
    )
    add("--no-metadata", action="store_true", default=False, help="keep the settings out of the files")


def _add_service(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--host",
        type=file_name,
        default=HOST,
        metavar="NAME",
        help=f"address to listen at; others than this machine's own need --token-file (default {HOST})",
    )
    add(
        "--port",
        type=port,
        default=PORT,
        metavar="N",
        help=f"port to listen at, 0 for any (default {PORT})",
    )
    add(
        "--token-file",
        type=file_name,
        default=None,
        metavar="FILE",
        help="a file of tokens, one a line, of which a request must name one",
    )
    add(
        "--workers",
        type=workers,
        default=None,
        metavar="N",
        help=f"clips at once, each on the next GPU (default {AUTO}: as many as there are GPUs)",
    )


def _add_limits(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--queue",
        type=between(1, MOST_QUEUE),
        default=_USUAL.queue,
        metavar="N",
        help=f"clips that wait; further requests get 503 (default {_USUAL.queue})",
    )
    add(
        "--clips-per-token",
        type=between(1, MOST_OF_CLIENT),
        default=_USUAL.clips_of_client,
        metavar="N",
        help=f"clips of a token that wait or are under way; further requests get 429 "
        f"(default {_USUAL.clips_of_client})",
    )
    add(
        "--timeout",
        type=duration,
        default=_USUAL.seconds,
        metavar="TIME",
        help=f"for a clip, such as 90s, 30m or 2h (default {_USUAL.seconds / 60:g}m)",
    )
    add(
        "--most-work",
        type=multiple,
        default=_USUAL.work,
        metavar="X",
        help="most frames × pixels × steps of a clip, as a multiple of the checkpoint's own "
        f"(default {_USUAL.work:g})",
    )
