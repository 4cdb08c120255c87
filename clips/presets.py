"""Presets: the checkpoints' values for settings that the user leaves open."""

from dataclasses import dataclass, replace

from ..svd_model.checkpoint import variants
from ..svd_model.checkpoint.variants import Variant

USUAL_FPS = 6.0
"""Frames a second where the user names no rate."""

USUAL_MOTION = 127
"""The motion bucket where the user names none; with another one the user expects something."""

USUAL_ELEVATION = 10.0
"""Degrees above the horizon."""

HOLD, HOLD_OF_SMALL = (75.0, 31.0), (12.0, 0.1)
"""Noise levels between which a clip follows a motion, and of a checkpoint whose clips are small.

Time-to-Move's for SVD-XT, and what the built-in model follows: where motion is decided depends on the size.
"""

_SMALL = 256  # the largest width, in pixels, of a file that names its own


@dataclass(frozen=True)
class Preset:
    """The canvas, the numbers of the picture and the sampling that a checkpoint was published with."""

    num_frames: int
    width: int
    height: int
    steps: int
    guidance: str
    min_guidance: float
    max_guidance: float
    noise_aug: float
    schedule: str = "karras"
    sampler: str = "euler"
    fps: float = USUAL_FPS
    motion_bucket_id: int = USUAL_MOTION
    contrast: float | None = None


SVD = Preset(14, 1024, 576, 25, "linear", 1.0, 2.5, 0.02)
SVD_XT = Preset(25, 1024, 576, 30, "linear", 1.5, 3.0, 0.02)
SV3D = Preset(21, 576, 576, 50, "triangle", 1.0, 2.5, 1e-5)

MOTIONCTRL = replace(SVD, fps=7.0)
EXVIDEO = Preset(128, 512, 512, 50, "constant", 2.0, 2.0, 0.02, fps=30.0, contrast=1.2)

PRESETS = {"svd": (SVD_XT, SVD), "orbit": (SV3D,), "camera": (SV3D,), "motionctrl": (MOTIONCTRL,)}
"""Presets by the conditioning of a variant: the first, unless another one has just as many frames."""

OF_VARIANTS = {variants.EXVIDEO.name: (EXVIDEO,)}
"""Presets of variants that need others than their conditioning's."""

OF_SAMPLERS = {
    # As AnimateLCM-SVD is shown.
    "lcm": {"steps": 4, "min_guidance": 1.0, "max_guidance": 1.2, "schedule": "animate_lcm"},
}
"""Changes that a sampler makes to any preset."""

QUALITY, FAST, DRAFT = "quality", "fast (Align Your Steps)", "draft"
ANIMATE_LCM = "AnimateLCM (4 steps)"

NAMED = {
    # As published.
    QUALITY: {"sampler": "euler", "schedule": "karras", "steps": SVD_XT.steps},
    # Levels that were optimised for 10 steps of svd_xt (Sabour et al., 2024).
    FAST: {"sampler": "euler", "schedule": "align_your_steps", "steps": 10},
    # Half of them, to see what moves and whether it is worth the time.
    DRAFT: {"sampler": "euler", "schedule": "align_your_steps", "steps": 5},
    # The defaults of its author's app. The weights can't be told from svd_xt's, so the user says it.
    ANIMATE_LCM: {
        "num_frames": 25,
        "noise_aug": 0.02,
        "guidance": "linear",
        "sampler": "lcm",
        **OF_SAMPLERS["lcm"],
        "fps": 7.0,
        "motion_bucket_id": 80,
    },
}
"""Changes to any preset that a user chooses by their name."""


def find_preset(
    variant: Variant, num_frames: int | None = None, sampler: str | None = None, name: str | None = None
) -> Preset:
    """The preset of a variant for a number of frames, by default its own, for a sampler and a name of NAMED.

    Frames and size in the metadata of a file replace the preset's.
    """
    presets = OF_VARIANTS.get(variant.name, PRESETS[variant.conditioning])
    named = NAMED.get(name, {})
    frames = num_frames or variant.num_frames or named.get("num_frames") or presets[0].num_frames
    preset = next((preset for preset in presets if preset.num_frames == frames), presets[0])
    canvas = {"width": variant.width or preset.width, "height": variant.height or preset.height}
    changes = {**OF_SAMPLERS.get(sampler, {}), **named, "num_frames": frames}
    return replace(preset, **canvas, **changes)


def named(name: str) -> Preset:
    """The preset of svd_xt with the changes of a name of NAMED."""
    return replace(SVD_XT, **NAMED[name])


def hold_of(variant: Variant) -> tuple[float, float]:
    """The noise levels from which, and down to which, a clip of a variant follows a motion."""
    return HOLD_OF_SMALL if is_small(variant) else HOLD


def is_small(variant: Variant) -> bool:
    """Whether a checkpoint's clips are small, as the built-in model's."""
    return variant.width is not None and variant.width <= _SMALL


def holds(end: int) -> str:
    """A number of `hold_of` in words, for all variants."""
    return f"{HOLD[end]:g}; the built-in model {HOLD_OF_SMALL[end]:g}"


def each(name: str) -> str:
    """A number of all presets in words: svd 14, svd_xt 25, SV3D 21."""
    presets = {"svd": SVD, "svd_xt": SVD_XT, "SV3D": SV3D}
    return ", ".join(f"{of} {getattr(preset, name):g}" for of, preset in presets.items())
