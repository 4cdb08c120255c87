"""Clips that end on a picture of their own, and loops: their conditioning, and the guider that heeds it.

Videos of a batch are apart, (B, T, 4, h, w), wherever time has a direction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import comfy.samplers
import comfy.utils
from torch import Tensor

from ...clips.conditions import Conditions
from ...samplers import denoisers
from ...samplers.bidirectional import End, fading, put
from ...samplers.guidance import CONDITIONAL, UNCONDITIONAL, Evaluate
from ...samplers.solvers import Denoiser
from .feature_cache import interval_of
from .guider import check_unguided, check_without_memory
from .model import check_no_orbit, check_video_model, steering_of
from .shared import NUM_FRAMES, WAY
from .values import conditioning_of

_END = "end's "
"""Begins the names of the end picture's conditionings."""


@dataclass(frozen=True)
class Ends:
    """The way of clips between two pictures.

    `conditions` are the end picture's, with rows as a CONDITIONING has them. The latents are without noise,
    (B, 4, h, w), in the VAE's scale. `scales`: guidance of the methods in BIDIRECTIONAL, (T,), counted from
    each picture.
    """

    conditions: Conditions
    start: Tensor
    end: Tensor
    scales: Tensor


@dataclass(frozen=True)
class Shift:
    """The way of loops that begin so many frames later in every step."""

    skip: int


Way = Ends | Shift


def with_way(conditioning: list, way: Way) -> list:
    """A CONDITIONING that has a way, which only a WayGuider heeds."""
    return [[context, {**options, WAY: way}] for context, options in conditioning]


def way_of(conditioning: list) -> Way | None:
    """The way of a CONDITIONING; raises ValueError for several."""
    ways = [options.get(WAY) for _, options in conditioning]
    if any(way is not ways[0] for way in ways):
        raise ValueError(
            "positive is combined of conditionings that end on different pictures; connect a single SVD "
            "First and Last Frame."
        )
    return ways[0] if ways else None


def make_guider(model, positive: list, negative: list) -> comfy.samplers.CFGGuider:
    """The guider of a MODEL for conditionings, which heeds their way if they have one."""
    way = way_of(positive)
    if way is None:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        return guider
    return WayGuider(model, way, positive, negative)


