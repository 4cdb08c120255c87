"""ExVideo's file in ComfyUI: the MODEL of its node, a graph with it, and the contrast of sampled latents."""

import pytest

from support import checkpoints, exvideo_files, graphs, host, in_host, tiny
from support.graphs import node
from support.host_pictures import close, frames_of

FRAMES = exvideo_files.POSITIONS

SCRIPT = """
from pathlib import Path
import folder_paths
from pack.clips.contrast import even_contrast
from pack.nodes import contrast, loaders
from pack.nodes.host.shared import NUM_FRAMES
from pack.svd_model.adapters import exvideo
from pack.svd_model.checkpoint import Checkpoint

for kind in ("checkpoints", "diffusion_models"):
    folder_paths.add_model_folder_path(kind, folder)
folder = Path(folder)
found = {}

def output(unet, frames=frames):
    generator = torch.Generator().manual_seed(1)
    shapes = ((frames, 8, 8, 16), (frames, 1, 64), (frames, 768))
    x, context, y = (torch.randn(shape, generator=generator) for shape in shapes)
    with torch.no_grad():
        return unet(x, torch.full((frames,), 0.3), context, y, num_video_frames=frames)

def error(result, expected):
    return ((result - expected).abs().max() / expected.abs().max()).item()

names = {"checkpoint": "svd_xt.safetensors", "exvideo": "exvideo.safetensors"}
model = loaders.LoadExVideo.execute(**names).result[0]
changed = exvideo.opened(Checkpoint.open(folder / names["checkpoint"]), folder / names["exvideo"])
expected = output(changed.unet.load(dtype=torch.float32, device="cpu"))
plain = output(loaders.LoadCheckpoint.execute(checkpoint=names["checkpoint"]).result[0].model.diffusion_model)
found["network"] = error(output(model.model.diffusion_model), expected)
found["without"] = error(plain, expected)
load, inputs = model.cached_patcher_init
again = load(*inputs)  # and once more, as the host does with a copy of that one
(load, inputs), found["again"] = again.cached_patcher_init, []
for copy in (again, load(*inputs)):
    found["again"].append(error(output(copy.model.diffusion_model), expected))
saved = model.model.state_dict_for_saving(model.model.diffusion_model.state_dict())
found["saved"] = sum("positional" in key for key in saved)
try:
    output(model.model.diffusion_model, frames + 1)
except ValueError as complaint:
    found["too many"] = str(complaint)

latents = torch.randn(6, 4, 5, 7)
latents[3:] += 2
two = {"samples": latents, NUM_FRAMES: 3, "batch_index": list(range(6))}
evened = contrast.Contrast.execute(latent=two, contrast=1.5).result[0]
apart = torch.cat([even_contrast(latents[:3], 1.5), even_contrast(latents[3:], 1.5)])
found["contrast"] = [torch.equal(evened["samples"], apart), evened[NUM_FRAMES], len(evened["batch_index"])]
try:
    contrast.Contrast.execute(latent={"samples": latents, NUM_FRAMES: 4}, contrast=1.5)
except ValueError as complaint:
    found["cut"] = str(complaint)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exvideo")
    checkpoints.write(folder / "svd_xt.safetensors", sizes=tiny.SMALL)
    exvideo_files.write(folder / "exvideo.safetensors")
    return in_host.result_of(f"folder, frames = {str(folder)!r}, {FRAMES}\n" + SCRIPT)


def test_the_model_computes_as_the_networks_without_the_host(found):
    """Loaded, and loaded again by the host."""
    assert found["network"] < 1e-5 and max(found["again"]) < 1e-5
    assert found["without"] > 0.1
    assert found["saved"] == 3 * 4


def test_more_frames_than_positions_are_refused(found):
    assert f"{FRAMES + 1} frames; this UNet has learned the positions of {FRAMES}" in found["too many"]


def test_each_video_has_an_even_contrast_of_its_own(found):
    assert found["contrast"] == [True, 3, 6]
    assert "6 frames, no whole number of videos of 4" in found["cut"]


def test_a_graph_makes_a_clip(server, base):
    folder = base / "models" / "diffusion_models"
    numbers = {"frames": FRAMES, "fps": 30.0, "width": 64, "height": 64}
    contrast = node("StillmotionContrast", latent=["sample", 0], contrast=1.2)
    graph = graphs.first_video(seed=7, prepare=numbers, contrast=contrast, decode={"latent": ["contrast", 0]})
    plain = frames_of(base, server.run(graph))
    graph["load"] = node(
        "StillmotionLoadExVideo", checkpoint="tiny_svd.safetensors", exvideo="tiny_exvideo.safetensors"
    )
    made = frames_of(base, server.run(graph))
    assert made.shape == (FRAMES, 64, 64, 3)
    assert not close(made, plain)
    (folder / "other.safetensors").write_bytes(
        (base / "models/checkpoints/tiny_svd.safetensors").read_bytes()
    )
    graph["load"]["inputs"]["exvideo"] = "other.safetensors"
    assert "other.safetensors is no ExVideo file" in host.error_of(server.run(graph))
