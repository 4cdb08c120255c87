"""Patches of other nodes, found in transformer_options, as hooks of the UNet; unknown ones are refused.

docs/COMFYUI_CONTRACT.md lists them all. The semantics follow core's UNetModel:
comfy/ldm/modules/diffusionmodules/openaimodel.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import comfy.patcher_extension
import torch
from torch import Tensor

from ...svd_model.networks.attention import Context
from ...svd_model.networks.hooks import NO_HOOKS, Attend, Axis, Hooks, Place
from ...svd_model.networks.pieces import Pieces
from ...svd_model.networks.stages import UNetParams
from ...svd_model.networks.transformer import TransformerBlock
from .blocks import OVERRIDE, OverriddenTemporalBlock, SpatialBlock
from .shared import STEERING

_FEATURES = "output_block_patch"
_ATTENTION = ("attn1_patch", "attn1_output_patch", "middle_patch", "attn2_patch", "attn2_output_patch")
_REPLACED = ("attn1", "attn2")
_OF_OTHER_MODELS = {
    "rope_options",
    "ar_config",
    "chroma_radiance_options",
    "minimax_h3_sigma_shift_audio",
    "minimax_h3_sigma_shift_video",
    "stg_self_attn_blocks",
    "stg_skip_self_attn",
    "a2v_cross_attn",
    "v2a_cross_attn",
    "audio_embeds",
}
"""Options of core's nodes for networks of other kinds."""


@dataclass(frozen=True)
class Patches:
    """Patches of one call of the model, and the options that they get."""

    lists: dict[str, list[Callable]]  # by core's names
    replacements: dict[str, dict[tuple, Callable]]  # for attn1 and attn2, by block
    everywhere: bool  # whether the attention of all blocks is patched
    blocks: frozenset[tuple]  # with a replacement of attention
    options: dict  # transformer_options
    steering: Hooks  # of our own

    @property
    def all(self) -> list:
        """Every patch with its place. Calls with equal lists are patched alike."""
        listed = [(name, patch) for name, patches in self.lists.items() for patch in patches]
        replaced = [
            (name, block, patch)
            for name, functions in self.replacements.items()
            for block, patch in functions.items()
        ]
        return [*listed, *replaced, self.options.get(OVERRIDE), self.steering]

    @property
    def attends(self) -> bool:
        """Whether attention is patched or overridden anywhere."""
        return OVERRIDE in self.options or self.everywhere or bool(self.blocks)

    @property
    def others(self) -> bool:
        """Whether other nodes patch the UNet."""
        return self.attends or _FEATURES in self.lists

    def hooks(self, x: Tensor, tokens: Tensor) -> Hooks:
        """Hooks of one evaluation. x: input of the UNet. tokens: (B·T, M, context_dim)."""
        return PatchHooks(self, x.shape, tokens) if self.others else self.steering

    def reach(self, place: Place, axis: Axis) -> bool:
        """Whether attention at a place is patched or overridden; over time it can only be overridden."""
        overridden = OVERRIDE in self.options
        if axis == "time":
            return overridden
        return overridden or self.everywhere or (place.part, place.index) in self.blocks


