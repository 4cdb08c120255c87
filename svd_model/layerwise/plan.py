"""Choice of step sizes and of the place of every frame, from shapes and a budget, without tensors.

All sizes are bytes without the weights of the network. The model of memory: between two layers there are the
frames of the clip, some on the device and the others spilled; a step of a layer adds its workspace.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from ..networks import planes
from ..networks.vae import VAEParams
from .memory import NotEnoughMemoryError, in_units
from .moments import piece_size

STEP_ON_CPU, STEP_ELSEWHERE, STEP_IN_PLANES = 2**24, 2**28, 2**31
"""Bytes worth computing at once: below 32 MiB glibc reuses freed blocks; a GPU wants few launches."""

FEWEST_ROWS = 8
"""Smallest band of a 3×3 convolution, which reads one more row above and below."""

SCORE_SIZE = 8
"""Bytes of an attention score where the backend stores them: the score and its softmax, in float32."""


@dataclass(frozen=True)
class LayerShape:
    """A residual block with its predecessor, or the output layer; sizes are in pixels of the layer."""

    name: str
    predecessor: str  # "", "conv_in", "attention", "upsample", "downsample"
    channels_in: int  # of an input frame
    height_in: int
    width_in: int
    channels: int  # of the block's input, after the predecessor
    out_channels: int
    height: int
    width: int

    @property
    def frame_numbers(self) -> int:
        """Numbers in an output frame."""
        return self.out_channels * self.height * self.width

    @property
    def changes_shape(self) -> bool:
        """Whether output frames need memory of their own; otherwise each takes its input's place."""
        return bool(
            self.predecessor in ("conv_in", "upsample", "downsample") or self.channels != self.out_channels
        )

    @property
    def packed_weights(self) -> int:
        """Numbers in the packed weights of all spatial convolutions, which stay until the layer's end."""
        own = 9 * self.channels * self.out_channels + 9 * self.out_channels**2
        extra = {"": 0, "conv_in": 9 * self.channels_in, "attention": 4 * self.channels}
        # Upsampling is folded into four 2×2 kernels, which are computed from sums as large as they are.
        extra |= {"downsample": 9 * self.channels, "upsample": 40 * self.channels}
        return own + extra[self.predecessor] * self.channels

    def row_size(self, itemsize: int) -> int:
        """Bytes per row of a 3×3 convolution's band: normalised, padded, library input and output."""
        wide = max(itemsize, 4) + (itemsize if itemsize < 4 else 0)
        return self.width * (self.channels * (wide + 2 * itemsize) + 2 * self.out_channels * itemsize)

    def spatial_workspace(self, frames: int, rows: int, itemsize: int) -> int:
        """Bytes that the spatial part needs for a group of frames in bands of `rows` rows."""
        inputs = self.channels_in * self.height_in * self.width_in
        hidden = self.channels * self.height * self.width
        if self.name == "output":
            outputs = 6 * self.frame_numbers  # a picture twice, and its neighbours in the last convolution
        elif self.predecessor == "attention":
            outputs = 6 * hidden  # queries, keys, values, the result, and copies for the backend
        else:
            outputs = self.frame_numbers * (2 if self.channels != self.out_channels else 1)
            outputs += hidden if self.predecessor else 0
        band = frames * min(rows + 2, self.height) * self.row_size(itemsize)
        moments = piece_size(frames * max(hidden, self.frame_numbers))  # while there is no band
        return frames * (inputs + outputs) * itemsize + max(band, moments)

    def temporal_workspace(self, num_frames: int, rows: int, itemsize: int) -> int:
        """Bytes for a band of rows of all frames: stored, normalised, and convolved."""
        wide = max(itemsize, 4) + (itemsize if itemsize < 4 else 0)
        return num_frames * self.out_channels * rows * self.width * (2 * itemsize + wide)


