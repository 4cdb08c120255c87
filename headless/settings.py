"""What a clip is made with: the user's choices, checked, and the checkpoint's defaults for the rest."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

from torch import Tensor

from ..clips.conditions import orbit_azimuths
from ..clips.picture import FITS
from ..samplers import guidance, schedules
from ..samplers.solvers import CHURNING, SOLVERS
from ..svd_model.checkpoint.variants import LARGEST_SIDE, SIZE_STEP, Variant, nearest_side
from .mistakes import Mistakes, did_you_mean
from .values import plain

SCHEDULES = ("karras", "exponential", "align_your_steps", "animate_lcm")

MOST_FRAMES = 1024
MOST_STEPS = 1000

LCM_STEPS = 4
LCM_GUIDANCE = (1.0, 1.2)  # what AnimateLCM-SVD is shown with
ALIGN_YOUR_STEPS_STEPS = 10


@dataclass(frozen=True)
class Settings:
    """The user's choices; None is left to the checkpoint (`complete` fills it in).

    Angles are in degrees, fps in frames a second, noise_aug in the picture's range of [−1, 1]. Numbers and
    lists may be of any kind, such as NumPy's; what is kept are plain ones, as JSON has them.
    """

    num_frames: int | None = None
    width: int | None = None
    height: int | None = None
    fit: str = "crop"
    fps: float = 6.0
    motion_bucket_id: int | None = None
    noise_aug: float | None = None
    steps: int | None = None
    sampler: str = "euler"
    churn: float = 0.0
    schedule: str | tuple[float, ...] | None = None  # a name, or the sigmas themselves
    sigma_min: float | None = None
    sigma_max: float | None = None
    rho: float | None = None
    guidance: str | float | tuple[float, ...] | None = None  # a shape, one scale, or a scale for each frame
    min_guidance: float | None = None
    max_guidance: float | None = None
    guidance_interval: tuple[float, float] | None = None  # the lowest and highest sigma with guidance
    feature_cache: int = 1  # every so many evaluations the whole UNet is computed
    elevation: float | tuple[float, ...] | None = None
    azimuths: tuple[float, ...] | None = None
    seed: int = 0
    frame_wise_decode: bool = False

    def __post_init__(self):
        for field in fields(self):
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        if _is_number(self.guidance):
            object.__setattr__(self, "guidance", (self.guidance,))

    @classmethod
    def of(cls, chosen: "Settings | Mapping | None") -> "Settings":
        """Settings, those in a dict, or the defaults; raises ValueError for anything else."""
        if isinstance(chosen, cls):
            return chosen
        chosen = {} if chosen is None else chosen
        if not isinstance(chosen, Mapping):
            raise ValueError(f"settings is {chosen!r}; give Settings(…), or a dict of its fields.")
        unknown = [name for name in chosen if name not in FIELD_NAMES]
        if unknown:
            names = ", ".join(map(repr, unknown))
            raise ValueError(f"{names} is no setting; there are {', '.join(FIELD_NAMES)}.")
        return cls(**chosen)

    def complete(self, variant: Variant) -> "Settings":
        """The same with the variant's defaults for every None; raises ValueError for what can't be done."""
        mistakes = Mistakes()
        with mistakes.collected():
            self.check()
        _check_fits_variant(self, variant, mistakes)
        mistakes.raise_any()
        num_frames = self.num_frames or variant.num_frames
        variant = variant.for_frames(num_frames)
        lcm = self.sampler == "lcm"
        min_guidance, max_guidance = LCM_GUIDANCE if lcm else (variant.min_guidance, variant.max_guidance)
        schedule = self.schedule or ("animate_lcm" if lcm else "karras")
        settings = replace(
            self,
            num_frames=num_frames,
            width=self.width or variant.width,
            height=self.height or variant.height,
            motion_bucket_id=None if variant.orbit else _default(self.motion_bucket_id, 127),
            noise_aug=_default(self.noise_aug, variant.noise_aug),
            schedule=schedule,
            steps=self.steps or _default_steps(schedule, lcm, variant),
            guidance=self.guidance or variant.guidance,
            min_guidance=_default(self.min_guidance, min_guidance),
            max_guidance=_default(self.max_guidance, max_guidance),
            guidance_interval=_default(self.guidance_interval, (0.0, math.inf)),
        )
        if variant.camera:
            settings = _with_camera(settings)
        settings.sigmas()
        settings.guidance_scales()
        return settings

    def check(self) -> None:
        """Raises ValueError, with all mistakes, for what no checkpoint could do."""
        mistakes = Mistakes()
        self._check_lists(mistakes)
        self._check_numbers(mistakes)
        self._check_names(mistakes)
        mistakes.raise_any()

    def sigmas(self) -> Tensor:
        """The schedule of complete settings; raises ValueError where its numbers don't fit together."""
        given = {"sigma_min": self.sigma_min, "sigma_max": self.sigma_max, "rho": self.rho}
        given = {name: value for name, value in given.items() if value is not None}
        if isinstance(self.schedule, tuple):
            _refuse(given, "a given list of sigmas")
            sigmas = schedules.given(self.schedule)
            if len(sigmas) - 1 != self.steps:
                raise ValueError(
                    f"steps is {self.steps}, but the list of sigmas makes {len(sigmas) - 1}; leave steps out."
                )
            return sigmas
        if self.schedule == "karras":
            return schedules.karras(self.steps, **given)
        if self.schedule == "exponential":
            _refuse({name for name in given if name == "rho"}, "the exponential schedule")
            return schedules.exponential(self.steps, **given)
        _refuse(given, f"the {self.schedule} schedule")
        named = {"animate_lcm": schedules.animate_lcm, "align_your_steps": schedules.align_your_steps}
        return named[self.schedule](self.steps)

    def guidance_scales(self) -> Tensor:
        """One scale a frame, (T,), of complete settings."""
        if isinstance(self.guidance, tuple):
            if len(self.guidance) == 1:
                return guidance.constant(self.num_frames, *self.guidance)
            return guidance.given(self.num_frames, self.guidance)
        return guidance.SHAPES[self.guidance](self.num_frames, self.min_guidance, self.max_guidance)

    def as_metadata(self) -> dict:
        """The settings as JSON can hold them, for a file's metadata."""
        return {name: value for name, value in asdict(self).items() if value is not None and _is_json(value)}

    def _check_lists(self, mistakes: Mistakes) -> None:
        for name in (*_ANGLES, *_NAMES_OR_NUMBERS, "guidance_interval"):
            value = getattr(self, name)
            if value == ():
                mistakes.add(f"{name} is an empty list; leave it out, or give numbers.")
            for number in value if isinstance(value, tuple) else ():
                if not _is_number(number):
                    mistakes.add(f"{name} holds {number!r}; give numbers.")
        mistakes.raise_any()  # what follows compares them

    def _check_numbers(self, mistakes: Mistakes) -> None:
        for name, lowest, highest, whole in _BOUNDS:
            value = getattr(self, name)
            many = isinstance(value, tuple) and name in (*_ANGLES, *_NAMES_OR_NUMBERS)
            if (value is None and _DEFAULTS[name] is None) or (name in _NAMES_OR_NUMBERS and not many):
                continue
            for number in value if many else (value,):
                with mistakes.collected():
                    _check_number(name, number, lowest, highest, whole)
        interval = _default(self.guidance_interval, (0, 0))
        if not isinstance(interval, tuple) or len(interval) != 2 or not 0 <= interval[0] <= interval[1]:
            many = isinstance(interval, tuple)
            shown = " to ".join(f"{sigma:g}" for sigma in interval) if many else repr(interval)
            mistakes.add(f"guidance_interval is {shown}; it must be two sigmas, the lower one first.")
        if not isinstance(self.frame_wise_decode, bool):
            mistakes.add(f"frame_wise_decode is {self.frame_wise_decode!r}; it must be True or False.")

    def _check_names(self, mistakes: Mistakes) -> None:
        for name, accepted in (
            ("fit", FITS),
            ("sampler", tuple(SOLVERS)),
            ("schedule", SCHEDULES),
            ("guidance", tuple(guidance.SHAPES)),
        ):
            value, listed = getattr(self, name), name in _NAMES_OR_NUMBERS
            if value in accepted or (value is None and _DEFAULTS[name] is None):
                continue
            if not (listed and isinstance(value, tuple)):
                numbers = ", or a list of numbers" if listed else ""
                meant = did_you_mean(value, accepted) or "."
                mistakes.add(f"{name} is {value!r}; accepted are {', '.join(accepted)}{numbers}{meant}")
        if self.churn and self.sampler in SOLVERS and self.sampler not in CHURNING:
            mistakes.add(f"churn goes with {' and '.join(CHURNING)}; the sampler {self.sampler} has none.")


