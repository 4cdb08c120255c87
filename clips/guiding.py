"""Guidance and attention of a clip: the terms and the branches of its runs, and what they refuse."""

from collections.abc import Iterator

from torch import Tensor

from ..samplers import guidance
from ..samplers.bidirectional import BIDIRECTIONAL
from ..samplers.guidance import APG, CFG, CONDITIONAL, EVERYWHERE, SPATIAL, TEMPORAL, UNCONDITIONAL, Term
from ..svd_model.networks.hooks import NO_HOOKS, Hooks
from ..svd_model.networks.stages import UNetParams
from ..svd_model.networks.steering import Sharpened, Skipped, check_layers
from .choices import CLIP, FRAME, USUAL_SKIPPED, Choices
from .choices_over_time import ChoicesOverTime
from .conditions import Conditions
from .run import Branch

_OF_APG = {"apg_parallel": "parallel", "apg_limit": "limit", "apg_momentum": "momentum"}
"""Settings of projected guidance -> numbers of its term."""


def terms(settings: Choices, scales: Tensor) -> tuple[Term, ...]:
    """The terms of a run for scales of its frames, (T,): the plain one, then all others."""
    return _plain(settings, scales), *further_terms(settings, len(scales))


def further_terms(settings: Choices, frames: int) -> tuple[Term, ...]:
    """The terms after the plain one for so many frames: of skipped layers, then of rescaling."""
    found = []
    if skips(settings):
        interval = settings.skip_interval or EVERYWHERE
        found += guidance.skip(frames, *settings.skip_guidance, interval)
    if settings.guidance_rescale:
        usual = CLIP if skips(settings) else FRAME
        whole_clip = (settings.rescale_over or usual) == CLIP
        found.append(guidance.rescaled(frames, settings.guidance_rescale, whole_clip))
    return tuple(found)


def branches(settings: Choices, pictured: Conditions) -> dict[str, Branch]:
    """The branches that the terms of a run compare."""
    skipped = {name: Branch(pictured, hooks) for name, hooks in skipping(settings).items()}
    return {
        CONDITIONAL: Branch(pictured),
        UNCONDITIONAL: Branch(pictured.unconditional()),
        **skipped,
    }


def common_hooks(settings: Choices) -> Hooks:
    """The hooks of all branches."""
    sharpness = settings.temporal_sharpness
    return NO_HOOKS if sharpness == 1 else Sharpened(sharpness)


def skipping(settings: Choices) -> dict[str, Skipped]:
    """The hooks of each branch whose network leaves out attention."""
    layers = frozenset(settings.skip_layers or USUAL_SKIPPED)
    hooks = {SPATIAL: Skipped("space", layers), TEMPORAL: Skipped("time", layers)}
    strengths = dict(zip(hooks, settings.skip_guidance or (0, 0), strict=True))
    return {name: skipped for name, skipped in hooks.items() if strengths[name]}


def check_network(settings: Choices, params: UNetParams) -> None:
    """Raises ValueError for layers that a UNet does not have, and for positions where it has learned ones."""
    layers = settings.skip_layers or USUAL_SKIPPED if skips(settings) else ()
    check_layers("skip_layers", layers, params.attention_names)
    if settings.temporal_positions is not None and params.frame_positions:
        raise ValueError(
            f"temporal_positions is {settings.temporal_positions}, and this UNet has learned its positions, "
            f"for {params.frame_positions} frames; leave it out."
        )


def skips(settings: Choices) -> bool:
    """Whether a clip has guidance by skipped layers."""
    return any(settings.skip_guidance or ())


def compares(settings: Choices, scales: Tensor) -> bool:
    """Whether a clip with scales of its frames, (T,), compares branches at all."""
    return skips(settings) or bool((scales != 1).any())


def most_branches(settings: Choices) -> int:
    """How many branches a clip may compare."""
    return 2 + len(skipping(settings))


def conflicts(settings: ChoicesOverTime) -> Iterator[str]:
    """A sentence for each choice of guidance that has no use, or that another one rules out."""
    useless = [name for name in _OF_APG if getattr(settings, name) is not None]
    if useless and settings.guidance_method != APG:
        yield f"{' and '.join(useless)} can't go with {CFG}; give guidance_method {APG}, or leave it out."
    useless = [name for name in ("skip_layers", "skip_interval") if getattr(settings, name) is not None]
    if useless and not skips(settings):
        yield f"{' and '.join(useless)} can't go without skip_guidance; give its numbers, or leave it out."
    if settings.rescale_over is not None and not settings.guidance_rescale:
        yield "rescale_over can't go without guidance_rescale; give its share, or leave it out."


def conflicts_between(settings: ChoicesOverTime, what: str, method: str | None) -> Iterator[str]:
    """A sentence for each choice that can't go with a loop, or with a clip between pictures.

    what: the clip in words. method: of BETWEEN, None for a loop that ends on no picture.
    """
    if method in BIDIRECTIONAL:
        chosen = {
            "guidance_method": settings.guidance_method not in (None, CFG),
            "skip_guidance": skips(settings),
            "guidance_rescale": settings.guidance_rescale != 0,
        }
        useless = [name for name, there in chosen.items() if there]
        if useless:
            yield (
                f"{' and '.join(useless)} can't go with {method}, which guides both pictures' estimates by "
                "their scales alone; leave it out, or give between trf."
            )
    elif settings.apg_momentum:
        yield (
            f"apg_momentum is {settings.apg_momentum:g} and can't go with {what}: from one evaluation to the "
            "next frames are in other places; leave it out."
        )


def _plain(settings: Choices, scales: Tensor) -> Term:
    method = settings.guidance_method or CFG
    numbers = {ours: getattr(settings, name) for name, ours in _OF_APG.items()} if method == APG else {}
    numbers = {name: number for name, number in numbers.items() if number is not None}
    return guidance.TERMS[method](scales, settings.guidance_interval, **numbers)
