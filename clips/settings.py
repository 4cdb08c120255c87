"""Settings of a clip: the user's choices, checked, and the checkpoint's defaults for the rest."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from torch import Tensor

from ..samplers import guidance, schedules
from ..samplers.schedules import SCHEDULES
from ..samplers.solvers import CHURNING, SOLVERS
from ..svd_model.checkpoint.variants import CONDITIONINGS, Variant
from . import between, camera, curve, guiding, held, length, low_pass, motion_amount, presets
from .choices_of_motion import ChoicesOfMotion
from .choices_over_time import CHAIN, CHUNKED, MPD
from .conditions import each_frame, orbit_azimuths
from .control import check_range
from .fields import is_number, rows
from .mistakes import Mistakes
from .values import plain


@dataclass(frozen=True)
class Settings(ChoicesOfMotion):
    """The user's choices, one row each; None is left to the checkpoint (`complete` fills it in).

    Angles are in degrees, fps in frames a second, noise_aug in the picture's range of [−1, 1]. Numbers and
    lists may be of any kind, such as NumPy's; plain ones are kept, as in JSON.
    """

    def __post_init__(self):
        for field in fields(self):
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        if is_number(self.guidance):
            object.__setattr__(self, "guidance", (self.guidance,))
        if isinstance(self.skip_layers, str):
            names = tuple(name.strip() for name in self.skip_layers.split(","))
            object.__setattr__(self, "skip_layers", names)

    @classmethod
    def of(cls, chosen: "Settings | Mapping | None") -> "Settings":
        """Settings from a caller's Settings, dict or None; raises ValueError for other values."""
        if isinstance(chosen, cls):
            return chosen
        chosen = {} if chosen is None else chosen
        if not isinstance(chosen, Mapping):
            raise ValueError(f"settings is {chosen!r}; give Settings(…), or a dict of its fields.")
        unknown = [name for name in chosen if name not in FIELDS]
        if unknown:
            names = ", ".join(map(repr, unknown))
            raise ValueError(f"{names} is no setting; there are {', '.join(FIELDS)}.")
        return cls(**chosen)

    def complete(
        self, variant: Variant, pictures: bool = False, moves: bool = False, freezes: bool = False
    ) -> "Settings":
        """The settings with the variant's defaults for every None; raises ValueError for the impossible.

        pictures: whether the clip has some after the first one. moves, freezes: whether the user moves parts
        of that one, and keeps some still.
        """
        mistakes = Mistakes()
        with mistakes.collected():
            self.check()
        _check_variant(self, variant, mistakes)
        for mistake in () if mistakes.any else between.mistakes(self, variant, pictures):
            mistakes.add(mistake)
        for mistake in () if mistakes.any else held.mistakes(self, variant, pictures, moves, freezes):
            mistakes.add(mistake)
        mistakes.raise_any()
        settings = _with_defaults(self, variant, pictures, moves)
        _check_churn(settings, mistakes)
        if variant.camera:
            settings = _with_camera(settings)
        of_length = held.mistakes_of_length(settings, moves, freezes)
        for mistake in (*length.impossible(settings), *of_length):
            mistakes.add(mistake)
        with mistakes.collected():
            variant.check_frames(settings.frames_at_once)
        for check in (_check_schedule, Settings.guidance_scales, Settings.track):  # which raise ValueError
            with mistakes.collected():
                check(settings)
        mistakes.raise_any()
        return settings

    def check(self) -> None:
        """Raises ValueError, with all mistakes, for values that no checkpoint accepts."""
        mistakes = Mistakes()
        for name, field in FIELDS.items():
            for mistake in field.mistakes(getattr(self, name)):
                mistakes.add(mistake)
        _check_churn(self, mistakes)
        conflicts = (length.conflicts, guiding.conflicts, motion_amount.conflicts, low_pass.conflicts)
        for mistake in () if mistakes.any else [each for find in conflicts for each in find(self)]:
            mistakes.add(mistake)
        with mistakes.collected():
            check_range(self.control_start, self.control_end)
        if self.camera is None and self.camera_speed is not None:
            mistakes.add("camera_speed goes with camera, which says how it moves; give both.")
        mistakes.raise_any()

    @property
    def frames_at_once(self) -> int:
        """How many frames the UNet takes at once, of complete settings."""
        return min(self.num_frames, self.chunk) if self.long in CHUNKED else self.num_frames

    def sigmas(self) -> Tensor:
        """The noise levels of complete settings, (steps + 1,); of a clip with a motion its own alone."""
        sigmas = self.all_sigmas()
        return sigmas if self.hold_from is None else held.levels(sigmas, self.hold_from, self.hold_until)

    def all_sigmas(self) -> Tensor:
        """The noise levels of the schedule of complete settings, (steps + 1,)."""
        if isinstance(self.schedule, tuple):
            return schedules.listed(self.schedule)
        return SCHEDULES[self.schedule].make(self.steps, **_numbers_of_schedule(self))

    def guidance_scales(self) -> Tensor:
        """One scale for each frame of a run, (T,), of complete settings; a run in windows has all frames."""
        frames = self.frames_at_once if self.long == CHAIN else self.num_frames
        if isinstance(self.guidance, tuple):
            if len(self.guidance) == 1:
                return guidance.constant(frames, *self.guidance)
            return guidance.listed(frames, self.guidance)
        if curve.is_curve(self.guidance):
            return curve.parse(self.guidance).scales(frames)
        return guidance.SHAPES[self.guidance](frames, self.min_guidance, self.max_guidance)

    def track(self) -> Tensor | None:
        """MotionCtrl's camera of complete settings, (T, 12), None without one."""
        if self.camera is None:
            return None
        make = camera.named_track if isinstance(self.camera, str) else camera.listed_track
        return make(self.camera, self.num_frames, _default(self.camera_speed, 1.0))

    def as_metadata(self) -> dict:
        """The settings as JSON can hold them, for a file's metadata."""
        return {name: value for name, value in asdict(self).items() if value is not None and _is_json(value)}


