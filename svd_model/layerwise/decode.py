"""Decode of latents to frames, layer by layer: exact, and within a budget of memory."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ..networks import kernels, planes
from ..networks.vae import VideoDecoder
from . import spatial
from .frames import Frames
from .memory import BoundedPlan, Progress, no_progress, release_unused
from .moments import Moments
from .plan import DecodePlanner, LayerPlan, LayerShape, LayerwisePlan
from .sharing import HALO, Share
from .spill import Spill
from .temporal import TemporalPart


@torch.no_grad()
def decode_frames(
    decoder: VideoDecoder,
    z: Tensor,
    *,
    budget: int | None = None,
    spill: Spill | None = None,
    device: torch.device | str | None = None,
    progress: Progress = no_progress,
    ring: bool = False,
    share: Share | None = None,
) -> Iterator[Tensor]:
    """Yields the frames of one video in order, each (3, 8h, 8w) near [−1, 1], on the device, in z's dtype.

    z: (T, z_channels, h, w), divided by LATENT_SCALE. budget: bytes on the device without the weights and z;
    None for no bound. spill: storage for frames that do not fit. device: to compute on, by default z's. ring:
    whether the video is a loop, whose last frame comes before its first; a decoder of single frames gives one
    either way. share: of a temporal decoder, the frames to decode and yield, where other processes have the
    others. On out-of-memory the budget is halved and the decode continues. Raises NotEnoughMemoryError
    for a budget under the smallest that works, SpillError if the disk is full.
    """
    decoder.check_latents(z, z.shape[0])
    device = z.device if device is None else torch.device(device)
    frames, _, height, width = z.shape
    if share is not None:
        frames = share.held
    options = {"temporal": decoder.temporal, "dtype": z.dtype, "device": device}
    bounded = BoundedPlan(DecodePlanner(decoder.params, frames, height, width, **options), budget, device)
    if decoder.temporal:
        spill = spill or Spill(device)
        yield from _TemporalDecode(decoder, z, device, bounded, spill, progress, ring, share).frames()
        return
    for index in range(frames):
        yield bounded.with_budget(partial(_decode_alone, decoder, z, index, device))
        progress((index + 1) / frames)


def _decode_alone(
    decoder: VideoDecoder, z: Tensor, index: int, device: torch.device, plan: LayerwisePlan
) -> Tensor:
    """Decodes one frame, (3, 8h, 8w), with a decoder of single frames."""
    x = _network_input(decoder, z[index : index + 1], device)
    return spatial.run_network(decoder.decoder, x, plan)[0]


def _network_input(decoder: VideoDecoder, z: Tensor, device: torch.device) -> Tensor:
    """Latents on the device, behind the 1×1 convolution that a decoder may have."""
    return decoder.post_quant_conv(z.to(device).contiguous(memory_format=kernels.memory_format(device)))


class _TemporalDecode:
    """Decode of one clip by a temporal decoder.

    The work of a layer is cut into steps, and a step into calls that may run out of memory. Such a call can
    run once more: it changes frames, if at all, by its last operation, or writes what a call computed.
    """

    def __init__(
        self,
        decoder: VideoDecoder,
        z: Tensor,
        device: torch.device,
        bounded: BoundedPlan[LayerwisePlan],
        spill: Spill,
        progress: Progress,
        ring: bool,
        share: Share | None,
    ):
        self._decoder, self._z, self._device, self._bounded = decoder, z, device, bounded
        self._spill, self._progress, self._share = spill, progress, share
        self._ring = ring and share is None  # shared, the neighbours' frames are held like others
        self._clip = self._own = slice(0, len(z))  # all frames that are held, and those to decode
        if share is not None:
            self._z, self._clip, front = z[share.own], slice(0, share.held), share.halo[0]
            self._own = slice(front, front + len(self._z))
        self._like = bounded.with_budget(lambda _: torch.empty(0, dtype=z.dtype, device=device))
        self._index = 0  # of the current layer
        self._inputs: Frames | None = None  # of the current layer
        self._outputs: Frames | None = None  # of the current layer; the inputs themselves if shapes are equal
        self._hidden: Tensor | None = None  # rows, (T, C, cached rows, W), of the first convolution over time
        self._cached = 0  # hidden rows that are computed

    def frames(self) -> Iterator[Tensor]:
        """Runs all layers, then yields the frames as the output layer computes them."""
        try:
            for layer in self._bounded.plan.layers[:-1]:
                self._layer(layer.shape)
                self._index += 1
            yield from self._output()
        finally:
            for frames in (self._inputs, self._outputs):
                if frames is not None:
                    frames.close()
            self._hidden = None
            self._trim(always=True)

    def _with_budget(self, work: Callable[[LayerPlan], object]):
        """Runs work(layer); on out-of-memory halves the budget, moves frames accordingly and retries."""

        def with_frames_moved(plan: LayerwisePlan):
            layer = plan.layers[self._index]
            inputs = None if self._inputs is self._outputs else self._inputs
            if inputs is not None and inputs.on_device > layer.inputs_on_device:
                inputs.leave_device()
            if self._outputs is not None and self._outputs.on_device > layer.outputs_on_device:
                self._outputs.leave_device()
            if self._hidden is not None and self._hidden.shape[2] > layer.cached_rows:
                self._hidden, self._cached = None, 0
            return work(layer)

        return self._bounded.with_budget(with_frames_moved)

    def _report(self, share: float) -> None:
        """Reports progress, from the share of the current layer that is done."""
        shapes = [layer.shape for layer in self._bounded.plan.layers]
        work = [shape.frame_numbers * shape.channels for shape in shapes]
        self._progress((sum(work[: self._index]) + share * work[self._index]) / sum(work))

    def _steps(self, total: int, step: Callable[[int], int], begin: float, end: float) -> None:
        """Calls step(done), which returns how much is done then, until all `total` frames or rows are.

        begin, end: shares of the layer's work, for the progress.
        """
        done = 0
        while done < total:
            done = step(done)
            self._report(begin + (end - begin) * done / total)

    def _layer(self, shape: LayerShape) -> None:
        """Runs one layer: the spatial part, then two passes over time."""
        self._inputs = self._outputs
        if self._inputs is None or shape.changes_shape:
            self._outputs = None
            self._outputs = self._with_budget(self._new_outputs)
        block = self._decoder.decoder.get_submodule(shape.name)
        temporal = self._with_budget(lambda _: TemporalPart.of(block, self._like, self._ring))
        packs = {}
        if temporal.offset is not None:
            bias = self._with_budget(lambda _: spatial.pack(packs, block.conv2, self._like)).bias
            self._with_budget(lambda _: bias.sub_(temporal.offset))
        clip: list[Moments] = []
        self._steps(len(self._z), partial(self._spatial, packs, temporal, clip), 0.0, 0.6)
        if self._inputs is not None and self._inputs is not self._outputs:
            self._inputs.close()
        self._inputs = self._outputs
        packs.clear()
        self._trim()
        self._exchange(self._outputs)
        self._hidden = self._with_budget(self._new_cache)
        whole = self._of_all(clip[0])
        normalise = self._with_budget(lambda _: temporal.first_normaliser(whole))
        hidden: list[Moments] = []
        self._steps(shape.height, partial(self._first_pass, temporal, normalise, hidden), 0.6, 0.8)
        rows = self._of_all(hidden[0])
        normalisers = normalise, self._with_budget(lambda _: temporal.second_normaliser(rows))
        self._steps(shape.height, partial(self._second_pass, temporal, normalisers), 0.8, 1.0)
        self._hidden, self._cached = None, 0
        self._trim()

    def _new_outputs(self, layer: LayerPlan) -> Frames:
        shape = (layer.shape.out_channels, layer.shape.height, layer.shape.width)
        return Frames(self._clip.stop, layer.outputs_on_device, shape, self._like, self._spill)

    def _new_cache(self, layer: LayerPlan) -> Tensor:
        shape = (self._clip.stop, layer.shape.out_channels, layer.cached_rows, layer.shape.width)
        return kernels.empty(shape, self._like)

    def _of_all(self, part: Moments) -> Moments:
        """Moments of the whole clip, whoever has its frames."""
        return part if self._share is None else self._share.of_all(part)

    def _exchange(self, frames: Frames) -> None:
        """Fills the frames of neighbours, which they compute; a call that was cut short is not repeated."""
        if self._share is None:
            return
        first, last = self._own.start, self._own.stop - 1
        for near in range(HALO):
            self._pass_on(frames, last - near, first - 1 - near, 1)
            self._pass_on(frames, first + near, last + 1 + near, -1)

    def _pass_on(self, frames: Frames, source: int, target: int, step: int) -> None:
        """Gives one neighbour a frame, and puts what comes from the other one in another's place."""
        x = self._with_budget(lambda _: frames.read(slice(source, source + 1)).contiguous())
        into = self._with_budget(lambda _: torch.empty_like(x, memory_format=torch.contiguous_format))
        if self._share.pass_on(x, into, step, self._share.ring):
            self._with_budget(lambda _: frames.write(slice(target, target + 1), into))

    def _trim(self, always: bool = False) -> None:
        """Returns freed heap memory to the system when the budget is tight, on a CPU."""
        if self._device.type == "cpu" and (always or self._bounded.tight):
            release_unused(self._device)

    def _merge(self, merged: list[Moments], part: Moments) -> None:
        """Merges moments with the ones in a list, which has one element then, or none before."""
        merged[:] = [self._with_budget(lambda _: merged[0].merged(part)) if merged else part]

    def _spatial(self, packs: spatial.Packs, temporal: TemporalPart, clip: list[Moments], done: int) -> int:
        """Runs the spatial part for a group of frames, and merges their moments."""

        def compute(layer: LayerPlan) -> tuple[slice, Tensor | None]:
            part = slice(done, min(done + layer.frames, len(self._z)))
            group = slice(self._own.start + part.start, self._own.start + part.stop)
            view = None
            if self._inputs is None:
                x = _network_input(self._decoder, self._z[part], self._device)
            else:
                # Several bands would write over a view by several operations.
                view = self._inputs.view(group) if layer.rows >= layer.shape.height else None
                x = self._inputs.read(group) if view is None else view
            result = spatial.run_layer(self._decoder.decoder, layer, x, packs)
            return group, None if result is view else result

        def count(_: LayerPlan) -> Moments:
            return temporal.moments(self._outputs.peek(group) if result is None else result)

        group, result = self._with_budget(compute)
        part = self._with_budget(count)
        self._merge(clip, part)
        if result is not None:
            self._with_budget(lambda _: self._outputs.write(group, result))
        return group.stop - self._own.start

    def _band(self, layer: LayerPlan, done: int) -> tuple[slice, Tensor, bool]:
        """Rows of all frames, (T, C, rows, W): their slice, a view or a copy, and whether it is a view."""
        rows = slice(done, min(done + layer.temporal_rows, layer.shape.height))
        view = self._outputs.view(self._clip, rows)
        return rows, self._outputs.read(self._clip, rows) if view is None else view, view is not None

    def _first_pass(
        self, temporal: TemporalPart, normalise: Callable, hidden_moments: list[Moments], done: int
    ) -> int:
        """Runs the first convolution over time for a band; merges its moments and caches its rows."""

        def compute(layer: LayerPlan) -> tuple[int, Moments, bool]:
            rows, band, _ = self._band(layer, done)
            into = None
            if self._cached == done and self._hidden is not None and rows.stop <= self._hidden.shape[2]:
                into = self._hidden[:, :, rows]
            hidden = temporal.first_convolution(normalise, band, into)
            return rows.stop, temporal.hidden_moments(hidden[self._own]), into is not None

        stop, part, cached = self._with_budget(compute)
        self._merge(hidden_moments, part)
        if cached and self._hidden is not None:
            self._cached = stop
        return stop

    def _second_pass(self, temporal: TemporalPart, normalisers: tuple[Callable, Callable], done: int) -> int:
        """Adds the second convolution over time to a band of the frames."""
        normalise1, normalise2 = normalisers

        def compute(layer: LayerPlan) -> tuple[slice, Tensor | None]:
            rows, band, is_view = self._band(layer, done)
            cached = rows.stop <= self._cached
            temporal.add_second_convolution(
                normalise2,
                # No name here may hold the hidden rows, which are freed once they are normalised.
                self._hidden[:, :, rows] if cached else temporal.first_convolution(normalise1, band, None),
                band,
            )
            return rows, None if is_view else band

        rows, band = self._with_budget(compute)
        if band is not None:
            self._with_budget(lambda _: self._outputs.write(self._clip, band, rows))
        return rows.stop

    def _output(self) -> Iterator[Tensor]:
        """Yields the frames; each waits for its successor, which the last convolution over time reads."""
        self._inputs, self._outputs = self._outputs, None
        self._exchange(self._inputs)
        window: list[Tensor] = []  # three pictures
        packs: spatial.Packs = {}
        for number in range(-1, len(self._z) + 1):
            window.append(self._with_budget(partial(self._picture, packs, self._own.start + number)))
            self._report(min(number + 1, len(self._z)) / len(self._z))
            if len(window) == 3:
                yield self._with_budget(lambda _: self._mixed(window))
                del window[0]

    def _picture(self, packs: spatial.Packs, index: int, layer: LayerPlan) -> Tensor:
        """A picture, (3, H, W), not yet mixed with its neighbours; beyond the ends of a clip zeros."""
        if self._ring:
            index %= self._clip.stop
        elif not 0 <= index < self._clip.stop:
            shape = layer.shape
            return self._like.new_zeros(shape.out_channels, shape.height, shape.width)
        x = self._inputs.peek(slice(index, index + 1))
        return spatial.run_layer(self._decoder.decoder, layer, x, packs)[0]

    def _mixed(self, window: list[Tensor]) -> Tensor:
        """The middle one of three pictures after the last convolution over time."""
        with self._decoder.decoder.conv_out.time_mix_conv.weights_for(self._like) as (weight, bias):
            mixed = torch.addmm(bias[:, None], planes.taps(weight), torch.cat(window).flatten(1))
        return mixed.unflatten(1, window[0].shape[1:])
