"""The memory that ComfyUI is told of, against the bytes that a pass takes, tracked in the host's process."""

import pytest

from support import checkpoints, in_host, tiny

SCRIPT = """
sys.path.insert(0, root + "/tests")
from pack.nodes.host.model import load_model
from pack.svd_model.checkpoint import Checkpoint
from support.live_memory import LiveMemory
from pathlib import Path
import comfy.model_management as management

patcher = load_model(Checkpoint.open(Path({path!r})))
management.load_models_gpu([patcher])
unet, model = patcher.model.diffusion_model, patcher.model
# As on a GPU: the attention that the host has on a CPU fills the free memory by a plan of its own.
import pack.nodes.host.shared as shared
import comfy.ldm.modules.attention as attention
shared.optimized_attention = attention.attention_pytorch
found = []
with torch.inference_mode():
    for room in (None, {room}):
        if room is not None:  # beside the weights
            weights = 1.1 * management.module_size(unet) + management.extra_reserved_memory()
            management.get_total_memory = lambda *args, **options: weights + room / 0.9
            management.get_free_memory = lambda _, both=False: (room, room) if both else room / 0.9
        told = model.memory_required([6, 4, 64, 64])
        x, steps = torch.zeros(6, 8, 64, 64), torch.ones(6)
        context, y = torch.zeros(6, 1, {width}), torch.zeros(6, 768)
        with LiveMemory() as live:
            unet(x.clone(), steps, context, y, num_video_frames=6)
        found.append((told, live.peak))
print(json.dumps(found))
"""


@pytest.mark.parametrize("room", [24_000_000])
def test_the_host_is_told_the_peak_of_the_plan_that_runs(tmp_path, room):
    path = checkpoints.write(tmp_path / "tiny.safetensors", sizes=tiny.SMALL)
    width = tiny.SMALL.unet.context_dim
    (whole, tracked), (told, tracked_in_pieces) = in_host.result_of(
        SCRIPT.format(path=str(path), room=room, width=width)
    )
    assert whole == pytest.approx(tracked, rel=0.05)
    assert told == pytest.approx(tracked_in_pieces, rel=0.05)
    assert told <= room < whole
