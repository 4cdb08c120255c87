"""Transformers of the UNet: a spatial transformer block, then a temporal one, mixed.

Section D of the SVD paper; "Align your Latents" (both Blattmann et al., 2023). Attribute names are the keys.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import kernels, planes
from .attention import Context, MultiHeadAttention, SelfAttention, plain
from .embedding import LearnedPositions, sinusoidal_embedding
from .feed_forward import FeedForward
from .hooks import Hooks, Place
from .mixing import Mixer
from .operations import Attention
from .pieces import WHOLE, Pieces
from .references import Placed, References
from .sharing import FrameShare

# Temporary tensors at the peak of a part, in sizes of its input.
WHOLE_BLOCK = 10  # all of a block: its first sum, and of the feed-forward layer the norm and both halves
FEED_FORWARD = 9
ATTENTION = 5  # norm, queries, keys, values and their result
TEMPORAL_ATTENTION = 6  # and the projected result
TOKENS = 2  # norm and projection
WHOLE_TRANSFORMER = 2 + WHOLE_BLOCK  # beside features: tokens, and tokens with their frames' numbers


def convolution_units(in_planes: bool) -> int:
    """Temporary tensors of a convolution over space and time, in sizes of the frames that it reads.

    Padded frames and their convolution; a GPU's convolution may copy both to another layout.
    """
    return 5 if in_planes else 3


def _bytes(x: Tensor) -> int:
    return x.numel() * x.dtype.itemsize


def _add_by_tokens(x: Tensor, norm: nn.Module, feed_forward: FeedForward, pieces: Pieces) -> Tensor:
    """Add a feed-forward layer of the normalised tokens to x, (…, C), which is written over."""
    tokens = x.view(-1, x.shape[-1])
    for rows in pieces.groups(len(tokens), FEED_FORWARD * _bytes(tokens[0])):
        part = tokens[rows]
        part.add_(feed_forward(norm(part)))
    return x


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

    def forward(
        self, x: Tensor, context: Context, pieces: Pieces = WHOLE, attention: SelfAttention = plain
    ) -> Tensor:
        """Run the block. With bounds in pieces the output is written over x."""
        if not pieces.hold(WHOLE_BLOCK * _bytes(x)):
            return self._in_pieces(x, context, pieces, attention)
        x = self.attn1(self.norm1(x), attention).add_(x)
        if isinstance(context, Tensor):
            x = x.add_(context)
        elif isinstance(context, Placed):
            x = x.add_(context.of_rows())
        else:
            x = self.attn2.to_context(self.norm2(x), context).add_(x)
        return self.ff(self.norm3(x)).add_(x)

    def _in_pieces(self, x: Tensor, context: Context, pieces: Pieces, attention: SelfAttention) -> Tensor:
        for rows in pieces.groups(len(x), ATTENTION * _bytes(x[0])):
            part = x[rows]
            part.add_(self.attn1(self.norm1(part), attention))
            if isinstance(context, Tensor):
                part.add_(context[rows])
            elif isinstance(context, Placed):
                part.add_(context.of_rows(rows))
            else:
                of_rows = tuple(each[rows] for each in context)
                part.add_(self.attn2.to_context(self.norm2(part), of_rows))
        return _add_by_tokens(x, self.norm3, self.ff, pieces)


class TemporalContext(NamedTuple):
    """Conditioning of a TemporalBlock."""

    tokens: Context
    camera: Tensor | None = None  # part of the camera in cc_projection, and its bias: (B, T, 1, dim)


class TemporalBlock(TransformerBlock):
    """Transformer block among the frames of each position, (B, T, S, dim), after one more feed-forward.

    With camera_dim numbers of a camera a frame, a linear layer takes them beside each token after
    self-attention (Wang et al., "MotionCtrl", 2023). Without a camera the layer is left out.
    """

    def __init__(
        self,
        dim: int,
        context_dim: int,
        heads: int,
        attention: Attention,
        operations,
        camera_dim: int = 0,
        **factory,
    ):
        super().__init__(dim, context_dim, heads, attention, operations, **factory)
        self.norm_in = operations.LayerNorm(dim, **factory)
        self.ff_in = FeedForward(dim, operations, **factory)
        self.cc_projection = operations.Linear(dim + camera_dim, dim, **factory) if camera_dim else None

    def prepare(
        self, context: Tensor, camera: Tensor | None = None, references: References | None = None
    ) -> TemporalContext:
        """Precompute the context, (B, M, context_dim), and the camera's part, of (B, T, camera_dim)."""
        tokens = self.attn2.prepare(context, references)
        if camera is None:
            return TemporalContext(tokens)
        part = self.cc_projection(functional.pad(camera, (self.norm1.normalized_shape[0], 0)))
        return TemporalContext(tokens, part[:, :, None])

    def add_camera(self, x: Tensor, context: TemporalContext) -> Tensor:
        """Tokens x, (B, T, S, dim), with the camera of their frames."""
        layer = self.cc_projection
        if context.camera is None:
            return x
        if layer.takes_kernels:
            return layer.compute(x, kernels.linear_of_part, context.camera)
        padding = (0, layer.in_features - x.shape[-1])
        nothing = x.new_zeros(layer.in_features)
        return layer(functional.pad(x, padding)) + (context.camera - layer(nothing))

    def forward(
        self, x: Tensor, context: TemporalContext, pieces: Pieces = WHOLE, attention: SelfAttention = plain
    ) -> Tensor:
        """Run the block. With bounds in pieces the output is written over x."""
        if not pieces.hold(WHOLE_BLOCK * _bytes(x)):
            return self._in_pieces(x, context, pieces, attention)
        x = self.ff_in(self.norm_in(x)).add_(x)
        x = self.attn1.add_over_time(x, self.norm1(x), attention)
        x = self.add_camera(x, context)
        if isinstance(context.tokens, Tensor):
            x = x.add_(context.tokens[:, None])
        elif isinstance(context.tokens, Placed):
            x = x.add_(context.tokens.of_positions())
        else:  # a video's keys serve all positions of all its frames
            hidden = self.attn2.to_context(self.norm2(x).flatten(1, 2), context.tokens)
            x = hidden.view_as(x).add_(x)
        return self.ff(self.norm3(x)).add_(x)

    def _in_pieces(
        self, x: Tensor, context: TemporalContext, pieces: Pieces, attention: SelfAttention
    ) -> Tensor:
        _add_by_tokens(x, self.norm_in, self.ff_in, pieces)
        for positions in pieces.groups(x.shape[2], TEMPORAL_ATTENTION * _bytes(x[:, :, 0])):
            part = x[:, :, positions]
            self.attn1.add_over_time(part, self.norm1(part.contiguous()), attention)
            if context.camera is not None:
                part.copy_(self.add_camera(part, context))
            if isinstance(context.tokens, Tensor):
                part.add_(context.tokens[:, None])
            elif isinstance(context.tokens, Placed):
                part.add_(context.tokens.of_positions(positions))
            else:
                hidden = self.norm2(part.contiguous()).flatten(1, 2)
                part.add_(self.attn2.to_context(hidden, context.tokens).view(part.shape))
        return _add_by_tokens(x, self.norm3, self.ff, pieces)


