"""A plan: settings resolved for a variant, once, into tensors; and the run of its clip."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ..samplers import guidance
from ..svd_model.checkpoint.variants import Variant
from . import conditions, control
from .choices import MOST_FRAMES
from .choices_over_time import CHUNKED, WHOLE
from .conditions import Conditions
from .contrast import even_contrast
from .control import Control
from .noise import noisy_picture, start_noise
from .picture import to_canvas
from .run import Branch, Run
from .settings import Settings


@dataclass(frozen=True)
class Plan:
    """Settings of a clip, and the tensors that follow from them."""

    settings: Settings  # complete
    orbit: bool  # SV3D: the object is centred on white, and the clip ends on the picture
    vector: Tensor  # (1 or T, vector_dim)
    sigmas: Tensor  # (steps + 1,)
    scales: Tensor  # (T,)
    camera: Tensor | None = None  # MotionCtrl's track, (T, 12)

    @classmethod
    def of(cls, settings: Settings, variant: Variant) -> "Plan":
        """Resolves settings for a variant; raises ValueError for the impossible."""
        settings = settings.complete(variant)
        return cls(
            settings=settings,
            orbit=variant.orbit,
            vector=_vector(settings, variant),
            sigmas=settings.sigmas(),
            scales=settings.guidance_scales(),
            camera=settings.track(),
        )

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
        return Conditions(context, concat, self.vector.to(concat.device), camera)

    def finished(self, latents: Tensor) -> Tensor:
        """Sampled latents, (T, 4, h, w), as they are to be decoded."""
        contrast = self.settings.contrast
        return latents if contrast is None else even_contrast(latents, contrast)

    def control_pictures(self, pictures: Iterable[Tensor]) -> Tensor:
        """Control pictures at the size of the clip: (3 or 4, H, W) in [0, 1] each -> (T, 3, height, width).

        They are fitted as the picture is, to [−1, 1]; a single one serves all frames. Raises ValueError for
        another number.
        """
        settings = self.settings
        if settings.long in CHUNKED:
            raise ValueError(
                f"long {settings.long} can't go with a ControlNet, which knows the frames of one run alone; "
                f"take at most {settings.chunk} frames, or long {WHOLE}."
            )
        size = (settings.width, settings.height)
        return control.one_each(
            pictures,
            settings.num_frames,
            MOST_FRAMES,
            lambda picture: to_canvas(picture, *size, settings.fit),
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
        for a run with a ControlNet.
        """
        settings = self.settings
        shape = (settings.frames_at_once, *pictured.concat.shape[1:])
        return Run(
            branches={
                guidance.CONDITIONAL: Branch(pictured),
                guidance.UNCONDITIONAL: Branch(pictured.unconditional()),
            },
            terms=(guidance.TERMS["cfg"](self.scales, settings.guidance_interval),),
            sigmas=self.sigmas,
            start=start_noise(settings.seed, shape) if start is None else start,
            seed=settings.seed,
            solver=settings.sampler,
            churn=settings.churn,
            feature_cache=settings.feature_cache,
            control=None if pictures is None else self._control(pictures),
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
