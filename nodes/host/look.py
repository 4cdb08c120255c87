"""The look of a CONDITIONING: further CLIP embeddings by weights, everywhere or where a mask is white."""

from dataclasses import replace

import torch
from torch import Tensor

from ...clips.references import change_of
from ...svd_model.networks.references import References
from .shared import OWN_TOKENS, REFERENCES
from .ways import Ends, way_of, with_way


def with_reference(conditioning: list, token: Tensor, weight: float, mask: Tensor | None = None) -> list:
    """A CONDITIONING whose picture has a reference, (1, 1, context_dim), everywhere or where a mask is 1.

    mask: (1, 1, h, w) at the latents' size. References count beside each other, in any order. Raises
    ValueError for a mask and an end picture.
    """
    way, result = way_of(conditioning), []
    if isinstance(way, Ends) and mask is not None:
        raise ValueError(
            "positive has an end picture, and a mask of references knows one picture alone; leave the mask "
            "out."
        )
    end = way.conditions.context if isinstance(way, Ends) else None
    for context, options in conditioning:
        own, own_of_end = options.get(OWN_TOKENS, (context, end))
        change = change_of(own, [token], [weight])
        options = {**options, OWN_TOKENS: (own, own_of_end)}
        if mask is None:
            context = context + change
        else:
            options[REFERENCES] = _added(options.get(REFERENCES), change, mask.to(own))
        result.append([context, options])
    if end is None:
        return result
    conditions = replace(way.conditions, context=end + change_of(own_of_end, [token], [weight]))
    return with_way(result, replace(way, conditions=conditions))


def _added(references: References | None, tokens: Tensor, shares: Tensor) -> References:
    shares = shares.expand(len(tokens), -1, -1, -1)
    if references is None:
        return References(tokens, shares)
    return References(*(torch.cat(pair, dim=1) for pair in zip(references, (tokens, shares), strict=True)))
