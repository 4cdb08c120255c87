"""What a checkpoint is: its variant, its notes, and whether its networks fit each other."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from stillmotion.svd_model.checkpoint import Checkpoint, is_svd
from stillmotion.svd_model.checkpoint.official_files import OFFICIAL_FILES
from stillmotion.svd_model.checkpoint.sources import CheckpointError, TensorFile
from stillmotion.svd_model.checkpoint.variants import (
    MOTIONCTRL_SVD,
    SV3D_U,
    SVD_XT,
    SVD_XT_IMAGE_DECODER,
    find_variant,
)
from support import checkpoints, headers, tiny
from support.headers import SVD_VAE, UNET, VISION, refuse, without
from support.refusals import refusal


class TestVariant:
    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("svd", SVD_XT),
            ("svd_image_decoder", SVD_XT_IMAGE_DECODER),
            ("sv3d_u", SV3D_U),
            ("sv3d_p", "sv3d_p"),
            ("motionctrl_svd", MOTIONCTRL_SVD),
        ],
    )
    @pytest.mark.parametrize("path", ["svd.safetensors", "sv3d_p.safetensors", "whatever.ckpt"])
    def test_follows_from_the_keys_and_never_from_the_name(self, kind, expected, path):
        file = headers.checkpoint(headers.tiny(kind), path=path)
        assert expected in (file.variant, file.variant.name)
        temporal = kind in ("svd", "motionctrl_svd")
        assert file.variant.temporal_decoder == temporal
        assert file.complete
        assert file.decoder.name == ("temporal decoder" if temporal else "frame-wise decoder")

    def test_of_a_file(self, tmp_path):
        written = checkpoints.write(tmp_path / "sv3d_p.safetensors", sizes=tiny.SMALL)
        file = Checkpoint.open(written)
        assert file.variant == SVD_XT
        assert file.complete
        assert Checkpoint.open(str(written)).file.path == written

    @pytest.mark.parametrize("kind", ["svd", "svd_image_decoder", "sv3d_u", "sv3d_p", "motionctrl_svd"])
    def test_says_what_the_networks_are_told(self, kind):
        v = headers.checkpoint(headers.tiny(kind)).variant
        assert v.vector_dim == {"sv3d_u": 256, "sv3d_p": 256 + 512 + 512}.get(kind, 3 * 256)
        assert v.orbit == kind.startswith("sv3d")
        assert v.camera == (kind == "sv3d_p")
        assert v.camera_dim == (12 if kind == "motionctrl_svd" else 0)

    @pytest.mark.parametrize(("vector_dim", "temporal"), [(512, True), (256, True), (1280, True), (0, False)])
    def test_there_is_none_for_other_conditionings(self, vector_dim, temporal):
        assert find_variant(vector_dim, frame_wise_decoder=not temporal) is None


NUMBERS = ["num_frames", "width", "height", "head_channels", "vision_head_width"]
NOT_NUMBERS = ["16", 16.5, 16.0, [16], {}, {"a": 1}, 0, -1, -16, 8193, 10**30, math.nan, math.inf, False]


def networks_of(metadata) -> Checkpoint:
    """A checkpoint with that metadata, the networks that metadata has a say in built."""
    file = headers.checkpoint(headers.tiny(), metadata=metadata)
    assert file.vision.whole
    if isinstance(metadata, dict) and "head_channels" in metadata:
        assert file.unet.whole
    return file


class TestMetadata:
    def test_sizes_are_taken_from_it(self):
        sizes = {"num_frames": 14, "width": 128, "height": 192, "head_channels": 8, "vision_head_width": 32}
        file = networks_of(sizes)
        assert (file.variant.num_frames, file.variant.width, file.variant.height) == (14, 128, 192)
        assert file.unet.params.head_channels == 8
        assert file.vision.params.head_width == 32
        assert file.complete

    @pytest.mark.parametrize("metadata", [None, {}, {"somebody's": "note"}, [], "text", {"width": None}])
    def test_without_sizes_the_variant_has_its_own(self, metadata):
        assert networks_of(metadata).variant == SVD_XT

    @pytest.mark.parametrize("number", NOT_NUMBERS, ids=str)
    @pytest.mark.parametrize("key", NUMBERS)
    def test_what_is_no_number_in_range_is_refused_in_words(self, key, number):
        with refusal("model.safetensors", key, repr(number), "1 to 8192"):
            networks_of({key: number})

    @pytest.mark.parametrize("key", NUMBERS)
    def test_true_is_no_number(self, key):
        with refusal("model.safetensors", f"{key} as True", "1 to 8192"):
            networks_of({key: True})

    @pytest.mark.parametrize("number", [7, 17, 24, 33, 8192])
    @pytest.mark.parametrize("key", ["head_channels", "vision_head_width"])
    def test_heads_that_do_not_divide_the_channels_are_refused(self, key, number):
        with refusal("model.safetensors", number, "heads"):
            networks_of({key: number})

    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    @given(
        key=st.sampled_from(["num_frames", "width", "height"]),
        value=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
            ),
            max_leaves=3,
        ),
    )
    def test_any_value_is_a_number_in_range_or_refused(self, key, value):
        try:
            number = getattr(headers.checkpoint(headers.tiny(), metadata={key: value}).variant, key)
        except CheckpointError:
            return
        assert number == value
        assert number is None or 1 <= number <= 8192


# Each decides a size alone, so that another number there is another model and still whole.
FREE = {VISION + "positional_embedding", VISION + "conv1.weight", VISION + "proj"}
FREE |= {"first_stage_model.decoder.conv_in.weight", SVD_VAE + "encoder.conv_in.weight"}
WITHOUT_FALLBACK = without(headers.tiny(), "first_stage_model.encoder.")
NEEDED_KEYS = [
    *(key for key in WITHOUT_FALLBACK if key.startswith((UNET, VISION, "first_stage_model.decoder."))),
    *(key for key in WITHOUT_FALLBACK if key.startswith(SVD_VAE + "encoder.")),
]
DECISIVE = [
    *(UNET + key for key in ("input_blocks.0.0.weight", "out.2.weight", "label_emb.0.0.weight")),
    *(UNET + f"input_blocks.{block}.0.in_layers.2.weight" for block in (1, 2, 4, 11)),
    *(UNET + f"input_blocks.{block}.0.op.weight" for block in (3, 6)),
    UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    *(VISION + key for key in ("class_embedding", "conv1.weight", "positional_embedding", "proj")),
    VISION + "transformer.resblocks.0.mlp.c_fc.weight",
    *(SVD_VAE + f"encoder.{key}.weight" for key in ("conv_in", "conv_out", "down.1.block.0.conv1")),
    *(f"first_stage_model.decoder.{key}.weight" for key in ("conv_in", "norm_out", "up.1.block.0.conv1")),
]


class TestDamagedHeaders:
    @settings(max_examples=25, deadline=None, derandomize=True, database=None)
    @given(
        changes=st.dictionaries(
            st.sampled_from(DECISIVE) | st.sampled_from(NEEDED_KEYS),
            st.none() | st.lists(st.sampled_from([0, 1, 2, 3, 31, 32, 64, 96, 1000]), max_size=5).map(tuple),
            min_size=1,
            max_size=3,
        )
    )
    def test_lost_and_reshaped_tensors_are_reported_and_never_crash(self, changes):
        changed = {key for key, shape in changes.items() if WITHOUT_FALLBACK[key] != shape}
        shapes = {key: shape for key, shape in (WITHOUT_FALLBACK | changes).items() if shape is not None}
        try:
            complete = headers.checkpoint(shapes).complete
        except CheckpointError:
            return
        assert not complete or changed <= FREE

    # have any other dimension, and takes no room in the file)
    @pytest.mark.parametrize(
        ("key", "shape"),
        [
            *((VISION + "class_embedding", (width,)) for width in (1, 2, 3)),
            (VISION + "proj", (0, 2**62)),
            (VISION + "positional_embedding", (2**60, 0)),
            (VISION + "conv1.weight", (0, 0, 0, 2**40)),
            (VISION + "class_embedding", (2**62, 0)),
            (VISION + "transformer.resblocks.0.mlp.c_fc.weight", (2**62, 0)),
            (UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight", (0, 2**62)),
            (UNET + "input_blocks.0.0.weight", (2**62, 0)),
            ("first_stage_model.decoder.norm_out.weight", (2**62, 0)),
            (SVD_VAE + "encoder.conv_in.weight", (2**62, 0)),
            (SVD_VAE + "encoder.conv_out.weight", (2**62, 0)),
        ],
    )
    def test_absurd_sizes_are_reported_or_refused(self, key, shape):
        try:
            complete = headers.checkpoint(headers.tiny() | {key: shape}).complete
        except CheckpointError:
            return
        assert not complete

    @pytest.mark.parametrize("name", ["unet", "vision", "encoder", "decoder"])
    def test_a_network_without_any_of_its_keys_lacks_those_of_the_released_size(self, name):
        report = getattr(headers.checkpoint(headers.tiny()), name)
        shapes = without(headers.tiny(), report.prefix, "first_stage_model.encoder.")
        if name == "unet":
            shapes[UNET + "input_blocks.1.0.time_stack.x"] = (1,)
        lacking = getattr(headers.checkpoint(shapes), name)
        assert len(lacking.missing) == len(lacking.expected) > 0
        assert lacking.parameters == lacking.size == 0
        assert lacking.dtypes == ()


def test_a_unet_alone_is_an_svd_without_its_other_networks():
    """Whose kind of decoder is not known, so it is called by the usual one."""
    unet = {key: tensor for key, tensor in checkpoints.tensors("svd").items() if key.startswith(UNET)}
    checkpoint = Checkpoint(TensorFile.of_tensors(Path("unet.safetensors"), unet))
    assert checkpoint.variant.name == "svd_xt"
    assert checkpoint.unet.whole
    assert not checkpoint.complete


def test_networks_that_do_not_fit_together_are_named():
    proj = VISION + "proj"
    tensors = checkpoints.tensors("svd") | {proj: torch.zeros(64, 48)}
    checkpoint = Checkpoint(TensorFile.of_tensors(Path("svd.safetensors"), tensors))
    assert checkpoint.misfits() == ["48 numbers in the CLIP embedding, but 64 in the context of the UNet"]
    assert not checkpoint.complete


json_headers = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
).map(lambda value: json.dumps(value).encode())


class TestALookAtAFile:
    @pytest.mark.parametrize("kind", checkpoints.VECTOR_DIMS)
    def test_every_variant_is_known_by_its_header(self, tmp_path, kind):
        assert is_svd(checkpoints.write(tmp_path / "any name.safetensors", kind, sizes=tiny.SMALL))

    def test_another_model_is_none(self, tmp_path):
        save_file({"lora_unet.lora_down.weight": torch.zeros(4, 4)}, tmp_path / "lora.safetensors")
        assert not is_svd(tmp_path / "lora.safetensors")

    def test_an_old_file_is_not_read_for_it(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch, "load", lambda *_, **__: refuse("of a pickle"))
        (tmp_path / "old.ckpt").write_bytes(b"PK\x03\x04")
        assert not is_svd(tmp_path / "old.ckpt")

    @settings(max_examples=200, deadline=None)
    @given(st.integers(0, 2**64 - 1) | st.integers(0, 200), st.binary(max_size=200) | json_headers)
    def test_no_file_raises(self, tmp_path_factory, length, content):
        file = tmp_path_factory.getbasetemp() / "anything.safetensors"
        file.write_bytes(length.to_bytes(8, "little") + content)
        assert not is_svd(file)

    def test_nor_a_folder_nor_one_that_is_not_there(self, tmp_path):
        assert not is_svd(tmp_path)
        assert not is_svd(tmp_path / "gone.safetensors")


class TestWhereToGetAnother:
    """Where another file is the remedy, the message says where the released ones are."""

    @pytest.mark.parametrize("name", ["missing", "folder", "empty", "page", "cut", "hollow"])
    def test_of_what_is_no_checkpoint(self, tmp_path, name):
        path = tmp_path / f"{name}.safetensors"
        if name == "folder":
            path.mkdir()
        elif name in ("cut", "hollow"):
            save_file({} if name == "hollow" else {"x": torch.zeros(9)}, path)
            path.write_bytes(path.read_bytes()[: -10 if name == "cut" else None])
        elif name != "missing":
            path.write_bytes(b"<!DOCTYPE html><title>Access denied</title>" if name == "page" else b"")
        with refusal(name, OFFICIAL_FILES):
            Checkpoint.open(path)

    def test_they_are_the_pages_of_their_makers(self):
        pages = re.findall(r"https://huggingface\.co/stabilityai/([\w-]+)", OFFICIAL_FILES)
        assert pages == ["stable-video-diffusion-img2vid", "stable-video-diffusion-img2vid-xt", "sv3d"]
