"""Transformer blocks in core's order of work, with the patches of other nodes.

The semantics follow core's BasicTransformerBlock: comfy/ldm/modules/attention.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor

from ...svd_model.networks.attention import Context, MultiHeadAttention, SelfAttention, plain
from ...svd_model.networks.transformer import TemporalBlock, TemporalContext, TransformerBlock
from .shared import ATTENTION_PRECISION

OVERRIDE = "optimized_attention_override"
"""Key in transformer_options of a function that is called in place of the host's attention."""


@dataclass(frozen=True)
class SpatialBlock:
    """Forward of a spatial TransformerBlock, with the patches where core has them."""

    options: dict  # transformer_options with block, transformer_index and shapes
    tokens: Tensor  # (N, M, context_dim)
    context: Context  # precomputed from the tokens
    lists: dict[str, list[Callable]] = field(default_factory=dict)  # of patches, by the names of core
    replacements: dict[str, dict[tuple, Callable]] = field(default_factory=dict)  # for attn1, attn2, by block
    attention: SelfAttention = plain  # our own hooks, around attention of tokens to each other

    @torch.compiler.disable  # a patch may do anything
    def __call__(self, block: TransformerBlock, x: Tensor) -> Tensor:
        """Run the block: (N, L, C) -> (N, L, C)."""
        return self._rows(block, x)

    def _rows(self, block: TransformerBlock, x: Tensor) -> Tensor:
        n = block.norm1(x)
        x = self._attend("attn1", block.attn1, n, n) + x
        x = self._after_self_attention(block, x)
        for patch in self.lists.get("middle_patch", ()):
            x = patch(x, self._extra(block.attn1))
        x = self._cross(block, x) + x
        return block.ff(block.norm3(x)) + x

    def _after_self_attention(self, block: TransformerBlock, x: Tensor) -> Tensor:
        """Tokens unchanged; a block over time adds the camera here."""
        return x

    def _cross(self, block: TransformerBlock, x: Tensor) -> Tensor:
        """Cross-attention output: the precomputed one unless a node patches attn2."""
        if OVERRIDE in self.options or self.lists.get("attn2_patch") or self._replacement("attn2"):
            return self._attend("attn2", block.attn2, block.norm2(x), self.tokens)
        if isinstance(self.context, Tensor):
            n = self.context.repeat(1, x.shape[1], 1)
        else:
            n = block.attn2.to_context(block.norm2(x), self.context)
        return self._output("attn2", block.attn2, n)

    def _attend(self, name: str, attention: MultiHeadAttention, n: Tensor, context: Tensor) -> Tensor:
        """Attention of n, (N, L, dim), to a context, (N, M, context_dim), with its patches."""
        value = context
        for patch in self.lists.get(f"{name}_patch", ()):
            n, context, value = patch(n, context, value, self._extra(attention))
        q, k = attention.to_q(n), attention.to_k(context)
        v = attention.to_v(context if value is None else value)
        replacement = self._replacement(name)

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if replacement is not None:
                return replacement(q, k, v, self._extra(attention))
            return optimized_attention(
                q, k, v, attention.heads, attn_precision=ATTENTION_PRECISION, transformer_options=self.options
            )

        n = self.attention(q, k, v, attend) if name == "attn1" else attend(q, k, v)
        return self._output(name, attention, attention.to_out(n))

    def _output(self, name: str, attention: MultiHeadAttention, n: Tensor) -> Tensor:
        for patch in self.lists.get(f"{name}_output_patch", ()):
            n = patch(n, self._extra(attention))
        return n

    def _replacement(self, name: str) -> Callable | None:
        """Function in place of this block's attention, listed with a block_index or without."""
        functions, block = self.replacements.get(name, {}), self.options["block"]
        return functions.get((*block, self.options["block_index"]), functions.get(block))

    def _extra(self, attention: MultiHeadAttention) -> dict:
        """Options for a patch: without the patches, with the sizes of attention."""
        rest = {
            key: value for key, value in self.options.items() if key not in ("patches", "patches_replace")
        }
        width = self.options["activations_shape"][1] // attention.heads
        return {**rest, "n_heads": attention.heads, "dim_head": width, "attn_precision": ATTENTION_PRECISION}


@dataclass(frozen=True)
class OverriddenTemporalBlock(SpatialBlock):
    """Forward of a TemporalBlock with overridden attention. Patches don't reach attention over time."""

    context: TemporalContext

    @torch.compiler.disable  # an override may do anything
    def __call__(self, block: TemporalBlock, x: Tensor) -> Tensor:
        """Run the block: (B, T, S, C) -> (B, T, S, C)."""
        videos, _, positions, _ = x.shape
        rows = x.transpose(1, 2).flatten(0, 1)  # -> (B·S, T, C), the layout of core
        rows = block.ff_in(block.norm_in(rows)) + rows
        rows = self._rows(block, rows)
        return rows.unflatten(0, (videos, positions)).transpose(1, 2)

    def _after_self_attention(self, block: TemporalBlock, x: Tensor) -> Tensor:
        """Tokens with the camera of their frames: (B·S, T, C) -> (B·S, T, C)."""
        if self.context.camera is None:
            return x
        video = x.unflatten(0, (len(self.context.camera), -1)).transpose(1, 2)  # -> (B, T, S, C)
        return block.add_camera(video, self.context).transpose(1, 2).flatten(0, 1)
