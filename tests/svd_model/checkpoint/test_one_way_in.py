"""Every layout of a file or folder gives the networks of the released single file, tensor for tensor."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from stillmotion.clips.settings import Settings
from stillmotion.headless.pipeline import Pipeline
from stillmotion.svd_model.checkpoint import Checkpoint, notes
from stillmotion.svd_model.checkpoint.layouts import released
from stillmotion.svd_model.checkpoint.sources import TensorFile
from support import checkpoints, diffusers_keys, headers
from support.refusals import refusal

SINGLE = Checkpoint(TensorFile.of_tensors(Path("svd.safetensors"), checkpoints.tensors("svd")))
UNET, ENCODER, DECODER, VISION = (
    network.tensors() for network in (SINGLE.unet, SINGLE.encoder, SINGLE.decoder, SINGLE.vision)
)
PARTS = {
    "unet": diffusers_keys.unet(UNET),
    "vae": diffusers_keys.vae(ENCODER, DECODER),
    "image_encoder": diffusers_keys.vision(VISION),
}
FILES = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "image_encoder": "model"}


def equal(checkpoint: Checkpoint) -> bool:
    """Whether all networks are whole, and have the single file's tensors, bit for bit."""
    pairs = zip(checkpoint.networks, SINGLE.networks, strict=True)
    return checkpoint.complete and all(
        ours.tensors().keys() == theirs.tensors().keys()
        and all(torch.equal(tensor, theirs.tensors()[key]) for key, tensor in ours.tensors().items())
        for ours, theirs in pairs
    )


def of_tensors(tensors, name="other.safetensors") -> Checkpoint:
    return Checkpoint(TensorFile.of_tensors(Path(name), tensors))


def prefixed(prefix, tensors):
    return {prefix + key: tensor for key, tensor in tensors.items()}


