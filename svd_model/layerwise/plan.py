"""What is computed at once and what is kept where, decided from shapes and a budget before any work.

All sizes are bytes, besides the weights. The model of memory: between two layers the frames of the clip are
kept, `resident` of them on the device and the rest spilled; a step of a layer adds its workspace to that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from ..networks import planes
from ..networks.vae import VAEParams
from .memory import NotEnoughMemoryError, in_units
from .moments import piece_size

STEP_ON_CPU, STEP_ELSEWHERE, STEP_IN_PLANES = 2**24, 2**28, 2**31
"""Bytes worth computing at once: below 32 MiB glibc reuses freed blocks; a GPU wants few launches."""

FEWEST_ROWS = 8
"""Of a band of a 3×3 convolution, which computes one more row above and below."""

SCORE_SIZE = 8
"""Bytes an attention score takes where the backend keeps them: itself and its softmax, in float32."""


@dataclass(frozen=True)
class LayerShape:
    """A residual block with what comes before it, or the output; heights and widths in its own pixels."""

    name: str
    before: str  # "", "conv_in", "attention", "upsample", "downsample"
    channels_in: int  # of what is stored
    height_in: int
    width_in: int
    channels: int  # that the block takes
    out_channels: int
    height: int
    width: int

    @property
    def stored(self) -> int:
        """Numbers in a frame of what it makes."""
        return self.out_channels * self.height * self.width

    @property
    def changes_shape(self) -> bool:
        """Whether the output has another shape than the input."""
        return bool(
            self.before in ("conv_in", "upsample", "downsample") or self.channels != self.out_channels
        )

    @property
    def weights(self) -> int:
        """Numbers in its convolutions' weights as they are rearranged, all of the spatial part being kept."""
        own = 9 * self.channels * self.out_channels + 9 * self.out_channels**2
        before = {"": 0, "conv_in": 9 * self.channels_in, "attention": 4 * self.channels}
        # Upsampling is folded into four 2×2 kernels, and that out of sums of the same size.
        before |= {"downsample": 9 * self.channels, "upsample": 40 * self.channels}
        return own + before[self.before] * self.channels

    def row_size(self, itemsize: int) -> int:
        """Bytes of a row of a band in a 3×3 convolution: prepared, padded, in and out of the library."""
        wide = max(itemsize, 4) + (itemsize if itemsize < 4 else 0)
        return self.width * (self.channels * (wide + 2 * itemsize) + 2 * self.out_channels * itemsize)

    def spatial_workspace(self, frames: int, rows: int, itemsize: int) -> int:
        """Bytes for taking that many frames through the layer's spatial part in bands of that many rows."""
        taken = self.channels_in * self.height_in * self.width_in
        middle = self.channels * self.height * self.width
        if self.name == "output":
            made = 6 * self.stored  # twice, and the neighbours in time that the last convolution takes
        elif self.before == "attention":
            made = 6 * middle  # queries, keys, values, the result, and copies for the backend
        else:
            made = self.stored * (2 if self.channels != self.out_channels else 1)
            made += middle if self.before else 0
        band = frames * min(rows + 2, self.height) * self.row_size(itemsize)
        counted = piece_size(frames * max(middle, self.stored))  # for the moments, when there is no band
        return frames * (taken + made) * itemsize + max(band, counted)

    def temporal_workspace(self, num_frames: int, rows: int, itemsize: int) -> int:
        """Bytes for a band of rows of all frames: as stored, normalised, and after the convolution."""
        wide = max(itemsize, 4) + (itemsize if itemsize < 4 else 0)
        return num_frames * self.out_channels * rows * self.width * (2 * itemsize + wide)


@dataclass(frozen=True)
class LayerPlan:
    """How a layer is computed."""

    shape: LayerShape
    frames: int  # taken through its spatial part at once
    rows: int  # of a band of that
    band: int  # rows of all frames taken through its temporal part at once
    scores: int  # of attention, at once
    kept: int = 0  # rows whose first temporal convolution is kept instead of computed twice
    held: int = 0  # frames of what it takes that are on the device when it begins
    resident: int = 0  # frames of its result that stay on the device
    whole_in: bool = False  # what it takes stays in one tensor on the device until it ends
    whole: bool = False  # its result is in one tensor on the device
    peak: int = 0


@dataclass(frozen=True)
class LayerwisePlan:
    """How a clip is decoded: the layers in order, the last one being the output."""

    num_frames: int
    itemsize: int
    layers: tuple[LayerPlan, ...]

    @property
    def peak(self) -> int:
        """Predicted bytes on the device at the worst moment, besides the weights."""
        return max(layer.peak for layer in self.layers)

    @property
    def spilled(self) -> int:
        """Predicted bytes in host memory or in a file at the worst moment."""
        sizes = [0] + [
            (self.num_frames - layer.resident) * layer.shape.stored * self.itemsize
            for layer in self.layers[:-1]
        ]
        pairs = zip(self.layers, sizes, sizes[1:], strict=False)
        return max(before * layer.shape.changes_shape + after for layer, before, after in pairs)


