"""What other nodes change in the UNet by transformer_options: what is honoured, and what is refused.

docs/COMFYUI_CONTRACT.md lists all of it. The semantics are those of core's UNetModel:
comfy/ldm/modules/diffusionmodules/openaimodel.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import comfy.patcher_extension
import torch
from torch import Tensor

from ...svd_model.networks.transformer import TransformerContext
from ...svd_model.networks.unet import FeaturePatch, RunConstants, UNetParams
from .blocks import OVERRIDE, OverriddenTemporalBlock, SpatialBlock

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
"""The options of core's nodes that only networks of another kind look at."""


@dataclass(frozen=True)
class Patches:
    """The patches of one call of the model, and the options that they are given."""

    lists: dict[str, list[Callable]]  # by the names of core
    replacements: dict[str, dict[tuple, Callable]]  # for attn1 and attn2, by block
    everywhere: bool  # whether the attention of all blocks is patched
    blocks: frozenset[tuple]  # whose attention is
    options: dict  # transformer_options

    @property
    def all(self) -> list:
        """Every patch with its place: two calls with equal lists are patched in the same way."""
        listed = [(name, patch) for name, patches in self.lists.items() for patch in patches]
        replaced = [
            (name, block, patch)
            for name, found in self.replacements.items()
            for block, patch in found.items()
        ]
        return [*listed, *replaced, self.options.get(OVERRIDE)]

    def features(self, x: Tensor) -> FeaturePatch | None:
        """What changes the features on the way up, such as FreeU. x: the input of the UNet."""
        output_patches = self.lists.get(_FEATURES)
        if not output_patches:
            return None
        options = {**self.options, "original_shape": list(x.shape)}

        def patch(index: int, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
            for output_patch in output_patches:
                x, skip = output_patch(x, skip, {**options, "block": ("output", index)})
            return x, skip

        return patch

    def attended(
        self, constants: RunConstants, tokens: Tensor, x: Tensor, params: UNetParams
    ) -> RunConstants:
        """The constants with blocks like core's where attention is patched or overridden.

        tokens: (B·T, M, context_dim). x: the input of the UNet.
        """
        overridden = OVERRIDE in self.options
        if not (overridden or self.everywhere or self.blocks):
            return constants
        contexts, number = [], 0  # of the transformer
        for (block, level), given in zip(_stages(params), constants.contexts, strict=True):
            patched = []
            for context in given:
                if overridden or self.everywhere or block in self.blocks:
                    channels = params.model_channels * params.channel_mult[level]
                    shape = [x.shape[0], channels, x.shape[2] >> level, x.shape[3] >> level]
                    place = {"block": block, "block_index": 0, "transformer_index": number}
                    shapes = {"original_shape": list(x.shape), "activations_shape": shape}
                    context = self._block(context, {**self.options, **place, **shapes}, tokens)
                patched.append(context)
                number += 1
            contexts.append(tuple(patched))
        return constants._replace(contexts=tuple(contexts))

    def _block(self, context: TransformerContext, options: dict, tokens: Tensor) -> TransformerContext:
        """A transformer's context with what takes its blocks' place."""
        patches = {"lists": self.lists, "replacements": self.replacements}
        spatial = SpatialBlock(options, tokens, context.spatial, **patches)
        if OVERRIDE not in options:
            return context._replace(spatial=spatial)
        *_, height, width = options["activations_shape"]
        first = tokens[:: len(context.frames)]  # over time a video's first frame counts
        first = first.repeat_interleave(height * width, dim=0)
        temporal = OverriddenTemporalBlock(options, first, context.temporal)
        return context._replace(spatial=spatial, temporal=temporal)


def _stages(params: UNetParams) -> list[tuple[tuple[str, int], int]]:
    """For each stage of the UNet core's name of it, and how often its features have been halved."""
    levels, blocks = len(params.channel_mult), params.num_res_blocks
    down = [(("input", index), index // (blocks + 1)) for index in range(levels * (blocks + 1))]
    up = [(("output", index), levels - 1 - index // (blocks + 1)) for index in range(levels * (blocks + 1))]
    return [*down, (("middle", 0), levels - 1), *up]


@torch.compiler.disable  # core's TorchCompileModel doesn't look whether transformer_options have changed
def patches_of(options: dict) -> Patches:
    """The graph's patches; what the UNet has no place for is refused rather than ignored."""
    lists = {name: found for name, found in options.get("patches", {}).items() if found}
    replacements = {name: found for name, found in options.get("patches_replace", {}).items() if found}
    others = sorted(lists.keys() - {_FEATURES, *_ATTENTION}) + sorted(replacements.keys() - {*_REPLACED})
    others += sorted(options.keys() & _OF_OTHER_MODELS)
    if others:
        raise ValueError(
            f"a node patches this model in a way ({', '.join(others)}) that Stillmotion's UNet does not "
            "offer; take that node out, or load the model with core's ImageOnlyCheckpointLoader."
        )
    everywhere = any(name in lists for name in _ATTENTION)
    blocks = frozenset(tuple(block[:2]) for found in replacements.values() for block in found)
    return Patches(lists, replacements, everywhere, blocks, options)


@torch.compiler.disable  # as above
def wrappers_of(options: dict) -> list[Callable]:
    """What other nodes have put around the UNet, such as EasyCache."""
    kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    return comfy.patcher_extension.get_all_wrappers(kind, options)