def save(tensors, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


def write_folder(folder: Path, variant: str = "") -> Path:
    for name, tensors in PARTS.items():
        save(tensors, folder / name / f"{FILES[name]}{variant}.safetensors")
    (folder / "model_index.json").write_text("{}")
    return folder


def write_pieces(folder: Path, tensors, name="diffusion_pytorch_model", count=3, old=False) -> Path:
    """A file in pieces with its index, as diffusers writes them."""
    places = {}
    for number in range(count):
        piece = dict(list(tensors.items())[number::count])
        file = f"{name}-{number + 1:05d}-of-{count:05d}.safetensors"
        save(piece, folder / file)
        places |= dict.fromkeys(piece, file)
    index = folder / f"{name}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each part."""
    folder = tmp_path_factory.mktemp("parts")
    return {name: save(tensors, folder / f"{name}.safetensors") for name, tensors in PARTS.items()}


class TestFolders:
    def test_a_folder_of_diffusers(self, tmp_path):
        checkpoint = Checkpoint.open(write_folder(tmp_path))
        assert equal(checkpoint)
        assert checkpoint.unexpected() == []
        assert checkpoint.frame_wise_decoder is None
        assert checkpoint.unet.path == tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
        assert equal(Checkpoint.open(tmp_path / "model_index.json"))

    def test_it_makes_the_clip_of_the_single_file(self, tmp_path):
        picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8))
        settings = Settings(num_frames=2, width=64, height=64, steps=2, seed=3)
        clips = [
            Pipeline(checkpoint, device="cpu").animate(picture, settings)
            for checkpoint in (SINGLE, Checkpoint.open(write_folder(tmp_path)))
        ]
        assert np.array_equal(clips[0].frames, clips[1].frames)
        assert torch.equal(clips[0].latents, clips[1].latents)

    def test_a_variant_in_half_precision(self, tmp_path):
        assert equal(Checkpoint.open(write_folder(tmp_path, ".fp16")))

    def test_the_plain_file_comes_before_its_variants(self, tmp_path):
        write_folder(tmp_path)
        save(
            {"conv_in.weight": torch.zeros(1)}, tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors"
        )
        assert equal(Checkpoint.open(tmp_path))

    def test_a_network_in_pieces(self, tmp_path):
        write_folder(tmp_path)
        (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
        index = write_pieces(tmp_path / "unet", PARTS["unet"])
        assert equal(Checkpoint.open(tmp_path))
        alone = Checkpoint.open(index)
        assert alone.unet.whole and alone.vision.absent
        assert {path.name for path in alone.file.all_paths()} == {
            f"diffusion_pytorch_model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)
        }

    @pytest.mark.parametrize(
        "name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "..\\x", "C:x", ".."]
    )
    def test_pieces_lie_beside_their_index(self, tmp_path, name):
        index = tmp_path / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": {"conv_in.weight": name}}))
        with refusal("beside its index", repr(name)):
            Checkpoint.open(index)

    @pytest.mark.parametrize(
        "content", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 9999]
    )
    def test_an_index_without_files(self, tmp_path, content):
        index = tmp_path / "model.safetensors.index.json"
        index.write_text(content)
        with refusal("model.safetensors.index.json", "download it again"):
            Checkpoint.open(index)

    def test_a_piece_that_lacks_its_tensor(self, tmp_path):
        index = write_pieces(tmp_path, {"a": torch.zeros(1), "b": torch.zeros(1)}, count=2)
        content = json.loads(index.read_text())
        content["weight_map"]["c"] = content["weight_map"]["a"]
        index.write_text(json.dumps(content))
        with refusal("has c in", "download both again"):
            Checkpoint.open(index)

    def test_a_model_of_the_hubs_cache(self, tmp_path):
        for revision in ("0" * 40, "1" * 40):
            write_folder(tmp_path / "snapshots" / revision)
        (tmp_path / "refs").mkdir()
        (tmp_path / "refs" / "main").write_text("1" * 40)
        path = Checkpoint.open(tmp_path).unet.path
        assert path.parent == tmp_path / "snapshots" / ("1" * 40) / "unet"

    def test_a_folder_with_one_checkpoint(self, tmp_path):
        checkpoints.write(tmp_path / "svd.safetensors")
        assert equal(Checkpoint.open(tmp_path))
        checkpoints.write(tmp_path / "svd_xt.safetensors")
        with refusal("2 .safetensors files (svd.safetensors, svd_xt.safetensors)", "name one"):
            Checkpoint.open(tmp_path)

    def test_a_folder_without_weights(self, tmp_path):
        with refusal("a folder without weights", "unet/"):
            Checkpoint.open(tmp_path)

    def test_the_configuration_says_what_keys_do_not(self, tmp_path):
        write_folder(tmp_path)
        config = {
            "num_frames": 14,
            "block_out_channels": [32, 64, 128, 128],
            "num_attention_heads": [1, 2, 4, 4],
        }
        (tmp_path / "unet" / "config.json").write_text(json.dumps(config))
        checkpoint = Checkpoint.open(tmp_path)
        assert (checkpoint.variant.num_frames, checkpoint.unet.params.head_channels) == (14, 32)

    def test_heads_of_several_widths_are_an_old_mistake(self, tmp_path):
        write_folder(tmp_path)
        config = {"block_out_channels": [320, 640, 1280, 1280], "num_attention_heads": [5, 10, 10, 20]}
        (tmp_path / "unet" / "config.json").write_text(json.dumps(config))
        assert Checkpoint.open(tmp_path).unet.params == SINGLE.unet.params