@dataclass(frozen=True)
class LayerPlan:
    """Step sizes of a layer and the place of its frames; the temporal fields serve video decoders only."""

    shape: LayerShape
    frames: int  # per step of the spatial part
    rows: int  # per band of the spatial part
    temporal_rows: int  # per band of all frames in the temporal part
    scores: int  # of attention, at once
    cached_rows: int = 0  # hidden rows that pass 3 reads instead of computing them once more
    inputs_on_device: int = 0  # input frames on the device when the layer begins
    outputs_on_device: int = 0  # output frames that stay on the device
    inputs_in_one_tensor: bool = False  # on the device, until the layer's end
    outputs_in_one_tensor: bool = False  # on the device
    peak: int = 0


@dataclass(frozen=True)
class LayerwisePlan:
    """Plans of all layers in order, the output layer last."""

    num_frames: int
    itemsize: int
    layers: tuple[LayerPlan, ...]

    @property
    def peak(self) -> int:
        """Predicted peak of bytes on the device, without the weights."""
        return max(layer.peak for layer in self.layers)

    @property
    def spilled(self) -> int:
        """Predicted peak of bytes in host memory and files."""
        sizes = [0] + [
            (self.num_frames - layer.outputs_on_device) * layer.shape.frame_numbers * self.itemsize
            for layer in self.layers[:-1]
        ]
        pairs = zip(self.layers, sizes, sizes[1:], strict=False)
        return max(inputs * layer.shape.changes_shape + outputs for layer, inputs, outputs in pairs)


def decoder_shapes(params: VAEParams, height: int, width: int) -> tuple[LayerShape, ...]:
    """Layers of a decoder for latents of a height and width."""
    channels = params.channel_mult[-1] * params.channels
    size = (height, width)
    shapes = [
        LayerShape("mid.block_1", "conv_in", params.z_channels, *size, channels, channels, *size),
        LayerShape("mid.block_2", "attention", channels, *size, channels, channels, *size),
    ]
    for level, mult in reversed(list(enumerate(params.channel_mult))):
        for index in range(params.num_res_blocks + 1):
            predecessor = "upsample" if index == 0 and level < len(params.channel_mult) - 1 else ""
            size_out = (2 * size[0], 2 * size[1]) if predecessor else size
            out = mult * params.channels
            name = f"up.{level}.block.{index}"
            shapes.append(LayerShape(name, predecessor, channels, *size, channels, out, *size_out))
            channels, size = out, size_out
    return (*shapes, LayerShape("output", "", channels, *size, channels, params.image_channels, *size))