def decoder_shapes(params: VAEParams, height: int, width: int) -> tuple[LayerShape, ...]:
    """The layers of a decoder of latents of that height and width."""
    channels = params.channel_mult[-1] * params.channels
    size = (height, width)
    shapes = [
        LayerShape("mid.block_1", "conv_in", params.z_channels, *size, channels, channels, *size),
        LayerShape("mid.block_2", "attention", channels, *size, channels, channels, *size),
    ]
    for level, mult in reversed(list(enumerate(params.channel_mult))):
        for index in range(params.num_res_blocks + 1):
            before = "upsample" if index == 0 and level < len(params.channel_mult) - 1 else ""
            larger = (2 * size[0], 2 * size[1]) if before else size
            out = mult * params.channels
            name = f"up.{level}.block.{index}"
            shapes.append(LayerShape(name, before, channels, *size, channels, out, *larger))
            channels, size = out, larger
    return (*shapes, LayerShape("output", "", channels, *size, channels, params.image_channels, *size))


def encoder_shapes(params: VAEParams, height: int, width: int) -> tuple[LayerShape, ...]:
    """The layers of an encoder of images of that height and width."""
    channels, stored, size = params.channels, params.image_channels, (height, width)
    shapes = []
    for level, mult in enumerate(params.channel_mult):
        for index in range(params.num_res_blocks):
            before = "" if index else ("downsample" if level else "conv_in")
            smaller = (size[0] // 2, size[1] // 2) if before == "downsample" else size
            out = mult * params.channels
            name = f"down.{level}.block.{index}"
            shapes.append(LayerShape(name, before, stored, *size, channels, out, *smaller))
            channels = stored = out
            size = smaller
    for name, before in (("mid.block_1", ""), ("mid.block_2", "attention")):
        shapes.append(LayerShape(name, before, channels, *size, channels, channels, *size))
    return (*shapes, LayerShape("output", "", channels, *size, channels, 2 * params.z_channels, *size))


def plan_decode(
    params: VAEParams,
    num_frames: int,
    height: int,
    width: int,
    *,
    temporal: bool,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    budget: int | None = None,
) -> LayerwisePlan:
    """For latents (T, z_channels, height, width); without a budget nothing is spilled.

    Raises NotEnoughMemoryError, with the smallest budget that works, for one under it.
    """
    shapes = decoder_shapes(params, height, width)
    in_planes = planes.fits(torch.device(device))
    planner = _Planner(shapes, num_frames, dtype.itemsize, step_of(device), temporal, in_planes)
    what = f"{num_frames} frames" if temporal else "a frame"
    return planner.plan(budget, f"decoding {what} of {8 * width}×{8 * height}")


def plan_encode(
    params: VAEParams,
    height: int,
    width: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    budget: int | None = None,
) -> LayerwisePlan:
    """For one image of that height and width at a time; the same otherwise."""
    planner = _Planner(encoder_shapes(params, height, width), 1, dtype.itemsize, step_of(device), False)
    return planner.plan(budget, f"encoding an image of {width}×{height}")


def smallest_budget(plan: Callable[..., LayerwisePlan], *arguments, **options) -> int:
    """The smallest budget that plan_decode, or plan_encode, takes with these arguments."""
    try:
        return plan(*arguments, **options, budget=0).peak
    except NotEnoughMemoryError as error:
        return error.smallest


def step_of(device: torch.device | str) -> int:
    """Bytes worth computing at once on that kind of device."""
    if planes.fits(torch.device(device)):
        return STEP_IN_PLANES
    return STEP_ON_CPU if torch.device(device).type == "cpu" else STEP_ELSEWHERE


@dataclass(frozen=True)
class _Planner:
    shapes: tuple[LayerShape, ...]
    num_frames: int
    itemsize: int
    step: int
    temporal: bool
    in_planes: bool = False  # then frames in one tensor are worth the while

    def plan(self, budget: int | None, work: str) -> LayerwisePlan:
        smallest = max(self._smallest(shape) for shape in self.shapes)
        if budget is not None and budget < smallest:
            message = (
                f"the memory budget is {in_units(budget)}, and {work} needs at least {in_units(smallest)}"
            )
            raise NotEnoughMemoryError(message, smallest)
        return LayerwisePlan(self.num_frames, self.itemsize, tuple(self._layers(budget)))

    def _layers(self, budget: int | None) -> Iterator[LayerPlan]:
        """Each layer with the largest steps that are worth it, then as much on the device as still fits."""
        # Of what a layer takes: bytes of a frame, how many are on the device, and whether in one tensor.
        size, resident, whole = 0, 0, self.in_planes
        for shape in self.shapes:
            layer = self._steps(shape, budget)
            if not self.temporal:
                layer = replace(layer, peak=self._spatial(layer))
            elif shape.name == "output":
                held = resident if budget is None else min(resident, (budget - self._spatial(layer)) // size)
                peak = self._spatial(layer) + held * size
                layer = replace(layer, held=held, whole_in=whole and held == self.num_frames, peak=peak)
            else:
                size_in = size if shape.changes_shape else 0  # else the result takes its place
                in_one = self._in_one(layer, size_in, budget) if whole else None
                layer = in_one or self._placed(layer, size_in, resident, budget)
                size, resident, whole = shape.stored * self.itemsize, layer.resident, layer.whole
            yield layer

    def _in_one(self, layer: LayerPlan, size_in: int, budget: int | None) -> LayerPlan | None:
        """All that the layer takes and makes on the device, each in one tensor; None where that won't fit."""
        made = self.num_frames * layer.shape.stored * self.itemsize
        spatial = self._spatial(layer) + self.num_frames * size_in + made
        temporal = self._temporal(layer) + made
        if budget is not None and max(spatial, temporal) > budget:
            return None
        row = made // layer.shape.height
        kept = layer.shape.height if budget is None else min(layer.shape.height, (budget - temporal) // row)
        everything = {"held": self.num_frames, "resident": self.num_frames, "whole_in": True, "whole": True}
        return replace(layer, kept=kept, peak=max(spatial, temporal + kept * row), **everything)

    def _placed(self, layer: LayerPlan, size_in: int, held: int, budget: int | None) -> LayerPlan:
        """What the layer takes and makes divided between the device and elsewhere, and then what it keeps."""
        shape, size = layer.shape, layer.shape.stored * self.itemsize
        spatial, temporal = self._spatial(layer), self._temporal(layer)
        row = self.num_frames * shape.out_channels * shape.width * self.itemsize
        resident, kept = self.num_frames, shape.height
        if budget is not None:
            held = min(held, (budget - spatial) // size_in) if size_in else held
            resident = min(resident, (budget - max(temporal, spatial)) // size)
            while resident > 0 and spatial + self._worst(size, resident, size_in, held) > budget:
                resident -= 1
            kept = min(kept, (budget - temporal - resident * size) // row)
        peak = max(
            spatial + self._worst(size, resident, size_in, held), temporal + resident * size + kept * row
        )
        if not shape.changes_shape:
            held = min(held, resident)
        return replace(layer, kept=kept, held=held, resident=resident, peak=peak)

    def _steps(self, shape: LayerShape, budget: int | None) -> LayerPlan:
        """The steps that are worth it, made smaller until they take no more than half of the budget."""
        whole = (shape.height + 2) * shape.row_size(self.itemsize)
        rows = min(shape.height, max(FEWEST_ROWS, shape.height * self.step // whole))
        frames = min(self.num_frames, max(1, self.step // whole)) if self.temporal else 1
        band_row = self._band_size(shape, 1)
        band = min(shape.height, max(1, 2 * self.step // band_row))
        if budget is not None:
            budget -= shape.weights * self.itemsize
            while frames > 1 and shape.spatial_workspace(frames, rows, self.itemsize) > budget // 2:
                frames //= 2
            while rows > FEWEST_ROWS and (
                rows * shape.row_size(self.itemsize) > budget // 8
                or shape.spatial_workspace(1, rows, self.itemsize) > budget
            ):
                rows = max(FEWEST_ROWS, rows // 2)
            band = min(band, max(1, budget // 8 // band_row))
        scores = self.step if budget is None else min(self.step, budget // 8)
        return LayerPlan(shape, frames, rows, band, scores // SCORE_SIZE)

    def _worst(self, size: int, resident: int, size_in: int, held: int) -> int:
        """The most that is on the device while frame after frame goes from what is taken to the result."""
        return max(
            max(0, held - done) * size_in + min(done, resident) * size for done in range(self.num_frames + 1)
        )

    def _spatial(self, layer: LayerPlan) -> int:
        size = layer.shape.spatial_workspace(layer.frames, layer.rows, self.itemsize)
        if layer.shape.before == "attention":
            keys = layer.frames * layer.shape.height * layer.shape.width
            queries = layer.shape.height * layer.shape.width
            size += min(max(keys, layer.scores), keys * queries) * SCORE_SIZE
        return size + layer.shape.weights * self.itemsize

    def _temporal(self, layer: LayerPlan) -> int:
        if not self.temporal or layer.shape.name == "output":
            return 0
        weights = 2 * 3 * layer.shape.out_channels**2 * self.itemsize  # of both convolutions, rearranged
        return self._band_size(layer.shape, layer.band) + weights

    def _band_size(self, shape: LayerShape, rows: int) -> int:
        """Bytes of the temporal workspace; in planes there are two frames of zeros in it."""
        return shape.temporal_workspace(self.num_frames + 2 * self.in_planes, rows, self.itemsize)

    def _smallest(self, shape: LayerShape) -> int:
        least = LayerPlan(shape, frames=1, rows=min(FEWEST_ROWS, shape.height), band=1, scores=0)
        return max(self._spatial(least), self._temporal(least))
