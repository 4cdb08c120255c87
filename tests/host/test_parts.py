"""Models in diffusers' layout and parts in files of their own: the video of the single file."""

import numpy as np
import pytest
from safetensors.torch import save_file

from stillmotion.svd_model.checkpoint import Checkpoint
from support import checkpoints, diffusers_keys, graphs, host
from support.graphs import node
from support.host_pictures import frames_of


@pytest.fixture(scope="module")
def files(base):
    """A single file, its parts under diffusers' names, and a folder of them, in the folders of the host."""
    models = base / "models"
    single = Checkpoint.open(checkpoints.write(models / "checkpoints" / "whole.safetensors"))
    parts = {
        "unet": diffusers_keys.unet(single.unet.tensors()),
        "vae": diffusers_keys.vae(single.encoder.tensors(), single.decoder.tensors()),
        "image_encoder": diffusers_keys.vision(single.vision.tensors()),
    }
    folder = models / "diffusers" / "author" / "svd"
    places = {"unet": "diffusion_models", "vae": "vae", "image_encoder": "clip_vision"}
    for part, tensors in parts.items():
        content = {key: tensor.contiguous() for key, tensor in tensors.items()}
        name = "model" if part == "image_encoder" else "diffusion_pytorch_model"
        (folder / part).mkdir(parents=True, exist_ok=True)
        save_file(content, folder / part / f"{name}.safetensors")
        (models / places[part]).mkdir(exist_ok=True)
        save_file(content, models / places[part] / f"{part}_of_diffusers.safetensors")
    (folder / "model_index.json").write_text("{}")
    return {f"{part}": f"{part}_of_diffusers.safetensors" for part in parts}


@pytest.fixture(scope="module")
def whole(server, base, files):
    return frames_of(base, server.run(graphs.first_video(seed=4, load={"checkpoint": "whole.safetensors"})))


def test_a_folder_is_offered_and_gives_the_video_of_the_single_file(server, base, files, whole):
    offered = server.get("/object_info/StillmotionLoadCheckpoint")["StillmotionLoadCheckpoint"]
    assert "author/svd/" in offered["input"]["required"]["checkpoint"][1]["options"]
    entry = server.run(graphs.first_video(seed=4, load={"checkpoint": "author/svd/"}))
    assert np.array_equal(frames_of(base, entry), whole)


def test_a_link_to_a_folder_elsewhere_is_followed_and_one_in_a_circle_ends(server, base, files):
    models = base / "models" / "diffusers"
    (models / "around").symlink_to(models)
    (models / "author" / "svd").rename(base / "elsewhere")
    try:
        (models / "author" / "svd").symlink_to(base / "elsewhere")
        offered = server.get("/object_info/StillmotionLoadCheckpoint")["StillmotionLoadCheckpoint"]
        assert "author/svd/" in offered["input"]["required"]["checkpoint"][1]["options"]
    finally:
        (models / "around").unlink()
        (models / "author" / "svd").unlink()
        (base / "elsewhere").rename(models / "author" / "svd")


def test_a_folder_is_looked_at_again_when_a_network_comes_into_it(server, base, files):
    """Whose time of change is the folder's of the network, not the model's."""

    def offered():
        node = server.get("/object_info/StillmotionLoadCheckpoint")["StillmotionLoadCheckpoint"]
        return node["input"]["required"]["checkpoint"][1]["options"]

    folder = base / "models" / "diffusers" / "growing"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    assert "growing/" not in offered()
    unet = base / "models" / "diffusion_models" / files["unet"]
    (folder / "unet" / "diffusion_pytorch_model.safetensors").hardlink_to(unet)
    assert "growing/" in offered()


def test_parts_give_the_video_of_the_single_file(server, base, files, whole):
    load = node("StillmotionLoadParts", **files)
    assert np.array_equal(frames_of(base, server.run(graphs.first_video(seed=4) | {"load": load})), whole)


def test_a_file_without_its_part_is_refused_in_words(server, base, files):
    tower = base / "models" / "clip_vision" / files["image_encoder"]
    wrong = base / "models" / "vae" / "tower.safetensors"
    wrong.write_bytes(tower.read_bytes())
    load = node("StillmotionLoadParts", **files | {"vae": wrong.name})
    entry = server.run(graphs.first_video(seed=4) | {"load": load})
    assert not host.succeeded(entry)
    message = host.error_of(entry)
    assert "tower.safetensors holds a CLIP image tower" in message and "no VAE" in message
