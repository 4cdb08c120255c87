"""SVD Feature Cache: deep features of our UNet, which several evaluations of a run use.

The host hands our UNet as many predictions at once as its memory holds, and not which of them are one
evaluation. A wrapper sees all of them before it divides them.
"""

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import comfy.patcher_extension
from torch import Tensor

from ...svd_model.networks.feature_cache import DeepFeatures, FeatureCache
from .early import FOLLOWERS, LEADERS
from .patches import patches_of

INTERVAL = "stillmotion_feature_cache"
"""The key in transformer_options of the number of evaluations from one of the whole UNet to the next."""

_FEATURES = "stillmotion_deep_features"  # in transformer_options: the DeepFeatures of an evaluation
_POSITIVE = 0  # number of the positive conditioning among the host's
_KIND = comfy.patcher_extension.WrappersMP.CALC_COND_BATCH


def interval_of(options: dict) -> int:
    """The interval by transformer_options; 1 without SVD Feature Cache."""
    return options.get(INTERVAL, 1)


def add_feature_cache(patcher, interval: int) -> None:
    """Has a MODEL of ours run its whole UNet in so many evaluations once."""
    patcher.model_options["transformer_options"][INTERVAL] = interval
    patcher.remove_wrappers_with_key(_KIND, INTERVAL)
    if interval > 1:
        patcher.add_wrapper_with_key(_KIND, INTERVAL, _with_features)


def cached(unet, options: dict) -> Callable[..., Tensor]:
    """The UNet's `predict` for a call with transformer_options, where it can of its outer layers alone."""
    features: DeepFeatures | None = options.get(_FEATURES)
    if features is None or not options.get("uuids"):
        return unet.predict
    names = zip(options["cond_or_uncond"], options["uuids"], strict=True)
    batch = tuple((*name, _frames(options)) for name in names)
    return partial(features.predict, unet, batch)


def _with_features(
    execute, model, conds: list, x_in: Tensor, timestep: Tensor, model_options: dict
) -> list[Tensor]:
    """The host's predictions for conditionings, in batches of its choice, which are one evaluation."""
    of_network = model_options["transformer_options"]
    active = [[cond for cond in of_one or () if _holds(cond, timestep)] for of_one in conds]
    if not any(active) or not model.run_cache.running:
        return execute(model, conds, x_in, timestep, model_options)
    for clone in model_options.get("multigpu_clones", {}).values():
        clone.model.run_cache.features = model.run_cache.features
    with _evaluation(model.run_cache.features, active, timestep.max(), of_network) as features:
        options = {**model_options, "transformer_options": {**of_network, _FEATURES: features}}
        return execute(model, conds, x_in, timestep, options)


def _evaluation(
    cache: FeatureCache, conds: list[list[dict]], sigma: Tensor, options: dict
) -> AbstractContextManager[DeepFeatures]:
    """A context with the features of an evaluation of conditionings, or of one that they belong to.

    Predictions by hooks belong to that of the positive one, which was evaluated before them.
    """
    frames = _frames(options)
    names = {(number, cond.get("uuid"), frames) for number, each in enumerate(conds) for cond in each}
    leads = len(conds) > 1  # for the host's own guidance; other nodes ask for one more alone
    if LEADERS in options and (found := cache.joined(names)) is not None:
        return nullcontext(found)
    followers = options.get(FOLLOWERS, ()) if leads and LEADERS not in options else ()
    others = {(_POSITIVE, name, frames) for each in followers for name in each.names(sigma, conds[_POSITIVE])}
    return cache.evaluation(names, interval_of(options), sigma.item(), patches_of(options).all, others)


def _frames(options: dict) -> Hashable:
    """The frames of a window, where the host samples a long video in pieces."""
    window = options.get("context_window")
    return None if window is None else tuple(window.index_list)


def _holds(cond: dict, timestep: Tensor) -> bool:
    """Whether a conditioning counts at a level, as the host's get_area_and_mult has it."""
    start, end = cond.get("timestep_start"), cond.get("timestep_end")
    return (start is None or timestep[0] <= start) and (end is None or timestep[0] >= end)
