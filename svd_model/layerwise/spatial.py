"""Spatial layers of the autoencoder, which see each frame alone, computed in bands of rows.

A band of a convolution's output needs a band of the input and a row more above and below. A normalisation's
moments cover the whole frame from its first band on. So the numbers do not depend on the size of the bands.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from ..networks import kernels, planes
from ..networks.kernels import Convolution, FoldedUpsampling
from ..networks.resampling import Upsample
from ..networks.vae import AttentionBlock, Downsample, ResnetBlock
from .moments import moments
from .plan import LayerPlan, LayerwisePlan

Packs = dict[tuple[nn.Module, type], Convolution | FoldedUpsampling]
"""Convolutions with packed weights, built on first use and shared by all steps of a layer."""


def run_network(network: nn.Module, x: Tensor, plan: LayerwisePlan) -> Tensor:
    """Runs an encoder, or a decoder of single frames: (1, C, H, W) -> (1, C', H', W')."""
    x = x.contiguous(memory_format=kernels.memory_format(x.device))
    for layer in plan.layers:
        x = run_layer(network, layer, x, {})
    return x


def run_layer(network: nn.Module, layer: LayerPlan, x: Tensor, packs: Packs) -> Tensor:
    """Runs the spatial part of a layer, the predecessor and then the block, (N, C, H, W) -> (N, C', H', W').

    Where the shape stays, the result may be x itself, written over by the last operation; where bands are
    smaller than the frame, by several.
    """
    shape, rows = layer.shape, layer.rows
    if shape.predecessor:
        predecessor = network.get_submodule(shape.predecessor)
        if isinstance(predecessor, AttentionBlock):
            x = attend(predecessor, x, rows, layer.scores, packs)
        else:
            resample = {Upsample: enlarge, Downsample: halve}.get(type(predecessor), convolve)
            x = resample(predecessor, x, rows, packs)
    block = network.get_submodule(shape.name)
    if isinstance(block, ResnetBlock):
        return residual(block, x, rows, packs)
    normalise = moments(x, network.norm_out.num_groups).normaliser(network.norm_out, x)
    return convolve(block, x, rows, packs, normalise)


def pack(
    packs: Packs, conv: nn.Module, x: Tensor, kind: type = Convolution
) -> Convolution | FoldedUpsampling:
    """The packed convolution of a layer, built on first use for x's dtype and device."""
    if (conv, kind) not in packs:
        with conv.weights_for(x) as (weight, bias):
            packs[conv, kind] = kind(weight, bias, x)
    return packs[conv, kind]


def convolve(
    conv: nn.Conv2d,
    x: Tensor,
    rows: int,
    packs: Packs,
    normalise: Callable[[Tensor], Tensor] | None = None,
    *,
    biased: bool = True,
    onto: Tensor | None = None,
) -> Tensor:
    """Returns the convolution's output, (N, C', H', W'), computed in bands of `rows` rows.

    normalise: applied to x first. biased: whether to add the bias. onto: a tensor to add the output to, which
    then is the result.
    """
    convolution = pack(packs, conv, x)
    kernel, stride, (top, left), height = conv.kernel_size[0], conv.stride[0], conv.padding, x.shape[2]
    total = (height + 2 * top - kernel) // stride + 1
    result = onto
    for start in range(0, total, rows):
        end = min(start + rows, total)
        low, high = start * stride - top, (end - 1) * stride - top + kernel
        above, below = max(-low, 0), max(high - height, 0)
        band = x[:, :, low + above : high - below]
        if normalise is not None:
            band = normalise(band)
        if above == below:
            padding = (above, left)  # by the convolution itself, without a copy
        else:
            band, padding = functional.pad(band, (left, left, above, below)), (0, 0)
        band = convolution(band, (stride, stride), padding, biased)
        if onto is not None:
            onto[:, :, start:end].add_(band)
            continue
        if band.shape[2] == total:
            return band
        if result is None:
            result = kernels.empty((*band.shape[:2], total, band.shape[3]), band)
        result[:, :, start:end] = band
    return result


def residual(block: ResnetBlock, x: Tensor, rows: int, packs: Packs) -> Tensor:
    """Runs a block's spatial part: (N, C, H, W) -> (N, C', H, W), in x itself where C' is C.

    In planes the first bias is left out of the convolution and added by the second normalisation, which saves
    a reading of the planes.
    """
    normalise = moments(x, block.norm1.num_groups).normaliser(block.norm1, x)
    offset = pack(packs, block.conv1, x).bias if planes.used(x) else None
    hidden = convolve(block.conv1, x, rows, packs, normalise, biased=offset is None)
    if hasattr(block, "nin_shortcut"):
        x = convolve(block.nin_shortcut, x, rows, packs)
    hidden_moments = moments(hidden, block.norm2.num_groups, offset)
    normalise = hidden_moments.normaliser(block.norm2, hidden, offset=offset)
    return convolve(block.conv2, hidden, rows, packs, normalise, onto=x)


def attend(block: AttentionBlock, x: Tensor, rows: int, scores: int, packs: Packs) -> Tensor:
    """Runs attention among the positions of each frame, (N, C, H, W), in groups of queries.

    scores: most attention scores computed at once, but never fewer than one query for each frame.
    """
    normalise = moments(x, block.norm.num_groups).normaliser(block.norm, x, silu=False)
    # (N, C, H, W) -> (N, H·W, C), dense, without which a GPU's fused kernels don't fit
    q, k, v = (
        convolve(project, x, rows, packs, normalise).flatten(2).transpose(1, 2).contiguous()
        for project in (block.q, block.k, block.v)
    )
    queries = max(1, scores // (x.shape[0] * k.shape[1]))
    hidden = kernels.empty(x.shape, x)
    tokens = hidden.flatten(2).transpose(1, 2)  # a view
    for start in range(0, q.shape[1], queries):
        where = slice(start, start + queries)
        tokens[:, where] = block.attention(q[:, where], k, v, 1)
    del q, k, v
    return convolve(block.proj_out, hidden, rows, packs).add_(x)


def enlarge(upsample: Upsample, x: Tensor, rows: int, packs: Packs) -> Tensor:
    """Doubles height and width: (N, C, H, W) -> (N, C, 2H, 2W)."""
    conv, height, folds = upsample.conv, x.shape[2], kernels.folds(x)
    convolution = pack(packs, conv, x, FoldedUpsampling if folds else Convolution)
    rows = rows if folds else max(1, rows // 2)  # of x; a folded band needs half the memory
    if rows >= height and not folds:
        return convolution(functional.interpolate(x, scale_factor=2, mode="nearest"), padding=(1, 1))
    result = kernels.empty((x.shape[0], conv.out_channels, 2 * height, 2 * x.shape[3]), x)
    for start in range(0, height, rows):
        end = min(start + rows, height)
        low, high = max(start - 1, 0), min(end + 1, height)
        band = functional.pad(x[:, :, low:high], (1, 1, low - start + 1, end + 1 - high))
        into = result[:, :, 2 * start : 2 * end]
        if folds:
            convolution.into(into, band)
        else:
            band = functional.interpolate(band, scale_factor=2, mode="nearest")
            into.copy_(convolution(band[:, :, 1:-1, 1:-1]))
    return result


def halve(downsample: Downsample, x: Tensor, rows: int, packs: Packs) -> Tensor:
    """Halves height and width, with zeros at the bottom and the right: (N, C, H, W) -> (N, C, H/2, W/2)."""
    return convolve(downsample.conv, functional.pad(x, (0, 1, 0, 1)), rows, packs)
