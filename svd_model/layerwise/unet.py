"""Plans of a UNet's evaluation: branches together, and pieces of its layers, within a budget of memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from ..networks import early_features, kernels, planes, resampling, residual, transformer
from ..networks.pieces import WHOLE, Pieces
from ..networks.stages import UNetParams
from .memory import NotEnoughMemoryError


@dataclass(frozen=True)
class UNetPlan:
    """One way to evaluate a UNet."""

    branches: int  # go through the UNet together
    pieces: Pieces
    peak: int  # bytes on the device at the most, weights not included
    calls: int  # of layers, a measure of the time for all branches


class _Layer(NamedTuple):
    """Layer of a UNet, and the features that are alive beside it."""

    kind: str  # "residual", "transformer" or "upsample"
    parts: tuple[int, ...]  # widths of the features that it joins
    width: int  # of its output
    level: int  # of its input
    freed: int  # channels of its input that nobody needs afterwards
    skips: tuple[tuple[int, int], ...]  # width and level of each skip alive, the first of all included


@dataclass(frozen=True)
class UNetPlanner:
    """Plans for latents of a size, (T, in_channels, height, width) a branch.

    cached: how many sets of all branches' deep features are kept between evaluations. apart: whether
    branches may go one after another. casts: whether weights are stored in another dtype, and cast for each
    call of a layer. controlled: whether a control network of these sizes is evaluated before the UNet. early:
    the number of the stage before which one branch's features are kept for other evaluations. exchanges:
    whether the frames are a process's own, beside those of others.
    """

    params: UNetParams
    branches: int
    num_frames: int
    height: int
    width: int
    dtype: torch.dtype
    device: torch.device
    cached: int = 0
    apart: bool = True
    casts: bool = False
    controlled: bool = False
    early: int | None = None
    exchanges: bool = False

    def within(self, budget: int | None) -> UNetPlan:
        """Fastest plan within a budget; raise NotEnoughMemoryError, naming the smallest, below it."""
        if budget is None:
            return self._plans[0]
        fitting = [plan for plan in self._plans if plan.peak <= budget]
        if fitting:
            return fitting[0]
        work = f"a UNet over {self.num_frames} frames of {self.width}×{self.height} latents"
        raise NotEnoughMemoryError.of_budget(budget, work, self.smallest().peak)

    def in_room(self, room: int) -> UNetPlan:
        """Fastest plan within some bytes, or the smallest one where they are too few for any."""
        return self.within(max(room, self.smallest().peak))

    def smallest(self) -> UNetPlan:
        """Plan with the least peak."""
        return min(self._plans, key=lambda plan: plan.peak)

    @cached_property
    def _plans(self) -> list[UNetPlan]:
        """All plans, the fastest first."""
        plans = []
        for branches in range(self.branches, 0 if self.apart else self.branches - 1, -1):
            passes = -(-self.branches // branches)
            for pieces in self._ladder(branches):
                peak, calls = self._weigh(branches, pieces)
                plans.append(UNetPlan(branches, pieces, peak, passes * calls))
        return sorted(plans, key=lambda plan: (not plan.pieces.skips_on_device, plan.calls, plan.peak))

    def _ladder(self, branches: int) -> Iterator[Pieces]:
        """Bounds from none down to one frame of the widest layer, each 1/√2 of its predecessor."""
        yield WHOLE
        frames = branches * self.num_frames
        bound = self._most(branches * self.num_frames)
        least = bound // frames
        while (bound := int(bound / 2**0.5)) > least:
            yield Pieces(bound)
        yield Pieces(least)
        if self.device.type != "cpu":
            yield Pieces(least, skips_on_device=False)

    def _most(self, frames: int) -> int:
        """The most temporary bytes of a layer, computed at once."""
        sizes = (self._temporary(layer) * self._positions(layer.level) for layer in self._layers)
        return frames * max(sizes) * self.dtype.itemsize

    def _temporary(self, layer: _Layer) -> int:
        """Temporary channels of a layer that is computed at once."""
        in_planes = planes.fits(self.device)
        if layer.kind == "residual":
            return residual.spatial_channels(layer.parts, layer.width, in_planes)
        if layer.kind == "transformer":
            return transformer.WHOLE_TRANSFORMER * layer.width
        return resampling.enlarged_units(in_planes) * layer.width

    def _positions(self, level: int) -> int:
        return (self.height >> level) * (self.width >> level)

    def _weigh(self, branches: int, pieces: Pieces) -> tuple[int, int]:
        """Peak and number of calls of a plan."""
        params, frames, itemsize = self.params, branches * self.num_frames, self.dtype.itemsize

        def size(width: int, level: int = 0) -> int:
            return frames * width * self._positions(level) * itemsize

        shifts = sum(2 * layer.width for layer in self._layers if layer.kind == "residual")
        contexts = sum(2 * layer.width for layer in self._layers if layer.kind == "transformer")
        constant = size(params.in_channels) + (frames * shifts + self.num_frames * contexts) * itemsize
        if params.camera_dim:
            constant += frames * contexts // 2 * itemsize  # of the camera, a row a frame
        if self.cached:
            constant += self.cached * self.branches * size(params.model_channels) // branches
        if self.controlled:
            constant += size(params.model_channels) + self._residuals(size)
        if self.early is not None:
            kept = early_features.kept_before(params, self.early, pieces)
            constant += sum(size(*features) for features in kept) // branches
        peak = calls = 0
        for layer in self._layers:
            skips = layer.skips if pieces.skips_on_device else layer.skips[:1]
            resident = constant + sum(size(*skip) for skip in skips)
            weigh = {"residual": _residual, "transformer": _transformer, "upsample": _upsample}[layer.kind]
            work = _Work(
                pieces,
                frames,
                self.num_frames,
                self._positions(layer.level),
                self.dtype,
                planes.fits(self.device),
                self.casts,
                convolves=params.frame_positions > 0,
                exchanges=self.exchanges,
            )
            more, count = weigh(layer, work)
            peak, calls = max(peak, resident + more), calls + count
        return peak, calls

    def _residuals(self, size: Callable[[int, int], int]) -> int:
        """Bytes of what a control network gives, one for each skip and for the middle."""
        params = self.params
        levels = [place.level for place in params.places() if place.part == "input"]
        skips = list(zip(params.skips(), levels, strict=True))
        return sum(size(*skip) for skip in [*skips, skips[-1]])

    @cached_property
    def _layers(self) -> list[_Layer]:
        """Layers in the order of the work."""
        params = self.params
        width, places = params.model_channels, params.places()
        skips, layers = [(width, 0)], []
        for place, successor in zip(places[1:], [*places[2:], None], strict=True):
            level, wide, alive = place.level, params.width(place.level), tuple(skips)
            if place.part == "input" and place.index % (params.num_res_blocks + 1) == 0:  # a downsampling
                skips.append((width, level))
                continue
            parts, freed = (width,), 0
            if place.part == "output":
                parts = (width, skips[-1][0])
                freed = width if len(skips) == 1 else sum(parts)
                skips = skips[:-1]
                alive = tuple(skips) or alive  # the first features stay to the end
            layers.append(_Layer("residual", parts, wide, level, freed, alive))
            if place.number is not None:
                layers.append(_Layer("transformer", (wide,), wide, level, 0, alive))
            if place.part == "middle":
                layers.append(_Layer("residual", (wide,), wide, level, wide, alive))
            if successor is not None and successor.part == "output" and successor.level < level:
                layers.append(_Layer("upsample", (wide,), wide, level, 0, alive))
            if place.part == "input":
                skips.append((wide, level))
            width = wide
        return layers


@dataclass(frozen=True)
class _Work:
    """Features of a layer and their bounds."""

    pieces: Pieces
    frames: int  # of all videos
    num_frames: int  # of one
    positions: int  # of a frame
    dtype: torch.dtype
    in_planes: bool
    casts: bool
    convolves: bool  # whether transformers convolve features with learned positions
    exchanges: bool  # whether other processes have other frames

    def cast(self, numbers: int) -> int:
        """Bytes of cast weights."""
        return numbers * self.dtype.itemsize if self.casts else 0

    def size(self, width: float) -> int:
        """Bytes of features."""
        return round(self.frames * self.positions * width * self.dtype.itemsize)

    def group(self, count: int, size: int) -> tuple[int, int]:
        """Bytes of a group of `count` rows that take `size` together, and the number of groups."""
        each = size // count
        rows = self.pieces.size(count, each)
        return rows * each, -(-count // rows)


def _residual(layer: _Layer, work: _Work) -> tuple[int, int]:
    whole = work.size(residual.spatial_channels(layer.parts, layer.width, work.in_planes))
    space, groups = work.group(work.frames, whole)
    features, itemsize = work.size(layer.width), work.dtype.itemsize
    space += work.size(layer.freed) + (features if groups > 1 else 0)
    units = residual.over_time_units(work.num_frames, work.dtype, work.in_planes)
    at_once = residual.OVER_TIME if not work.in_planes else units
    if work.pieces.hold(round(at_once * features)):
        time, positions = round(at_once * features), 1
    else:
        time, positions = work.group(work.positions, round(units * features))
        time += features
    space += work.cast(9 * sum(layer.parts) * layer.width)
    weights = 3 * layer.width**2 * itemsize if work.in_planes else 0  # rearranged
    time = max(time + weights, features + 2 * weights) + work.cast(3 * layer.width**2)
    return max(space, features + time), groups + 2 * positions


def _transformer(layer: _Layer, work: _Work) -> tuple[int, int]:
    features = work.size(layer.width)
    cast = work.cast(8 * layer.width**2)  # of a feed-forward layer
    convolution, convolutions = _convolution(layer, work) if work.convolves else (0, 0)
    convolution += 3 * features
    if work.exchanges:  # features, tokens twice, what goes to others and comes from them, put in order:
        # more than the frames of neighbours in a residual block, and what is hidden there
        convolution = max(convolution, 7 * features)
    if work.pieces.hold(transformer.WHOLE_TRANSFORMER * features):
        blocks = (1 + transformer.WHOLE_TRANSFORMER) * features + cast
        return max(blocks, convolution), 7 + convolutions
    if work.pieces.hold(transformer.WHOLE_BLOCK * features):
        blocks = (3 + transformer.WHOLE_BLOCK) * features + cast
        return max(blocks, convolution), 7 + convolutions
    tokens = work.frames * work.positions
    parts = [
        work.group(work.frames, transformer.TOKENS * features),
        work.group(work.frames, transformer.ATTENTION * features),
        work.group(work.positions, transformer.TEMPORAL_ATTENTION * features),
        work.group(tokens, transformer.FEED_FORWARD * features),
    ]
    groups = [count for _, count in parts]
    if work.dtype.itemsize < 4 and not work.in_planes:  # a CPU's attention copies its result
        size, count = parts[2]
        parts[2] = size * (transformer.TEMPORAL_ATTENTION + 1) // transformer.TEMPORAL_ATTENTION, count
    calls = 2 * groups[0] + groups[1] + groups[2] + 3 * groups[3] + convolutions
    return max(3 * features + max(size for size, _ in parts) + cast, convolution), calls


def _convolution(layer: _Layer, work: _Work) -> tuple[int, int]:
    """Temporary bytes of a convolution of groups of frames, with a frame on either side; and their number."""
    units = transformer.convolution_units(work.in_planes)
    each = units * work.size(layer.width) // work.num_frames
    rows = work.pieces.size(work.num_frames, each, more=2 * each)
    weights = 27 * layer.width**2
    rearranged = weights * work.dtype.itemsize
    return (rows + 2) * each + rearranged + work.cast(weights), -(-work.num_frames // rows)


def _upsample(layer: _Layer, work: _Work) -> tuple[int, int]:
    features = work.size(layer.width)
    units = resampling.enlarged_units(work.in_planes)
    size, groups = work.group(work.frames, units * features)
    positions = work.positions * -(-work.frames // groups)
    folded = work.dtype.itemsize >= 4 and (work.in_planes or positions >= kernels.WORTH_FOLDING)
    weights = 32 * layer.width**2 * work.dtype.itemsize if folded else 0
    weights += work.cast(9 * layer.width**2)
    if folded:  # beside the result: padded features, and a quarter of it; a GPU has copies of both
        size = size * (33 if work.in_planes else 25) // (4 * units)
    return features + max(size + (4 * features if groups > 1 else 0), 4 * features + weights), groups
