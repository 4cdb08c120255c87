"""What other nodes patch in the UNet: the features on the way up, and attention among a frame's positions.

The semantics are those of core's UNetModel and BasicTransformerBlock: comfy/ldm/modules/attention.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...svd_model.transformer import Context, MultiHeadAttention, TransformerBlock
from ...svd_model.unet import Constants, FeaturePatch, UNetParams

_FEATURES = "output_block_patch"
_ATTENTION = ("attn1_patch", "attn1_output_patch", "middle_patch", "attn2_patch", "attn2_output_patch")
_REPLACED = ("attn1", "attn2")


@dataclass(frozen=True)
class Patches:
    """The patches of one call of the model, and the options that they are given."""

    lists: dict[str, list[Callable]]  # by the names of core
    replacements: dict[str, dict[tuple, Callable]]  # for attn1 and attn2, by block
    everywhere: bool  # whether the attention of all blocks is patched
    blocks: frozenset[tuple]  # whose attention is
    options: dict

    @property
    def all(self) -> list:
        """Every patch with its place: two calls with equal lists are patched in the same way."""
        listed = [(name, patch) for name, patches in self.lists.items() for patch in patches]
        replaced = [
            (name, block, patch)
            for name, found in self.replacements.items()
            for block, patch in found.items()
        ]
        return listed + replaced

    def features(self) -> FeaturePatch | None:
        """What changes the features on the way up, such as FreeU."""
        output_patches = self.lists.get(_FEATURES)
        if not output_patches:
            return None

        def patch(index: int, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
            for output_patch in output_patches:
                x, skip = output_patch(x, skip, {**self.options, "block": ("output", index)})
            return x, skip

        return patch

    def attended(self, constants: Constants, tokens: Tensor, x: Tensor, params: UNetParams) -> Constants:
        """The constants with real attention in the blocks whose attention is patched.

        tokens: (B·T, M, context_dim). x: the input of the UNet.
        """
        if not self.everywhere and not self.blocks:
            return constants
        options = {**self.options, "original_shape": list(x.shape), "attn_precision": torch.float32}
        contexts, number = [], 0  # of the transformer
        for (block, level), given in zip(_stages(params), constants.contexts, strict=True):
            patched = []
            for context in given:
                if self.everywhere or block in self.blocks:
                    size = [x.shape[2] >> level, x.shape[3] >> level]
                    here = {"block": block, "block_index": 0, "transformer_index": number}
                    call = _PatchedBlock(self, {**options, **here}, size, tokens, context.spatial)
                    context = context._replace(spatial=call)
                patched.append(context)
                number += 1
            contexts.append(tuple(patched))
        return constants._replace(contexts=tuple(contexts))


def _stages(params: UNetParams) -> list[tuple[tuple[str, int], int]]:
    """For each stage of the UNet core's name of it, and how often its features have been halved."""
    levels, blocks = len(params.channel_mult), params.num_res_blocks
    down = [(("input", index), index // (blocks + 1)) for index in range(levels * (blocks + 1))]
    up = [(("output", index), levels - 1 - index // (blocks + 1)) for index in range(levels * (blocks + 1))]
    return [*down, (("middle", 0), levels - 1), *up]


class _PatchedBlock:
    """Takes the place of a spatial TransformerBlock's forward, with the patches where core has them."""

    def __init__(self, patches: Patches, options: dict, size: list[int], tokens: Tensor, prepared: Context):
        self._lists, self._replacements = patches.lists, patches.replacements
        self._options, self._size = options, size
        self._tokens, self._prepared = tokens, prepared

    @torch.compiler.disable  # a patch may do anything
    def __call__(self, block: TransformerBlock, x: Tensor) -> Tensor:
        heads, channels = block.attn1.heads, x.shape[-1]
        shape = [x.shape[0], channels, *self._size]
        extra = {"n_heads": heads, "dim_head": channels // heads, "activations_shape": shape}
        extra = {**self._options, **extra}
        n = block.norm1(x)
        x = self._attend("attn1", block.attn1, n, n, extra) + x
        for patch in self._lists.get("middle_patch", ()):
            x = patch(x, extra)
        x = self._cross(block, x, extra) + x
        return block.ff(block.norm3(x)) + x

    def _cross(self, block: TransformerBlock, x: Tensor, extra: dict) -> Tensor:
        """What attention to the tokens adds; without a patch of it what has been prepared."""
        if self._lists.get("attn2_patch") or self._replacement("attn2"):
            return self._attend("attn2", block.attn2, block.norm2(x), self._tokens, extra)
        if isinstance(self._prepared, Tensor):
            n = self._prepared.repeat(1, x.shape[1], 1)
        else:
            n = block.attn2.to_context(block.norm2(x), self._prepared)
        return self._output("attn2", n, extra)

    def _attend(
        self, name: str, attention: MultiHeadAttention, n: Tensor, context: Tensor, extra: dict
    ) -> Tensor:
        """Of n, (N, L, dim), to a context, (N, M, context_dim)."""
        value = context
        for patch in self._lists.get(f"{name}_patch", ()):
            n, context, value = patch(n, context, value, extra)
        q, k = attention.to_q(n), attention.to_k(context)
        v = attention.to_v(context if value is None else value)
        replacement = self._replacement(name)
        if replacement is None:
            n = attention.attention(q, k, v, attention.heads)
        else:
            n = replacement(q, k, v, extra)
        return self._output(name, attention.to_out(n), extra)

    def _output(self, name: str, n: Tensor, extra: dict) -> Tensor:
        for patch in self._lists.get(f"{name}_output_patch", ()):
            n = patch(n, extra)
        return n

    def _replacement(self, name: str) -> Callable | None:
        """The function for this block, named with the number of its transformer or without."""
        found, block = self._replacements.get(name, {}), self._options["block"]
        return found.get((*block, 0), found.get(block))


@torch.compiler.disable  # core's TorchCompileModel doesn't look whether transformer_options have changed
def patches_of(options: dict) -> Patches:
    """The graph's patches; those that the UNet has no place for are refused rather than ignored."""
    lists = {name: found for name, found in options.get("patches", {}).items() if found}
    replacements = {name: found for name, found in options.get("patches_replace", {}).items() if found}
    others = sorted(lists.keys() - {_FEATURES, *_ATTENTION}) + sorted(replacements.keys() - {*_REPLACED})
    if others:
        raise ValueError(
            f"a node patches this model in a way ({', '.join(others)}) that Stillmotion's UNet does not "
            "offer; take that node out, or load the model with core's ImageOnlyCheckpointLoader."
        )
    everywhere = any(name in lists for name in _ATTENTION)
    blocks = frozenset(tuple(block[:2]) for found in replacements.values() for block in found)
    rest = {key: value for key, value in options.items() if key not in ("patches", "patches_replace")}
    return Patches(lists, replacements, everywhere, blocks, rest)
