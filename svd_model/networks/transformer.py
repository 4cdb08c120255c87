"""Attention layers of the UNet: a spatial transformer block, then a temporal one, mixed.

Section D of the Stable Video Diffusion paper (Blattmann et al., 2023), after Blattmann et al., "Align your
Latents" (2023). Attribute names are the checkpoint's keys.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import kernels, planes
from .embedding import mix_weight, sinusoidal_embedding
from .hooks import Hooks, Place
from .operations import Attention, empty_parameter

Context = Tensor | tuple[Tensor, Tensor]
"""Precomputed context of a cross-attention: keys and values, or the output where it is constant."""


class GEGLU(nn.Module):
    """Gated linear layer, value·gelu(gate), with both halves from one projection (Shazeer, 2020)."""

    def __init__(self, dim: int, inner_dim: int, operations, **factory):
        super().__init__()
        self.proj = operations.Linear(dim, 2 * inner_dim, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return kernels.gated(*self.proj.halves(x))


class FeedForward(nn.Module):
    """Feed-forward layer: GEGLU to four times the width, then a linear layer back."""

    def __init__(self, dim: int, operations, **factory):
        super().__init__()
        inner_dim = 4 * dim
        # The reference has a dropout at index 1: the checkpoint's keys are net.0 and net.2.
        self.net = nn.Sequential(
            GEGLU(dim, inner_dim, operations, **factory),
            nn.Identity(),
            operations.Linear(inner_dim, dim, **factory),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


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

    def forward(self, x: Tensor) -> Tensor:
        """Self-attention of each row: (N, L, dim) -> (N, L, dim)."""
        return self.to_out(self.attention(self.to_q(x), self.to_k(x), self.to_v(x), self.heads))

    def add_over_time(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Add self-attention over the frames at each position of hidden to x: (B, T, S, dim) both.

        The tokens stay in their places: attention reads them with the strides of (S, T, dim). x is written
        over, except where a gradient needs it.
        """
        x = x.clone() if torch.is_grad_enabled() else x
        projections = (to(hidden).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        for index, video in enumerate(zip(*projections, strict=True)):  # (S, T, dim) each
            x[index].add_(self.to_out(self.attention(*video, self.heads)).transpose(0, 1))
        return x

    def prepare(self, context: Tensor) -> Context:
        """Precompute keys and values, (N, M, dim), of the context (N, M, context_dim).

        For M = 1 softmax is 1, so the result is the output itself, (N, 1, dim).
        """
        if context.shape[1] == 1:
            return self.to_out(self.to_v(context))
        return self.to_k(context), self.to_v(context)

    def to_context(self, x: Tensor, context: tuple[Tensor, Tensor]) -> Tensor:
        """Cross-attention of x, (N, L, dim), to keys and values, (N, M, dim)."""
        return self.to_out(self.attention(self.to_q(x), *context, self.heads))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward among the tokens of each row: (N, L, dim)."""

    def __init__(self, dim: int, context_dim: int, heads: int, attention: Attention, operations, **factory):
        super().__init__()
        self.attn1 = MultiHeadAttention(dim, dim, heads, attention, operations, **factory)
        self.ff = FeedForward(dim, operations, **factory)
        self.attn2 = MultiHeadAttention(dim, context_dim, heads, attention, operations, **factory)
        self.norm1 = operations.LayerNorm(dim, **factory)
        self.norm2 = operations.LayerNorm(dim, **factory)
        self.norm3 = operations.LayerNorm(dim, **factory)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = self.attn1(self.norm1(x)).add_(x)
        if isinstance(context, Tensor):
            x = x.add_(context)
        else:
            x = self.attn2.to_context(self.norm2(x), context).add_(x)
        return self.ff(self.norm3(x)).add_(x)


class TemporalBlock(TransformerBlock):
    """Transformer block among the frames of each position, (B, T, S, dim), after one more feed-forward."""

    def __init__(self, dim: int, context_dim: int, heads: int, attention: Attention, operations, **factory):
        super().__init__(dim, context_dim, heads, attention, operations, **factory)
        self.norm_in = operations.LayerNorm(dim, **factory)
        self.ff_in = FeedForward(dim, operations, **factory)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = self.ff_in(self.norm_in(x)).add_(x)
        x = self.attn1.add_over_time(x, self.norm1(x))
        if isinstance(context, Tensor):
            x = x.add_(context[:, None])
        else:  # a video's keys serve all positions of all its frames
            hidden = self.attn2.to_context(self.norm2(x).flatten(1, 2), context)
            x = hidden.view_as(x).add_(x)
        return self.ff(self.norm3(x)).add_(x)


class Mixer(nn.Module):
    """Mix α·spatial + (1−α)·temporal with a learned α, the key time_mixer.mix_factor."""

    def __init__(self, **factory):
        super().__init__()
        self.mix_factor = empty_parameter(1, **factory)

    def forward(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        return torch.lerp(temporal, spatial, mix_weight(self.mix_factor, spatial))

    def add(self, spatial: Tensor, change: Tensor) -> Tensor:
        """Mix of spatial and temporal = spatial + change: spatial + (1−α)·change."""
        return torch.addcmul(spatial, change, 1 - mix_weight(self.mix_factor, spatial))


class TransformerContext(NamedTuple):
    """Everything that a SpatialVideoTransformer needs beside x and hooks; constant over a run."""

    spatial: Context
    temporal: Context
    frames: Tensor  # embedding of the frames' numbers, (T, 1, C)


class SpatialVideoTransformer(nn.Module):
    """Spatial and temporal transformer block, mixed and added to features: (B·T, C, H, W), in and out."""

    def __init__(
        self, channels: int, context_dim: int, heads: int, attention: Attention, operations, **factory
    ):
        super().__init__()
        self.channels = channels
        layer = (channels, context_dim, heads, attention, operations)
        self.norm = operations.GroupNorm(32, channels, eps=1e-6, **factory)
        self.proj_in = operations.Linear(channels, channels, **factory)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(*layer, **factory)])
        self.proj_out = operations.Linear(channels, channels, **factory)
        self.time_stack = nn.ModuleList([TemporalBlock(*layer, **factory)])
        self.time_pos_embed = nn.Sequential(
            operations.Linear(channels, 4 * channels, **factory),
            nn.SiLU(),
            operations.Linear(4 * channels, channels, **factory),
        )
        self.time_mixer = Mixer(**factory)

    def prepare(self, context: Tensor, num_frames: int) -> TransformerContext:
        """Precompute the context (B·T, M, context_dim).

        Blocks over time take the context of a video's first frame.
        """
        frames = torch.arange(num_frames, device=context.device)
        frames = self.time_pos_embed(sinusoidal_embedding(frames, self.channels).to(context.dtype))
        return TransformerContext(
            self.transformer_blocks[0].attn2.prepare(context),
            self.time_stack[0].attn2.prepare(context[::num_frames]),
            frames[:, None],
        )

    def forward(self, x: Tensor, context: TransformerContext, hooks: Hooks, place: Place) -> Tensor:
        num_frames = context.frames.shape[0]
        hidden = self._tokens(self.norm(x))
        hidden = hooks.block(place, "space", self.transformer_blocks[0], hidden, context.spatial)
        video = hidden.unflatten(0, (-1, num_frames))  # (B·T, S, C) -> (B, T, S, C)
        moving = video + context.frames
        temporal = hooks.block(place, "time", self.time_stack[0], moving, context.temporal)
        return self._add_tokens(self.time_mixer(video, temporal).flatten(0, 1), x)

    def _tokens(self, x: Tensor) -> Tensor:
        """Project features to tokens by proj_in: (B·T, C, H, W) -> (B·T, S, C) with S = H·W."""
        if planes.used(x) and self.proj_in.takes_kernels:
            return self.proj_in.compute(x.flatten(2), planes.to_tokens)
        return self.proj_in(x.permute(0, 2, 3, 1).flatten(1, 2))

    def _add_tokens(self, hidden: Tensor, x: Tensor) -> Tensor:
        """Add tokens, (B·T, S, C), projected by proj_out, to features x, (B·T, C, H, W)."""
        if planes.used(x) and self.proj_out.takes_kernels:
            return self.proj_out.compute(hidden, planes.add_tokens, x.flatten(2)).view(x.shape)
        return x + self.proj_out(hidden).transpose(1, 2).unflatten(2, x.shape[2:])
