"""The UNet's attention layers: a spatial transformer block, then a temporal one, mixed.

Section D of the Stable Video Diffusion paper (Blattmann et al., 2023), after Blattmann et al., "Align your
Latents" (2023). Attribute names are the checkpoint's keys.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .embedding import mix, sinusoidal_embedding
from .operations import Attention, empty_parameter


class GEGLU(nn.Module):
    """Linear(x)·gelu(gate), both halves from one projection (Shazeer, 2020)."""

    def __init__(self, dim: int, inner_dim: int, operations, **factory):
        super().__init__()
        self.proj = operations.Linear(dim, 2 * inner_dim, **factory)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * functional.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU to four times the width, and back."""

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
    """Attention of x to itself or to a context.

    x is (B, N, dim), context (B / k, M, context_dim), each of its rows serving k consecutive rows of x. The
    result is (B, N, dim), or (B, 1, dim) where it is the same for every position.
    """

    def __init__(self, dim: int, context_dim: int, heads: int, attention: Attention, operations, **factory):
        super().__init__()
        self.heads = heads
        self.attention = attention
        self.to_q = operations.Linear(dim, dim, bias=False, **factory)
        self.to_k = operations.Linear(context_dim, dim, bias=False, **factory)
        self.to_v = operations.Linear(context_dim, dim, bias=False, **factory)
        self.to_out = nn.Sequential(operations.Linear(dim, dim, **factory))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if context is None:
            return self.to_out(self.attention(self.to_q(x), self.to_k(x), self.to_v(x), self.heads))
        rows = x.shape[0] // context.shape[0]
        if context.shape[1] == 1:
            # Softmax over one key is 1: the result is the same for every position, whatever the query.
            return self.to_out(self.to_v(context)).repeat_interleave(rows, dim=0)
        k, v = (to(context).repeat_interleave(rows, dim=0) for to in (self.to_k, self.to_v))
        return self.to_out(self.attention(self.to_q(x), k, v, self.heads))


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

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class TemporalBlock(TransformerBlock):
    """The same among the frames of each position, (B·H·W, T, dim), after a feed-forward of its own."""

    def __init__(self, dim: int, context_dim: int, heads: int, attention: Attention, operations, **factory):
        super().__init__(dim, context_dim, heads, attention, operations, **factory)
        self.norm_in = operations.LayerNorm(dim, **factory)
        self.ff_in = FeedForward(dim, operations, **factory)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return super().forward(x + self.ff_in(self.norm_in(x)), context)


class Mixer(nn.Module):
    """α·spatial + (1−α)·temporal with a learned α; holds the key time_mixer.mix_factor."""

    def __init__(self, **factory):
        super().__init__()
        self.mix_factor = empty_parameter(1, **factory)

    def forward(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        return mix(self.mix_factor, spatial, temporal)


class SpatialVideoTransformer(nn.Module):
    """(B·T, C, H, W) with context (B·T, M, context_dim) -> (B·T, C, H, W)."""

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

    def forward(self, x: Tensor, context: Tensor, num_frames: int) -> Tensor:
        height, width = x.shape[-2:]
        hidden = self.norm(x).flatten(2).transpose(1, 2)  # (B·T, C, H, W) -> (B·T, H·W, C)
        hidden = self.proj_in(hidden)
        hidden = self.transformer_blocks[0](hidden, context)
        hidden = self.time_mixer(hidden, self.over_time(hidden, context, num_frames))
        hidden = self.proj_out(hidden)
        return x + hidden.transpose(1, 2).unflatten(2, (height, width))

    def over_time(self, x: Tensor, context: Tensor, num_frames: int) -> Tensor:
        """(B·T, S, C) -> the temporal block's output in the same layout; the context is that of frame 0."""
        positions = x.shape[1]
        frame_index = torch.arange(num_frames, device=x.device)
        frame_embedding = self.time_pos_embed(sinusoidal_embedding(frame_index, self.channels).to(x.dtype))
        x = x.unflatten(0, (-1, num_frames)) + frame_embedding[:, None]  # (B·T, S, C) -> (B, T, S, C)
        x = x.transpose(1, 2).flatten(0, 1)  # -> (B·S, T, C)
        x = self.time_stack[0](x, context[::num_frames])
        return x.unflatten(0, (-1, positions)).transpose(1, 2).flatten(0, 1)  # -> (B·T, S, C)
