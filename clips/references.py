"""Pictures beside the one of a clip, whose CLIP tokens lead its look: by weights, and by a mask.

SVD's cross-attention sees one token, so the pictures of a clip are one weighted sum of tokens. A mask gives
places other sums: see `svd_model.networks.references`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..svd_model.networks.references import References
from .fields import Number
from .motion import masks

WEIGHT = Number(-2, 2, step=0.05)
"""The weights of a reference: at 1 it replaces the clip's own picture, below 0 it leads away from its own."""

MOST = 16


@dataclass(frozen=True)
class Look:
    """Tokens of references, (1, 1, context_dim) each, their weights, and where they count.

    mask: (1, 1, H, W) from 0 to 1, at the size of the clip; None counts everywhere.
    """

    tokens: tuple[Tensor, ...]
    weights: tuple[float, ...]
    mask: Tensor | None = None

    def over(self, context: Tensor) -> tuple[Tensor, References | None]:
        """The token of a picture, (1, 1, context_dim), with the references, and what counts in places."""
        change = change_of(context, self.tokens, self.weights)
        if self.mask is None:
            return context + change, None
        return context, References(change, masks.shares(self.mask).to(context))


def change_of(context: Tensor, tokens: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """What references add to a token: the sum of their weighted differences to it, of its shape."""
    change = torch.zeros_like(context)
    for token, weight in zip(tokens, weights, strict=True):
        change += weight * (token.to(context) - context)
    return change


def check_weight(name: str, weight: object) -> None:
    """Raises ValueError for a weight, of a reference by its name, that is none."""
    for complaint in WEIGHT.complaints(weight):
        raise ValueError(f"the weight of {name} {complaint}")
