"""The command line: `python -m stillmotion animate` and `python -m stillmotion inspect`."""

import argparse
import os
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from ..samplers.guidance import SHAPES
from ..samplers.solvers import CHURNING, SOLVERS
from ..svd_model.checkpoint import Checkpoint
from ..svd_model.layerwise import is_out_of_memory
from .animate import animate, version
from .devices import DEVICES, DTYPES
from .images import FITS
from .memory import REMEDIES, parse_size
from .pipeline import DECODE_DTYPES, LINEAR_DTYPES
from .report import describe
from .settings import SCHEDULES
from .video_files import EXTENSIONS

OK, NOT_WHOLE, REFUSED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status; a mistake of the user's is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not so where the caller closed it, or catches what is written
            stream.reconfigure(errors="replace")  # a console without × or … is no reason to fail
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        _say("stopped; no half-written file is left.")
        return INTERRUPTED
    except (ValueError, OSError) as error:
        _say(f"error: {error}")
        return REFUSED
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _say(f"error: there is not enough memory for this. {REMEDIES}")
        return REFUSED


def _animate(options: argparse.Namespace) -> int:
    for path in animate(options, _say):
        _print(str(path))
    return OK


def _inspect(options: argparse.Namespace) -> int:
    checkpoint = Checkpoint.open(options.file)
    _print(describe(checkpoint))
    return OK if checkpoint.complete else NOT_WHOLE


def _print(text: str) -> None:
    """The command's result, to whoever listens: that nobody does must not stop the work."""
    try:
        print(text, flush=True)  # noqa: T201 (the command line talks to its user)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    """A notice or an error, on standard error where there is one."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 (the command line talks to its user)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stillmotion", description="Animate a still image with Stable Video Diffusion."
    )
    parser.add_argument("--version", action="version", version=f"Stillmotion {version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    animate_parser = commands.add_parser(
        "animate",
        help="make a clip of a picture",
        description="Make a clip of a picture. What is not given follows the checkpoint.",
        argument_default=argparse.SUPPRESS,
    )
    animate_parser.set_defaults(command=_animate)
    _add_files(animate_parser)
    _add_clip_options(animate_parser.add_argument_group("the clip"))
    _add_sampling_options(animate_parser.add_argument_group("sampling"))
    _add_orbit_options(animate_parser.add_argument_group("orbits (sv3d_u, sv3d_p)"))
    _add_machine_options(animate_parser.add_argument_group("machine"))

    inspect_parser = commands.add_parser("inspect", help="say what a checkpoint file is, without loading it")
    inspect_parser.add_argument("file", type=Path, metavar="FILE", help="a .safetensors checkpoint")
    inspect_parser.set_defaults(command=_inspect)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("image", nargs="?", type=Path, default=None, metavar="IMAGE", help="the picture to animate")
    add(
        "--output",
        action="append",
        default=[],
        metavar="OUT",
        help=f"where to write: {', '.join(EXTENSIONS)}, or a folder of PNG frames; may be repeated",
    )
    add(
        "--checkpoint", type=Path, default=None, metavar="FILE", help="an SVD file; without: a built-in model"
    )
    add("--no-metadata", action="store_true", default=False, help="keep the settings out of the files")
    add("--save-latents", type=Path, default=None, metavar="FILE", help="write the latents (.safetensors)")
    add(
        "--decode-latents",
        type=Path,
        default=None,
        metavar="FILE",
        help="decode latents from --save-latents instead of animating a picture",
    )


def _add_clip_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--frames", dest="num_frames", type=int, metavar="N", help="number of frames (svd 14, svd_xt 25)")
    add("--width", type=int, metavar="PIXELS", help="a multiple of 64")
    add("--height", type=int, metavar="PIXELS", help="a multiple of 64")
    add(
        "--fit",
        metavar="HOW",
        help=f"how the picture is fitted: {', '.join(FITS)} (default crop)",
    )
    add(
        "--fps",
        type=_rate,
        metavar="X",
        help="frames a second, told to the model and written to the file (default 6)",
    )
    add("--motion-bucket-id", type=int, metavar="N", help="how much motion, 0 to 1023 (default 127)")
    add("--noise-aug", type=float, metavar="X", help="noise added to the picture (default 0.02; SV3D 1e-5)")
    add("--seed", type=int, metavar="N", help="the same seed gives the same clip (default 0)")
    add(
        "--frame-wise-decode", action="store_true", help="decode each frame on its own, with an image decoder"
    )