class WayGuider(comfy.samplers.CFGGuider):
    """A GUIDER whose estimate is of both pictures, fused in time, or of a loop begun at the step's frame.

    So every SAMPLER samples the way. Guidance is the MODEL's; a sampler node's cfg doesn't reach it.
    """

    def __init__(self, model, way: Way, positive: list, negative: list):
        super().__init__(model)
        _check(model, positive)
        if isinstance(way, Shift) and interval_of(model.model_options["transformer_options"]) > 1:
            raise ValueError(
                "this model caches its features, and the loop has other frames at a place in every step; "
                "take SVD Feature Cache out, or choose the loop pinned."
            )
        check_without_memory(model, "an end picture" if isinstance(way, Ends) else "this loop")
        self.way = way
        self.frames: int = positive[0][1][NUM_FRAMES]  # of one video
        conds = {"positive": _without_way(positive), "negative": _without_way(negative)}
        if isinstance(way, Ends):
            of_end = {"positive": way.conditions, "negative": way.conditions.unconditional()}
            for name, conditions in of_end.items():
                conds[_END + name] = [conditioning_of(conditions, options)[0] for _, options in conds[name]]
        self.inner_set_conds(conds)

    def sample(
        self, noise: Tensor, latent_image: Tensor, sampler, sigmas: Tensor, *options, **more
    ) -> Tensor:
        """The host's own sampling; both ends of a clip that is done become its pictures."""
        samples = super().sample(noise, latent_image, sampler, sigmas, *options, **more)
        if not isinstance(self.way, Ends) or len(sigmas) == 0 or sigmas[-1] > 0:
            return samples
        videos = samples.unflatten(0, (-1, self.frames))
        start, end = (_each_video(latent, videos) for latent in (self.way.start, self.way.end))
        return put(videos, {0: start, self.frames - 1: end}).flatten(0, 1)

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options=None, seed=None) -> Tensor:
        """The estimate of the way, as the host asks for it: (B·T, 4, h, w) -> (B·T, 4, h, w)."""
        options = model_options or {}
        videos = x.unflatten(0, (-1, self.frames))
        denoise = self._guided("", options, seed)
        if isinstance(self.way, Ends):
            backward = denoisers.flipped(self._guided(_END, options, seed))
            denoise = denoisers.fused(denoise, backward, fading(self.frames))
        else:
            sigmas = options["transformer_options"]["sample_sigmas"]
            denoise = denoisers.shifted(denoise, sigmas, self.way.skip, self.frames)
        return denoise(videos, timestep.max()).flatten(0, 1)

    def ends(self, x: Tensor, model_options: dict) -> tuple[End, End]:
        """Both pictures for a solver in BIDIRECTIONAL of x, (B, T, 4, h, w)."""
        check_unguided(model_options)

        def end(whose: str, latent: Tensor) -> End:
            latent = _each_video(self.inner_model.process_latent_in(latent), x)
            return End(self._evaluate(whose, model_options), latent, self.way.scales)

        return end("", self.way.start), end(_END, self.way.end)

    def _guided(self, whose: str, options: dict, seed: int | None) -> Denoiser:
        """The MODEL's guided estimate under one picture."""

        def predict(x: Tensor, sigma: Tensor) -> Tensor:
            negative, positive = self.conds[whose + "negative"], self.conds[whose + "positive"]
            return comfy.samplers.sampling_function(
                self.inner_model, x, sigma, negative, positive, self.cfg, model_options=options, seed=seed
            )

        return _of_videos(predict)

    def _evaluate(self, whose: str, options: dict) -> Evaluate:
        """The MODEL's estimates with one picture and without it."""
        conds = {CONDITIONAL: self.conds[whose + "positive"], UNCONDITIONAL: self.conds[whose + "negative"]}

        def evaluate(branches: Sequence[str], x: Tensor, sigma: Tensor) -> list[Tensor]:
            def predict(x: Tensor, sigma: Tensor) -> list[Tensor]:
                chosen = [conds[branch] for branch in branches]
                return comfy.samplers.calc_cond_batch(self.inner_model, chosen, x, sigma, options)

            return _of_videos(predict)(x, sigma)

        return evaluate


def _of_videos(predict: Callable) -> Callable:
    """Predictions of a batch of frames with a σ each, for videos, (B, T, 4, h, w), and one σ."""

    def predict_videos(x: Tensor, sigma: Tensor):
        flat = x.flatten(0, 1)
        predicted = predict(flat, sigma.to(flat) * flat.new_ones([len(flat)]))
        if isinstance(predicted, Tensor):
            return predicted.unflatten(0, x.shape[:2])
        return [each.unflatten(0, x.shape[:2]) for each in predicted]

    return predict_videos


def _each_video(latents: Tensor, videos: Tensor) -> Tensor:
    """Latents of pictures, one for each video, (B, 1, 4, h, w): repeated as the host repeats conditions."""
    return comfy.utils.repeat_to_batch_size(latents, len(videos))[:, None].to(videos)


def _without_way(conditioning: list) -> list:
    return [
        [context, {name: value for name, value in options.items() if name != WAY}]
        for context, options in conditioning
    ]


def _check(model, positive: list) -> None:
    """Raises ValueError for a MODEL or a CONDITIONING that no way goes with."""
    check_video_model(model)
    check_no_orbit(model, "SVD First and Last Frame")
    if steering := steering_of(positive):
        raise ValueError(
            f"positive has {steering}, which sees the clip forward in time alone, and an end picture or a "
            "loop; take one of the two out."
        )
