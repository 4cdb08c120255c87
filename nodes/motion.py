"""Nodes of motion that the user decides: coarse videos of what moves where, for SVD Hold."""

from dataclasses import replace

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..clips.fields import shortened
from ..clips.motion import tracks
from ..clips.motion.camera import EASES, LINEAR
from ..clips.motion.coarse import Coarse, Sources, coarse
from ..clips.motion.fitting import fitted
from ..clips.motion.moves import MOVES, named_move
from ..clips.motion.tracks import PAN, ROLL, ZOOM, Camera, Motion, Region
from ..clips.presets import SVD_XT, each
from ..svd_model.networks.finite import check_finite
from . import host
from .checks import checked, verdict
from .conditioning import fit_pictures
from .inputs import own_id, setting

CATEGORY = "stillmotion/motion"
CUSTOM = "custom"
"""The move of a camera that the numbers say."""
NOTHING = "{}"
"""The motion of nothing."""
PATH = '[{"x": 0.4, "y": 0.5}, {"x": 0.6, "y": 0.5}]'
"""A path across the middle."""


def frames_input() -> io.Int.Input:
    """The frames of a coarse video, which are the clip's."""
    return setting(
        "num_frames",
        "frames",
        default=SVD_XT.num_frames,
        tooltip=f"Frames of the clip, as in SVD Image to Video: {each('num_frames')}.",
    )


def mask_output() -> io.Mask.Output:
    """Where a coarse video is followed."""
    return io.Mask.Output("mask", tooltip="Where the coarse video is followed, for SVD Hold.")


def check_one(name: str, image: Tensor) -> None:
    """Raises ValueError unless an IMAGE is a single picture of finite numbers."""
    host.check_images(image)
    check_finite(image, f"in {name}; look at the node that made it")
    if len(image) != 1:
        raise ValueError(
            f"{name} holds {len(image)} pictures, and a motion is of one; take one out with core's "
            "ImageFromBatch."
        )


def sources_of(
    motion: Motion, masks: Tensor | None, clip: tuple[int, int], fit: str, image: Tensor
) -> Sources:
    """The pictures of a MASK that a motion names by their numbers, fitted to a clip of width and height.

    image: the input picture, an IMAGE. Raises ValueError for a file's name and for a number without a mask.
    """
    sources, count = {}, 0 if masks is None else len(masks)
    for region in motion.regions:
        number = region.mask
        if number is None:
            continue
        if isinstance(number, str) or number >= count:
            named = f"the file {shortened(number)}" if isinstance(number, str) else f"mask {number}"
            accepted = f"a number from 0 to {count - 1}" if count else "a number, and pictures as masks"
            raise ValueError(
                f"{region.id} names {named}, and masks holds {count}; give {accepted}, or draw a polygon."
            )
        pixels = masks[number].expand(3, -1, -1)
        sources[number] = fitted(f"mask {number}", pixels, (image.shape[2], image.shape[1]), clip, fit)
    return sources


def check_mask(name: str, mask: Tensor) -> None:
    """Raises ValueError unless a MASK is pictures of finite numbers, (N, H, W)."""
    if not isinstance(mask, Tensor) or mask.ndim != 3 or 0 in mask.shape or not mask.is_floating_point():
        found = "×".join(map(str, mask.shape)) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            f"{name} is {found}; a MASK is pictures (N, height, width) of floating point numbers: look at "
            "the node that made it."
        )
    check_finite(mask, f"in {name}; look at the node that made it")


def outputs_of(video: Coarse) -> tuple[Tensor, Tensor]:
    """IMAGE and MASK of a coarse video of values in [0, 1]."""
    return video.frames.movedim(1, -1).contiguous(), video.mask[:, 0]


def nearness_input() -> io.Image.Input:
    """A picture of depth."""
    return io.Image.Input(
        "nearness",
        optional=True,
        tooltip="For a camera that pans or orbits: bright is near, as any depth node draws it.",
    )