class TransformerContext(NamedTuple):
    """Everything that a SpatialVideoTransformer needs beside x and hooks; constant over a run."""

    spatial: Context
    temporal: TemporalContext
    frames: Tensor  # embedding of the frames' numbers, (T, 1, C)

    def shared(self, share: FrameShare) -> "TransformerContext":
        """That of a process's own frames, without references; blocks over time see all frames."""
        of_all = self.spatial
        spatial = share.rows(of_all) if isinstance(of_all, Tensor) else tuple(map(share.rows, of_all))
        return TransformerContext(spatial, self.temporal, self.frames[share.own])


class SpatialVideoTransformer(nn.Module):
    """Spatial and temporal transformer block, mixed and added to features: (B·T, C, H, W), in and out.

    positions: of frames, learned ones, after which a convolution follows (ExVideo, Duan et al., 2024); 0
    for the sinusoids of the frames' numbers.
    """

    def __init__(
        self,
        channels: int,
        context_dim: int,
        heads: int,
        attention: Attention,
        operations,
        camera_dim: int = 0,
        positions: int = 0,
        **factory,
    ):
        super().__init__()
        self.channels = channels
        layer = (channels, context_dim, heads, attention, operations)
        self.norm = operations.GroupNorm(32, channels, eps=1e-6, **factory)
        self.proj_in = operations.Linear(channels, channels, **factory)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(*layer, **factory)])
        self.proj_out = operations.Linear(channels, channels, **factory)
        self.time_stack = nn.ModuleList([TemporalBlock(*layer, camera_dim, **factory)])
        self.time_pos_embed = nn.Sequential(
            operations.Linear(channels, 4 * channels, **factory),
            nn.SiLU(),
            operations.Linear(4 * channels, channels, **factory),
        )
        self.time_mixer = Mixer(**factory)
        self.positional_embedding = LearnedPositions(positions, channels, **factory) if positions else None
        # Its borders mirror the features, which is done here: a group of frames has borders in space alone.
        self.positional_conv = operations.Conv3d(channels, channels, 3, **factory) if positions else None

    def prepare(
        self,
        context: Tensor,
        num_frames: int,
        camera: Tensor | None = None,
        positions: Tensor | None = None,
        references: References | None = None,
    ) -> TransformerContext:
        """Precompute the context (B·T, M, context_dim), and the camera (B·T, camera_dim) if any.

        Blocks over time take the tokens of a video's first frame. positions: numbers of the frames, (T,), by
        default 0, 1, 2 and so on; learned ones stay.
        """
        over_space, over_time = (None, None) if references is None else references.of_layers(num_frames)
        camera = None if camera is None else camera.unflatten(0, (-1, num_frames))
        if self.positional_embedding is None:
            if positions is None:
                positions = torch.arange(num_frames, device=context.device)
            positions = positions.to(context.device)
            frames = sinusoidal_embedding(positions, self.channels).to(context.dtype)
        else:
            frames = self.positional_embedding(num_frames, context)
        frames = self.time_pos_embed(frames)
        return TransformerContext(
            self.transformer_blocks[0].attn2.prepare(context, over_space),
            self.time_stack[0].prepare(context[::num_frames], camera, over_time),
            frames[:, None],
        )

    def forward(
        self,
        x: Tensor,
        context: TransformerContext,
        hooks: Hooks,
        place: Place,
        pieces: Pieces = WHOLE,
        share: FrameShare | None = None,
    ) -> Tensor:
        """Run both blocks on features x, which are written over where pieces bound the work.

        share: of the frames, which then are the process's own; over time it has all at its own positions.
        """
        num_frames = context.frames.shape[0]
        whole = pieces.hold(WHOLE_TRANSFORMER * _bytes(x))
        hidden = self._tokens(self.norm(x)) if whole else self._tokens_in_pieces(x, pieces)
        hidden = hooks.block(place, "space", self.transformer_blocks[0], hidden, context.spatial, pieces)
        video = hidden.unflatten(0, (-1, num_frames))  # (B·T, S, C) -> (B, T, S, C)
        if self.positional_conv is None:
            moving = video + context.frames
        else:
            moving = self._convolved(video, context.frames, x.shape[2:], pieces)
        if share is not None:
            moving = share.to_positions(moving)
        temporal = hooks.block(place, "time", self.time_stack[0], moving, context.temporal, pieces)
        del moving
        if share is not None:
            temporal = share.to_frames(temporal, video.shape[2])
        if whole:
            return self._add_tokens(self.time_mixer(video, temporal).flatten(0, 1), x)
        self.time_mixer.mix_into(video, temporal)
        for rows in pieces.groups(len(x), TOKENS * _bytes(x[0])):
            x[rows] = self._add_tokens(hidden[rows], x[rows])
        return x

    def _convolved(self, video: Tensor, positions: Tensor, size: tuple[int, int], pieces: Pieces) -> Tensor:
        """Convolve a video with its frames' positions over space and time: (B, T, S, C) -> (B, T, S, C).

        A group of frames is convolved with the frame on either side of it, so that groups add up exactly.
        """
        num_frames, last = video.shape[1], video.shape[1] - 1
        if num_frames < 2 or min(size) < 2:
            raise ValueError(
                f"the features are {num_frames} frames of {size[1]}×{size[0]}; a convolution with mirrored "
                "borders takes 2 frames of 2×2 at the least: make the clip longer, or larger."
            )
        result = video.new_empty(video.shape)
        each = convolution_units(planes.fits(video.device)) * _bytes(video[:, 0])
        for frames in pieces.groups(num_frames, each, more=2 * each):
            around = torch.arange(frames.start - 1, frames.stop + 1, device=video.device)
            around = last - (last - around.abs()).abs()  # mirrored at the first frame and at the last
            part = (video[:, around] + positions[around]).unflatten(2, size)  # (B, T', H, W, C)
            part = functional.pad(part.permute(0, 4, 1, 2, 3), (1, 1, 1, 1, 0, 0), mode="reflect")
            result[:, frames] = self.positional_conv(part).permute(0, 2, 3, 4, 1).flatten(2, 3)
        return result

    def _tokens_in_pieces(self, x: Tensor, pieces: Pieces) -> Tensor:
        tokens = x.new_empty((len(x), x[0, 0].numel(), self.channels))
        for rows in pieces.groups(len(x), TOKENS * _bytes(x[0])):
            tokens[rows] = self._tokens(self.norm(x[rows]))
        return tokens

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
