"""The rows of a clip's settings: each with its kind of value, its default, its group and its words."""

from dataclasses import dataclass

from ..samplers import guidance, schedules
from ..samplers.guidance import APG, CFG, TERMS
from ..samplers.schedules import SCHEDULES
from ..samplers.solvers import CHURNING, SOLVERS
from ..svd_model.networks.controlnet import WEIGHTINGS
from ..svd_model.networks.stages import UNetParams
from . import camera, presets
from .canvas import FITS
from .control import DEFAULTS
from .curve import EXAMPLE, NameOrScales
from .fields import (
    Angles,
    Choice,
    Flag,
    Interval,
    NameOrNumbers,
    Number,
    OverSpaceAndTime,
    Poses,
    Rate,
    Several,
    Side,
    Whole,
    setting,
)
from .first_frame import EXACT, OFF
from .low_pass import USUAL_UNTIL
from .motion_amount import AMOUNTS
from .noise import SEEDS

MOST_FRAMES = 1024
MOST_STEPS = 1000

FRAME, CLIP = "frame", "clip"
USUAL_SKIPPED = ("u0",)

CANVAS, PICTURE, SAMPLING = "canvas", "picture", "sampling"
GUIDANCE, CONTROL, CAMERA, DECODING = "guidance", "control", "camera (sv3d_p)", "decoding"
TRACK = "camera (MotionCtrl)"

HIGHEST_SIGMA = 1e6

_SIGMA = Number(1e-6, HIGHEST_SIGMA)
_SCALE = Number(-100, 100, step=0.1)
_BUCKETS = ", ".join(f"{amount.motion_bucket_id} {name}" for name, amount in AMOUNTS.items())
_MADE_FOR = ", ".join(f"{name} {row.steps}" for name, row in SCHEDULES.items() if row.steps)


