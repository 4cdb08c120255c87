"""Makes whole clips of full size on cards that are not there, and prints what they would have taken as JSON.

python whole_clip.py PACK DTYPE GB …, by an interpreter with a CUDA build of torch. GB: memory of each card,
all of it free, in 1e9 bytes.

One line, a list: for each card its memory, the most bytes alive in the whole run with all weights, the bytes
of weights there while sampling, whether the UNet streamed, and where the host waited between two steps.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import torch
from PIL import Image

PACK, DTYPE, CARDS = Path(sys.argv[1]), sys.argv[2], [float(size) for size in sys.argv[3:]]
sys.path.append(str(PACK / "tests"))

from support.by_path import load_pack  # noqa: E402
from support.rehearsal import Ledger, full_size_checkpoint, rehearsed  # noqa: E402

load_pack(PACK)

from stillmotion.headless import Pipeline, Settings  # noqa: E402
from stillmotion.headless.engine import local, memory  # noqa: E402
from stillmotion.svd_model.checkpoint import Checkpoint  # noqa: E402

LOOP = "solvers.py:"


def made(checkpoint: Checkpoint, size: int, ledger: Ledger) -> dict:
    """What a clip took on a card, and the beginning of another, for which networks come back."""
    pipeline = Pipeline(checkpoint, device="cuda", dtype=DTYPE)
    there = {}
    sample = local.sample

    def watched(unet, *arguments):
        there["networks"] = pipeline._networks.held("unet").others
        there["streams"] = next(unet.parameters()).device.type == "cpu"
        return sample(unet, *arguments)

    settings = Settings(steps=2).complete(checkpoint.variant)
    picture = pipeline.prepare(Image.new("RGB", (1024, 576)), settings)
    with mock.patch.object(local, "sample", watched):
        latents = pipeline.sample(pipeline.encode(picture, settings), settings)
        frames = sum(1 for _ in pipeline.stream(latents))
        assert frames == settings.num_frames == 25
        pipeline.sample(pipeline.encode(picture, settings), settings)
    waits = [" ".join(stack[-9:-3]) for stack in ledger.waits if any(LOOP in call for call in stack)]
    return {"card": size, "peak": ledger.peak, "waits": waits, **there}


@torch.no_grad()
def main() -> None:
    """The command line."""
    with full_size_checkpoint() as checkpoint:
        runs = []
        for size in (int(card * 1e9) for card in CARDS):
            with rehearsed(size) as ledger:
                free = lambda device=None, ledger=ledger, size=size: (size - ledger.alive, size)  # noqa: E731
                ample = mock.patch.object(memory, "for_spilling", lambda _: 2**40)
                with mock.patch("torch.cuda.mem_get_info", free), ample:
                    runs.append(made(checkpoint, size, ledger))
    sys.stdout.write(json.dumps(runs) + "\n")


main()