FIELDS = rows(Settings)
"""The rows of the settings by their names."""


def _check_churn(settings: Settings, mistakes: Mistakes) -> None:
    """Refuses churn for a solver that has none, the user's or a preset's."""
    if settings.churn and settings.sampler in SOLVERS and settings.sampler not in CHURNING:
        mistakes.add(f"churn goes with {' and '.join(CHURNING)}; the sampler {settings.sampler} has none.")


def _check_variant(settings: Settings, variant: Variant, mistakes: Mistakes) -> None:
    """Refuses choices that this checkpoint has no use for, rather than ignoring them."""
    for name, field in FIELDS.items():
        if field.only and variant.conditioning not in field.only and getattr(settings, name) is not None:
            names = " and ".join(CONDITIONINGS[conditioning].checkpoints for conditioning in field.only)
            mistakes.add(f"{name} goes with {names}; this checkpoint ({variant.name}) takes none.")


def _with_defaults(settings: Settings, variant: Variant, pictures: bool, moves: bool) -> Settings:
    """The settings with a value for every None that the variant has a use for."""
    if between.has_ends(settings, pictures):
        settings = replace(settings, between=_default(settings.between, MPD))
    if settings.loop is not None:
        settings = replace(settings, ring=True)
    settings = length.with_length(settings, variant)
    preset = presets.find_preset(variant, settings.frames_at_once, settings.sampler, settings.preset)
    named = presets.NAMED.get(settings.preset, {})  # the user's choice, which goes before what is usual
    usual = between.defaults(settings, pictures, preset)
    preset = replace(preset, **{name: value for name, value in usual.items() if name not in named})
    schedule = _default(settings.schedule, preset.schedule)
    defaults = {
        **asdict(preset),
        "steps": _default_steps(schedule, settings, preset),
        "guidance_interval": (0.0, math.inf),
    }
    if variant.orbit:
        defaults["motion_bucket_id"] = None
    if moves:
        defaults |= held.defaults(variant)
    if settings.motion_amount is not None:
        listed = isinstance(schedule, tuple)
        takes_levels = not listed and "sigma_max" in SCHEDULES[schedule].numbers
        defaults |= motion_amount.defaults(settings.motion_amount, variant, takes_levels)
        settings = replace(settings, motion_amount=None)  # complete settings have the numbers alone
    chosen = {name: _default(getattr(settings, name), value) for name, value in defaults.items()}
    return replace(settings, **chosen)


def _default_steps(schedule: str | tuple[float, ...], settings: Settings, preset: presets.Preset) -> int:
    """Steps of a list of sigmas, or of a named preset, the sampler, the schedule, the checkpoint, in turn."""
    if isinstance(schedule, tuple):
        return len(schedules.listed(schedule)) - 1
    sampler = _default(settings.sampler, preset.sampler)
    changes = presets.OF_SAMPLERS.get(sampler, {}) | presets.NAMED.get(settings.preset, {})
    if "steps" in changes:
        return preset.steps
    return SCHEDULES[schedule].steps or preset.steps


def _with_camera(settings: Settings) -> Settings:
    """The settings with an elevation and an azimuth for each frame; raises ValueError for another count."""
    frames = settings.num_frames
    elevation = _default(settings.elevation, presets.USUAL_ELEVATION)
    azimuths = _default(settings.azimuths, orbit_azimuths(frames))
    azimuths = [azimuths] if is_number(azimuths) else azimuths
    return replace(
        settings,
        elevation=each_frame("elevation", elevation, frames),
        azimuths=each_frame("azimuths", azimuths, frames),
    )


def _numbers_of_schedule(settings: Settings) -> dict[str, float]:
    """The range and the bend that the user chose."""
    chosen = {name: getattr(settings, name) for name in ("sigma_min", "sigma_max", "rho")}
    return {name: value for name, value in chosen.items() if value is not None}


def _check_schedule(settings: Settings) -> None:
    """Raises ValueError for numbers that the schedule has no use for, or that make no falling levels."""
    listed = isinstance(settings.schedule, tuple)
    accepted = () if listed else SCHEDULES[settings.schedule].numbers
    useless = [name for name in _numbers_of_schedule(settings) if name not in accepted]
    if useless:
        which = "a given list of sigmas" if listed else f"the {settings.schedule} schedule"
        raise ValueError(f"{' and '.join(useless)} can't be given with {which}; leave it out.")
    steps = len(settings.all_sigmas()) - 1  # raises ValueError itself where there are none
    if steps != settings.steps:
        raise ValueError(f"steps is {settings.steps}, but the list of sigmas makes {steps}; leave steps out.")
    settings.sigmas()  # raises ValueError where a motion would be followed at none of them


def _default(value, default):
    return default if value is None else value


def _is_json(value) -> bool:
    """Whether JSON can hold a value: neither infinity nor NaN."""
    values = value if isinstance(value, tuple) else (value,)
    return all(math.isfinite(number) for number in values if isinstance(number, float))