class TestParts:
    def test_missing_parts_come_from_other_files(self, files):
        checkpoint = Checkpoint.open(files["unet"], vae=files["vae"], image_encoder=files["image_encoder"])
        assert equal(checkpoint)
        assert [network.path for network in checkpoint.networks] == [
            files["unet"], files["vae"], files["vae"], files["image_encoder"],
        ]  # fmt: skip
        assert equal(Checkpoint.at(checkpoint.places))

    def test_a_part_replaces_the_checkpoints(self, files, tmp_path):
        zero = {key: torch.zeros_like(tensor) for key, tensor in checkpoints.tensors("svd").items()}
        base = save(zero, tmp_path / "zero.safetensors")
        replaced = Checkpoint.open(base, unet=files["unet"])
        assert torch.equal(replaced.unet.tensors()["out.2.weight"], UNET["out.2.weight"])
        assert not replaced.vision.tensors()["proj"].any()
        assert equal(Checkpoint.open(base, **files))

    def test_a_part_may_come_from_a_whole_checkpoint(self, files, tmp_path):
        whole = checkpoints.write(tmp_path / "svd.safetensors")
        assert equal(Checkpoint.open(files["unet"], vae=whole, image_encoder=whole))

    @pytest.mark.parametrize("as_tensors", [False, True])
    @pytest.mark.parametrize("part", [None, "unet", "image_encoder"])
    def test_notes_are_those_of_the_file_that_has_their_part(self, tmp_path, part, as_tensors):
        def noted(name, said):
            tensors = checkpoints.tensors("svd") | (notes.as_tensors(said) if as_tensors else {})
            metadata = None if as_tensors else {notes.METADATA_KEY: json.dumps(said)}
            save_file(tensors, tmp_path / name, metadata)
            return tmp_path / name

        first = noted("first.safetensors", {"num_frames": 7, "head_channels": 32, "vision_head_width": 32})
        other = noted("other.safetensors", {"num_frames": 9})
        opened = Checkpoint.open(first, **({} if part is None else {part: other}))
        unet = {"num_frames": 9} if part == "unet" else {"num_frames": 7, "head_channels": 32}
        tower = {} if part == "image_encoder" else {"vision_head_width": 32}
        assert opened.notes == unet | tower
        assert opened.vision.params.head_width == (16 if part == "image_encoder" else 32)

    def test_a_file_without_the_part(self, files):
        with refusal("vae.safetensors", "a temporal VAE", "no CLIP image tower"):
            Checkpoint.open(files["unet"], image_encoder=files["vae"])

    def test_a_checkpoint_says_which_network_is_missing(self, files):
        alone = Checkpoint.open(files["unet"])
        assert not alone.complete
        assert alone.misfits() == []
        with refusal("unet.safetensors has no CLIP image tower", "add a file with one"):
            alone.vision.tensors()


