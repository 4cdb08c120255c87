"""Whether a clip fits a checkpoint, a device and a budget, and how each stage runs in the memory there is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ...clips import needs
from ...clips.needs import Need, Size
from ...clips.plan import Plan
from ...clips.run import Run
from ...svd_model import layerwise
from ...svd_model.checkpoint import Checkpoint, CheckpointError, Part
from . import memory
from .devices import shares_host_memory
from .local import fork_of
from .parallel import group_size, share


class Held(NamedTuple):
    """Bytes of weights on the device already: of a network, and of others that may leave for it."""

    own: int = 0
    others: int = 0


NOTHING_HELD = Held()

STAYS = 1.25
"""Room that weights leave where they stay rather than stream, in units of the least for activations.

On a real card of 4 GB the smallest plan took 0.71 s a step beside weights that stayed, and 0.53 s where they
streamed; and it ran out of memory where the allocator had gaps.
"""


def latent_size(checkpoint: Checkpoint, plan: Plan) -> Size:
    """Frames, height and width of the latents of a clip."""
    scale, settings = checkpoint.decoder.params.downscale, plan.settings
    return settings.num_frames, settings.height // scale, settings.width // scale


@dataclass(frozen=True)
class Choice:
    """How a stage runs: where its weights are, what else is on the device, and bytes for its activations."""

    streams: bool = False
    alone: bool = False
    activations: int | None = None  # None: no bound


@dataclass(frozen=True)
class Fit:
    """Networks, device and memory of a pipeline; `budget`: bytes on the device for a whole run, or None.

    can_stream: whether the UNet's weights may stream from host memory. control: a ControlNet for it. ranks:
    how many processes of this machine make the clip, each with a device of its own or a share of the CPU's.
    """

    checkpoint: Checkpoint
    device: torch.device
    dtype: torch.dtype
    decode_dtype: torch.dtype
    budget: int | None = None
    can_stream: bool = True
    control: Part | None = None
    ranks: int = 1

    def check(
        self,
        size: Size,
        frame_wise: bool,
        *,
        at_once: int | None = None,
        sample: bool = True,
        decode: bool = True,
    ) -> None:
        """Checks a clip before any work.

        at_once: how many frames the UNet takes at once, where not all of them. Raises CheckpointError for a
        network that is not whole, NotEnoughMemoryError for too small a budget.
        """
        checkpoint = self.checkpoint
        parts = [checkpoint.unet, checkpoint.encoder, checkpoint.vision] if sample else []
        if decode:
            parts.append(checkpoint.decoder_for(frame_wise))
        for part in parts:
            if not part.whole:
                raise CheckpointError(part.why_incomplete())
        misfits = checkpoint.misfits()
        if misfits:
            path = checkpoint.file.path
            raise CheckpointError(f"{path}: its networks don't fit together: {'; '.join(misfits)}.")
        if self.budget is not None:
            self._check_budget(self.stages(size, frame_wise, at_once=at_once, sample=sample, decode=decode))

    def stages(
        self,
        size: Size,
        frame_wise: bool,
        *,
        at_once: int | None = None,
        sample: bool = True,
        decode: bool = True,
    ) -> tuple[Need, ...]:
        """Needs of a clip's stages, in order; at_once: as of `check`."""
        return tuple(self._stages(size, frame_wise, at_once or size[0], sample, decode))

    def needed(self, size: Size, frame_wise: bool, **options) -> int:
        """The least bytes of a clip on the device, weights included; `options`: of `stages`."""
        return max(map(self.smallest, self.stages(size, frame_wise, **options)))

    def smallest(self, need: Need) -> int:
        """The least bytes of a stage, with its weights and the process."""
        weights = need.streamed if self._streams else need.weights
        return memory.overhead(self.device) + weights + need.least

    def to_embed(self, held: Held = NOTHING_HELD) -> Choice:
        """How the image tower runs; `held`: bytes of networks on the device already."""
        return self._choose(needs.to_embed(self.checkpoint, self.dtype), held)

    def to_encode(self, height: int, width: int, held: Held = NOTHING_HELD) -> Choice:
        """How a picture of a size in pixels is encoded."""
        return self._choose(needs.to_encode(self.checkpoint, height, width, self.device), held)

    def to_sample(
        self,
        size: Size,
        branches: int = needs.GUIDED,
        cached: int = 0,
        held: Held = NOTHING_HELD,
        *,
        stays: bool = True,
        controlled: bool = False,
        early: int | None = None,
        exchanges: bool = False,
    ) -> Choice:
        """How latents of a size are sampled.

        cached: sets of deep features that are kept between evaluations. stays: whether the weights may stay
        there. controlled: with the ControlNet, which runs as the UNet does. early, exchanges: as of
        `needs.to_sample`.
        """
        control, where = self.control if controlled else None, (self.dtype, self.device)
        need = needs.to_sample(self.checkpoint, size, *where, branches, cached, control, early, exchanges)
        return self._choose(need, held, stays)

    def to_sample_run(self, run: Run, held: Held = NOTHING_HELD, stays: bool = True) -> Choice:
        """How a run is sampled, with all that it keeps; stays: as of `to_sample`."""
        together = group_size(run, self.checkpoint.unet.params, self.ranks)
        groups = self.ranks // together
        size = share(run.frames_at_once, together), *run.start.shape[2:]
        branches = min(run.branches_at_once, share(len(run.branches), groups))
        cached = -(-share(run.kept_features, groups) // branches)  # in sets of so many
        early = fork_of(run.branches, self.checkpoint.unet.params.places())
        options = {"stays": stays, "controlled": run.control is not None, "early": early}
        options["exchanges"] = together > 1
        return self.to_sample(size, branches, cached, held, **options)

    def to_decode(self, size: Size, frame_wise: bool, held: Held = NOTHING_HELD) -> Choice:
        """How latents of a size are decoded."""
        need = needs.to_decode(self.checkpoint, size, frame_wise, self.decode_dtype, self.device)
        return self._choose(need, held)

    def choose(self, need: Need, room: int, others: int = 0, stays: bool = True) -> Choice:
        """How a stage runs in bytes for it and for others that may stay; the fastest way that fits.

        A room under the smallest gets the smallest. stays: False has weights stream where they can.
        """
        left = room - need.weights
        if stays and left - others >= need.fastest:
            return Choice(activations=left - others)
        stays = stays and left >= STAYS * need.least
        if self._streams and not stays and need.streamed < need.weights:
            return Choice(streams=True, alone=True, activations=max(need.least, room - need.streamed))
        return Choice(alone=True, activations=max(need.least, left))

    @property
    def _streams(self) -> bool:
        return self.can_stream and not shares_host_memory(self.device)

    def _stages(
        self, size: Size, frame_wise: bool, at_once: int, sample: bool, decode: bool
    ) -> Iterator[Need]:
        checkpoint = self.checkpoint
        if sample:
            scale = checkpoint.encoder.params.downscale
            yield needs.to_embed(checkpoint, self.dtype)
            yield needs.to_encode(checkpoint, scale * size[1], scale * size[2], self.device)
            sampled = (at_once, *size[1:])
            yield needs.to_sample(checkpoint, sampled, self.dtype, self.device, control=self.control)
        if decode:
            yield needs.to_decode(checkpoint, size, frame_wise, self.decode_dtype, self.device)

    def _choose(self, need: Need, held: Held, stays: bool = True) -> Choice:
        """How a stage runs in the budget, or in the free memory; raises NotEnoughMemoryError."""
        if self.budget is not None:
            self._check_budget((need,))
            return self.choose(need, self.budget - memory.overhead(self.device), held.others, stays)
        free = memory.available(self.device)
        if free is None:
            return Choice()
        if shares_host_memory(self.device):  # the weights may be pages of their file, and free
            free //= self.ranks
        else:
            free += held.own + held.others
        return self.choose(need, int(layerwise.SHARE_OF_FREE * free), held.others, stays)

    def _check_budget(self, stages: tuple[Need, ...]) -> None:
        """Raises NotEnoughMemoryError for a budget under the stage that needs most."""
        most = max(stages, key=self.smallest)
        if self.budget >= self.smallest(most):
            return
        budget, needed = map(layerwise.in_units, (self.budget, self.smallest(most)))
        message = f"the memory budget is {budget}, and {most.work} needs at least {needed}, weights included"
        raise layerwise.NotEnoughMemoryError(message, self.smallest(most))
