"""Choice of step sizes and of the place of every frame, from shapes and a budget, without tensors.

All sizes are bytes without the weights of the network. The model of memory: between two layers there are the
frames of the clip, some on the device and the others spilled; a step of a layer adds its workspace.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import nn

from ..networks import planes
from ..networks.resampling import Upsample
from ..networks.vae import AttentionBlock, Downsample, ImageEncoder, ResnetBlock, VAEParams, VideoDecoder
from .memory import NotEnoughMemoryError
from .moments import piece_size

STEPS_ON_CPU, STEPS_ELSEWHERE, STEPS_IN_PLANES = (2**24, 2**25), (2**28, 2**29), (2**32, 2**31)
"""Bytes worth computing at once in the spatial part, and over time.

Below 32 MiB glibc reuses freed blocks; a GPU wants few launches.
"""

FEWEST_ROWS = 8
"""Smallest band of a 3×3 convolution, which reads one more row above and below."""

SCORE_SIZE = 8
"""Bytes of an attention score where the backend stores them: the score and its softmax, in float32."""


@dataclass(frozen=True)
class LayerShape:
    """A residual block with its predecessor, or the output layer; sizes are in pixels of the layer."""

    name: str  # of the block in the network
    predecessor: str  # its name, if there is one
    kind: type[nn.Module] | None  # of the predecessor
    channels_in: int  # of an input frame
    height_in: int
    width_in: int
    channels: int  # of the block's input, after the predecessor
    out_channels: int
    height: int
    width: int
    packed_weights: int  # numbers in the packed weights of all spatial convolutions

    @property
    def frame_numbers(self) -> int:
        """Numbers in an output frame."""
        return self.out_channels * self.height * self.width

    @property
    def changes_shape(self) -> bool:
        """Whether output frames need memory of their own; otherwise each takes its input's place."""
        return self.kind not in (None, AttentionBlock) or self.channels != self.out_channels


def layers_of(network: nn.Module, height: int, width: int) -> Iterator[LayerShape]:
    """Layers of an encoder or a decoder, the output layer last, for inputs of a height and width."""
    names = {module: name for name, module in network.named_modules()}
    channels_in, predecessor = network.conv_in.in_channels, None
    for module in network.in_order():
        if not isinstance(module, ResnetBlock) and module is not network.conv_out:
            predecessor = module
            continue
        first, last = (module, module) if module is network.conv_out else (module.conv1, module.conv2)
        size = height, width
        if isinstance(predecessor, Upsample):
            height, width = 2 * height, 2 * width
        elif isinstance(predecessor, Downsample):
            height, width = height // 2, width // 2
        yield LayerShape(
            names[module],
            names[predecessor] if predecessor else "",
            type(predecessor) if predecessor else None,
            channels_in,
            *size,
            first.in_channels,
            last.out_channels,
            height,
            width,
            sum(_packed_weights(part) for part in (predecessor, module) if part),
        )
        channels_in, predecessor = last.out_channels, None


def _packed_weights(module: nn.Module) -> int:
    count = sum(conv.weight.numel() for conv in module.modules() if isinstance(conv, nn.Conv2d))
    # Upsampling is folded into four 2×2 kernels, which are computed from sums as large as they are.
    return count * 40 // 9 if isinstance(module, Upsample) else count


