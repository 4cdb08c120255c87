"""Decode of latents to frames, layer by layer: exact, and within a budget of memory."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from ..networks import kernels
from ..networks.vae import VideoDecoder, VideoResnetBlock
from . import spatial
from .frames import Frames
from .memory import BoundedPlan, Progress, no_progress, release_unused
from .moments import Moments, moments
from .plan import DecodePlanner, LayerPlan, LayerwisePlan
from .row_cache import RowCache
from .spatial import Normaliser
from .spill import Spill
from .temporal import TemporalPart, convolve_over_time

Step = tuple[int, list[Callable[[], object]]]
"""The number of frames or rows that a step has computed, and its pending writes."""


@torch.no_grad()
def decode_frames(
    decoder: VideoDecoder,
    z: Tensor,
    *,
    budget: int | None = None,
    spill: Spill | None = None,
    device: torch.device | str | None = None,
    progress: Progress = no_progress,
) -> Iterator[Tensor]:
    """Yields the frames of one video in order, each (3, 8h, 8w) near [−1, 1], on the device, in z's dtype.

    z: (T, z_channels, h, w), divided by LATENT_SCALE. budget: bytes on the device without the weights and z;
    None for no bound. spill: storage for frames that do not fit. device: to compute on, by default z's. On
    out-of-memory the budget is halved and the decode continues. Raises NotEnoughMemoryError for a budget
    under the smallest that works, SpillError if the disk is full.
    """
    decoder.check_latents(z, z.shape[0])
    device = z.device if device is None else torch.device(device)
    if decoder.temporal:
        yield from _TemporalDecode(decoder, z, device, budget, spill or Spill(device), progress).frames()
        return
    bounded = BoundedPlan(_planner(decoder, z, device), budget, device)
    for index in range(len(z)):
        yield bounded.with_budget(partial(_decode_alone, decoder, z, index, device))
        progress((index + 1) / len(z))


def _planner(decoder: VideoDecoder, z: Tensor, device: torch.device) -> DecodePlanner:
    frames, _, height, width = z.shape
    options = {"temporal": decoder.temporal, "dtype": z.dtype, "device": device}
    return DecodePlanner(decoder.params, frames, height, width, **options)


def _decode_alone(
    decoder: VideoDecoder, z: Tensor, index: int, device: torch.device, plan: LayerwisePlan
) -> Tensor:
    """Decodes one frame, (3, 8h, 8w), with a decoder of single frames."""
    x = _network_input(decoder, z[index : index + 1].to(device))
    for layer, (predecessor, block) in zip(plan.layers, layers_of(decoder.decoder), strict=False):
        x = spatial.run_layer(predecessor, block, x, layer.rows, layer.scores)
    return _picture(decoder.decoder, x, plan.layers[-1].rows)[0]


def layers_of(decoder: nn.Module) -> list[tuple[nn.Module | None, nn.Module]]:
    """Pairs of a predecessor and a residual block, in the order in which a decoder runs them."""
    layers = [(decoder.conv_in, decoder.mid.block_1), (decoder.mid.attn_1, decoder.mid.block_2)]
    predecessor = None
    for level in reversed(decoder.up):
        for block in level.block:
            layers.append((predecessor, block))
            predecessor = None
        predecessor = getattr(level, "upsample", None)
    return layers


def _network_input(decoder: VideoDecoder, z: Tensor) -> Tensor:
    """Applies the 1×1 convolution of the latents, if the decoder has one."""
    post_quant_conv = decoder.post_quant_conv
    z = z.contiguous(memory_format=kernels.memory_format(z.device))
    if isinstance(post_quant_conv, nn.Identity):
        return z
    return spatial.convolve(post_quant_conv, z, z.shape[2])


def _picture(decoder: nn.Module, x: Tensor, rows: int, input_moments: Moments | None = None) -> Tensor:
    """Runs the last normalisation and convolution: (N, C, H, W) -> (N, 3, H, W)."""
    return spatial.convolve(decoder.conv_out, x, rows, Normaliser.of(decoder.norm_out, x, input_moments))


class _TemporalDecode:
    """Decode of one clip by a temporal decoder.

    The work of a layer is cut into steps. A step computes first and writes afterwards. If it runs out of
    memory while computing, its inputs are unchanged and it runs once more; if it runs out of memory while
    writing, its results still exist and the pending writes are retried.
    """

    def __init__(
        self,
        decoder: VideoDecoder,
        z: Tensor,
        device: torch.device,
        budget: int | None,
        spill: Spill,
        progress: Progress,
    ):
        self._decoder, self._z, self._device = decoder, z, device
        self._spill, self._progress = spill, progress
        self._bounded = BoundedPlan(_planner(decoder, z, device), budget, device)
        self._index = 0  # of the current layer
        self._inputs: Frames | None = None  # of the current layer
        self._outputs: Frames | None = None  # of the current layer; the inputs themselves if shapes are equal
        self._row_cache = RowCache(device)  # of the first convolution over time

    def frames(self) -> Iterator[Tensor]:
        """Runs all layers, then yields the frames as the output layer computes them."""
        try:
            for predecessor, block in layers_of(self._decoder.decoder):
                self._layer(predecessor, block)
                self._index += 1
            yield from self._output()
        finally:
            for frames in (self._inputs, self._outputs):
                if frames is not None:
                    frames.close()
            self._row_cache.clear()
            self._trim(always=True)

    def _with_budget(self, work: Callable[[LayerPlan], object], writes_to_views: bool = False):
        """Runs work(layer); on out-of-memory halves the budget, moves frames accordingly and retries.

        writes_to_views: keeps frames in their one tensor, because the work writes to views of it.
        """

        def with_frames_moved(plan: LayerwisePlan):
            layer = plan.layers[self._index]
            if self._inputs is not None and self._inputs is not self._outputs:
                self._inputs.move(layer.inputs_on_device, layer.inputs_in_one_tensor or writes_to_views)
            if self._outputs is not None:
                self._outputs.move(layer.outputs_on_device, layer.outputs_in_one_tensor or writes_to_views)
            if self._row_cache.allocated_rows > layer.cached_rows:
                self._row_cache.clear()
            return work(layer)

        return self._bounded.with_budget(with_frames_moved)

    def _steps(self, total: int, step: Callable[[int, LayerPlan], Step], begin: float, end: float) -> None:
        """Calls step(done, layer) and runs its writes, until `total` frames or rows are done.

        begin, end: shares of the layer's work, for the progress.
        """
        done = 0
        while done < total:
            advance, writes = self._with_budget(partial(step, done))
            while writes:  # each write frees its tensor once it is deleted
                self._with_budget(lambda _, write=writes[0]: write(), writes_to_views=True)
                del writes[0]
            done += advance
            self._report(begin + (end - begin) * done / total)

    def _report(self, share: float) -> None:
        """Reports progress, from the share of the current layer that is done."""
        work = [layer.shape.frame_numbers * layer.shape.channels for layer in self._bounded.plan.layers]
        self._progress((sum(work[: self._index]) + share * work[self._index]) / sum(work))

    def _layer(self, predecessor: nn.Module | None, block: VideoResnetBlock) -> None:
        """Runs one layer: the spatial part, then two passes over time."""
        shape = self._bounded.plan.layers[self._index].shape
        self._inputs = self._outputs
        if self._inputs is None or shape.changes_shape:
            self._outputs = None
            self._outputs = self._with_budget(self._new_outputs)
        frame_moments: list[Moments] = []
        packed = spatial.PackedConvolutions()
        self._steps(len(self._z), partial(self._spatial, predecessor, block, frame_moments, packed), 0.0, 0.6)
        if self._inputs is not None and self._inputs is not self._outputs:
            self._inputs.close()
        self._inputs = self._outputs
        del packed
        self._trim()
        temporal = self._with_budget(
            lambda _: TemporalPart.of(
                block, Moments.concatenated(frame_moments).merged_rows(), self._outputs.like
            )
        )
        self._steps(shape.height, partial(self._first_pass, temporal), 0.6, 0.8)
        self._outputs.moments = None
        self._steps(shape.height, partial(self._second_pass, temporal), 0.8, 1.0)
        if self._outputs.moments is None:  # frames in one tensor are counted at once, at the end
            self._steps(shape.height, partial(self._moments_pass, temporal.groups), 1.0, 1.0)
        self._row_cache.clear()
        self._trim()

    def _new_outputs(self, layer: LayerPlan) -> Frames:
        """Allocates the output frames of a layer."""
        return Frames(
            len(self._z),
            (layer.shape.out_channels, layer.shape.height, layer.shape.width),
            self._z.dtype,
            self._device,
            layer.outputs_on_device,
            self._spill,
            layer.outputs_in_one_tensor,
        )

    def _trim(self, always: bool = False) -> None:
        """Returns freed heap memory to the system when the budget is tight, on a CPU."""
        if self._device.type == "cpu" and (always or self._bounded.tight):
            release_unused(self._device)

    def _spatial(
        self,
        predecessor: nn.Module | None,
        block: VideoResnetBlock,
        frame_moments: list[Moments],
        packed: spatial.PackedConvolutions,
        done: int,
        layer: LayerPlan,
    ) -> Step:
        """Runs the spatial part for a group of frames; appends their moments to frame_moments."""
        group = range(done, min(done + layer.frames, len(self._z)))
        if self._inputs is None:
            x = _network_input(self._decoder, self._z[done : group.stop].to(self._device))
            input_moments = None
        else:
            x = self._inputs.read(group, to_write=layer.rows < layer.shape.height)
            input_moments = self._inputs.moments.rows(slice(done, group.stop))
        x = spatial.run_layer(predecessor, block, x, layer.rows, layer.scores, input_moments, packed)
        group_moments = moments(x, block.time_stack.in_layers[0].num_groups)
        if self._outputs.one_tensor is None:
            writes = [partial(self._write_output, index, x, index - done) for index in group]
        else:
            writes = [partial(self._outputs.one_tensor[done : group.stop].copy_, x)]
        return len(group), [*writes, partial(frame_moments.append, group_moments)]

    def _write_output(self, index: int, x: Tensor, position: int) -> None:
        """Writes the frame at a position of a group x, (N, C, H, W), and frees its input frame."""
        self._outputs.write(index, x[position])
        if self._inputs is not None and self._inputs is not self._outputs:
            self._inputs.drop(index)
            self._trim()

    def _first_pass(self, temporal: TemporalPart, done: int, layer: LayerPlan) -> Step:
        """Runs the first convolution over time for a band; merges its moments and caches its rows."""
        rows = slice(done, min(done + layer.temporal_rows, layer.shape.height))
        hidden = temporal.first_convolution(self._outputs.read_rows(rows))
        merged = temporal.merged_moments(hidden)
        cache = partial(self._row_cache.put, rows, hidden, layer.cached_rows)
        return rows.stop - rows.start, [partial(setattr, temporal, "hidden_moments", merged), cache]

    def _second_pass(self, temporal: TemporalPart, done: int, layer: LayerPlan) -> Step:
        """Adds the second convolution over time to a band of the frames."""
        rows = slice(done, min(done + layer.temporal_rows, layer.shape.height))
        band = self._outputs.read_rows(rows)
        additions = temporal.second_convolution(self._row_cache.get(rows), band)
        if self._outputs.one_tensor is not None:  # the band is a view of it
            return rows.stop - rows.start, additions
        while additions:  # each addition frees its tensor once it is deleted
            additions.pop(0)()
        writes = [partial(self._outputs.write_rows, rows, band)]
        if done == 0 or self._outputs.moments is not None:  # otherwise earlier bands were not counted either
            writes.append(self._moments_write(band, temporal.groups, done))
        return rows.stop - rows.start, writes

    def _moments_pass(self, groups: int, done: int, layer: LayerPlan) -> Step:
        """Counts the moments of a band of the output frames, or of all rows if they are in one tensor."""
        whole = self._outputs.one_tensor is not None and done == 0
        stop = layer.shape.height if whole else min(done + layer.temporal_rows, layer.shape.height)
        band = self._outputs.read_rows(slice(done, stop))
        return stop - done, [self._moments_write(band, groups, done)]

    def _moments_write(self, band: Tensor, groups: int, done: int) -> Callable[[], object]:
        """The write that merges a band's moments into the moments of the output frames."""
        band_moments = moments(band, groups)
        merged = band_moments if done == 0 else self._outputs.moments.merged(band_moments)
        return partial(setattr, self._outputs, "moments", merged)

    def _output(self) -> Iterator[Tensor]:
        """Yields the frames; each waits for its successor, which the last convolution over time reads."""
        decoder, total = self._decoder.decoder, len(self._z)
        self._inputs, self._outputs = self._outputs, None
        pictures: list[Tensor] = []  # at most three: the newest and the two that it is mixed with

        def convolve(layer: LayerPlan) -> Tensor:
            x = self._inputs.read(range(index, index + 1))
            input_moments = self._inputs.moments.rows(slice(index, index + 1))
            return _picture(decoder, x, layer.rows, input_moments)[0]

        def mix(layer: LayerPlan) -> Tensor:
            window = torch.stack(pictures).flatten(2)
            mixed = convolve_over_time(decoder.conv_out.time_mix_conv, window)
            # A clone, since a view would keep the neighbours alive.
            return mixed[position].unflatten(1, pictures[0].shape[1:]).clone()

        for index in range(total):
            pictures.append(self._with_budget(convolve))
            self._inputs.drop(index)
            self._report((index + 1) / total)
            position = len(pictures) - 2
            if position >= 0:
                yield self._with_budget(mix)
                del pictures[:-2]
        position = len(pictures) - 1
        yield self._with_budget(mix)
