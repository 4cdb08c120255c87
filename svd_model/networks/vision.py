"""The CLIP image tower (OpenCLIP ViT-H/14 and smaller ones of its shape) and its preprocessing.

Attribute names are the keys of OpenCLIP and of the released files, where query, key and value have one
projection. In files of transformers each has its own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .operations import (
    Attention,
    CastingOperations,
    empty_parameter,
    scaled_dot_product_attention,
    without_autocast,
)

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class VisionParams:
    """Sizes of a CLIP image tower. The defaults fit ViT-H/14."""

    width: int = 1280
    layers: int = 32
    head_width: int = 80
    mlp_width: int = 5120
    patch_size: int = 14
    image_size: int = 224
    output_dim: int = 1024

    def memory(self, dtype: torch.dtype) -> int:
        """Bytes of tensors alive at the peak of a pass over one picture.

        They are features, scores of attention, and a weight of the widest layer in another dtype.
        """
        tokens = (self.image_size // self.patch_size) ** 2 + 1
        features = tokens * (3 * self.width + 2 * max(self.mlp_width, 2 * self.width))
        scores = 2 * (self.width // self.head_width) * tokens**2
        pictures = 2 * 3 * self.image_size**2
        weights = self.width * max(self.mlp_width, 3 * self.width)
        return (features + scores + pictures + weights) * dtype.itemsize


class FusedAttention(nn.Module):
    """Self-attention with one projection to query, key and value: (N, L, width) -> (N, L, width).

    It loads the projection in one piece, or in three, `in_proj_weight.0` to `.2`, which stay views of
    their file. Three products are computed in both cases, so that the numbers are equal.
    """

    def __init__(self, width: int, heads: int, attention: Attention, operations, **factory):
        super().__init__()
        self.heads = heads
        self.attention = attention
        self.in_proj_weight = empty_parameter(3 * width, width, **factory)
        self.in_proj_bias = empty_parameter(3 * width, **factory)
        self.out_proj = operations.Linear(width, width, **factory)

    def forward(self, x: Tensor) -> Tensor:
        projections = zip(_thirds(self.in_proj_weight), _thirds(self.in_proj_bias), strict=True)
        q, k, v = (functional.linear(x, weight.to(x), bias.to(x)) for weight, bias in projections)
        return self.out_proj(self.attention(q, k, v, self.heads))

    def _load_from_state_dict(self, state_dict, prefix, *args):
        """Makes room for three pieces where the state has them."""
        for name in ("in_proj_weight", "in_proj_bias"):
            if f"{prefix}{name}.0" in state_dict:
                thirds = _thirds(getattr(self, name))
                delattr(self, name)
                setattr(self, name, nn.ParameterList(thirds))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _thirds(projection: Tensor | nn.ParameterList) -> tuple[Tensor, ...]:
    """Rows of a projection for query, key and value: of one tensor, or its three pieces."""
    return projection.chunk(3) if isinstance(projection, Tensor) else tuple(projection)


class MLP(nn.Module):
    """Feed-forward layer: linear, exact GELU, linear."""

    def __init__(self, width: int, inner_width: int, operations, **factory):
        super().__init__()
        self.c_fc = operations.Linear(width, inner_width, **factory)
        self.c_proj = operations.Linear(inner_width, width, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(functional.gelu(self.c_fc(x)))


class ResidualAttentionBlock(nn.Module):
    """Transformer layer with normalisation first."""

    def __init__(self, params: VisionParams, attention: Attention, operations, **factory):
        super().__init__()
        width = params.width
        self.ln_1 = operations.LayerNorm(width, **factory)
        self.attn = FusedAttention(width, width // params.head_width, attention, operations, **factory)
        self.ln_2 = operations.LayerNorm(width, **factory)
        self.mlp = MLP(width, params.mlp_width, operations, **factory)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Transformer layers in a row, the keys transformer.resblocks.N."""

    def __init__(self, params: VisionParams, attention: Attention, operations, **factory):
        super().__init__()
        layers = (
            ResidualAttentionBlock(params, attention, operations, **factory) for _ in range(params.layers)
        )
        self.resblocks = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class VisionTransformer(nn.Module):
    """Image tower from a picture to its CLIP embedding, the projected class token, not normalised."""

    def __init__(
        self,
        params: VisionParams,
        *,
        operations=CastingOperations,
        attention: Attention = scaled_dot_product_attention,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.params = params
        factory = {"dtype": dtype, "device": device}
        width, patch = params.width, params.patch_size
        tokens = (params.image_size // patch) ** 2 + 1
        self.class_embedding = empty_parameter(width, **factory)
        self.positional_embedding = empty_parameter(tokens, width, **factory)
        self.proj = empty_parameter(width, params.output_dim, **factory)
        self.conv1 = operations.Conv2d(3, width, patch, stride=patch, bias=False, **factory)
        self.ln_pre = operations.LayerNorm(width, **factory)
        self.transformer = Transformer(params, attention, operations, **factory)
        self.ln_post = operations.LayerNorm(width, **factory)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed pixels from `preprocess`: (N, 3, image_size, image_size) -> (N, output_dim)."""
        size = self.params.image_size
        if tuple(pixels.shape[1:]) != (3, size, size):
            raise ValueError(
                f"pixels have shape {tuple(pixels.shape)}; this image tower takes (N, 3, {size}, {size}): "
                "preprocess() makes that of any picture."
            )
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)  # (N, C, h, w) -> (N, h·w, C)
        first = self.class_embedding.to(patches).expand(patches.shape[0], 1, -1)
        x = torch.cat([first, patches], dim=1) + self.positional_embedding.to(patches)
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj.to(x)


def preprocess(images: Tensor, size: int = 224) -> Tensor:
    """Stretch pictures for CLIP, without cropping: (N, 3, H, W) in [−1, 1] -> (N, 3, size, size).

    The resampling is bicubic with aligned corners, after a Gaussian blur where the picture shrinks, as in the
    reference (kornia's resize with antialias).
    """
    height, width = images.shape[-2:]
    if max(height, width) > size:
        with without_autocast(images.device):
            images = _blur(_blur(images, height / size, axis=2), width / size, axis=3)
    images = functional.interpolate(images, (size, size), mode="bicubic", align_corners=True)
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return ((images + 1) / 2 - mean) / std


def _blur(images: Tensor, shrink: float, axis: int) -> Tensor:
    """Gaussian blur along an axis, σ = (shrink − 1)/2, cut off at 2σ, the picture mirrored at its border."""
    sigma = max((shrink - 1) / 2, 0.001)
    taps = int(max(4 * sigma, 3)) | 1  # the next odd number
    offsets = torch.arange(taps, dtype=images.dtype, device=images.device) - taps // 2
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    margin = taps // 2
    if axis == 2:
        padding, shape = (0, 0, margin, margin), (1, 1, taps, 1)
    else:
        padding, shape = (margin, margin, 0, 0), (1, 1, 1, taps)
    padded = functional.pad(images, padding, mode="reflect")
    return functional.conv2d(padded, kernel.view(shape).expand(3, 1, -1, -1), groups=3)