@dataclass(frozen=True)
class Choices:
    """The rows of a clip of one run, in the order of the pages; None is left to the checkpoint."""

    num_frames: int | None = setting(
        None,
        Whole(1, MOST_FRAMES),
        CANVAS,
        "number of frames",
        usual=presets.each("num_frames"),
        option="--frames",
    )
    width: int | None = setting(
        None, Side(), CANVAS, "width of the clip in pixels", usual=presets.each("width")
    )
    height: int | None = setting(
        None, Side(), CANVAS, "height of the clip in pixels", usual=presets.each("height")
    )
    fps: float | None = setting(
        None,
        Rate(1, 240, step=0.5),
        CANVAS,
        "frames a second, told to the model and written to the file",
        usual=f"{presets.USUAL_FPS:g}",
    )

    fit: str = setting(
        "crop",
        Choice(FITS),
        PICTURE,
        "how the picture gets the shape of the clip: crop cuts its edges off, pad adds borders, stretch "
        "distorts it",
    )
    motion_bucket_id: int | None = setting(
        None,
        Whole(0, 1023),
        PICTURE,
        f"how much moves: {_BUCKETS}",
        usual=str(presets.USUAL_MOTION),
        only=("svd", "motionctrl"),
    )
    motion_amount: str | None = setting(
        None,
        Choice(tuple(AMOUNTS)),
        PICTURE,
        "how much moves, in a word for the motion bucket and the highest noise level",
        usual="by the motion bucket",
        only=("svd", "motionctrl"),
    )
    noise_aug: float | None = setting(
        None,
        Number(0, 10, step=0.01),
        PICTURE,
        "noise added to the picture: more gives the model a freer hand, and keeps less of its detail",
        usual=presets.each("noise_aug"),
    )

    preset: str | None = setting(
        None,
        Choice(tuple(presets.NAMED)),
        SAMPLING,
        "values that go together, for quality or speed, or of a distilled checkpoint, which no file tells; "
        "your own options go before them",
        only=("svd",),
    )
    steps: int | None = setting(
        None,
        Whole(1, MOST_STEPS),
        SAMPLING,
        "number of sampling steps: more take longer, fewer lose detail",
        usual=presets.each("steps"),
    )
    sampler: str | None = setting(
        None,
        Choice(tuple(SOLVERS)),
        SAMPLING,
        "the solver, which turns noise into the clip step by step; lcm is for distilled checkpoints",
        usual=presets.SVD.sampler,
    )
    churn: float = setting(
        0.0,
        Number(0, 1000, step=0.1),
        SAMPLING,
        f"noise added anew in each step, for {' and '.join(CHURNING)}: 0 is none, 0.4 for each step the most",
    )
    schedule: str | tuple[float, ...] | None = setting(
        None,
        NameOrNumbers(tuple(SCHEDULES), None, "the sigmas themselves, as in 700,50,5,0.5"),
        SAMPLING,
        f"how the noise levels are spread, some for their own number of steps ({_MADE_FOR})",
        usual=f"{presets.SVD.schedule}; with the sampler lcm {presets.OF_SAMPLERS['lcm']['schedule']}",
    )
    sigma_min: float | None = setting(
        None,
        _SIGMA,
        SAMPLING,
        "the lowest noise level (sigma), from which the last step goes to 0",
        usual=f"{schedules.SIGMA_MIN:g}",
    )
    sigma_max: float | None = setting(
        None,
        _SIGMA,
        SAMPLING,
        "the highest noise level (sigma), at which sampling begins",
        usual=f"{schedules.SIGMA_MAX:g}",
    )
    rho: float | None = setting(
        None,
        Number(*schedules.RHO_RANGE, step=0.5),
        SAMPLING,
        "the bend of the karras schedule: higher puts more of the steps at low noise levels",
        usual=f"{schedules.RHO:g}",
    )
    seed: int = setting(0, Whole(0, SEEDS - 1), SAMPLING, "the same seed gives the same clip")
    contrast: float | None = setting(
        None,
        Number(0.1, 10, step=0.1),
        SAMPLING,
        "gives each frame's latents the mean and the spread of the clip's, and multiplies them by this",
        usual=f"left as sampled; ExVideo {presets.EXVIDEO.contrast:g}",
    )
    feature_cache: int = setting(
        1,
        Whole(1, 10),
        SAMPLING,
        "compute the deep layers only at every so many evaluations; above 1 faster, and another clip",
    )
    temporal_sharpness: float = setting(
        1.0,
        Number(0.1, 10, step=0.05),
        SAMPLING,
        "how sharply attention over time picks frames: 0.7 to 1.3 change how much moves, 1 is as trained",
    )
    temporal_positions: int | None = setting(
        None,
        Whole(2, MOST_FRAMES),
        SAMPLING,
        "number of frames over whose positions the clip's are spread, such as the checkpoint's own for more "
        "frames at once",
        usual="one for each frame",
    )
    low_pass: float | None = setting(
        None,
        Number(0.05, 1, step=0.05),
        SAMPLING,
        "share of the picture's detail that the UNet sees at high noise levels, where motion is settled: an "
        "experiment, published for other models with 0.25 to 0.6",
        usual="all of it",
    )
    low_pass_until: float | None = setting(
        None,
        _SIGMA,
        SAMPLING,
        "the noise level (sigma) down to which low_pass hides the details",
        usual=f"{USUAL_UNTIL:g}",
    )

    guidance: str | float | tuple[float, ...] | None = setting(
        None,
        NameOrScales(
            tuple(guidance.SHAPES),
            _SCALE,
            "one scale, one for each frame, as in 1,1.5,2, or a curve of positions and scales, as in "
            f"{EXAMPLE}",
        ),
        GUIDANCE,
        "how the scale runs over the frames",
        usual=f"{presets.SVD.guidance}; SV3D {presets.SV3D.guidance}",
    )
    min_guidance: float | None = setting(
        None,
        _SCALE,
        GUIDANCE,
        "the scale where the shape is lowest; 1 is no guidance",
        usual=presets.each("min_guidance"),
    )
    max_guidance: float | None = setting(
        None,
        _SCALE,
        GUIDANCE,
        "the scale where the shape is highest, and of constant: more is sharper, too much burns colours",
        usual=presets.each("max_guidance"),
    )
    guidance_interval: tuple[float, float] | None = setting(
        None,
        Interval(0, HIGHEST_SIGMA, step=0.1),
        GUIDANCE,
        "guide only at noise levels from the one to the other, which saves time elsewhere",
        usual="all",
    )
    guidance_method: str | None = setting(
        None,
        Choice(tuple(TERMS)),
        GUIDANCE,
        "how guidance compares the two estimates: cfg takes their plain difference, apg its part that burns "
        "colours less at high scales",
        usual=CFG,
    )
    apg_parallel: float | None = setting(
        None,
        Number(0, 1, step=0.05),
        GUIDANCE,
        f"with {APG}: share of the difference along the estimate itself that stays",
        usual="0",
    )
    apg_limit: float | None = setting(
        None,
        Number(0, 1e6, step=0.5),
        GUIDANCE,
        f"with {APG}: the largest norm of a frame's difference, 0 for none",
        usual="0",
    )
    apg_momentum: float | None = setting(
        None,
        Number(-1, 1, step=0.05),
        GUIDANCE,
        f"with {APG}: part of the difference so far that each evaluation adds, against it below 0",
        usual="0",
    )
    skip_guidance: tuple[float, float] | None = setting(
        None,
        OverSpaceAndTime(-100, 100, step=0.1),
        GUIDANCE,
        "guide away from a network without some attention over space, and from one without some over time: "
        "sharper, steadier frames for one more evaluation each; 2 0.5 was published with rescale 0.7",
        usual="0 0",
    )
    skip_layers: tuple[str, ...] | None = setting(
        None,
        Several(UNetParams().attention_names),
        GUIDANCE,
        "layers whose attention skip guidance leaves out, down, in the middle and up",
        usual=",".join(USUAL_SKIPPED),
    )
    skip_interval: tuple[float, float] | None = setting(
        None,
        Interval(0, HIGHEST_SIGMA, step=0.1),
        GUIDANCE,
        "noise levels of skip guidance; elsewhere it costs no time",
        usual="all",
    )
    guidance_rescale: float = setting(
        0.0,
        Number(0, 1, step=0.05),
        GUIDANCE,
        "how far the guided output gets the spread of the unguided one, against washed-out or burnt "
        "contrast: 0 not at all, 1 wholly",
    )
    rescale_over: str | None = setting(
        None,
        Choice((FRAME, CLIP)),
        GUIDANCE,
        "whether each frame has a spread of its own, or all frames of a run one",
        usual=f"{FRAME}, with skip guidance {CLIP}",
    )

    control_strength: float | None = setting(
        None,
        Number(0, 10, step=0.01),
        CONTROL,
        "how much the ControlNet changes",
        usual=f"{DEFAULTS['control_strength']:g}",
    )
    control_start: float | None = setting(
        None,
        Number(0, 1, step=0.001),
        CONTROL,
        "where the ControlNet begins, as a fraction of the run along log σ",
        usual=f"{DEFAULTS['control_start']:g}",
    )
    control_end: float | None = setting(
        None,
        Number(0, 1, step=0.001),
        CONTROL,
        "where the ControlNet ends",
        usual=f"{DEFAULTS['control_end']:g}",
    )
    control_weighting: str | None = setting(
        None,
        Choice(tuple(WEIGHTINGS)),
        CONTROL,
        "how its features count: as in its author's training, or each once, as in other tools",
        usual=DEFAULTS["control_weighting"],
    )

    elevation: float | tuple[float, ...] | None = setting(
        None,
        Angles(-90, 90, step=1.0),
        CAMERA,
        "height of the camera, in degrees above the horizon",
        usual=f"{presets.USUAL_ELEVATION:g}",
        only=("camera",),
    )
    azimuths: tuple[float, ...] | None = setting(
        None,
        Angles(-360, 360, each=True),
        CAMERA,
        "place of the camera, in degrees around the object",
        usual="once around, ending on the picture",
        only=("camera",),
    )

    camera: str | tuple | None = setting(
        None,
        Poses(tuple(camera.TRACKS), Number(-1e6, 1e6)),
        TRACK,
        "how the camera moves; a list lies in a .json file",
        usual="its layers are left out",
        only=("motionctrl",),
    )
    camera_speed: float | None = setting(
        None,
        Number(-10, 10, step=0.1),
        TRACK,
        "more moves the camera faster, below 0 the other way",
        usual="1",
        only=("motionctrl",),
    )

    frame_wise_decode: bool = setting(
        False, Flag(), DECODING, "decode each frame on its own, with an image decoder"
    )
    ring: bool = setting(
        False, Flag(), DECODING, "decode the clip as a loop, its first frame following its last one"
    )
    keep_first: str | None = setting(
        None,
        Choice((OFF, EXACT)),
        DECODING,
        f"what the first frame is: {EXACT} puts the picture itself there, and leads the decoded ones over "
        "from it",
        usual=OFF,
        only=("svd", "motionctrl"),
    )
