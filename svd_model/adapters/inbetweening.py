"""Generative Inbetweening (Wang et al., 2024): svd_xt and a UNet for reversed clips.

The file is a whole UNet under diffusers' names, trained from svd. It differs from svd in two layers of each
self-attention over time, for values and output; the differences are added to svd_xt. In a step svd_xt sees
the clip from the first picture on, the changed UNet the reversed clip from the last picture on. The second
takes the first one's attention maps over time, rotated by 180°: both agree on which frames attend to which.
"""

from collections import deque
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..checkpoint.layouts.released import UNET
from ..checkpoint.sources import CheckpointError, TensorFile
from ..networks.hooks import Attend, Axis, Hooks, Place
from ..networks.pieces import WHOLE, Pieces
from ..networks.unet import RunConstants, StepShifts, VideoUNet

_ATTENTION = ".time_stack.0.attn1."
_CHANGED = ("to_v.weight", "to_out.0.weight", "to_out.0.bias")
_EQUAL = "to_q.weight"
_WANTED = "Give svd_xt, svd (of 14 frames), and the UNet of Generative Inbetweening, in this order."


def changed_keys(file: TensorFile) -> list[str]:
    """Released names of the tensors in which the file's UNet differs from svd's."""
    ends = tuple(_ATTENTION + name for name in _CHANGED)
    return [key for key in file.shapes if key.startswith(UNET) and key.endswith(ends)]


def over(svd_xt: TensorFile, svd: TensorFile, file: TensorFile) -> TensorFile:
    """A view of svd_xt in which the changed tensors are W_xt + (W_file − W_svd).

    All three files are under the released names. Raises CheckpointError where they don't belong together.
    """
    keys = changed_keys(svd_xt)
    for other in (svd, file):
        for key in keys:
            if other.shapes.get(key) != svd_xt.shapes[key]:
                found = list(other.shapes[key]) if key in other.shapes else "missing"
                raise CheckpointError(
                    f"{other.path} does not fit {svd_xt.path}: {key} is {found} instead of "
                    f"{list(svd_xt.shapes[key])}. {_WANTED}"
                )
    _check_origin(svd_xt, svd, file, keys)
    names = frozenset(keys)

    def read(name: str) -> Tensor:
        weight = svd_xt.read(name)
        if name not in names:
            return weight
        difference = file.read(name).float() - svd.read(name).float()
        return (weight.float() + difference).to(weight.dtype)

    return replace(svd_xt, read=read)


def _check_origin(svd_xt: TensorFile, svd: TensorFile, file: TensorFile, keys: list[str]) -> None:
    """Refuses a file that was not trained from svd: its queries over time are svd's, to a rounding."""
    queries = [key.replace(_CHANGED[0], _EQUAL) for key in keys if key.endswith(_CHANGED[0])]
    for key in queries:
        trained, base = (each.read(key) for each in (file, svd))
        limits = [torch.finfo(each.dtype) for each in (trained, base)]
        unit, least = max(each.eps for each in limits), max(each.smallest_normal for each in limits)
        trained, base = trained.float(), base.float()
        if ((trained - base).abs() > unit * (base.abs() + least)).any():
            raise CheckpointError(
                f"{file.path} was not trained from {svd.path}: they differ in {key}, which Generative "
                f"Inbetweening left unchanged. {_WANTED}"
            )
    if all(torch.equal(svd.read(key), svd_xt.read(key)) for key in queries):
        raise CheckpointError(f"{svd_xt.path} and {svd.path} hold one UNet. {_WANTED}")


class RecordedAttention(Hooks):
    """Attention over time that nothing changes, with queries and keys of each call, in order."""

    def __init__(self):
        self.calls: deque[tuple[Tensor, Tensor]] = deque()

    def attention(self, place: Place, axis: Axis, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        """Plain result; over time q and k are kept."""
        if axis == "time":
            self.calls.append((q, k))
        return attend(q, k, v)


class RotatedAttention(Hooks):
    """Attention over time by the maps of a recorded pass, rotated by 180°, for a pass in the same pieces.

    The map of reversed queries and keys, softmax(q·kᵀ/√d) with q[T−1−i] and k[T−1−j], is the map with both
    axes flipped. A record is used up: its tensors are free once they have served.
    """

    def __init__(self, recorded: RecordedAttention):
        self._calls = recorded.calls

    def attention(self, place: Place, axis: Axis, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        """Result of v, over time with the recorded q and k."""
        if axis == "time":
            q, k = (each.flip(1) for each in self._calls.popleft())
        return attend(q, k, v)


@dataclass(frozen=True)
class View:
    """One picture's look at a clip: the UNet, and its inputs beside the latents."""

    unet: VideoUNet
    concat: Tensor  # latent of the picture, (B·T, 4, h, w), zeros for the unconditional branch
    shifts: StepShifts
    constants: RunConstants


def both_ways(first: View, last: View, x: Tensor, pieces: Pieces = WHOLE) -> tuple[Tensor, Tensor]:
    """Outputs F of both UNets for scaled latents x, (B·T, 4, h, w), both in the clip's own order of frames.

    first: svd_xt with the first picture. last: the changed UNet with the last picture, which sees the clip
    reversed. Guidance is applied to each of the two, then they are fused.
    """
    num_frames = first.constants.num_frames
    recorded = RecordedAttention()
    forward = _predict(first, x, recorded, pieces)
    backward = _predict(last, _in_reverse(x, num_frames), RotatedAttention(recorded), pieces)
    return forward, _in_reverse(backward, num_frames)


def fused(forward: Tensor, backward: Tensor, weights: Tensor) -> Tensor:
    """Guided outputs of both UNets as one, (T, 4, h, w); weights: of the forward one for each frame, (T,)."""
    return torch.lerp(backward, forward, weights[:, None, None, None])


def _predict(view: View, x: Tensor, hooks: Hooks, pieces: Pieces) -> Tensor:
    joined = torch.cat([x, view.concat], dim=1)
    return view.unet.predict(joined, view.shifts, view.constants, hooks, pieces)


def _in_reverse(x: Tensor, num_frames: int) -> Tensor:
    """Frames of each video in reverse: (B·T, …) -> (B·T, …)."""
    return x.unflatten(0, (-1, num_frames)).flip(1).flatten(0, 1)