def encoder_shapes(params: VAEParams, height: int, width: int) -> tuple[LayerShape, ...]:
    """Layers of an encoder for images of a height and width."""
    channels, channels_in, size = params.channels, params.image_channels, (height, width)
    shapes = []
    for level, mult in enumerate(params.channel_mult):
        for index in range(params.num_res_blocks):
            predecessor = "" if index else ("downsample" if level else "conv_in")
            size_out = (size[0] // 2, size[1] // 2) if predecessor == "downsample" else size
            out = mult * params.channels
            name = f"down.{level}.block.{index}"
            shapes.append(LayerShape(name, predecessor, channels_in, *size, channels, out, *size_out))
            channels = channels_in = out
            size = size_out
    for name, predecessor in (("mid.block_1", ""), ("mid.block_2", "attention")):
        shapes.append(LayerShape(name, predecessor, channels, *size, channels, channels, *size))
    return (*shapes, LayerShape("output", "", channels, *size, channels, 2 * params.z_channels, *size))


def step_of(device: torch.device | str) -> int:
    """Bytes worth computing at once on a device."""
    if planes.fits(torch.device(device)):
        return STEP_IN_PLANES
    return STEP_ON_CPU if torch.device(device).type == "cpu" else STEP_ELSEWHERE


@dataclass(frozen=True)
class Planner:
    """Planner of a network's layers for one clip, dtype and device."""

    work: str  # in words, for errors
    shapes: tuple[LayerShape, ...]
    num_frames: int
    itemsize: int
    step: int  # bytes worth computing at once
    temporal: bool
    in_planes: bool = False  # then frames in one tensor save copies

    def within(self, budget: int | None) -> LayerwisePlan:
        """The fastest plan within a budget; None: no bound, and nothing is spilled.

        Raises NotEnoughMemoryError, with the peak of the smallest plan, for a budget under it.
        """
        smallest = self.smallest().peak
        if budget is not None and budget < smallest:
            needed = f"{self.work} needs at least {in_units(smallest)}"
            raise NotEnoughMemoryError(f"the memory budget is {in_units(budget)}, and {needed}", smallest)
        return LayerwisePlan(self.num_frames, self.itemsize, tuple(self._layers(budget)))

    def smallest(self) -> LayerwisePlan:
        """The plan with the least peak: the smallest steps, and all frames spilled."""
        return LayerwisePlan(self.num_frames, self.itemsize, tuple(map(self._smallest, self.shapes)))

    def _layers(self, budget: int | None) -> Iterator[LayerPlan]:
        """Plans each layer: first its steps, then as many frames on the device as fit beside them."""
        # Of the input frames: bytes of one, how many are on the device, and whether in one tensor.
        size, on_device, in_one_tensor = 0, 0, self.in_planes
        for shape in self.shapes:
            layer = self._with_steps(shape, budget)
            if not self.temporal:
                layer = replace(layer, peak=self._spatial_bytes(layer))
            elif shape.name == "output":
                spatial = self._spatial_bytes(layer)
                staying = on_device if budget is None else min(on_device, (budget - spatial) // size)
                layer = replace(
                    layer,
                    inputs_on_device=staying,
                    inputs_in_one_tensor=in_one_tensor and staying == self.num_frames,
                    peak=spatial + staying * size,
                )
            else:
                size_in = size if shape.changes_shape else 0  # 0: outputs take the places of the inputs
                together = self._in_one_tensor(layer, size_in, budget) if in_one_tensor else None
                layer = together or self._with_frames_placed(layer, size_in, on_device, budget)
                size, on_device = shape.frame_numbers * self.itemsize, layer.outputs_on_device
                in_one_tensor = layer.outputs_in_one_tensor
            yield layer

    def _in_one_tensor(self, layer: LayerPlan, size_in: int, budget: int | None) -> LayerPlan | None:
        """Puts all inputs and all outputs on the device, each in one tensor; None if they don't fit."""
        num_frames, shape = self.num_frames, layer.shape
        outputs = num_frames * shape.frame_numbers * self.itemsize
        spatial = self._spatial_bytes(layer) + num_frames * size_in + outputs
        temporal = self._temporal_bytes(layer) + outputs
        if budget is not None and max(spatial, temporal) > budget:
            return None
        row = outputs // shape.height
        cached_rows = shape.height if budget is None else min(shape.height, (budget - temporal) // row)
        return replace(
            layer,
            cached_rows=cached_rows,
            inputs_on_device=num_frames,
            outputs_on_device=num_frames,
            inputs_in_one_tensor=True,
            outputs_in_one_tensor=True,
            peak=max(spatial, temporal + cached_rows * row),
        )

    def _with_frames_placed(
        self, layer: LayerPlan, size_in: int, inputs: int, budget: int | None
    ) -> LayerPlan:
        """Decides how many input frames, output frames and hidden rows stay on the device.

        size_in: bytes of an input frame, 0 where the output takes its place. inputs: frames on the device.
        """
        shape, size = layer.shape, layer.shape.frame_numbers * self.itemsize
        spatial, temporal = self._spatial_bytes(layer), self._temporal_bytes(layer)
        row = self.num_frames * shape.out_channels * shape.width * self.itemsize
        outputs, cached_rows = self.num_frames, shape.height
        if budget is not None:
            inputs = min(inputs, (budget - spatial) // size_in) if size_in else inputs
            outputs = min(outputs, (budget - max(temporal, spatial)) // size)
            while outputs > 0 and spatial + self._peak_of_frames(size, outputs, size_in, inputs) > budget:
                outputs -= 1
            cached_rows = min(cached_rows, (budget - temporal - outputs * size) // row)
        peak = max(
            spatial + self._peak_of_frames(size, outputs, size_in, inputs),
            temporal + outputs * size + cached_rows * row,
        )
        if not shape.changes_shape:
            inputs = min(inputs, outputs)
        return replace(
            layer, cached_rows=cached_rows, inputs_on_device=inputs, outputs_on_device=outputs, peak=peak
        )

    def _with_steps(self, shape: LayerShape, budget: int | None) -> LayerPlan:
        """Chooses the steps worth computing at once.

        Shrinks them until groups of frames take at most half of the budget, and bands of rows an eighth.
        """
        whole = (shape.height + 2) * shape.row_size(self.itemsize)
        rows = min(shape.height, max(FEWEST_ROWS, shape.height * self.step // whole))
        frames = min(self.num_frames, max(1, self.step // whole)) if self.temporal else 1
        temporal_row = self._temporal_band_bytes(shape, 1)
        temporal_rows = min(shape.height, max(1, 2 * self.step // temporal_row))
        if budget is not None:
            budget -= shape.packed_weights * self.itemsize
            while frames > 1 and shape.spatial_workspace(frames, rows, self.itemsize) > budget // 2:
                frames //= 2
            while rows > FEWEST_ROWS and (
                rows * shape.row_size(self.itemsize) > budget // 8
                or shape.spatial_workspace(1, rows, self.itemsize) > budget
            ):
                rows = max(FEWEST_ROWS, rows // 2)
            temporal_rows = min(temporal_rows, max(1, budget // 8 // temporal_row))
        scores = self.step if budget is None else min(self.step, budget // 8)
        return LayerPlan(shape, frames, rows, temporal_rows, scores // SCORE_SIZE)

    def _peak_of_frames(self, size: int, outputs: int, size_in: int, inputs: int) -> int:
        """Most bytes of frames on the device while input after input is replaced by its output."""
        return max(
            max(0, inputs - done) * size_in + min(done, outputs) * size for done in range(self.num_frames + 1)
        )

    def _spatial_bytes(self, layer: LayerPlan) -> int:
        """Bytes of the spatial part: workspace, attention scores and packed weights."""
        size = layer.shape.spatial_workspace(layer.frames, layer.rows, self.itemsize)
        if layer.shape.predecessor == "attention":
            keys = layer.frames * layer.shape.height * layer.shape.width
            queries = layer.shape.height * layer.shape.width
            size += min(max(keys, layer.scores), keys * queries) * SCORE_SIZE
        return size + layer.shape.packed_weights * self.itemsize

    def _temporal_bytes(self, layer: LayerPlan) -> int:
        """Bytes of the temporal part: a band's workspace and the packed weights of both convolutions."""
        if not self.temporal or layer.shape.name == "output":
            return 0
        weights = 2 * 3 * layer.shape.out_channels**2 * self.itemsize
        return self._temporal_band_bytes(layer.shape, layer.temporal_rows) + weights

    def _temporal_band_bytes(self, shape: LayerShape, rows: int) -> int:
        """Workspace of a temporal band; in planes two frames of zeros are part of it."""
        return shape.temporal_workspace(self.num_frames + 2 * self.in_planes, rows, self.itemsize)

    def _smallest(self, shape: LayerShape) -> LayerPlan:
        """Plan of a layer with the smallest steps and all frames spilled."""
        rows = min(FEWEST_ROWS, shape.height)
        layer = LayerPlan(shape, frames=1, rows=rows, temporal_rows=1, scores=0)
        return replace(layer, peak=max(self._spatial_bytes(layer), self._temporal_bytes(layer)))


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
        shapes = decoder_shapes(params, height, width)
        in_planes = planes.fits(torch.device(device))
        super().__init__(work, shapes, num_frames, dtype.itemsize, step_of(device), temporal, in_planes)


class EncodePlanner(Planner):
    """Planner of the encode of images (3, height, width), one at a time."""

    def __init__(
        self,
        params: VAEParams,
        height: int,
        width: int,
        *,
        dtype: torch.dtype,
        device: torch.device | str,
    ):
        shapes = encoder_shapes(params, height, width)
        work = f"encoding an image of {width}×{height}"
        super().__init__(work, shapes, 1, dtype.itemsize, step_of(device), False)