class DrawMotion(io.ComfyNode):
    """The coarse video of everything that a motion's JSON says."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionMotion",
            display_name="SVD Motion",
            category=CATEGORY,
            description="Draws the coarse video of what moves where, for SVD Hold.",
            search_aliases=["svd", "motion", "drag", "time-to-move", "cut and drag", "trajectory", "freeze"],
            inputs=[
                io.Image.Input("image", tooltip="The picture to animate, one."),
                setting("width", default=SVD_XT.width),
                setting("height", default=SVD_XT.height),
                setting("fit"),
                frames_input(),
                io.String.Input(
                    "motion",
                    default=NOTHING,
                    multiline=True,
                    tooltip="What moves where, as JSON: regions, drags and the camera.",
                ),
                io.Mask.Input(
                    "masks", optional=True, tooltip="Areas that the motion names by their numbers, from 0."
                ),
                nearness_input(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Image.Output("coarse_video", tooltip="What the clip is to follow, for SVD Hold."),
                mask_output(),
                io.Mask.Output("freeze", tooltip="What stays as the picture has it, for SVD Hold."),
            ],
        )

    @classmethod
    def validate_inputs(cls, width: int, height: int) -> bool | str:
        return verdict(cls, width=width, height=height)

    @classmethod
    @checked
    def execute(cls, image, width, height, fit, frames, motion, masks=None, nearness=None) -> io.NodeOutput:
        check_one("image", image)
        drawn, unknown = tracks.parse(motion.strip() or NOTHING)  # as the page's script reads an empty text
        doubts = list(tracks.doubts(drawn, unknown, width, height))
        host.show_doubts(doubts, own_id(cls))
        if masks is not None:
            check_mask("masks", masks)
        clip = width, height
        sources = dict(sources_of(drawn, masks, clip, fit, image))
        drawn = with_nearness(drawn, nearness, sources, clip, fit, image)
        picture = (fit_pictures(image, width, height, fit) + 1) / 2
        video = coarse(drawn, picture[0], frames, sources)
        return io.NodeOutput(*outputs_of(video), video.frozen[:, 0])


def with_nearness(
    motion: Motion, nearness: Tensor | None, sources: dict, clip: tuple[int, int], fit: str, image: Tensor
) -> Motion:
    """A motion whose camera goes by an IMAGE of nearness, if there is one; adds it to the sources.

    Raises ValueError for a camera that takes none, or that wants one.
    """
    if nearness is None:
        if motion.camera.nearness is not None:
            raise ValueError(
                f"the camera's nearness is {shortened(motion.camera.nearness)}, and nothing is connected as "
                "nearness; connect a picture, bright where it is near."
            )
        return motion
    check_one("nearness", nearness)
    size = image.shape[2], image.shape[1]
    sources[tracks.NEARNESS] = fitted("nearness", nearness[0, ..., :3].movedim(-1, 0), size, clip, fit)
    return tracks.with_nearness(motion)


class Drag(io.ComfyNode):
    """The coarse video of one part of the picture that goes along a path."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionDrag",
            display_name="SVD Drag",
            category=CATEGORY,
            description="Drags, turns and scales the part of the picture under a mask, for SVD Hold.",
            search_aliases=["svd", "drag", "cut and drag", "time-to-move", "trajectory", "move object"],
            inputs=[
                io.Image.Input("image", tooltip="The picture at the clip's size: of SVD Image to Video."),
                io.Mask.Input("mask", tooltip="The part that moves, white; as large as the image."),
                io.String.Input(
                    "path",
                    default=PATH,
                    multiline=True,
                    tooltip="Where the part goes: keys with x and y as fractions of the picture, if you "
                    "like with scale, degrees and time.",
                ),
                frames_input(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Image.Output("coarse_video", tooltip="What the clip is to follow, for SVD Hold."),
                mask_output(),
            ],
        )

    @classmethod
    @checked
    def execute(cls, image, mask, path, frames) -> io.NodeOutput:
        check_one("image", image)
        keys, unknown = tracks.parse_path(path)
        motion = Motion((Region("the mask", tracks.MOVE, keys, mask=0),))
        size = image.shape[2], image.shape[1]
        host.show_doubts(list(tracks.doubts(motion, unknown, *size)), own_id(cls))
        check_mask("mask", mask)
        if len(mask) != 1:
            raise ValueError(f"mask holds {len(mask)} pictures, and SVD Drag takes one; several: SVD Motion.")
        fitted_mask = fitted("mask", mask.expand(3, -1, -1), size, size, "crop")
        video = coarse(motion, image[0, ..., :3].movedim(-1, 0), frames, {0: fitted_mask})
        return io.NodeOutput(*outputs_of(video))


