"""Whether a clip fits a checkpoint, a device and a budget, and the bytes that each stage may take."""

from dataclasses import dataclass

import torch

from ...svd_model import layerwise
from ...svd_model.checkpoint import Checkpoint, CheckpointError, Part
from . import memory

Size = tuple[int, int, int]
"""Frames, height and width of a clip's latents."""


@dataclass(frozen=True)
class Fit:
    """Networks, device and memory of a pipeline; `budget`: bytes to encode and to decode in, or None."""

    checkpoint: Checkpoint
    device: torch.device
    dtype: torch.dtype
    decode_dtype: torch.dtype
    budget: int | None = None

    def check(self, size: Size, frame_wise: bool, *, sample: bool = True, decode: bool = True) -> None:
        """Checks a clip before any work.

        Raises CheckpointError for a network that is not whole, NotEnoughMemoryError for too small a budget.
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
        if decode:
            self.to_decode(size, frame_wise)
            if sample:
                scale = checkpoint.encoder.params.downscale
                self.to_encode(scale * size[1], scale * size[2])

    def needed(self, size: Size, frame_wise: bool, *, sample: bool = True, decode: bool = True) -> int:
        """Estimates the least bytes of a clip, weights included; more bytes only make it faster.

        Sampling counts one branch of the guidance at a time; n branches at once take n times the activations.
        """
        sampling = decoding = 0
        if sample:
            unet, encoder, vision = self.checkpoint.unet, self.checkpoint.encoder, self.checkpoint.vision
            weights = sum(part.size for part in (unet, encoder, vision))
            sampling = weights + unet.params.memory(*size, self.dtype)
        if decode:
            weights = self.checkpoint.decoder_for(frame_wise).size
            tensors = self._least_tensors_to_decode(size, frame_wise)
            decoding = weights + memory.overhead(self.device) + tensors
        return max(sampling, decoding)

    def to_decode(self, size: Size, frame_wise: bool) -> int | None:
        """Bytes for the tensors of decoding latents of a size; None: no bound."""
        part = self.checkpoint.decoder_for(frame_wise)
        least = self._least_tensors_to_decode(size, frame_wise)
        frames, height, width = size
        scale = part.params.downscale
        return self._share(f"decoding {frames} frames of {scale * width}×{scale * height}", part, least)

    def to_encode(self, height: int, width: int) -> int | None:
        """Bytes for the tensors of encoding a picture of a size in pixels; None: no bound."""
        part = self.checkpoint.encoder
        options = {"dtype": torch.float32, "device": self.device}
        least = layerwise.EncodePlanner(part.params, height, width, **options).smallest().peak
        return self._share(f"encoding a picture of {width}×{height}", part, least)

    def _least_tensors_to_decode(self, size: Size, frame_wise: bool) -> int:
        """The least bytes of activations for decoding; weights not included."""
        temporal = self.checkpoint.variant.temporal_decoder and not frame_wise
        options = {"temporal": temporal, "dtype": self.decode_dtype, "device": self.device}
        params = self.checkpoint.decoder_for(frame_wise).params
        return layerwise.DecodePlanner(params, *size, **options).smallest().peak

    def _share(self, work: str, part: Part, least: int) -> int | None:
        """Bytes for the tensors of a network, at least `least`; raises NotEnoughMemoryError below."""
        if self.budget is None:
            free = memory.available(self.device)
            return None if free is None else max(least, int(layerwise.SHARE_OF_FREE * free))
        fixed = part.size + memory.overhead(self.device)
        if self.budget < least + fixed:
            budget, needed = (layerwise.in_units(size) for size in (self.budget, least + fixed))
            message = f"the memory budget is {budget}, and {work} needs at least {needed}, weights included"
            raise layerwise.NotEnoughMemoryError(message, least + fixed)
        return self.budget - fixed
