"""The node that has a clip follow a coarse video, and the noise level at which it begins."""

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..clips.canvas import SIZE_STEP
from ..clips.held import from_level
from ..clips.motion import masks
from ..clips.motion.course import Course, Paste, constraint_of, paste_of
from ..clips.presets import HOLD, HOLD_OF_SMALL
from ..svd_model.networks.finite import check_finite
from . import host
from .checks import checked
from .inputs import setting
from .latents import samples_of
from .motion import CATEGORY, check_mask, check_one


def start_input() -> io.Float.Input:
    """The noise level at which sampling begins."""
    return setting(
        "hold_from",
        "start_at",
        default=0.0,
        min=0.0,
        optional=True,
        advanced=True,
        tooltip="With SVD Hold: begin at this noise level (sigma): higher, and the rest moves more freely. "
        f"SVD {HOLD[0]:g}, the built-in model {HOLD_OF_SMALL[0]:g}; 0 is the schedule's first.",
    )


def levels_from(sigmas: Tensor, start_at: float) -> Tensor:
    """Noise levels from one on, of an input that says all of them by 0."""
    return from_level(sigmas, start_at, "start_at") if start_at else sigmas


def course_of(video: Tensor, mask: Tensor, freeze: Tensor | None) -> Course:
    """The course of an IMAGE and MASKs of its frames; raises ValueError for sizes that don't go together."""
    host.check_images(video)
    check_finite(video, "in coarse_video; look at the node that made it")
    frames, height, width = video.shape[:3]
    if height % SIZE_STEP or width % SIZE_STEP:
        raise ValueError(
            f"coarse_video is {width}×{height}; its sides must be multiples of {SIZE_STEP}: give SVD Drag "
            "and SVD Camera Move the picture of SVD Image to Video, or take SVD Motion, which fits it."
        )
    optional = [] if freeze is None else [("freeze", freeze, {1})]
    for name, pixels, counts in (("mask", mask, {1, frames}), *optional):
        check_mask(name, pixels)
        _check_shape(name, pixels, counts, (height, width))
    # By every pixel, since masks of SVD Motion and SVD Drag come here: thin parts of a drawing count.
    held = masks.touched((mask > 0.5).to(video)[:, None])
    frozen = freeze[:, None].clamp(0, 1).to(video) if freeze is not None and freeze.any() else None
    if held.any():
        return Course(video[..., :3].movedim(-1, 1) * 2 - 1, held, frozen)
    if frozen is None:
        raise ValueError(
            "the mask is empty, and nothing is frozen: there is nothing to hold. Connect mask and freeze of "
            "SVD Motion with a motion that moves or freezes a part, or paint white."
        )
    return Course(None, None, frozen)


def paste_over(latent: dict, vae, picture: Tensor | None, mask: Tensor | None) -> Paste | None:
    """The picture, an IMAGE, to lay over the decoded frames of a LATENT where a MASK is white.

    It fades out around the mask. Raises ValueError for one without the other, and for another size.
    """
    if picture is None and mask is None:
        return None
    if picture is None or mask is None:
        missing = "paste_mask, where it goes," if mask is None else "paste, the picture,"
        raise ValueError(f"{missing} is not connected; connect both, or neither.")
    host.check_decoder(vae)
    check_one("paste", picture)
    check_mask("paste_mask", mask)
    height, width = (vae.upscale_ratio * side for side in samples_of(latent).shape[-2:])
    for name, (count, rows, columns) in (("paste", picture.shape[:3]), ("paste_mask", mask.shape)):
        if (count, rows, columns) != (1, height, width):
            raise ValueError(
                f"{name} is {count} of {columns}×{rows}; the frames are {width}×{height}: connect one of "
                "that size, as picture of SVD Image to Video and freeze of SVD Motion."
            )
    frozen = mask[:, None].clamp(0, 1)
    return paste_of(Course(None, None, frozen), picture[..., :3].movedim(-1, 1) * 2 - 1)


def _check_shape(name: str, mask: Tensor, counts: set[int], size: tuple[int, int]) -> None:
    if tuple(mask.shape[1:]) != size or len(mask) not in counts:
        accepted = " or ".join(map(str, sorted(counts)))
        raise ValueError(
            f"{name} is {len(mask)} of {mask.shape[2]}×{mask.shape[1]}; coarse_video wants {accepted} of "
            f"{size[1]}×{size[0]}: connect both from the same node."
        )


class Hold(io.ComfyNode):
    """A MODEL and latents whose clip follows a coarse video, and keeps a part still."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionHold",
            display_name="SVD Hold",
            category=CATEGORY,
            description="Has the clip follow a coarse video where a mask says, at high noise levels alone, "
            "for any sampler node.",
            search_aliases=[
                "svd",
                "hold",
                "time-to-move",
                "ttm",
                "motion",
                "freeze",
                "inpaint",
                "noise mask",
            ],
            inputs=[
                io.Model.Input("model", tooltip="A video model, ours or core's, guided or not."),
                io.Vae.Input("vae", tooltip="From SVD Load Checkpoint."),
                io.Image.Input(
                    "coarse_video",
                    display_name="coarse video",
                    tooltip="From SVD Motion, SVD Drag or SVD Camera Move.",
                ),
                io.Mask.Input(
                    "mask",
                    tooltip="Where the coarse video is followed, white: one mask, or one for each frame.",
                ),
                setting(
                    "hold_until",
                    "until",
                    default=HOLD[1],
                    tooltip=f"The noise level (sigma) down to which the coarse video is followed: lower is "
                    f"closer and stiffer. SVD {HOLD[1]:g}, the built-in model {HOLD_OF_SMALL[1]:g}.",
                ),
                io.Mask.Input(
                    "freeze", optional=True, tooltip="What stays as the first frame has it, to the end."
                ),
            ],
            outputs=[
                io.Model.Output(
                    "model", tooltip="The model that follows the coarse video, for the sampler node."
                ),
                io.Latent.Output(
                    "latent",
                    tooltip="The latent to start from, for the sampler node, in "
                    "place of SVD Image to Video's.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls, model, vae, coarse_video, mask, until, freeze=None) -> io.NodeOutput:
        host.check_no_orbit(model, "SVD Hold")
        host.check_encoder(vae)
        course = course_of(coarse_video, mask, freeze)
        frames = len(coarse_video)
        moved = None if course.frames is None else vae.encode(coarse_video[..., :3])
        still = None
        if course.frozen is not None:
            still = vae.encode(coarse_video[:1, ..., :3]) if moved is None else moved[:1]
        constraint = constraint_of(course, moved, still, until)
        samples = constraint.latents.expand(frames, -1, -1, -1)
        if not constraint.leads:  # outside of the frozen part the clip starts from noise alone
            samples = samples * (constraint.mask > 0)
        latent = {
            "samples": samples.contiguous(),
            "noise_mask": (1 - constraint.mask).expand(frames, -1, -1, -1).contiguous(),
            host.NUM_FRAMES: frames,
        }
        return io.NodeOutput(host.with_mask_until(model, constraint.until, constraint.frozen), latent)
