"""A rank that decodes clips with others, and writes what it has of them to a file."""

import sys

import torch
from safetensors.torch import save_file
from torch import Tensor

from stillmotion.headless.engine.decoding import decoded, share_of
from stillmotion.headless.engine.ranks import Ranks
from stillmotion.svd_model.layerwise import Spill
from support import decoders


def latents(frames: int) -> Tensor:
    """Latents of a clip, (T, 4, 4, 6)."""
    return torch.randn(frames, 4, 4, 6, generator=torch.Generator().manual_seed(frames)).double()


def clip(ranks: Ranks, frames: int, ring: bool, tight: bool, temporal: bool = True) -> Tensor:
    """A decoded clip, (T, 3, 32, 48); tight: in the smallest memory, with frames on disk."""
    z, share = latents(frames), share_of(frames, ring, ranks)
    decoder = decoders.decoder(temporal, post_quant_conv=not temporal).double()
    held = z if share is None else z.new_empty(share.held, *z.shape[1:])
    budget = decoders.smallest(held, temporal) if tight else None
    options = {"budget": budget, "spill": Spill(ranks.device)}
    return torch.stack(list(decoded(decoder, z, share, ring=ring, **options)))


if __name__ == "__main__":
    ranks = Ranks.join(torch.device("cpu"), 60)
    found = {"one": clip(ranks, 2 * ranks.size - 1, False, False)}
    for frames in (14, 25):
        for ring in (False, True):
            for tight in (False, True):
                found[f"{frames} {ring} {tight}"] = clip(ranks, frames, ring, tight)
    found["single"] = clip(ranks, 14, False, False, temporal=False)
    save_file(found, f"{sys.argv[1]}/{ranks.rank}.safetensors")
    ranks.leave()
