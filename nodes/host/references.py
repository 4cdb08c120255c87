"""References with places of their own: from CONDITIONING, through the host's batches, to our UNet."""

import comfy.conds
import comfy.utils
from torch import Tensor
from torch.nn import functional

from ...svd_model.networks.references import References

TOKENS, SHARES = "reference_tokens", "reference_shares"
"""Keys of what the host hands to the UNet, in batches of its own making."""


def conds_of(references: References, noise: Tensor) -> dict:
    """References as conditions that the host batches and cuts, for latents as the noise, (B·T, 4, h, w)."""
    shares = functional.adaptive_avg_pool2d(references.shares.float(), noise.shape[2:])
    return {TOKENS: comfy.conds.CONDRegular(references.tokens), SHARES: comfy.conds.CONDNoiseShape(shares)}


def references_of(tokens: Tensor | None, shares: Tensor | None, x: Tensor) -> References | None:
    """References of an evaluation of x, (B·T, C, h, w), of what the host hands over."""
    if tokens is None:
        return None
    return References(*(comfy.utils.repeat_to_batch_size(t, len(x)).to(x) for t in (tokens, shares)))
