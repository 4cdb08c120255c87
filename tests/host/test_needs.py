"""What nodes show on themselves: the memory of a clip, and doubts about what the user meant."""

import pytest

from support import checkpoints, in_host, tiny

SCRIPT = """
from types import SimpleNamespace
import folder_paths
from pack.clips import needs
from pack.nodes import host, loaders

folder_paths.folder_names_and_paths["checkpoints"] = ([{folder!r}], {{".safetensors"}})
shown = []
sender = SimpleNamespace(send_progress_text=lambda text, node_id: shown.append((text, node_id)))
host.needs.PromptServer.instance = sender
alone = loaders.LoadCheckpoint.execute(checkpoint="tiny_svd.safetensors").result
loaders.LoadCheckpoint.hidden = SimpleNamespace(unique_id="7")
loaders.LoadCheckpoint.execute(checkpoint="tiny_svd.safetensors")

opened, device = host.open_checkpoint("tiny_svd.safetensors"), torch.device("cpu")
size = (25, 72, 128)
dtype = alone[0].model.get_dtype_inference()
stages = [
    needs.to_sample(opened, size, dtype, device),
    needs.to_decode(opened, size, False, torch.float32, device),
]
print(json.dumps([shown, needs.in_words(stages)]))
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints.write(folder / "tiny_svd.safetensors", sizes=tiny.SMALL)
    return in_host.result_of(SCRIPT.format(folder=str(folder)))


def test_the_node_shows_what_the_usual_clip_needs(shown):
    """Once: the first call, of a script, has no node."""
    said, words = shown
    assert said == [["\n".join(["memory, weights included", *words]), "7"]]
    assert words[0].startswith("sampling 25 frames of 1024×576: ")


DOUBTS = """
from types import SimpleNamespace
from pack.nodes import host, motion

shown = []
sender = SimpleNamespace(send_progress_text=lambda text, node_id: shown.append((text, node_id)))
host.needs.PromptServer.instance = sender
motion.DrawMotion.hidden = SimpleNamespace(unique_id="4:2")

def draw(text):
    motion.DrawMotion.execute(
        image=torch.zeros(1, 64, 128, 3), width=128, height=64, fit="crop", frames=2, motion=text)

draw("")  # of nothing, as the page's script reads it
draw('{"aspect": 1.0, "spped": 2}')
draw("{}")
draw("{}")
print(json.dumps(shown))
"""


def test_doubts_about_a_motion_stand_on_its_node_until_they_are_mended():
    doubtful, mended = in_host.result_of(DOUBTS)
    assert "keys that mean nothing here" in doubtful[0] and "spped" in doubtful[0]
    assert "drawn on a picture of width by height 1, and the clip's is 2" in doubtful[0]
    assert mended == ["nothing to note", "4:2"] and doubtful[1] == "4:2"


MISTAKES = """
from types import SimpleNamespace
from pack import builtin_model
from pack.nodes import host, output

shown = []
sender = SimpleNamespace(
    client_id=None, send_progress_text=lambda text, node_id: shown.append((text, node_id)))
host.needs.PromptServer.instance = sender
output.Decode.hidden, output.Animate.hidden = SimpleNamespace(unique_id="8"), SimpleNamespace(unique_id="2")
vae = host.load_vae(host.open_checkpoint(builtin_model.NAME))
for latent in (torch.zeros(2, 4, 8, 8), torch.ones(2, 4, 8, 8)):
    output.Decode.execute(latent={"samples": latent}, vae=vae)
for pictures in (3, 1):
    output.Animate.execute(checkpoint=builtin_model.NAME, image=torch.rand(pictures, 64, 64, 3), motion=127,
        seed=1, width=64, height=64, frames=2, steps=1)
print(json.dumps(shown))
"""


def test_a_latent_without_a_sampler_and_a_batch_of_pictures_are_told_on_their_nodes():
    empty, _, several, _ = in_host.result_of(MISTAKES)
    assert empty[0].startswith("the latent is empty") and "SVD KSampler" in empty[0] and empty[1] == "8"
    assert several[0].startswith("3 pictures, so 3 clips") and "ImageFromBatch" in several[0]
    assert several[1] == "2"


SIZES = """
from pack import builtin_model
from pack.nodes import host

model = host.load_model(host.open_checkpoint(builtin_model.NAME))
sizes = ((72, 128), (32, 32), (16, 16))
print(json.dumps([host.size_doubts(model, torch.zeros(2, 4, *size)) for size in sizes]))
"""


def test_a_clip_that_is_far_too_large_for_the_built_in_model_is_told():
    (sentence,), twice, own = in_host.result_of(SIZES)
    assert "the clip is 1024×576" in sentence and "makes 128×128" in sentence
    assert twice == own == []