_BOUNDS = (
    # name, lowest, highest, whole number
    ("num_frames", 1, MOST_FRAMES, True),
    ("width", 1, LARGEST_SIDE, True),
    ("height", 1, LARGEST_SIDE, True),
    ("fps", 1, 240, False),
    ("motion_bucket_id", 0, 1023, True),
    ("noise_aug", 0, 10, False),
    ("steps", 1, MOST_STEPS, True),
    ("churn", 0, 1000, False),
    ("sigma_min", 1e-6, 1e6, False),
    ("sigma_max", 1e-6, 1e6, False),
    ("rho", *schedules.RHO_RANGE, False),
    ("min_guidance", -100, 100, False),
    ("max_guidance", -100, 100, False),
    ("guidance", -100, 100, False),  # where it is scales
    ("feature_cache", 1, 10, True),
    ("elevation", -90, 90, False),
    ("azimuths", -360, 360, False),
    ("seed", 0, 2**64 - 1, True),
)


_ANGLES = ("elevation", "azimuths")  # which may be one for each frame
_NAMES_OR_NUMBERS = ("schedule", "guidance")
_SIDES = ("width", "height")


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_number(name: str, number: float, lowest: float, highest: float, whole: bool) -> None:
    kind = "a whole number" if whole else "a number"
    right_type = _is_number(number) and not (whole and isinstance(number, float))
    if not right_type or not lowest <= number <= highest:  # no NaN is in any range
        ends = f"{lowest} to {highest}" if whole else f"{lowest:g} to {highest:g}"
        raise ValueError(f"{name} is {number!r}; it must be {kind} from {ends}.")
    if name in _SIDES and number % SIZE_STEP:
        nearest = f"The nearest is {nearest_side(number)}."
        raise ValueError(f"{name} is {number}; it must be a multiple of {SIZE_STEP}. {nearest}")


