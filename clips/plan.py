"""A plan: settings resolved for a variant, once, into tensors; and the run of its clip."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from ..svd_model.checkpoint.variants import Variant
from ..svd_model.networks.stages import UNetParams
from . import between, conditions, control, guiding, low_pass
from .choices import MOST_FRAMES
from .choices_over_time import CHUNKED, PINNED, SHIFT, WHOLE
from .conditions import Conditions
from .contrast import even_contrast
from .control import Control
from .first_frame import EXACT, FirstFrame, led_from
from .frames import one_each
from .mistakes import Mistakes
from .noise import noisy_picture, seed_of_chunk, start_noise
from .picture import to_canvas
from .references import Look
from .run import Run
from .settings import Settings


@dataclass(frozen=True)
class Plan:
    """Settings of a clip, and the tensors that follow from them."""

    settings: Settings  # complete
    variant: Variant
    vector: Tensor  # (1 or T, vector_dim)
    sigmas: Tensor  # (steps + 1,)
    scales: Tensor  # (T,)
    camera: Tensor | None = None  # MotionCtrl's track, (T, 12)
    keyframes: tuple[int, ...] = ()  # frames of pictures after the first; the last one ends the clip
    look: Look | None = None  # of references beside each picture

    @classmethod
    def of(
        cls,
        settings: Settings,
        variant: Variant,
        keyframes: Collection[int] = (),
        end_frame: bool = False,
        moves: bool = False,
        freezes: bool = False,
    ) -> "Plan":
        """Resolves settings for a variant; raises ValueError for the impossible.

        keyframes: frames of further pictures. end_frame: whether the last frame has one too. moves, freezes:
        whether the user moves parts of the first one, and keeps some still.
        """
        pictured, mistakes = bool(keyframes) or end_frame, Mistakes()
        with mistakes.collected():
            if pictured:
                settings.check()
                keyframes = between.frames_of(settings, variant, keyframes, end_frame)
                settings = replace(settings, num_frames=keyframes[-1] + 1)
        with mistakes.collected():
            settings = settings.complete(variant, pictured, moves, freezes)
        mistakes.raise_any()
        plan = cls(
            settings=settings,
            variant=variant,
            vector=_vector(settings, variant),
            sigmas=settings.sigmas(),
            scales=settings.guidance_scales(),
            camera=settings.track(),
            keyframes=tuple(keyframes),
        )
        if plan.keyframes or settings.loop is not None:
            between.check_guidance(settings, plan.run_frames)
        return plan

    @property
    def orbit(self) -> bool:
        """Whether it is SV3D: the object is centred on white, and the clip ends on the picture."""
        return self.variant.orbit

    @property
    def picture_frames(self) -> tuple[int, ...]:
        """Frames of the pictures between which the clip goes; empty without any but the first.

        A pinned loop comes back to its first picture one frame after its last.
        """
        if self.keyframes:
            return (0, *self.keyframes)
        return (0, self.settings.num_frames) if self.settings.loop == PINNED else ()

    @property
    def run_frames(self) -> list[int]:
        """How many frames the UNet takes at once, in each run."""
        if self.picture_frames:
            return between.run_lengths(self.picture_frames, self.variant)
        if self.settings.loop == SHIFT:
            return [between.tile_of(self.settings.num_frames, self.variant)]
        return [self.settings.frames_at_once]

    def doubts(self) -> list[str]:
        """A sentence for each gap between pictures that the networks are not at home with."""
        return list(between.doubts(self.picture_frames, self.variant))

    def part(self, num_frames: int, number: int = 0, fps: float | None = None) -> "Plan":
        """The plan of a part of the clip, by its number from 0, with noise of its own.

        fps: told to the model in place of the clip's.
        """
        seed = seed_of_chunk(self.settings.seed, number)
        fps = self.settings.fps if fps is None else fps
        settings = replace(self.settings, num_frames=num_frames, seed=seed, fps=fps, loop=None)
        vector = _vector(settings, self.variant)
        return replace(self, settings=settings, vector=vector, scales=settings.guidance_scales())

    def canvas(self, pixels: Tensor) -> Tensor:
        """Fits a picture to the clip: (3 or 4, H, W) in [0, 1] -> (1, 3, height, width) in [−1, 1]."""
        settings = self.settings
        size = (settings.width, settings.height)
        return to_canvas(pixels, *size, settings.fit, cut_out=self.orbit)

    def noisy(self, picture: Tensor) -> Tensor:
        """A picture with the seed's noise, for the encoder."""
        return noisy_picture(picture, self.settings.noise_aug, self.settings.seed)

    def conditions(self, context: Tensor, concat: Tensor) -> Conditions:
        """Conditions of the embedded and the encoded picture, with the clip's numbers."""
        camera = None if self.camera is None else self.camera.to(concat.device)
        context, references = (context, None) if self.look is None else self.look.over(context)
        return Conditions(context, concat, self.vector.to(concat.device), camera, references)

    def first_frame(self, picture: Tensor) -> FirstFrame | None:
        """The picture, which `canvas` fitted, as the clip's first frame, where the settings say so."""
        settings = self.settings
        if settings.keep_first != EXACT:
            return None
        next_picture = self.keyframes[0] if self.keyframes else None
        return led_from(picture, settings.num_frames, settings.ring, next_picture)

    def finished(self, latents: Tensor) -> Tensor:
        """Sampled latents, (T, 4, h, w), as they are to be decoded."""
        contrast = self.settings.contrast
        return latents if contrast is None else even_contrast(latents, contrast)

    def control_pictures(self, pictures: Iterable[Tensor]) -> Tensor:
        """Control pictures at the size of the clip: (3 or 4, H, W) in [0, 1] each -> (T, 3, height, width).

        They are fitted as the picture is, to [−1, 1]; a single one serves all frames. Raises ValueError for
        another number, and for a clip between pictures or a loop.
        """
        settings = self.settings
        if self.keyframes or settings.loop is not None:
            what = f"the loop {settings.loop}" if settings.loop else "an end frame or keyframes"
            raise ValueError(f"a ControlNet's pictures can't go with {what}; leave one of both out.")
        if settings.long in CHUNKED:
            raise ValueError(
                f"long {settings.long} can't go with a ControlNet, which knows the frames of one run alone; "
                f"take at most {settings.chunk} frames, or long {WHOLE}."
            )
        size = (settings.width, settings.height)
        return one_each(
            pictures,
            settings.num_frames,
            MOST_FRAMES,
            lambda picture: to_canvas(picture, *size, settings.fit),
            "control frames",
        )

    def check_network(self, params: UNetParams) -> None:
        """Raises ValueError for choices that a UNet of these sizes has no use for."""
        guiding.check_network(self.settings, params)

    def refuse_noise(self) -> None:
        """Raises ValueError for noise of the caller's, in a clip with pictures at both ends."""
        if self.picture_frames:
            raise ValueError(
                "noise goes with a clip of one picture; a clip between pictures has the seed's: leave it out."
            )

    def refuse_control(self) -> None:
        """Raises ValueError for settings of control, in a clip without control pictures."""
        useless = [name for name in control.DEFAULTS if getattr(self.settings, name) is not None]
        if useless:
            verb = "goes" if len(useless) == 1 else "go"
            raise ValueError(
                f"{' and '.join(useless)} {verb} with a ControlNet and control frames; this clip has none."
            )

    def run(self, pictured: Conditions, start: Tensor | None = None, pictures: Tensor | None = None) -> Run:
        """The run of a clip under conditions; `start` replaces the seed's noise.

        The run of a long clip has the noise of its first chunk or window. pictures: from `control_pictures`,
        for a run with a ControlNet. Raises ValueError for a loop, whose runs are of its recipe's making.
        """
        settings = self.settings
        if settings.loop is not None:
            raise ValueError(f"loop is {settings.loop}, and this is one plain run; animate makes loops.")
        shape = (settings.frames_at_once, *pictured.concat.shape[1:])
        return Run(
            branches=guiding.branches(settings, pictured),
            terms=guiding.terms(settings, self.scales),
            sigmas=self.sigmas,
            start=start_noise(settings.seed, shape) if start is None else start,
            seed=settings.seed,
            solver=settings.sampler,
            churn=settings.churn,
            feature_cache=settings.feature_cache,
            control=None if pictures is None else self._control(pictures),
            hooks=guiding.common_hooks(settings),
            positions=settings.temporal_positions,
            low_pass=low_pass.of(settings),
        )

    def _control(self, pictures: Tensor) -> Control:
        chosen = control.numbers(self.settings)
        return Control(
            pictures,
            strength=chosen["control_strength"],
            weighting=chosen["control_weighting"],
            first_sigma=control.sigma_at(chosen["control_start"]),
            last_sigma=control.sigma_at(chosen["control_end"]),
        )


def _vector(settings: Settings, variant: Variant) -> Tensor:
    """The vector of complete settings for the variant's UNet."""
    names = ("fps", "motion_bucket_id", "elevation", "azimuths")
    numbers = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    return conditions.vector(variant, settings.num_frames, settings.noise_aug, **numbers)
