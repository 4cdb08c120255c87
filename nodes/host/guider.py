"""Guidance of a MODEL: the terms of samplers.guidance over the predictions of the host."""

import uuid
from collections.abc import Callable, Mapping, Sequence

import comfy.patcher_extension
import comfy.samplers
from torch import Tensor

from ...samplers.guidance import CONDITIONAL, UNCONDITIONAL, Term, branches_at, guided
from ...svd_model.networks.hooks import NO_HOOKS, Hooks, both
from .early import FOLLOWERS, LEADERS, Followers
from .model import check_video_model, frames_of_video
from .shared import STEERING

_BRANCHES = (CONDITIONAL, UNCONDITIONAL)
"""The order of the host's conditionings and predictions."""

_REPLACED = ("sampler_cfg_function", "sampler_calc_cond_batch_function")
_OTHER_READERS = ("sampler_pre_cfg_function", "sampler_post_cfg_function")
"""The model options through which CFG++, SAG and Mahiro read the unconditional prediction."""

MakeTerms = Callable[[int], Sequence[Term]]
"""Frames of one video -> the terms of a run."""


class _Guider:
    """Guidance by the terms of the current run, as the two functions that the host calls for a MODEL.

    remembers: whether terms have a state.
    """

    def __init__(self, make_terms: MakeTerms, remembers: bool):
        self._make_terms, self.remembers = make_terms, remembers
        self._terms: dict[int, Sequence[Term]] = {}

    def begin_run(self, patcher) -> None:
        """Forgets the terms, which may have the state of a run."""
        self._terms.clear()

    def predict(self, args: dict) -> list[Tensor]:
        """The predictions of the branches that this step needs, zeros for the others."""
        options, sigma = args["model_options"], args["sigma"]
        wanted = branches_at(sigma.max(), self._terms_of(args["conds"][0]))
        others = [function for name in _OTHER_READERS for function in options.get(name, ())]
        if any(not isinstance(_owner(function), _Further) for function in others):
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


class _Further:
    """Further terms of a MODEL's guidance, whatever it is, as a function that the host calls after it.

    They compare the positive prediction with predictions by hooks of our UNet, each named as a branch.
    """

    def __init__(self, make_terms: MakeTerms, hooks: Mapping[str, Hooks]):
        self._make_terms = make_terms
        self._hooks = {name: of_branch for name, of_branch in hooks.items() if of_branch is not NO_HOOKS}

    @property
    def hooks(self) -> tuple[Hooks, ...]:
        """The hooks of each prediction."""
        return tuple(self._hooks.values())

    def change(self, args: dict) -> Tensor:
        """The guided prediction, changed."""

        def evaluate(branches: Sequence[str], x: Tensor, sigma: Tensor) -> list[Tensor]:
            own = {CONDITIONAL: args["cond_denoised"]}
            return [own[name] if name in own else self._predict(name, args) for name in branches]

        terms = self._make_terms(frames_of_video(args["cond"]))
        try:
            return guided(evaluate, terms, args["denoised"])(args["input"], args["sigma"].max())
        finally:
            args["model"].run_cache.early.forget()

    def follow(self, sigma: Tensor, num_frames: int) -> bool:
        """Whether predictions by hooks follow the positive one at a σ."""
        return bool(self._following(sigma, num_frames))

    def names(self, sigma: Tensor, conditions: list) -> list[uuid.UUID]:
        """Names of the conditions of predictions by hooks that follow the positive one at a σ."""
        branches = self._following(sigma, frames_of_video(conditions)) if conditions else []
        return [_named(cond, branch) for branch in branches for cond in conditions]

    def _following(self, sigma: Tensor, num_frames: int) -> list[str]:
        wanted = branches_at(sigma, self._make_terms(num_frames))
        return [branch for branch in self._hooks if branch in wanted]

    def _predict(self, branch: str, args: dict) -> Tensor:
        """The positive prediction by a branch's hooks; its conditions have names of their own.

        By the names EasyCache and our feature cache know the predictions that they keep.
        """
        options = args["model_options"]
        of_network = options["transformer_options"]
        hooks = both(self._hooks[branch], of_network.get(STEERING, NO_HOOKS))
        conds = [{**cond, "uuid": _named(cond, branch)} for cond in args["cond"]]
        leaders = {new["uuid"]: cond["uuid"] for new, cond in zip(conds, args["cond"], strict=True)}
        options = {**options, "transformer_options": {**of_network, STEERING: hooks, LEADERS: leaders}}
        inputs = (args["model"], [conds], args["input"], args["sigma"], options)
        return comfy.samplers.calc_cond_batch(*inputs)[0]


def _named(cond: dict, branch: str) -> uuid.UUID:
    """The name of a conditioning of the host's for a branch, alike in all steps."""
    return uuid.uuid5(cond["uuid"], branch)


def with_guidance(model, make_terms: MakeTerms, remembers: bool = False):
    """A copy of a MODEL that any sampler node guides; `make_terms` makes the terms of each run.

    remembers: whether terms have a state.
    """
    guider = _Guider(make_terms, remembers)
    patched = model.clone()
    patched.set_model_sampler_cfg_function(guider.combine, disable_cfg1_optimization=True)
    patched.set_model_sampler_calc_cond_batch_function(guider.predict)
    begin = comfy.patcher_extension.CallbacksMP.ON_PRE_RUN
    patched.add_callback_with_key(begin, "stillmotion_guidance", guider.begin_run)
    return patched


def with_further_terms(model, make_terms: MakeTerms, hooks: Mapping[str, Hooks]):
    """A copy of a MODEL whose guidance, from any node, has further terms.

    hooks: of our UNet, by the branches that they make.
    """
    patched = model.clone()
    further = _Further(make_terms, hooks)
    patched.set_model_sampler_post_cfg_function(further.change)
    if further.hooks:
        options = patched.model_options["transformer_options"]
        followers = Followers(further.hooks, further.follow, further.names)
        options[FOLLOWERS] = (*options.get(FOLLOWERS, ()), followers)
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
    return isinstance(_owner(model.model_options.get("sampler_cfg_function")), _Guider)


def check_without_memory(model, what: str) -> None:
    """Raises ValueError for a MODEL whose guidance has a momentum, in a way that changes frames' places."""
    guider = _owner(model.model_options.get("sampler_cfg_function"))
    if isinstance(guider, _Guider) and guider.remembers:
        raise ValueError(
            f"this model's guidance has a momentum, which can't go with {what}: from one step to the next "
            "frames are in other places; set SVD Guidance's momentum to 0."
        )


def check_unguided(model_options: dict) -> None:
    """Raises ValueError for options of a MODEL with guidance, where a sampler has guidance of its own."""
    if any(model_options.get(key) for key in (*_REPLACED, *_OTHER_READERS)):
        raise ValueError(
            "this model has a guidance node before it, and mpd, mpd_trf and vibid guide by themselves; take "
            "that node out, or choose trf."
        )


def _owner(function: Callable | None) -> object:
    """The object that a function of a MODEL's options is a method of."""
    return getattr(function, "__self__", None)
