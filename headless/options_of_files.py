"""Options of the command line that name files: pictures, checkpoints, motions, outputs."""

import argparse

from ..clips.motion.moves import MOVES
from ..svd_model.checkpoint import PARTS
from .files.formats import EXTENSIONS
from .jobs import NAME
from .values import file_name, keyframe, lora, reference


def _add_control(parser: argparse.ArgumentParser) -> None:
    """The file of a ControlNet, and its pictures."""
    add = parser.add_argument
    name = {"type": file_name, "default": None}
    add(
        "--control",
        metavar="FILE",
        help="a temporal ControlNet, such as temporal-controlnet-depth-svd-v1: its file or folder",
        **name,
    )
    add(
        "--control-frames",
        metavar="FRAMES",
        help="for it: a video or a folder of pictures, one for each frame, or a single picture for all",
        **name,
    )


def _add_motion(parser: argparse.ArgumentParser) -> None:
    """Files that say what moves where, and what stays still."""
    add = parser.add_argument
    name = {"type": file_name, "default": None}
    add(
        "--motion",
        metavar="MOTION",
        help="what moves where: a .json file of drags, regions and the camera, or a move of the camera: "
        f"{', '.join(MOVES)}",
        **name,
    )
    add(
        "--motion-video",
        metavar="FRAMES",
        help="a coarse video to follow, in place of a drawn motion: a video or a folder, one picture for "
        "each frame; the clip begins with its first one",
        **name,
    )
    add(
        "--motion-mask",
        metavar="FRAMES",
        help="for it: where it is followed, white; one picture for each frame, or a single one for all",
        **name,
    )
    add(
        "--freeze",
        metavar="MASK",
        help="what stays as the picture has it, white; of the picture's size, or the clip's",
        **name,
    )
    add(
        "--nearness",
        metavar="PICTURE",
        help="how near the picture's parts are to a camera that pans or orbits, bright where near; of the "
        "picture's size, or the clip's",
        **name,
    )
    add(
        "--save-motion",
        metavar="OUT",
        help="write the coarse video of a motion before any sampling, as --output does; never over another",
        **name,
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, and files that replace a part of it or change it."""
    parser.add_argument(
        "--checkpoint",
        type=file_name,
        metavar="FILE",
        default=None,
        help="an SVD file, or a folder in diffusers' layout; without: a built-in one",
    )
    add_parts(parser)


def add_parts(parser: argparse.ArgumentParser) -> None:
    """Files that replace a part of the checkpoint, go over it, or are LoRAs that change its UNet."""
    for part, (words, _) in PARTS.items():
        parser.add_argument(
            f"--{part.replace('_', '-')}",
            type=file_name,
            metavar="FILE",
            default=None,
            help=f"a file or folder whose {words} replaces the checkpoint's",
        )
    parser.add_argument(
        "--lora",
        type=lora,
        action="append",
        default=[],
        metavar="FILE[:STRENGTH[:TEMPORAL]]",
        help="a LoRA for the UNet, as in style.safetensors:0.7; may be repeated (default: strength 1)",
    )
    parser.add_argument(
        "--exvideo",
        type=file_name,
        metavar="FILE",
        default=None,
        help="ExVideo's temporal blocks over --checkpoint svd_xt, for clips of up to 128 frames",
    )


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    """Pictures of later frames; the IMAGE is frame 0."""
    add = parser.add_argument
    add(
        "--end-frame",
        type=file_name,
        metavar="PICTURE",
        default=None,
        help="the picture on which the clip ends, fitted as the IMAGE is",
    )
    add(
        "--keyframe",
        type=keyframe,
        action="append",
        default=[],
        metavar="N=PICTURE",
        help="a picture for frame N, the IMAGE being frame 0; may be repeated; the clip ends on the last one "
        "where there is no --end-frame",
    )


def _add_references(parser: argparse.ArgumentParser) -> None:
    """Pictures that lead the look of a clip."""
    add = parser.add_argument
    add(
        "--reference",
        type=reference,
        action="append",
        default=[],
        metavar="PICTURE[:WEIGHT]",
        help="a picture whose look the clip takes on, as in style.png:0.5; may be repeated; at 1 the IMAGE's "
        "own look is gone, below 0 it leads away (default: weight 1)",
    )
    add(
        "--reference-mask",
        type=file_name,
        default=None,
        metavar="MASK",
        help="where references count, white; fitted as the IMAGE is (default: everywhere)",
    )


def add_files(parser: argparse.ArgumentParser) -> None:
    """What a clip is made of, and where it goes."""
    add = parser.add_argument
    add(
        "images",
        nargs="*",
        default=[],
        metavar="IMAGE",
        help="the picture to animate, or several, or a folder of them, or - for standard input",
    )
    add(
        "--output",
        type=file_name,
        action="append",
        default=[],
        metavar="OUT",
        help=f"where to write: {', '.join(EXTENSIONS)}, or a folder of PNG frames; may be repeated; {NAME} "
        "stands for the picture's name (default: an .mp4 of that name beside the picture)",
    )
    add("--overwrite", action="store_true", default=False, help="replace outputs that are there already")
    _add_pictures(parser)
    add_checkpoint(parser)
    _add_control(parser)
    _add_motion(parser)
    _add_references(parser)
    add(
        "--orbit",
        action="store_true",
        default=False,
        help="insist on an SV3D file, which circles the object; needs no other option",
    )
    add("--no-metadata", action="store_true", default=False, help="keep the settings out of the files")
    _add_latents(parser)


def _add_latents(parser: argparse.ArgumentParser) -> None:
    """Files of latents: what is sampled, what goes on, and what is decoded."""
    add = parser.add_argument
    add(
        "--save-latents",
        type=file_name,
        default=None,
        metavar="FILE",
        help="write the latents (.safetensors), of a chain after each chunk",
    )
    add(
        "--resume",
        type=file_name,
        default=None,
        metavar="FILE",
        help="go on with a long clip that was cut off, from what --save-latents kept of it",
    )
    add(
        "--decode-latents",
        type=file_name,
        default=None,
        metavar="FILE",
        help="decode latents from --save-latents instead of animating a picture",
    )