@dataclass(frozen=True)
class LayerPlan:
    """Step sizes of a layer and the place of its frames; the temporal fields serve video decoders only."""

    shape: LayerShape
    frames: int  # per step of the spatial part
    rows: int  # per band of the spatial part
    temporal_rows: int  # per band of all frames in the temporal part
    scores: int  # of attention, at once
    inputs_on_device: int = 0  # input frames on the device when the layer begins
    outputs_on_device: int = 0  # output frames that stay on the device
    cached_rows: int = 0  # hidden rows that pass 3 reads instead of computing them once more
    peak: int = 0

    def calls(self, num_frames: int, temporal: bool) -> int:
        """Pieces of a clip; rows that are not cached go through the first pass over time once more."""
        height = self.shape.height
        spatial = -(-num_frames // self.frames) * -(-height // self.rows)
        if not temporal or self.shape.name == "conv_out":
            return spatial
        passes = (height, height, height - min(height, self.cached_rows))
        return spatial + sum(-(-rows // self.temporal_rows) for rows in passes)


@dataclass(frozen=True)
class LayerwisePlan:
    """Plans of all layers in order, the output layer last."""

    num_frames: int
    temporal: bool
    itemsize: int
    layers: tuple[LayerPlan, ...]

    @property
    def peak(self) -> int:
        """Predicted peak of bytes on the device, without the weights."""
        return max(layer.peak for layer in self.layers)

    @property
    def calls(self) -> int:
        """Pieces of all layers, a measure of the time."""
        return sum(layer.calls(self.num_frames, self.temporal) for layer in self.layers)

    @property
    def spilled(self) -> int:
        """Predicted peak of bytes in host memory and files."""
        most = inputs = 0
        for layer in self.layers[:-1]:
            away = self.num_frames - layer.outputs_on_device
            outputs = away * layer.shape.frame_numbers * self.itemsize
            most = max(most, inputs * layer.shape.changes_shape + outputs)
            inputs = outputs
        return most


class Planner:
    """Planner of a network's layers for one clip, dtype and device."""

    def __init__(
        self,
        work: str,
        layers: Iterator[LayerShape],
        num_frames: int,
        temporal: bool,
        dtype: torch.dtype,
        device: torch.device,
    ):
        self._work, self._shapes = work, tuple(layers)  # work: in words, for errors
        self._num_frames, self._temporal, self._itemsize = num_frames, temporal, dtype.itemsize
        self._in_planes = planes.fits(device)
        steps = STEPS_ON_CPU if device.type == "cpu" else STEPS_ELSEWHERE
        self._step, self._temporal_step = STEPS_IN_PLANES if self._in_planes else steps

    def within(self, budget: int | None) -> LayerwisePlan:
        """The fastest plan within a budget; None: no bound, and nothing is spilled.

        Raises NotEnoughMemoryError, with the peak of the smallest plan, for a budget under it.
        """
        smallest = self.smallest().peak
        if budget is not None and budget < smallest:
            raise NotEnoughMemoryError.of_budget(budget, self._work, smallest)
        unbounded = self._planned(None)
        return unbounded if budget is None or unbounded.peak <= budget else self._planned(budget)

    def _planned(self, budget: int | None) -> LayerwisePlan:
        layers, staying, size = [], 0, 0  # of the frames between two layers: how many are on the device
        for shape in self._shapes:
            # Steps take half of the budget, or what frames that stay leave of it.
            workspace = budget and min(budget // 2, budget - (0 if shape.changes_shape else staying * size))
            layer = self._with_steps(shape, workspace)
            layers.append(self._with_frames_placed(layer, staying, size, budget))
            staying, size = layers[-1].outputs_on_device, shape.frame_numbers * self._itemsize
        return LayerwisePlan(self._num_frames, self._temporal, self._itemsize, tuple(layers))

    def smallest(self) -> LayerwisePlan:
        """The plan with the least peak: the smallest steps, and all frames spilled."""
        layers = [
            LayerPlan(shape, frames=1, rows=min(FEWEST_ROWS, shape.height), temporal_rows=1, scores=0)
            for shape in self._shapes
        ]
        layers = [replace(one, peak=max(self._spatial(one), self._temporal_bytes(one))) for one in layers]
        return LayerwisePlan(self._num_frames, self._temporal, self._itemsize, tuple(layers))

    def _with_steps(self, shape: LayerShape, workspace: int | None) -> LayerPlan:
        """Chooses the steps worth computing at once, or smaller ones that take a workspace if any do."""
        whole, row = self._band(shape, shape.height), self._temporal_row(shape)
        rows = _even(shape.height, max(FEWEST_ROWS, shape.height * self._step // whole))
        frames = _even(self._num_frames, self._step // whole) if self._temporal else 1
        temporal_rows = _even(shape.height, self._temporal_step // row)
        layer = LayerPlan(shape, frames, rows, temporal_rows, self._step // SCORE_SIZE)
        if workspace is None:
            return layer
        layer = replace(layer, scores=min(layer.scores, workspace // 4 // SCORE_SIZE))
        while layer.frames > 1 and self._spatial(layer) > workspace:
            layer = replace(layer, frames=layer.frames // 2)
        while layer.rows > FEWEST_ROWS and self._spatial(layer) > workspace:
            layer = replace(layer, rows=max(FEWEST_ROWS, layer.rows // 2))
        return replace(layer, temporal_rows=min(temporal_rows, max(1, workspace // 2 // row)))

    def _with_frames_placed(
        self, layer: LayerPlan, inputs: int, size_in: int, budget: int | None
    ) -> LayerPlan:
        """Decides how many output frames and hidden rows stay on the device, and whether inputs stay there.

        inputs: input frames on the device, of size_in bytes each. They stay there, or all of them leave.
        """
        shape = layer.shape
        spatial, temporal = self._spatial(layer), self._temporal_bytes(layer)
        if not self._temporal:
            return replace(layer, peak=spatial)
        size = shape.frame_numbers * self._itemsize
        outputs = self._num_frames if shape.changes_shape else inputs
        if shape.name == "conv_out":
            outputs = 0  # each is yielded
        elif not shape.changes_shape:
            size_in = 0  # outputs take the places of the inputs
        if budget is not None:
            room = budget - max(spatial, temporal)
            if outputs * size > room:
                outputs = room // size if shape.changes_shape else 0
            if inputs * size_in > budget - spatial - outputs * size:
                inputs = 0
        if not shape.changes_shape and shape.name != "conv_out":
            inputs = outputs
        row = self._num_frames * shape.out_channels * shape.width * self._itemsize
        kept = temporal + outputs * size
        cached = 0
        if shape.name != "conv_out":
            cached = shape.height if budget is None else min(shape.height, (budget - kept) // row)
        peak = max(spatial + inputs * size_in + outputs * size, kept + cached * row)
        return replace(
            layer, inputs_on_device=inputs, outputs_on_device=outputs, cached_rows=cached, peak=peak
        )

    def _band(self, shape: LayerShape, rows: int) -> int:
        """Bytes of a 3×3 convolution's band: normalised, padded, library input and output."""
        size = self._itemsize
        normalised = size if self._in_planes else max(size, 4) + (size if size < 4 else 0) + size
        row = shape.width * (shape.channels * (normalised + size) + shape.out_channels * 2 * size)
        return min(rows + 2, shape.height) * row

    def _spatial(self, layer: LayerPlan) -> int:
        """Bytes that the spatial part needs for a group of frames, in bands, with its packed weights."""
        shape, frames = layer.shape, layer.frames
        inputs = shape.channels_in * shape.height_in * shape.width_in
        positions = shape.height * shape.width
        hidden, scores = shape.channels * positions, 0
        if shape.name == "conv_out":
            outputs = 6 * shape.frame_numbers  # a picture twice, and its neighbours in the last convolution
        elif shape.kind is AttentionBlock:
            outputs = 6 * hidden  # queries, keys, values, the result, and copies for the backend
            keys = frames * positions
            scores = min(max(keys, layer.scores), keys * positions) * SCORE_SIZE
        else:
            outputs = shape.frame_numbers * (2 if shape.channels != shape.out_channels else 1)
            outputs += hidden if shape.predecessor else 0
        moments = piece_size(frames * max(hidden, shape.frame_numbers))  # while there is no band
        workspace = max(frames * self._band(shape, layer.rows), moments) + scores
        return (frames * (inputs + outputs) + shape.packed_weights) * self._itemsize + workspace

    def _temporal_row(self, shape: LayerShape) -> int:
        """Bytes for a row of all frames, stored, normalised between two neighbours, and convolved."""
        size = self._itemsize
        wide = size if self._in_planes else max(size, 4) + (size if size < 4 else 0)
        frames = self._num_frames + 2  # between zeros, or a ring's ends
        return frames * shape.out_channels * shape.width * (2 * size + wide)

    def _temporal_bytes(self, layer: LayerPlan) -> int:
        """Bytes of the temporal part: a band's workspace and the packed weights of both convolutions."""
        if not self._temporal or layer.shape.name == "conv_out":
            return 0
        weights = 2 * 3 * layer.shape.out_channels**2 * self._itemsize
        return self._temporal_row(layer.shape) * layer.temporal_rows + weights


def _even(count: int, most: int) -> int:
    """Size of a piece, at least 1, that cuts a count into as few pieces as `most` does, and equal ones.

    A piece that is smaller than the others keeps a processor's cores less busy.
    """
    return -(-count // -(-count // max(1, most)))


@cache
def _network(kind: type, params: VAEParams, **options) -> nn.Module:
    """A network without numbers, to read shapes off."""
    return kind(params, device="meta", **options)


class DecodePlanner(Planner):
    """Planner of the decode of latents (T, z_channels, height, width)."""

    def __init__(
        self,
        params: VAEParams,
        num_frames: int,
        height: int,
        width: int,
        *,
        temporal: bool,
        dtype: torch.dtype,
        device: torch.device | str,
    ):
        clip = f"{num_frames} frames" if temporal else "a frame"
        work = f"decoding {clip} of {params.downscale * width}×{params.downscale * height}"
        network = _network(VideoDecoder, params, temporal=temporal, post_quant_conv=False)
        layers = layers_of(network.decoder, height, width)
        super().__init__(work, layers, num_frames, temporal, dtype, torch.device(device))


class EncodePlanner(Planner):
    """Planner of the encode of images (3, height, width), one at a time."""

    def __init__(
        self, params: VAEParams, height: int, width: int, *, dtype: torch.dtype, device: torch.device | str
    ):
        layers = layers_of(_network(ImageEncoder, params, quant_conv=False).encoder, height, width)
        work = f"encoding an image of {width}×{height}"
        super().__init__(work, layers, 1, False, dtype, torch.device(device))
