"""Latents to frames, layer by layer, exactly and within a budget of memory."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from .. import forms
from ..vae import VideoDecoder, VideoResnetBlock
from . import spatial
from .frames import Frames
from .memory import Bounded, Progress, release_unused, silent
from .moments import Moments, moments
from .plan import LayerPlan, LayerwisePlan, plan_decode
from .spatial import Normaliser
from .spill import Scratch
from .temporal import convolve_over_time

Step = tuple[int, list[Callable[[], object]]]
"""How many frames or rows a step has done, and its writes, which are still to be made."""


@torch.no_grad()
def decode_frames(
    decoder: VideoDecoder,
    z: Tensor,
    *,
    budget: int | None = None,
    scratch: Scratch | None = None,
    device: torch.device | str | None = None,
    progress: Progress = silent,
) -> Iterator[Tensor]:
    """The frames of one video, in order, each (3, 8h, 8w) near [−1, 1] on the device, in the dtype of z.

    z: (T, z_channels, h, w), divided by LATENT_SCALE. budget: bytes of memory on the device for all but the
    weights and z; None for no bound. What does not fit goes into `scratch`. device: to compute on, where
    that is not z's. On an out-of-memory the budget is halved and the work goes on where it was. Raises
    NotEnoughMemoryError for a budget under the smallest that works, ScratchError where the disk is full.
    """
    decoder.check_latents(z, z.shape[0])
    device = z.device if device is None else torch.device(device)
    if decoder.temporal:
        yield from _Walk(decoder, z, device, budget, scratch or Scratch(device), progress).frames()
        return
    bounded = Bounded(_planner(decoder, z, device), budget, device)
    for index in range(len(z)):
        yield bounded.attempt(partial(_decode_alone, decoder, z, index, device))
        progress((index + 1) / len(z))


def _planner(decoder: VideoDecoder, z: Tensor, device: torch.device) -> Callable[[int | None], LayerwisePlan]:
    """The plan of that clip as a function of the budget."""
    frames, _, height, width = z.shape
    make = partial(plan_decode, decoder.params, frames, height, width, temporal=decoder.temporal)
    return lambda budget: make(dtype=z.dtype, device=device, budget=budget)


def _decode_alone(
    decoder: VideoDecoder, z: Tensor, index: int, device: torch.device, plan: LayerwisePlan
) -> Tensor:
    """One frame, (3, 8h, 8w), by a decoder of single frames."""
    x = _first(decoder, z[index : index + 1].to(device))
    for layer, (before, block) in zip(plan.layers, layers_of(decoder.decoder), strict=False):
        x = spatial.through(before, block, x, layer.rows, layer.scores)
    return _picture(decoder.decoder, x, plan.layers[-1].rows)[0]


def layers_of(decoder: nn.Module) -> list[tuple[nn.Module | None, nn.Module]]:
    """The residual blocks of a decoder in order, each with what comes before it."""
    layers = [(decoder.conv_in, decoder.mid.block_1), (decoder.mid.attn_1, decoder.mid.block_2)]
    before = None
    for level in reversed(decoder.up):
        for block in level.block:
            layers.append((before, block))
            before = None
        before = getattr(level, "upsample", None)
    return layers


def _first(decoder: VideoDecoder, z: Tensor) -> Tensor:
    """What the decoder proper takes: latents through the 1×1 convolution before it, if there is one."""
    first = decoder.post_quant_conv
    z = z.contiguous(memory_format=forms.memory_format(z.device))
    return z if isinstance(first, nn.Identity) else spatial.convolve(first, z, z.shape[2])


def _picture(decoder: nn.Module, x: Tensor, rows: int, known: Moments | None = None) -> Tensor:
    """The last normalisation and convolution: (N, C, H, W) -> (N, 3, H, W)."""
    return spatial.convolve(decoder.conv_out, x, rows, Normaliser.of(decoder.norm_out, x, known))


class _Walk:
    """One clip on its way through a temporal decoder.

    The work of a layer is cut into steps. A step computes and then writes, so that one that ran out of memory
    can be done again: what it was to change is as before, what was computed is still there to be written.
    """

    def __init__(
        self,
        decoder: VideoDecoder,
        z: Tensor,
        device: torch.device,
        budget: int | None,
        scratch: Scratch,
        progress: Progress,
    ):
        self._decoder, self._z, self._device = decoder, z, device
        self._scratch, self._progress = scratch, progress
        self._bounded = Bounded(_planner(decoder, z, device), budget, device)
        self._at = 0  # the layer under way
        self._taken: Frames | None = None  # what it takes
        self._made: Frames | None = None  # what it makes; the same, where the shape is the same
        self._kept: Tensor | None = None  # rows after their first convolution over time, (T, C, kept, W)
        self._kept_to = 0  # how many of them are there

    def frames(self) -> Iterator[Tensor]:
        """All layers, then the frames as the last one makes them."""
        try:
            for before, block in layers_of(self._decoder.decoder):
                self._layer(before, block)
                self._at += 1
            yield from self._output()
        finally:
            for frames in (self._taken, self._made):
                if frames is not None:
                    frames.close()
            self._keep_nothing()
            self._trim(always=True)

    def _attempt(self, work: Callable[[LayerPlan], object]):
        """Calls work with the plan of this layer, as often as it takes, all frames being where it says."""

        def settled(plan: LayerwisePlan):
            layer = plan.layers[self._at]
            if self._taken is not None and self._taken is not self._made:
                self._taken.reside(layer.held)
            if self._made is not None:
                self._made.reside(layer.resident)
            if self._kept is not None and self._kept.shape[2] > layer.kept:
                self._keep_nothing()
            return work(layer)

        return self._bounded.attempt(settled)

    def _steps(self, total: int, step: Callable[[int, LayerPlan], Step], begin: float, end: float) -> None:
        """Calls step(done, layer) and makes its writes, until all is done."""
        done = 0
        while done < total:
            advance, writes = self._attempt(partial(step, done))
            while writes:  # each lets go of what it wrote
                self._attempt(lambda _, write=writes[0]: write())
                del writes[0]
            done += advance
            self._tell(begin + (end - begin) * done / total)

    def _tell(self, part: float) -> None:
        """Reports progress, given the part of this layer that is done."""
        work = [layer.shape.stored * layer.shape.channels for layer in self._bounded.plan.layers]
        self._progress((sum(work[: self._at]) + part * work[self._at]) / sum(work))

    def _layer(self, before: nn.Module | None, block: VideoResnetBlock) -> None:
        layer = self._bounded.plan.layers[self._at]
        shape = layer.shape
        self._taken = self._made
        if self._taken is None or shape.changes_shape:
            size = (shape.out_channels, shape.height, shape.width)
            self._made = Frames(
                len(self._z), size, self._z.dtype, self._device, layer.resident, self._scratch
            )
        found: list[Moments] = []
        self._steps(
            len(self._z), partial(self._spatial, before, block, found, spatial.Convolutions()), 0.0, 0.6
        )
        if self._taken is not None and self._taken is not self._made:
            self._taken.close()
        self._taken = self._made
        self._trim()
        over_time = self._attempt(lambda _: _OverTime(block, Moments.of_rows(found).over_rows()))
        self._steps(shape.height, partial(self._first_over_time, over_time), 0.6, 0.8)
        self._made.moments = None
        self._steps(shape.height, partial(self._second_over_time, over_time), 0.8, 1.0)
        self._keep_nothing()
        self._trim()

    def _trim(self, always: bool = False) -> None:
        """Where memory is short, has the heap give back the holes that freed frames leave in it."""
        if self._device.type == "cpu" and (always or self._bounded.tight):
            release_unused(self._device)

    def _spatial(
        self,
        before: nn.Module | None,
        block: VideoResnetBlock,
        found: list[Moments],
        ready: spatial.Convolutions,
        done: int,
        layer: LayerPlan,
    ) -> Step:
        """Some frames through the spatial part of a layer."""
        group = range(done, min(done + layer.frames, len(self._z)))
        if self._taken is None:
            x, known = _first(self._decoder, self._z[done : group.stop].to(self._device)), None
        else:
            x = self._taken.take(group)
            known = self._taken.moments.rows(slice(done, group.stop))
        x = spatial.through(before, block, x, layer.rows, layer.scores, known, ready)
        found_here = moments(x, block.time_stack.in_layers[0].num_groups)
        writes = [partial(self._put, index, x, index - done) for index in group]
        return len(group), [*writes, partial(found.append, found_here)]

    def _put(self, index: int, x: Tensor, place: int) -> None:
        """Stores a frame out of a group, and lets go of what it was made of."""
        self._made.put(index, x[place])
        if self._taken is not None and self._taken is not self._made:
            self._taken.drop(index)
            self._trim()

    def _first_over_time(self, over_time: "_OverTime", done: int, layer: LayerPlan) -> Step:
        """A band through the first convolution over time, of which the second needs to know the moments."""
        rows = slice(done, min(done + layer.band, layer.shape.height))
        hidden = over_time.first(self._made.take_rows(rows))
        merged = over_time.merged(hidden)
        writes = [partial(setattr, over_time, "moments", merged), partial(self._keep, rows, hidden)]
        return rows.stop - rows.start, writes

    def _keep(self, rows: slice, hidden: Tensor) -> None:
        """Keeps a band for the second convolution, where there is room and none before it is missing."""
        most = self._bounded.plan.layers[self._at].kept if self._kept is None else self._kept.shape[2]
        if rows.start != self._kept_to or rows.stop > most:
            return
        if self._kept is None:
            # In one piece, since many small ones would leave holes in the heap.
            self._kept = forms.empty((*hidden.shape[:2], most, hidden.shape[3]), hidden)
        self._kept[:, :, rows] = hidden
        self._kept_to = rows.stop

    def _keep_nothing(self) -> None:
        self._kept, self._kept_to = None, 0

    def _second_over_time(self, over_time: "_OverTime", done: int, layer: LayerPlan) -> Step:
        """A band through both convolutions over time, added to what it was."""
        rows = slice(done, min(done + layer.band, layer.shape.height))
        band = self._made.take_rows(rows)
        if rows.stop <= self._kept_to:
            normal = over_time.normalised(self._kept[:, :, rows])
        else:
            normal = over_time.normalised(over_time.first(band))
        over_time.add_second(normal, band)
        del normal
        found = moments(band, over_time.groups)
        known = self._made.moments
        merged = found if known is None else known.merged(found)
        writes = [
            partial(self._made.put_rows, rows, band),
            partial(setattr, self._made, "moments", merged),
        ]
        return rows.stop - rows.start, writes

    def _output(self) -> Iterator[Tensor]:
        """The frames; each waits for the next one, which the last convolution over time takes."""
        decoder, total = self._decoder.decoder, len(self._z)
        self._taken, self._made = self._made, None
        pictures: list[Tensor] = []  # that are still needed, the last one being the newest

        def convolve(layer: LayerPlan) -> Tensor:
            x = self._taken.take(range(index, index + 1))
            known = self._taken.moments.rows(slice(index, index + 1))
            return _picture(decoder, x, layer.rows, known)[0]

        def mix(layer: LayerPlan) -> Tensor:
            window = torch.stack(pictures).flatten(2)
            mixed = convolve_over_time(decoder.conv_out.time_mix_conv, window)
            return mixed[place].unflatten(1, pictures[0].shape[1:]).clone()  # alone, not with its neighbours

        for index in range(total):
            pictures.append(self._attempt(convolve))
            self._taken.drop(index)
            self._tell((index + 1) / total)
            place = len(pictures) - 2
            if place >= 0:
                yield self._attempt(mix)
                del pictures[:-2]
        place = len(pictures) - 1
        yield self._attempt(mix)


class _OverTime:
    """The temporal part of a residual block, on bands of rows of all frames: (T, C, rows, W)."""

    def __init__(self, block: VideoResnetBlock, whole: Moments):
        self._norm1, _, self._conv1 = block.time_stack.in_layers
        self._norm2, _, _, self._conv2 = block.time_stack.out_layers
        self._alpha = torch.sigmoid(block.mix_factor.float()).item()
        self._whole = whole  # the moments of the whole clip, (1, groups)
        self.moments: Moments | None = None  # those after the first convolution, as far as it has come
        self.groups = self._norm1.num_groups
        self._ready = spatial.Convolutions()

    def first(self, band: Tensor) -> Tensor:
        """After the first normalisation and convolution."""
        return self._convolve(self._conv1, Normaliser.of(self._norm1, band, self._whole)(band))

    def merged(self, hidden: Tensor) -> Moments:
        """The moments so far together with those of one more band."""
        found = moments(hidden, self.groups).over_rows()
        return found if self.moments is None else self.moments.merged(found)

    def normalised(self, hidden: Tensor) -> Tensor:
        """After the second normalisation, once the moments of the whole clip are known."""
        return Normaliser.of(self._norm2, hidden, self.moments)(hidden)

    def add_second(self, normalised: Tensor, band: Tensor) -> None:
        """Adds the second convolution to the band, in place: α·(band + v) + (1 − α)·band is band + α·v."""
        band.add_(self._convolve(self._conv2, normalised), alpha=self._alpha)

    def _convolve(self, conv: nn.Module, band: Tensor) -> Tensor:
        return convolve_over_time(conv, band.flatten(2), self._ready).unflatten(2, band.shape[2:])