class PatchHooks(Hooks):
    """Patches as hooks of one evaluation. A block whose attention is patched runs in core's order."""

    def __init__(self, patches: Patches, shape: torch.Size, tokens: Tensor):
        self._patches, self._tokens, self._size = patches, tokens, shape[2:]
        self._options = {**patches.options, "original_shape": list(shape)}

    def joined(self, place: Place, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Features and skip, changed by each output_block_patch in turn."""
        for patch in self._patches.lists.get(_FEATURES, ()):
            x, skip = patch(x, skip, {**self._options, "block": (place.part, place.index)})
        return x, skip

    def block(
        self,
        place: Place,
        axis: Axis,
        block: TransformerBlock,
        x: Tensor,
        context: Context,
        pieces: Pieces,
    ) -> Tensor:
        """Output of a block, in core's order where patches reach it."""
        if not self._patches.reach(place, axis):
            return super().block(place, axis, block, x, context, pieces)
        options, patches = self._options_at(place, x), self._patches
        steering = {"attention": partial(self.attention, place, axis)}
        if axis == "time":
            return OverriddenTemporalBlock(options, self._first_tokens(x), context, **steering)(block, x)
        lists = patches.lists, patches.replacements
        return SpatialBlock(options, self._tokens, context, *lists, **steering)(block, x)

    def attention(self, place: Place, axis: Axis, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        """Result of self-attention, by our own hooks around what other nodes have patched."""
        return self._patches.steering.attention(place, axis, q, k, v, attend)

    def _options_at(self, place: Place, x: Tensor) -> dict:
        """transformer_options as core has them at a place. x: features, (…, C)."""
        height, width = (side >> place.level for side in self._size)
        return {
            **self._options,
            "block": (place.part, place.index),
            "block_index": 0,
            "transformer_index": place.number,
            "activations_shape": [len(self._tokens), x.shape[-1], height, width],
        }

    def _first_tokens(self, x: Tensor) -> Tensor:
        """Tokens of a video's first frame for each position of x: (B, T, S, C) -> (B·S, M, context_dim)."""
        _, num_frames, positions, _ = x.shape
        return self._tokens[::num_frames].repeat_interleave(positions, dim=0)


class ControlledHooks(Hooks):
    """Hooks that add the residuals of the host's ControlNets, before the patches of other hooks."""

    def __init__(self, inner: Hooks, control: dict):
        self._inner, self._output, self._middle = inner, control.get("output", []), control.get("middle", [])

    def skip(self, place: Place, x: Tensor) -> Tensor:
        """Features with the residual of their place added; the host lists those of the input stages."""
        residuals = self._middle if place.part == "middle" else self._output
        number = -1 if place.part == "middle" else -1 - place.index  # the last skip is joined first
        residual = residuals[number] if -number <= len(residuals) else None
        return x if residual is None else x.add_(residual.to(x.device, x.dtype))

    def joined(self, place: Place, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Features and skip, by the other hooks."""
        return self._inner.joined(place, x, skip)

    def block(self, place: Place, axis: Axis, block, x: Tensor, context: Context, pieces: Pieces) -> Tensor:
        """Output of a block, by the other hooks."""
        return self._inner.block(place, axis, block, x, context, pieces)


def controlled(hooks: Hooks, control: dict | None, params: UNetParams, x: Tensor) -> Hooks:
    """Hooks with the host's control, if any; raise ValueError for one that this UNet has no place for.

    x: input of the UNet, (B·T, C, h, w).
    """
    if not control:
        return hooks
    levels = [place.level for place in params.places() if place.part == "input"]
    skips = list(zip(params.skips(), levels, strict=True))
    places = {"output": skips, "middle": skips[-1:]}
    for name, residuals in control.items():
        expected = places.get(name, [])
        surplus = residuals[: max(0, len(residuals) - len(expected))]
        fitting = zip(residuals[::-1], expected[::-1], strict=False)
        fits = all(r is None or _fits(r, x, *place) for r, place in fitting)
        if not fits or any(residual is not None for residual in surplus):
            raise ValueError(
                f"a ControlNet's {name} features don't fit this model: it is for another kind of model. Take "
                "it out; a temporal ControlNet for SVD comes from SVD Load ControlNet."
            )
    return ControlledHooks(hooks, control)


def _fits(residual: Tensor, x: Tensor, width: int, level: int) -> bool:
    """Whether a residual can be added to the features of a level for an input x."""
    height, columns = (side >> level for side in x.shape[2:])
    return residual.shape[0] in (1, x.shape[0]) and residual.shape[1:] == (width, height, columns)


@torch.compiler.disable  # core's TorchCompileModel misses changes of transformer_options
def patches_of(options: dict) -> Patches:
    """Patches of the graph. Raise ValueError for a patch that the UNet has no place for."""
    lists = {name: patches for name, patches in options.get("patches", {}).items() if patches}
    replaced = options.get("patches_replace", {}).items()
    replacements = {name: functions for name, functions in replaced if functions}
    others = sorted(lists.keys() - {_FEATURES, *_ATTENTION}) + sorted(replacements.keys() - {*_REPLACED})
    others += sorted(options.keys() & _OF_OTHER_MODELS)
    if others:
        raise ValueError(
            f"a node patches this model in a way ({', '.join(others)}) that Stillmotion's UNet does not "
            "offer; take that node out, or load the model with core's ImageOnlyCheckpointLoader."
        )
    everywhere = any(name in lists for name in _ATTENTION)
    blocks = frozenset(tuple(block[:2]) for functions in replacements.values() for block in functions)
    return Patches(lists, replacements, everywhere, blocks, options, options.get(STEERING, NO_HOOKS))


@torch.compiler.disable  # as above
def wrappers_of(options: dict) -> list[Callable]:
    """Wrappers of other nodes around the UNet, such as EasyCache."""
    kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    return comfy.patcher_extension.get_all_wrappers(kind, options)