NAMED = {
    "bare released UNet": UNET,
    "UNet behind model.": prefixed("model.", UNET),
    "UNet behind diffusion_model.": prefixed("diffusion_model.", UNET),
    "UNet behind unet.": prefixed("unet.", UNET),
    "UNet of diffusers": PARTS["unet"],
    "UNet of diffusers behind unet.": prefixed("unet.", PARTS["unet"]),
    "compiled UNet of diffusers": prefixed("_orig_mod.", PARTS["unet"]),
    "UNet of diffusers in parallel training": prefixed("module.", PARTS["unet"]),
    "both": prefixed("module._orig_mod.", PARTS["unet"]),
    "compiled inside": prefixed("model.diffusion_model._orig_mod.", UNET),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_unet_in_any_naming(name):
    found = of_tensors(NAMED[name])
    assert found.unet.whole and found.vision.absent and found.decoder.absent
    assert all(torch.equal(tensor, UNET[key]) for key, tensor in found.unet.tensors().items())
    assert found.unexpected() == []


WHOLE = checkpoints.tensors("svd")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_forward_module.", "module._orig_mod."])
def test_a_wrapped_checkpoint(prefix):
    assert equal(of_tensors(prefixed(prefix, WHOLE)))


@pytest.mark.parametrize("state", ["state_dict", "module", "model", "model_state_dict"])
def test_the_state_of_a_trainer(tmp_path, state):
    path = tmp_path / "last.ckpt"
    torch.save({"epoch": 3, "lr": torch.tensor(1.0), state: WHOLE, "optimizer": {"state": {0: {}}}}, path)
    assert equal(Checkpoint.open(path))


def test_parts_in_one_file():
    vae = {key.replace("first_stage_model.", "vae."): t for key, t in WHOLE.items()}
    assert equal(of_tensors(prefixed("unet.", PARTS["unet"]) | prefixed("vae.", PARTS["vae"])
                            | prefixed("image_encoder.", PARTS["image_encoder"])))  # fmt: skip
    assert "vae.decoder.conv_in.weight" in vae


def test_averaged_weights_alone():
    names = {key: "model_ema." + ("diffusion_model." + key).replace(".", "") for key in UNET}
    others = {key: tensor for key, tensor in WHOLE.items() if not key.startswith(released.UNET)}
    averaged = {names[key]: tensor for key, tensor in UNET.items()}
    assert equal(of_tensors(others | averaged))
    kept = of_tensors(WHOLE | {key: torch.zeros_like(tensor) for key, tensor in averaged.items()})
    assert equal(kept)


def test_old_numbers_of_positions_are_ignored():
    numbers = {"vision_model.embeddings.position_ids": torch.arange(257)[None]}
    tower = of_tensors(UNET | PARTS["image_encoder"] | numbers)
    assert tower.vision.whole and tower.unexpected() == []


class TestScaled:
    """Float8 weights with scales, in both of ComfyUI's forms."""

    KEY = "out.2.weight"

    def scaled(self, scale_name, **more):
        weight = UNET[self.KEY]
        scale = weight.abs().max() / 448
        stored = (weight / scale).to(torch.float8_e4m3fn)
        expected = (stored.float() * scale).half()
        layer = released.UNET + self.KEY.removesuffix("weight")
        return WHOLE | {layer + "weight": stored, layer + scale_name: scale, **more}, expected

    @pytest.mark.parametrize(
        ("scale_name", "marks"),
        [
            ("scale_weight", {released.UNET + "scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)}),
            (
                "weight_scale",
                {
                    released.UNET + "out.2.comfy_quant": torch.tensor(
                        list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8
                    )
                },
            ),
        ],
    )
    def test_weights_are_products(self, scale_name, marks):
        tensors, expected = self.scaled(scale_name, **marks)
        checkpoint = of_tensors(tensors)
        assert checkpoint.complete and checkpoint.unexpected() == []
        assert torch.equal(checkpoint.unet.tensors()[self.KEY], expected)

    @pytest.mark.parametrize("note", [b'{"format": "nvfp4"}', b"[]", b"", b"\xff", b"[" * 4000])
    def test_other_formats_are_refused(self, note):
        mark = torch.tensor(list(note), dtype=torch.uint8)
        tensors, _ = self.scaled("weight_scale", **{released.UNET + "out.2.comfy_quant": mark})
        with refusal("other.safetensors", "float8_e4m3fn", "float16"):
            of_tensors(tensors)

    def test_a_scale_for_each_row_is_refused(self):
        tensors, _ = self.scaled("weight_scale")
        tensors[released.UNET + "out.2.weight_scale"] = torch.ones(4)
        with refusal("scales of shape [4]", "float16"):
            of_tensors(tensors)


@pytest.mark.parametrize(
    "name", ["diffusers_svd_unet", "animatelcm_svd_xt", "diffusers_svd_vae", "diffusers_svd_image_encoder"]
)
def test_files_of_full_size_map_onto_our_networks(name):
    """Beside a UNet where they have none: nothing is missing, and nothing is left over."""
    shapes = json.loads((headers.GOLDEN / "family" / f"keys_{name}.json").read_text())
    whole = headers.released("svd_xt")
    unet = {} if "unet" in name or "lcm" in name else headers.only(whole, headers.UNET)
    checkpoint = headers.checkpoint({key: tuple(shape) for key, shape in shapes.items()} | unet)
    networks = {
        "diffusers_svd_vae": (checkpoint.encoder, checkpoint.decoder),
        "diffusers_svd_image_encoder": (checkpoint.vision,),
    }.get(name, (checkpoint.unet,))
    assert all(network.whole for network in networks)
    assert checkpoint.unexpected() == checkpoint.not_needed() == []
    released_shapes = {network.name: network.expected for network in headers.checkpoint(whole).networks}
    assert all(network.expected == released_shapes[network.name] for network in networks)
