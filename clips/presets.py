"""Presets: the checkpoints' values for settings that the user leaves open."""

from dataclasses import dataclass, replace

from ..svd_model.checkpoint.variants import Variant


@dataclass(frozen=True)
class Preset:
    """The canvas, the sampling and the noise on the picture that a checkpoint was published with."""

    num_frames: int
    width: int
    height: int
    steps: int
    guidance: str
    min_guidance: float
    max_guidance: float
    noise_aug: float
    schedule: str = "karras"


SVD = Preset(14, 1024, 576, 25, "linear", 1.0, 2.5, 0.02)
SVD_XT = Preset(25, 1024, 576, 30, "linear", 1.5, 3.0, 0.02)
SV3D = Preset(21, 576, 576, 50, "triangle", 1.0, 2.5, 1e-5)

PRESETS = {"svd": (SVD_XT, SVD), "orbit": (SV3D,), "camera": (SV3D,)}
"""Presets by the conditioning of a variant: the first, unless another one has just as many frames."""

OF_SAMPLERS = {
    # As AnimateLCM-SVD is shown.
    "lcm": {"steps": 4, "min_guidance": 1.0, "max_guidance": 1.2, "schedule": "animate_lcm"},
}
"""Changes that a sampler makes to any preset."""

USUAL_FPS = 6.0
"""Frames a second where the user names no rate."""

USUAL_MOTION = 127
"""The motion bucket where the user names none; with another one the user expects something."""

USUAL_ELEVATION = 10.0
"""Degrees above the horizon."""


def find_preset(variant: Variant, num_frames: int | None = None, sampler: str = "") -> Preset:
    """The preset of a variant for a number of frames, by default its own, and for a sampler.

    Frames and size in the metadata of a file replace the preset's.
    """
    presets = PRESETS[variant.conditioning]
    frames = num_frames or variant.num_frames or presets[0].num_frames
    preset = next((preset for preset in presets if preset.num_frames == frames), presets[0])
    canvas = {"width": variant.width or preset.width, "height": variant.height or preset.height}
    return replace(preset, num_frames=frames, **canvas, **OF_SAMPLERS.get(sampler, {}))


def each(name: str) -> str:
    """A number of all presets in words: svd 14, svd_xt 25, SV3D 21."""
    presets = {"svd": SVD, "svd_xt": SVD_XT, "SV3D": SV3D}
    return ", ".join(f"{of} {getattr(preset, name):g}" for of, preset in presets.items())