def _add_sampling_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--steps", type=int, metavar="N", help="number of steps (svd 25, svd_xt 30, SV3D 50)")
    add("--sampler", metavar="NAME", help=f"{', '.join(SOLVERS)} (default euler)")
    add("--churn", type=float, metavar="X", help=f"noise added during sampling, for {' and '.join(CHURNING)}")
    add(
        "--schedule",
        type=_name_or_numbers,
        metavar="NAME",
        help=f"{', '.join(SCHEDULES)} (default karras), or the sigmas themselves: 700,50,5,0.5",
    )
    add("--sigma-min", type=float, metavar="X", help="the lowest noise level (default 0.002)")
    add("--sigma-max", type=float, metavar="X", help="the highest noise level (default 700)")
    add("--rho", type=float, metavar="X", help="the bend of the karras schedule (default 7)")
    add(
        "--guidance",
        type=_name_or_numbers,
        metavar="SHAPE",
        help=f"{', '.join(SHAPES)} over the frames (constant: the max), one scale, or one for each: 1,1.5,2",
    )
    add("--min-guidance", type=float, metavar="X", help="the guidance scale where the shape is lowest")
    add("--max-guidance", type=float, metavar="X", help="the guidance scale where the shape is highest")
    add(
        "--guidance-interval",
        type=float,
        nargs=2,
        action=_Pair,
        metavar=("LOW", "HIGH"),
        help="guide only at noise levels from LOW to HIGH, which saves time elsewhere",
    )
    add(
        "--feature-cache",
        type=int,
        metavar="N",
        help="compute the deep layers only every N evaluations: faster, another clip (default 1: always)",
    )


def _add_orbit_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--orbit",
        action="store_true",
        default=False,
        help="insist on an SV3D file, which circles the object; needs no other option",
    )
    add(
        "--elevation",
        type=_numbers,
        metavar="DEG",
        help="of the camera, one or one for each frame: --elevation=-10 (sv3d_p)",
    )
    add("--azimuths", type=_many_numbers, metavar="DEG,…", help="of the camera, one for each frame (sv3d_p)")


def _add_machine_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--device", default=None, help=f"{', '.join(DEVICES)} (default: cuda, then mps, then cpu)")
    add("--dtype", default=None, help=f"{', '.join(DTYPES)} (default float32 on the CPU, else float16)")
    add(
        "--decode-dtype",
        default="float32",
        metavar="DTYPE",
        help=f"of decoding: {', '.join(DECODE_DTYPES)} (default float32, as in the reference)",
    )
    add("--compile", action="store_true", default=False, help="compile the UNet: slow at first, then faster")
    add(
        "--linear-dtype",
        default=None,
        metavar="DTYPE",
        help=f"of the UNet's linear layers: {', '.join(LINEAR_DTYPES)}, on GPUs that have it; another clip",
    )
    add(
        "--memory-budget",
        type=_size,
        default=None,
        metavar="SIZE",
        help="for encoding and decoding, such as 6GB (default: what is free); the clip is the same",
    )
    add(
        "--scratch",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="on a disk, for what decoding has no memory for (default: the system's temporary folder)",
    )


class _Pair(argparse.Action):
    """Stores two numbers as a tuple, as the settings have it."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, tuple(values))


def _rate(text: str) -> float | Fraction:
    try:
        return Fraction(text) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is no rate such as 6, 23.976 or 24000/1001") from None


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _many_numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 10,20,30") from None


def _numbers(text: str) -> float | tuple[float, ...]:
    numbers = _many_numbers(text)
    return numbers if len(numbers) > 1 else numbers[0]


def _name_or_numbers(text: str) -> str | tuple[float, ...]:
    try:
        return _many_numbers(text)
    except argparse.ArgumentTypeError:
        return text