class CameraMove(io.ComfyNode):
    """The coarse video of a camera that moves over the picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionCameraMove",
            display_name="SVD Camera Move",
            category=CATEGORY,
            description="Pans, zooms, rolls or goes round the picture, for SVD Hold and any SVD checkpoint.",
            search_aliases=[
                "svd",
                "camera",
                "pan",
                "zoom",
                "roll",
                "orbit",
                "parallax",
                "depth",
                "ken burns",
            ],
            inputs=[
                io.Image.Input("image", tooltip="The picture at the clip's size: of SVD Image to Video."),
                frames_input(),
                io.Combo.Input(
                    "move",
                    options=[CUSTOM, *MOVES],
                    default="zoom in",
                    tooltip="The way the camera goes; custom is by the numbers below. orbit needs nearness.",
                ),
                _float(
                    "pan_x",
                    "pan right",
                    0.0,
                    PAN,
                    "For custom: how far the picture goes to the right by the last "
                    "frame, in its widths; 0.1 is a tenth.",
                ),
                _float(
                    "pan_y",
                    "pan down",
                    0.0,
                    PAN,
                    "For custom: how far the picture goes down by the last frame, in "
                    "its heights; 0.1 is a tenth.",
                ),
                _float(
                    "zoom",
                    "zoom",
                    1.0,
                    ZOOM,
                    "For custom: how large the picture is in the last frame; 1 is "
                    "unchanged, 1.2 is a fifth larger.",
                ),
                _float(
                    "roll",
                    "roll (degrees)",
                    0.0,
                    ROLL,
                    "For custom: how far the picture turns by the last frame, in degrees clockwise.",
                ),
                io.Combo.Input(
                    "ease",
                    options=list(EASES),
                    default=LINEAR,
                    tooltip="How the speed runs: linear is even, smooth starts and ends gently.",
                ),
                nearness_input(),
            ],
            outputs=[
                io.Image.Output("coarse_video", tooltip="What the clip is to follow, for SVD Hold."),
                mask_output(),
            ],
        )

    @classmethod
    @checked
    def execute(cls, image, frames, move, pan_x, pan_y, zoom, roll, ease, nearness=None) -> io.NodeOutput:
        check_one("image", image)
        if move == CUSTOM:
            motion = Motion(camera=Camera((pan_x, pan_y), zoom, roll))
            if not motion.camera.moves:
                raise ValueError("the camera stands still: pan is 0, zoom 1 and roll 0; change one of them.")
        else:
            motion = named_move(move, nearness is not None)
        motion, sources = replace(motion, camera=replace(motion.camera, ease=ease)), {}
        size = image.shape[2], image.shape[1]
        motion = with_nearness(motion, nearness, sources, size, "crop", image)
        video = coarse(motion, image[0, ..., :3].movedim(-1, 0), frames, sources)
        return io.NodeOutput(*outputs_of(video))


def _float(name: str, label: str, default: float, bounds: tuple[float, float], words: str) -> io.Float.Input:
    lowest, highest = map(float, bounds)
    return io.Float.Input(
        name, display_name=label, default=default, min=lowest, max=highest, step=0.01, tooltip=words
    )
