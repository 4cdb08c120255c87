"""Options of the command line: names, values and words."""

import argparse
import contextlib
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..clips.choices_over_time import PINNED
from ..clips.fields import Field, Flag
from ..clips.mistakes import Mistakes, did_you_mean
from ..clips.settings import FIELDS
from .engine.devices import DEVICES, DTYPES, LINEAR_DTYPES
from .options_of_batch import add_batch
from .options_of_files import add_files, add_parts
from .options_of_serve import add_serve
from .pipeline import DECODE_DTYPES
from .values import EMPTY, FORMS, clip_size, file_name, gpus, one_of, size

ALONE = {"--loop": PINNED}
"""Values of options that may stand without one."""

_OPTION = re.compile(r"--|-[A-Za-z]$")  # not a number, nor a file whose name begins with a minus
_NOT_GIVEN = "expected one"  # how argparse begins to say that a value is missing


def parse(arguments: Sequence[str] | None, version: str, mistakes: Mistakes) -> argparse.Namespace:
    """Options and name of a command; words with mistakes are reported there and left out.

    Raises ValueError for an unknown command, SystemExit after --help and --version.
    """
    words = [os.fspath(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    commands = parsers(version)
    _check_command(words, commands)
    command, parser = words[0], commands[words.pop(0)]
    values = _values_of_options(parser)
    words = _with_usual_values(_without_unknown(words, values, mistakes))
    while True:
        try:
            options, unknown = parser.parse_known_intermixed_args(words)
        except argparse.ArgumentError as error:
            mistakes.add(_in_words(error))
            left = _without(words, error.argument_name, values)
            if left == words:
                mistakes.raise_any()
            words = left
        else:
            for word in unknown:
                mistakes.add(f"{word} is not understood; {command} --help lists what is.")
            options.command = command
            _drop_empty_names(options, mistakes)
            return options


def _drop_empty_names(options: argparse.Namespace, mistakes: Mistakes) -> None:
    """Drops empty names of pictures and files: an empty path is the current folder."""
    for name in ("file", "source"):
        if getattr(options, name, None) == "":
            mistakes.add(f"{name.upper()}: {EMPTY}")
    if "" in getattr(options, "images", ()):
        mistakes.add(f"IMAGE: {EMPTY}")
        options.images = [name for name in options.images if name]


def _values_of_options(parser: argparse.ArgumentParser) -> dict[str, int]:
    """Number of values of each option."""
    return {
        name: 1 if action.nargs is None else action.nargs
        for action in parser._actions  # argparse has no other way to ask
        for name in action.option_strings
    }


def _check_command(words: Sequence[str], parsers: dict[str, argparse.ArgumentParser]) -> None:
    if words and words[0] in parsers and words[0]:
        return
    accepted = [name for name in parsers if name]
    if words and words[0].startswith("-"):
        with contextlib.suppress(argparse.ArgumentError):
            parsers[""].parse_args(words[:1])  # ends the program after --help and --version
    if not words:
        raise ValueError(f"no command is given; accepted are {', '.join(accepted)}, and --help.")
    if words[0].startswith("-"):
        raise ValueError(
            f"{words[0]} stands before a command; accepted are {', '.join(accepted)}, and --help."
        )
    if os.path.exists(words[0]):
        raise ValueError(f"{words[0]} is no command; to animate it: animate {words[0]}")
    meant = did_you_mean(words[0], accepted)
    raise ValueError(f"{words[0]} is no command; accepted are {', '.join(accepted)}, and --help{meant}")


def _without_unknown(words: Sequence[str], names: Iterable[str], mistakes: Mistakes) -> list[str]:
    """The words without unknown options and their values."""
    kept, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*kept, word, *rest]
        name, equals, _ = word.partition("=")
        if not _OPTION.match(name) or name in names:
            kept.append(word)
            continue
        mistakes.add(f"{name} is no option{did_you_mean(name, names) or '; --help lists them.'}")
        if rest and not equals and not rest[0].startswith("-") and not os.path.exists(rest[0]):
            rest.pop(0)  # or the value would pass for a picture
    return kept


def _with_usual_values(words: Sequence[str]) -> list[str]:
    """The words with a value for each option that stands alone; a picture behind it is none."""
    return [
        f"{word}={ALONE[word]}" if word in ALONE and not _accepts(word, successor) else word
        for word, successor in itertools.zip_longest(words, words[1:])
    ]


def _accepts(option: str, word: str | None) -> bool:
    """Whether a word, which follows the option of a choice, is one of its names, or a slip of one."""
    (names,) = (field.kind.names for field in FIELDS.values() if _option_of(field) == option)
    return word in names or (bool(did_you_mean(word, names)) and not os.path.lexists(word))


def _without(words: Sequence[str], option: str | None, values: dict[str, int]) -> list[str]:
    """The words without one option and its values."""
    kept, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        if name != option:
            kept.append(word)
            continue
        for _ in range(0 if equals else values[name]):
            if rest and not rest[0].startswith("--"):
                rest.pop(0)
    return kept


def _in_words(error: argparse.ArgumentError) -> str:
    if error.argument_name is None:
        return error.message
    hint = ""
    if error.message.startswith(_NOT_GIVEN):
        hint = f"; one that begins with a minus is given with =, as in {error.argument_name}=-10"
    return f"{error.argument_name}: {error.message}{hint}"


class _Parser(argparse.ArgumentParser):
    """Parser that raises instead of exiting, so that all other mistakes are found."""

    def __init__(self, **options):
        super().__init__(exit_on_error=False, allow_abbrev=False, **options)

    def error(self, message: str):
        """Raises ArgumentError."""
        raise argparse.ArgumentError(None, message)


def parsers(version: str) -> dict[str, argparse.ArgumentParser]:
    """Parsers by command; under "" the parser of all commands, for --help and --version."""
    program = "stillmotion" if Path(sys.argv[0]).stem == "stillmotion" else "python -m stillmotion"
    parser = _Parser(prog=program, description="Animate a still image with Stable Video Diffusion.")
    parser.add_argument("--version", action="version", version=f"Stillmotion {version}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def of_clips(name: str, add_own: Callable, **words: str) -> tuple:
        """The parser of a command that makes clips, and its group of the machine's options."""
        command = commands.add_parser(name, argument_default=argparse.SUPPRESS, **words)
        add_own(command)
        _add_settings(command)
        machine = command.add_argument_group("machine")
        _add_machine_options(machine)
        return command, machine

    animate, machine = of_clips(
        "animate",
        add_files,
        help="make a clip of a picture",
        description="Make a clip of a picture. What is not given follows the checkpoint.",
    )
    machine.add_argument(
        "--gpus",
        type=gpus,
        default=None,
        metavar="N",
        help="make each clip on N GPUs: guidance's estimates on one each, or on several each where N is a "
        "multiple of them, and decoding on all (default 1)",
    )

    batch, _ = of_clips(
        "batch",
        add_batch,
        help="make clips of many pictures, and go on where a run ended",
        description="Make clips of many pictures, each once, and go on where an earlier run ended.",
    )
    serve, _ = of_clips(
        "serve",
        add_serve,
        help="make clips of pictures that come by HTTP",
        description="Make clips of pictures that come by HTTP, and keep them in a store.",
    )

    inspect = commands.add_parser("inspect", help="say what a checkpoint file is, without loading it")
    _add_inspect_options(inspect)
    return {"": parser, "animate": animate, "batch": batch, "serve": serve, "inspect": inspect}


def _add_inspect_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", metavar="FILE", help="a checkpoint: a file, or a folder in diffusers' layout")
    add_parts(parser)
    add(
        "--for",
        dest="clip",
        type=clip_size,
        default=None,
        metavar="WxHxT",
        help="say what memory a clip needs, such as 1024x576x25, and how it runs in little and in much",
    )
    devices = one_of(DEVICES)
    add("--device", type=devices, default=None, help="to say it for; need not be in this machine")
    _add_dtypes(add)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """An option for each row of the settings, under the heading of its group."""
    groups = dict.fromkeys(field.group for field in FIELDS.values())
    groups = {name: parser.add_argument_group(name) for name in groups}
    for field in FIELDS.values():
        groups[field.group].add_argument(
            _option_of(field), dest=field.name, help=_help_of(field), **FORMS[type(field.kind)]
        )


def _option_of(field: Field) -> str:
    """Name of a setting on the command line."""
    return field.option or f"--{field.name.replace('_', '-')}"


def _help_of(field: Field) -> str:
    """The words of a row, its accepted values and its default."""
    if isinstance(field.kind, Flag):
        return field.words
    default = f" (default {field.shown_default})" if field.shown_default else ""
    return f"{field.words}: {field.kind.accepted}{default}"


def _add_machine_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    devices = ", ".join(DEVICES)
    add("--device", type=file_name, default=None, help=f"{devices} (default: cuda, then mps, then cpu)")
    _add_dtypes(add)
    add("--compile", action="store_true", default=False, help="compile the UNet: slow at first, then faster")
    add(
        "--linear-dtype",
        type=one_of(LINEAR_DTYPES),
        default=None,
        metavar="DTYPE",
        help=f"of the UNet's linear layers: {', '.join(LINEAR_DTYPES)}, on GPUs that have it; another clip",
    )
    add(
        "--memory-budget",
        type=size,
        default=None,
        metavar="SIZE",
        help="for the whole run, such as 6GB (default: what is free); the clip is the same",
    )
    add(
        "--scratch",
        type=file_name,
        default=None,
        metavar="FOLDER",
        help="on a disk, for what decoding has no memory for (default: the system's temporary folder)",
    )


def _add_dtypes(add: Callable) -> None:
    add(
        "--dtype",
        type=one_of(DTYPES),
        default=None,
        help=f"{', '.join(DTYPES)} (default float32 on the CPU, else float16)",
    )
    add(
        "--decode-dtype",
        type=one_of(DECODE_DTYPES),
        default="float32",
        metavar="DTYPE",
        help=f"of decoding: {', '.join(DECODE_DTYPES)} (default float32, as in the reference)",
    )
