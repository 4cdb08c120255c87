"""A rank: makes clips and decodes with others, and writes what it has of them to a file.

Arguments: a folder, the seconds that ranks wait for each other, and what to do: names of WORK.
"""

import os
import signal
import sys

import torch
from safetensors.torch import save_file
from torch import Tensor

from stillmotion import builtin_model
from stillmotion.headless import Pipeline
from stillmotion.headless.engine import parallel
from stillmotion.headless.engine.decoding import decoded, share_of
from stillmotion.headless.engine.ranks import RankLostError, Ranks, abandon
from support import decoders, shared_clips


def clips(ranks: Ranks) -> dict[str, Tensor]:
    """Latents and frames of a clip of each way."""
    pipeline = Pipeline(builtin_model.load(), dtype="float32", ranks=ranks)
    return shared_clips.clips(pipeline, shared_clips.WAYS)


def three_branches(ranks: Ranks) -> dict[str, Tensor]:
    """The same of a way with a branch for each of three ranks."""
    pipeline = Pipeline(builtin_model.load(), dtype="float32", ranks=ranks)
    return shared_clips.clips(pipeline, ["one skip"])


def decode(ranks: Ranks) -> dict[str, Tensor]:
    """Decoded clips in float64, (T, 3, 32, 48); the first is too short to share."""
    found = {}
    for frames, temporal in [(2 * ranks.size - 1, True), (14, True), (25, True), (14, False)]:
        decoder = decoders.decoder(temporal).double()
        z = shared_clips.latents(frames)
        share = share_of(frames, False, ranks)
        found[f"{frames} {temporal}"] = torch.stack(list(decoded(decoder, z, share, ring=False)))
    return found


def out_of_memory(ranks: Ranks) -> dict[str, Tensor]:
    """Whether memory that runs out on the last rank is an error of this one at once."""

    def evaluate(names, x, sigma, among):
        if ranks.rank == ranks.size - 1:
            raise torch.OutOfMemoryError("for a test")
        return [x for _ in names]

    try:
        shared = parallel.divided(lambda branches: evaluate, ranks)({})
        shared(("conditional", "unconditional"), torch.zeros(2, 4, 1, 1), torch.ones(()))
    except parallel.OutOfMemoryOnRankError as error:
        retries = [parallel.may_retry(ranks, error, can) for can in (True, ranks.is_first)]
        return {"raised": torch.ones(1), "retries": torch.tensor(retries)}
    return {"raised": torch.zeros(1)}


def killed(ranks: Ranks) -> dict[str, Tensor]:
    """Has the last rank end without a word."""
    return _lost(ranks, signal.SIGKILL)


def hanging(ranks: Ranks) -> dict[str, Tensor]:
    """Has the last rank stop."""
    return _lost(ranks, signal.SIGSTOP)


def _lost(ranks: Ranks, how: signal.Signals) -> dict[str, Tensor]:
    ranks.gather(torch.ones(3))
    if ranks.rank == ranks.size - 1:
        os.kill(os.getpid(), how)
    try:
        ranks.gather(torch.ones(3))
    except RankLostError as error:
        sys.stderr.write(f"error: {error}")
        abandon(1)
    return {}


WORK = {work.__name__: work for work in (clips, three_branches, decode, out_of_memory, killed, hanging)}


def main() -> None:
    """The command line."""
    folder, seconds, *names = sys.argv[1:]
    ranks = Ranks.join("cpu", float(seconds))
    found = {}
    for name in names:
        found |= {f"{name} {key}": tensor for key, tensor in WORK[name](ranks).items()}
    ranks.wait()
    save_file(
        {key: tensor.contiguous() for key, tensor in found.items()}, f"{folder}/{ranks.rank}.safetensors"
    )
    ranks.leave()


main()