def _check_fits_variant(settings: Settings, variant: Variant, mistakes: Mistakes) -> None:
    """Refuses choices that this checkpoint has no use for, rather than ignoring them."""
    if variant.orbit and settings.motion_bucket_id is not None:
        mistakes.add(f"motion_bucket_id goes with SVD; {variant.name} circles the object and takes none.")
    for name in ("elevation", "azimuths"):
        if getattr(settings, name) is not None and not variant.camera:
            mistakes.add(f"{name} goes with sv3d_p; this checkpoint ({variant.name}) takes none.")


def _with_camera(settings: Settings) -> Settings:
    """An elevation and an azimuth for each frame."""
    elevation = _default(settings.elevation, 10.0)
    elevations = elevation if isinstance(elevation, tuple) else (elevation,) * settings.num_frames
    azimuths = _default(settings.azimuths, tuple(orbit_azimuths(settings.num_frames)))
    azimuths = azimuths if isinstance(azimuths, tuple) else (azimuths,)
    for name, angles in (("elevation", elevations), ("azimuths", azimuths)):
        if len(angles) != settings.num_frames:
            raise ValueError(
                f"{name} has {len(angles)} angles; give one for each of the {settings.num_frames} frames."
            )
    return replace(settings, elevation=elevations, azimuths=azimuths)


def _default_steps(schedule: str | tuple[float, ...], lcm: bool, variant: Variant) -> int:
    if isinstance(schedule, tuple):
        return len(schedules.given(schedule)) - 1
    if lcm or schedule == "animate_lcm":
        return LCM_STEPS
    return ALIGN_YOUR_STEPS_STEPS if schedule == "align_your_steps" else variant.steps


def _refuse(given: Sequence[str], what: str) -> None:
    if given:
        raise ValueError(f"{' and '.join(given)} can't be given with {what}; leave it out.")


def _default(value, default):
    return default if value is None else value


def _is_json(value) -> bool:
    """Whether JSON has it: infinities are left out."""
    return all(
        math.isfinite(v) for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, float)
    )


FIELD_NAMES = tuple(field.name for field in fields(Settings))
_DEFAULTS = {field.name: field.default for field in fields(Settings)}
