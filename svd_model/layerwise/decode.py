"""Latents to frames, layer by layer, exactly and within a budget of memory."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from ..networks import kernels
from ..networks.vae import VideoDecoder, VideoResnetBlock
from . import spatial
from .frames import Frames
from .kept import KeptRows
from .memory import Bounded, Progress, release_unused, silent
from .moments import Moments, moments
from .plan import LayerPlan, LayerwisePlan, plan_decode
from .spatial import Normaliser
from .spill import Scratch
from .temporal import OverTime, convolve_over_time

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
    z = z.contiguous(memory_format=kernels.memory_format(z.device))
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
        self._kept = KeptRows(device)  # after their first convolution over time

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
            self._kept.clear()
            self._trim(always=True)

    def _attempt(self, work: Callable[[LayerPlan], object], writes: bool = False):
        """Calls work with the plan of this layer, as often as it takes, all frames being where it says.

        But frames in one tensor stay there while work `writes` to views of it.
        """

        def settled(plan: LayerwisePlan):
            layer = plan.layers[self._at]
            if self._taken is not None and self._taken is not self._made:
                self._taken.reside(layer.held, layer.whole_in or writes)
            if self._made is not None:
                self._made.reside(layer.resident, layer.whole or writes)
            if self._kept.room > layer.kept:
                self._kept.clear()
            return work(layer)

        return self._bounded.attempt(settled)

    def _steps(self, total: int, step: Callable[[int, LayerPlan], Step], begin: float, end: float) -> None:
        """Calls step(done, layer) and makes its writes, until all is done."""
        done = 0
        while done < total:
            advance, writes = self._attempt(partial(step, done))
            while writes:  # each lets go of what it wrote
                self._attempt(lambda _, write=writes[0]: write(), writes=True)
                del writes[0]
            done += advance
            self._tell(begin + (end - begin) * done / total)

    def _tell(self, part: float) -> None:
        """Reports progress, given the part of this layer that is done."""
        work = [layer.shape.stored * layer.shape.channels for layer in self._bounded.plan.layers]
        self._progress((sum(work[: self._at]) + part * work[self._at]) / sum(work))

    def _layer(self, before: nn.Module | None, block: VideoResnetBlock) -> None:
        shape = self._bounded.plan.layers[self._at].shape
        self._taken = self._made
        if self._taken is None or shape.changes_shape:
            self._made = None
            self._made = self._attempt(self._room)
        found: list[Moments] = []
        self._steps(
            len(self._z), partial(self._spatial, before, block, found, spatial.Convolutions()), 0.0, 0.6
        )
        if self._taken is not None and self._taken is not self._made:
            self._taken.close()
        self._taken = self._made
        self._trim()
        over_time = self._attempt(
            lambda _: OverTime.of(block, Moments.of_rows(found).over_rows(), self._made.like)
        )
        self._steps(shape.height, partial(self._first_over_time, over_time), 0.6, 0.8)
        self._made.moments = None
        self._steps(shape.height, partial(self._second_over_time, over_time), 0.8, 1.0)
        if self._made.moments is None:  # of frames in one tensor, at the end at once
            self._steps(shape.height, partial(self._count, over_time.groups), 1.0, 1.0)
        self._kept.clear()
        self._trim()

    def _room(self, layer: LayerPlan) -> Frames:
        """That for what a layer makes."""
        size = (layer.shape.out_channels, layer.shape.height, layer.shape.width)
        given = (len(self._z), size, self._z.dtype, self._device, layer.resident, self._scratch, layer.whole)
        return Frames(*given)

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
            x = self._taken.take(group, to_write=layer.rows < layer.shape.height)
            known = self._taken.moments.rows(slice(done, group.stop))
        x = spatial.through(before, block, x, layer.rows, layer.scores, known, ready)
        found_here = moments(x, block.time_stack.in_layers[0].num_groups)
        if self._made.store is None:
            writes = [partial(self._put, index, x, index - done) for index in group]
        else:
            writes = [partial(self._made.store[done : group.stop].copy_, x)]
        return len(group), [*writes, partial(found.append, found_here)]

    def _put(self, index: int, x: Tensor, place: int) -> None:
        """Stores a frame out of a group, and lets go of what it was made of."""
        self._made.put(index, x[place])
        if self._taken is not None and self._taken is not self._made:
            self._taken.drop(index)
            self._trim()

    def _first_over_time(self, over_time: OverTime, done: int, layer: LayerPlan) -> Step:
        """A band through the first convolution over time, of which the second needs to know the moments."""
        rows = slice(done, min(done + layer.band, layer.shape.height))
        hidden = over_time.first(self._made.take_rows(rows))
        merged = over_time.merged(hidden)
        keep = partial(self._kept.put, rows, hidden, layer.kept)
        return rows.stop - rows.start, [partial(setattr, over_time, "moments", merged), keep]

    def _second_over_time(self, over_time: OverTime, done: int, layer: LayerPlan) -> Step:
        """A band through both convolutions over time, added to what it was."""
        rows = slice(done, min(done + layer.band, layer.shape.height))
        band = self._made.take_rows(rows)
        additions = over_time.second(self._kept.get(rows), band)
        if self._made.store is not None:  # of which the band is a view
            return rows.stop - rows.start, additions
        while additions:  # each lets go of what it adds
            additions.pop(0)()
        writes = [partial(self._made.put_rows, rows, band)]
        if done == 0 or self._made.moments is not None:  # else bands before were not counted either
            writes.append(self._counted(band, over_time.groups, done))
        return rows.stop - rows.start, writes

    def _count(self, groups: int, done: int, layer: LayerPlan) -> Step:
        """The moments of a band of what is made, or of all if it is in one tensor."""
        whole = self._made.store is not None and done == 0
        rows = slice(done, layer.shape.height if whole else min(done + layer.band, layer.shape.height))
        return rows.stop - done, [self._counted(self._made.take_rows(rows), groups, done)]

    def _counted(self, band: Tensor, groups: int, done: int) -> Callable[[], object]:
        """The write of the moments of one more band to the others."""
        found = moments(band, groups)
        merged = found if done == 0 else self._made.moments.merged(found)
        return partial(setattr, self._made, "moments", merged)

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
