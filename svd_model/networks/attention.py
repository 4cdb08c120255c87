"""Multi-head attention, whose context of one token is computed once. Attribute names are the keys."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .hooks import Attend
from .operations import Attention
from .references import Placed, References

Context = Tensor | tuple[Tensor, Tensor] | Placed
"""Precomputed context of a cross-attention: keys and values, or the output where they are of one token."""

SelfAttention = Callable[[Tensor, Tensor, Tensor, Attend], Tensor]
"""Function in the place of a self-attention, as Hooks.attention at a block."""


def plain(q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
    """Self-attention that nothing changes."""
    return attend(q, k, v)


class MultiHeadAttention(nn.Module):
    """Multi-head attention of each row's tokens to each other, or to a context."""

    def __init__(self, dim: int, context_dim: int, heads: int, attention: Attention, operations, **factory):
        super().__init__()
        self.heads = heads
        self.attention = attention
        self.to_q = operations.Linear(dim, dim, bias=False, **factory)
        self.to_k = operations.Linear(context_dim, dim, bias=False, **factory)
        self.to_v = operations.Linear(context_dim, dim, bias=False, **factory)
        self.to_out = nn.Sequential(operations.Linear(dim, dim, **factory))

    def forward(self, x: Tensor, attention: SelfAttention = plain) -> Tensor:
        """Self-attention of each row: (N, L, dim) -> (N, L, dim)."""
        return self.to_out(attention(self.to_q(x), self.to_k(x), self.to_v(x), self._attend))

    def add_over_time(self, x: Tensor, hidden: Tensor, attention: SelfAttention = plain) -> Tensor:
        """Add self-attention over the frames at each position of hidden to x: (B, T, S, dim) both.

        The tokens stay in their places: attention reads them with the strides of (S, T, dim). x is written
        over, except where a gradient needs it.
        """
        x = x.clone() if torch.is_grad_enabled() else x
        projections = (to(hidden).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        for index, video in enumerate(zip(*projections, strict=True)):  # (S, T, dim) each
            x[index].add_(self.to_out(attention(*video, self._attend)).transpose(0, 1))
        return x

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.attention(q, k, v, self.heads)

    def prepare(self, context: Tensor, references: References | None = None) -> Context:
        """Precompute keys and values, (N, M, dim), of the context (N, M, context_dim).

        For M = 1 softmax is 1, so the result is the output itself, (N, 1, dim). There alone references go.
        """
        if context.shape[1] == 1:
            output = self.to_out(self.to_v(context))
            if references is not None:
                changes = self.to_out(self.to_v(context + references.tokens)) - output
                return Placed(output, changes, references.shares)
            return output
        return self.to_k(context), self.to_v(context)

    def to_context(self, x: Tensor, context: tuple[Tensor, Tensor]) -> Tensor:
        """Cross-attention of x, (N, L, dim), to keys and values, (N, M, dim)."""
        return self.to_out(self.attention(self.to_q(x), *context, self.heads))
