"""Guidance of a MODEL: the terms of samplers.guidance over the predictions of the host."""

from collections.abc import Callable, Sequence

import comfy.patcher_extension
import comfy.samplers
from torch import Tensor

from ...samplers.guidance import CONDITIONAL, UNCONDITIONAL, Term, branches_at, guided
from .model import check_video_model, frames_of_video

_BRANCHES = (CONDITIONAL, UNCONDITIONAL)
"""The order of the host's conditionings and predictions."""

_REPLACED = ("sampler_cfg_function", "sampler_calc_cond_batch_function")
_OTHER_READERS = ("sampler_pre_cfg_function", "sampler_post_cfg_function")
"""The model options through which CFG++, SAG and Mahiro read the unconditional prediction."""

MakeTerms = Callable[[int], Sequence[Term]]
"""Frames of one video -> the terms of a run."""


class _Guider:
    """Guidance by the terms of the current run, as the two functions that the host calls for a MODEL."""

    def __init__(self, make_terms: MakeTerms):
        self._make_terms = make_terms
        self._terms: dict[int, Sequence[Term]] = {}

    def begin_run(self, patcher) -> None:
        """Forgets the terms, which may have the state of a run."""
        self._terms.clear()

    def predict(self, args: dict) -> list[Tensor]:
        """The predictions of the branches that this step needs, zeros for the others."""
        options, sigma = args["model_options"], args["sigma"]
        wanted = branches_at(sigma.max(), self._terms_of(args["conds"][0]))
        if any(options.get(name) for name in _OTHER_READERS):
            wanted = _BRANCHES
        branches = zip(_BRANCHES, args["conds"], strict=True)
        conds = [conditions if name in wanted else None for name, conditions in branches]
        return comfy.samplers.calc_cond_batch(args["model"], conds, args["input"], sigma, options)

    def combine(self, args: dict) -> Tensor:
        """The guided prediction as the host asks for it: x − D."""
        predictions = {CONDITIONAL: args["cond_denoised"], UNCONDITIONAL: args["uncond_denoised"]}

        def evaluate(branches: Sequence[str], x: Tensor, sigma: Tensor) -> list[Tensor]:
            return [predictions[branch] for branch in branches]

        denoise = guided(evaluate, self._terms_of(args["input_cond"]))
        return args["input"] - denoise(args["input"], args["sigma"].max())

    def _terms_of(self, conditions: list) -> Sequence[Term]:
        num_frames = frames_of_video(conditions)
        if num_frames not in self._terms:
            self._terms[num_frames] = self._make_terms(num_frames)
        return self._terms[num_frames]


def with_guidance(model, make_terms: MakeTerms):
    """A copy of a MODEL that any sampler node guides; `make_terms` makes the terms of each run."""
    guider = _Guider(make_terms)
    patched = model.clone()
    patched.set_model_sampler_cfg_function(guider.combine, disable_cfg1_optimization=True)
    patched.set_model_sampler_calc_cond_batch_function(guider.predict)
    begin = comfy.patcher_extension.CallbacksMP.ON_PRE_RUN
    patched.add_callback_with_key(begin, "stillmotion_guidance", guider.begin_run)
    return patched


def check_without_guidance(model, name: str) -> None:
    """Raises ValueError for a MODEL that a node, by its name, can't guide."""
    check_video_model(model)
    if any(key in model.model_options for key in _REPLACED):
        raise ValueError(
            f"this model has a guidance node before it, which {name} would replace; take it out, or sample "
            "with core's KSampler and that node alone."
        )


def is_guided(model) -> bool:
    """Whether a MODEL has the guidance of SVD Guidance or of SVD Preset, for any sampler node."""
    combine = model.model_options.get("sampler_cfg_function")
    return isinstance(getattr(combine, "__self__", None), _Guider)


def check_unguided(model_options: dict) -> None:
    """Raises ValueError for options of a MODEL with guidance, where a sampler has guidance of its own."""
    if any(model_options.get(key) for key in (*_REPLACED, *_OTHER_READERS)):
        raise ValueError(
            "this model has a guidance node before it, and mpd, mpd_trf and vibid guide by themselves; take "
            "that node out, or choose trf."
        )
