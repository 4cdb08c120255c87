"""A loop decoded on its ring, and a long clip within its budget, in a real ComfyUI."""

import json

import numpy as np
import pytest

from support import checkpoints, graphs, in_host, tiny
from support.graphs import node
from support.host_pictures import close, frames_of

FRAMES = 4


def decoded(server, base, **decode) -> np.ndarray:
    """The frames of the first video; "rolled" has its latents from the second one on, the first one last."""
    rest = node("LatentFromBatch", samples=["sample", 0], batch_index=1, length=FRAMES - 1)
    first = node("LatentFromBatch", samples=["sample", 0], batch_index=0, length=1)
    rolled = node("LatentBatch", samples1=["rest", 0], samples2=["first", 0])
    decode = {"frames": FRAMES} | decode
    return frames_of(
        base, server.run(graphs.first_video(seed=19, rest=rest, first=first, rolled=rolled, decode=decode))
    )


def test_a_ring_may_begin_at_any_frame(server, base):
    plain, ring = decoded(server, base), decoded(server, base, ring=True)
    rolled = decoded(server, base, ring=True, latent=["rolled", 0])
    assert close(rolled, np.roll(ring, -1, axis=0))
    assert not close(ring, plain)
    assert not close(decoded(server, base, latent=["rolled", 0]), np.roll(plain, -1, axis=0))


def test_each_of_several_videos_is_a_ring_of_its_own(server, base):
    two = node("LatentBatch", samples1=["sample", 0], samples2=["sample", 0])
    graph = graphs.first_video(
        seed=19, two=two, decode={"latent": ["two", 0], "frames": FRAMES, "ring": True}
    )
    ring = decoded(server, base, ring=True)
    assert close(frames_of(base, server.run(graph)), np.concatenate([ring, ring]))


SCRIPT = """
sys.path.insert(0, root + "/tests")
from pathlib import Path
from pack.clips.recipes import Decode
from pack.headless.pipeline import Pipeline
from pack.nodes import output
from pack.nodes.host import Performer
from pack.nodes.host.vae import load_vae
from pack.svd_model.checkpoint import Checkpoint
from support.live_memory import LiveMemory

checkpoint = Checkpoint.open(Path(path))
vae, pipeline = load_vae(checkpoint), Pipeline(checkpoint, device="cpu")
draw = lambda frames, side: torch.randn(frames, 4, side, side, generator=torch.Generator().manual_seed(1))

clip = draw(5, 8)
expected = (pipeline.decode(clip, ring=True).movedim(1, -1) + 1) / 2
expected = expected.clamp(0, 1)
nodes = output.decode_latent(vae, {"samples": clip / 0.18215}, frames=5, ring=True)
with torch.inference_mode():
    performed = Performer(checkpoint, False).perform(Decode(clip, ring=True))
    frame_wise = load_vae(checkpoint, True)
    alone = [frame_wise.decode(clip / 0.18215, ring=ring) for ring in (False, True)]
errors = {
    "node": (nodes - expected).abs().max().item(),
    "performer": (performed - expected).abs().max().item(),
    "without": (nodes - vae.decode(clip / 0.18215)).abs().max().item(),
    "frame-wise": (alone[0] - alone[1]).abs().max().item(),
}

long = draw(100, 8)
budget = vae.memory_used_decode(long.shape, torch.float32) // 4
vae.decode(long[:2], budget=budget)  # loads the weights
peaks = []
for ring in (False, True):
    with LiveMemory() as live:
        images = vae.decode(long, budget=budget, ring=ring)
    peaks.append((live.peak - images.nbytes) / budget)
same = (images - vae.decode(long, ring=True)).abs().max().item()
print(json.dumps({"errors": errors, "peaks": peaks, "same": same}))
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    path = checkpoints.write(tmp_path_factory.mktemp("ring") / "tiny.safetensors", sizes=tiny.SMALL)
    return in_host.result_of(f"path = {json.dumps(str(path))}\n" + SCRIPT)


def test_the_node_and_the_recipes_decode_as_the_command_does(measured):
    """To float32's rounding through some forty layers; pictures lie in [0, 1]."""
    errors = measured["errors"]
    assert errors["node"] < 2e-5 and errors["performer"] < 2e-5
    assert errors["without"] > 0.05
    assert errors["frame-wise"] == 0


def test_a_long_clip_keeps_to_a_quarter_of_what_one_piece_takes(measured):
    """Beside the IMAGE, which is the host's; the picture is the one that all memory gives."""
    assert max(measured["peaks"]) <= 1.05
    assert measured["same"] < 2e-5
