"""Options of the command `batch`: what it reads, where clips go, and how the work is shared."""

import argparse
import math
import re

from .batch.manifests import EXTENSIONS as MANIFESTS
from .batch.outcomes import ASIDE
from .files.formats import ENCODINGS
from .options_of_files import add_checkpoint
from .values import file_name, number, one_of, whole

AGAIN = {state.partition(" ")[0]: state for state in ASIDE}
"""Names of states on the command line."""

FORMATS = tuple(extension.removeprefix(".") for extension in ENCODINGS)
MOST_WORKERS, MOST_SHARDS, MOST_ATTEMPTS = 1_000, 1_000_000, 100
ENGINES = ("local", "ray")

_UNITS = {"s": 1, "m": 60, "h": 3600}


def shard(text: str) -> tuple[int, int]:
    """A shard I/N: the number, from 0 on, and how many there are."""
    match = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text.strip())
    if match is None or not int(match[1]) < int(match[2]) <= MOST_SHARDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no shard I/N with I from 0 to N − 1, and N at most {MOST_SHARDS:,}, such as 0/8"
        )
    return int(match[1]), int(match[2])


def duration(text: str) -> float:
    """Seconds of a duration such as 90s, 30m or 2h."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip().lower())
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else 0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s, 30m or 2h")
    return seconds


def workers(text: str) -> tuple[int, int]:
    """The least and the most of N or MIN:MAX workers."""
    match = re.fullmatch(r"(\d{1,4})(?::(\d{1,4}))?", text.strip())
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= least <= most <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of workers N, nor MIN:MAX, from 1 to {MOST_WORKERS:,}"
        )
    return least, most


def share_of_gpu(text: str) -> float:
    """A GPU, or the part of one."""
    share = number(text)
    if not 0.01 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0.01 to 1; a clip is made on one GPU")
    return share


def between(lowest: int, highest: int):
    """The conversion to a whole number in a range."""

    def convert(text: str) -> int:
        number = whole(text)
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not from {lowest:,} to {highest:,}")
        return number

    return convert


def add_batch(parser: argparse.ArgumentParser) -> None:
    """What a batch reads and writes, and how its work is shared."""
    _add_files(parser)
    sharing = parser.add_argument_group("sharing the work")
    _add_sharing(sharing)
    _add_tries(sharing)
    _add_views(parser.add_argument_group("looking"))


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "source",
        nargs="?",
        default=None,
        metavar="SOURCE",
        help=f"a picture, a folder, a glob, or rows in {', '.join(MANIFESTS)}; an address such as s3://… too",
    )
    add(
        "--out",
        type=file_name,
        default=None,
        metavar="OUT",
        help="the folder or address of clips and records",
    )
    add(
        "--format",
        type=one_of(FORMATS),
        default=FORMATS[0],
        metavar="NAME",
        help=f"{', '.join(FORMATS)} (default {FORMATS[0]})",
    )
    add(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="a clip of each row for every value, as in seed=0:8 or motion_bucket_id=60,127; may be repeated",
    )
    add(
        "--pictures",
        type=file_name,
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder or address in which a manifest may name pictures, beside its own",
    )
    add_checkpoint(parser)
    add("--no-metadata", action="store_true", default=False, help="keep the settings out of the files")


def _add_sharing(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--shard",
        type=shard,
        default=(0, 1),
        metavar="I/N",
        help="do one part of N, I from 0 on: on other machines do the others (default: all)",
    )
    add(
        "--workers",
        type=workers,
        default=None,
        metavar="N",
        help="processes, each with a GPU of its own where there are several (default: this one alone); with "
        "--engine ray also MIN:MAX (default: one a GPU)",
    )
    add(
        "--engine",
        type=one_of(ENGINES),
        default=ENGINES[0],
        metavar="NAME",
        help="local, or ray: workers on all machines of a Ray cluster (default local)",
    )
    add(
        "--gpus-per-worker",
        type=share_of_gpu,
        default=None,
        metavar="X",
        help="with --engine ray: a part of a GPU, so that several share its memory (default 1)",
    )


def _add_tries(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--attempts",
        type=between(1, MOST_ATTEMPTS),
        default=3,
        metavar="N",
        help="after so many that ended their process a row is set aside (default 3)",
    )
    add(
        "--timeout",
        type=duration,
        default=None,
        metavar="TIME",
        help="for a clip, such as 90s, 30m or 2h (default: none)",
    )
    add(
        "--again",
        type=one_of((*AGAIN, "all")),
        action="append",
        default=[],
        metavar="STATE",
        help=f"try rows that are set aside once more: {', '.join(AGAIN)}, all; may be repeated",
    )
    add(
        "--verify",
        action="store_true",
        default=False,
        help="don't trust the record: read every picture, and make what has no clip",
    )


def _add_views(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--dry-run", action="store_true", default=False, help="check all rows and say what is to do")
    add("--status", action="store_true", default=False, help="say what --out has; needs no SOURCE")
    add("--index", action="store_true", default=False, help="write a page of the clips, OUT/index.html")
    add(
        "--metrics-port",
        type=between(1, 65535),
        default=None,
        metavar="PORT",
        help="serve numbers for Prometheus at 127.0.0.1:PORT/metrics",
    )
