"""What a checkpoint is, whether it is whole, and how its networks are loaded."""

import json
import math
import re
import tracemalloc
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from stillmotion.svd_model.checkpoint import Checkpoint, is_svd, layout
from stillmotion.svd_model.checkpoint.notes import METADATA_KEY
from stillmotion.svd_model.checkpoint.official_files import OFFICIAL_FILES
from stillmotion.svd_model.checkpoint.sources import CheckpointError, TensorFile
from stillmotion.svd_model.checkpoint.variants import SV3D_U, SVD_XT, SVD_XT_IMAGE_DECODER, find_variant
from stillmotion.svd_model.networks.operations import CastingOperations
from support import checkpoints, tiny

UNET = "model.diffusion_model."
VISION = "conditioner.embedders.0.open_clip.model.visual."
CONDITION_VAE = "conditioner.embedders.3.encoder."
NETWORKS = ("unet", "decoder", "encoder", "vision")

FP8, FP8_WIDE = torch.float8_e4m3fn, torch.float8_e5m2
F64, F32, F16, BF16 = torch.float64, torch.float32, torch.float16, torch.bfloat16


def refuse(key: str):
    pytest.fail(f"the tensor {key} was read")


@cache
def tiny_shapes(kind: str = "svd") -> Mapping[str, tuple[int, ...]]:
    """The keys and shapes of a tiny checkpoint, without drawing its values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints.NamedTensors, "weight", lambda self, key, shape: torch.empty(shape))
        return {key: tuple(tensor.shape) for key, tensor in checkpoints.tensors(kind).items()}


def of_header(shapes, dtypes=None, metadata=None, path: str = "model.safetensors") -> Checkpoint:
    """A checkpoint of which only the header can be read."""
    dtypes = dict.fromkeys(shapes, F16) | (dtypes or {})
    notes = {} if metadata is None else {METADATA_KEY: json.dumps(metadata)}
    return Checkpoint(TensorFile(Path(path), 1, dict(shapes), dtypes, notes, refuse))


def without(shapes, *prefixes: str) -> dict:
    return {key: value for key, value in shapes.items() if not key.startswith(prefixes)}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Tensor]:
    return checkpoints.tensors("svd")


@pytest.fixture(scope="module")
def of_dtype(drawn):
    """The tiny svd checkpoint in memory, its tensors stored in a dtype."""

    @cache
    def build(dtype: torch.dtype) -> Checkpoint:
        tensors = {key: tensor.to(dtype) for key, tensor in drawn.items()}
        return Checkpoint(TensorFile.of_tensors(Path(f"tiny {dtype}"), tensors))

    return build


@pytest.fixture(scope="module")
def written(drawn, tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            checkpoints, "tensors", lambda kind, dtype, *_: {k: v.to(dtype) for k, v in drawn.items()}
        )
        return checkpoints.write(tmp_path_factory.mktemp("model") / "sv3d_p.safetensors", "svd", F16)


def run(name: str, network: nn.Module, dtype: torch.dtype) -> Tensor:
    """What a network gives for an input drawn from a fixed seed."""
    generator = torch.Generator().manual_seed(6)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    if name == "unet":
        return network(draw(2, 8, 8, 8), draw(2).float(), draw(2, 1, 64), draw(2, 768), 2)
    if name == "decoder":
        return network(draw(2, 4, 4, 4), 2)
    return network(draw(1, 3, 16, 16) if name == "encoder" else draw(1, 3, 224, 224))


every_network = pytest.mark.parametrize("name", NETWORKS)


class TestVariant:
    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("svd", SVD_XT),
            ("svd_image_decoder", SVD_XT_IMAGE_DECODER),
            ("sv3d_u", SV3D_U),
            ("sv3d_p", "sv3d_p"),
        ],
    )
    @pytest.mark.parametrize("path", ["svd.safetensors", "sv3d_p.safetensors", "whatever.ckpt"])
    def test_follows_from_the_keys_and_never_from_the_name(self, kind, expected, path):
        file = of_header(tiny_shapes(kind), path=path)
        assert expected in (file.variant, file.variant.name)
        assert file.variant.temporal_decoder == (kind == "svd")
        assert file.complete
        assert file.decoder.name == ("temporal decoder" if kind == "svd" else "frame-wise decoder")

    def test_of_a_file(self, written):
        file = Checkpoint.open(written)
        assert file.variant == SVD_XT
        assert file.complete
        assert Checkpoint.open(str(written)).file.path == written

    @pytest.mark.parametrize("kind", ["svd", "svd_image_decoder", "sv3d_u", "sv3d_p"])
    def test_says_what_the_networks_are_told(self, kind):
        v = of_header(tiny_shapes(kind)).variant
        assert v.vector_dim == {"sv3d_u": 256, "sv3d_p": 256 + 512 + 512}.get(kind, 3 * 256)
        assert v.orbit == kind.startswith("sv3d")
        assert v.camera == (kind == "sv3d_p")

    @pytest.mark.parametrize(("vector_dim", "temporal"), [(512, True), (256, True), (1280, True), (0, False)])
    def test_there_is_none_for_other_conditionings(self, vector_dim, temporal):
        assert find_variant(vector_dim, frame_wise_decoder=not temporal) is None


class TestLoading:
    @every_network
    @pytest.mark.parametrize(
        ("stored", "computed", "kept"),
        [
            *((F32, F32, F32), (F32, F16, F16), (F32, BF16, BF16), (F64, F32, F32)),
            *((F16, F32, F16), (F16, F16, F16), (F16, BF16, F16), (BF16, F32, BF16), (BF16, F16, BF16)),
            *((FP8, F32, FP8), (FP8, BF16, FP8), (FP8_WIDE, F16, FP8_WIDE)),
        ],
        ids=lambda dtype: str(dtype).removeprefix("torch."),
    )
    def test_tensors_stay_as_stored_where_they_are_no_wider(self, of_dtype, name, stored, computed, kept):
        file = of_dtype(stored)
        report = getattr(file, name)
        network = file.load(report, dtype=computed, device="cpu")
        state = network.state_dict()
        assert set(state) == set(report.expected)
        assert {tensor.dtype for tensor in state.values()} == {kept}
        for key, tensor in state.items():
            source = file.file.read(report.prefix + key)
            if kept == stored:
                assert tensor.data_ptr() == source.data_ptr(), "copied"
            else:
                assert torch.equal(tensor, source.to(computed))

    def test_tensors_of_a_file_are_not_copied(self, written):
        file = Checkpoint.open(written)
        network = file.load(file.encoder, dtype=F32, device="cpu")
        for key, tensor in network.state_dict().items():
            assert tensor.data_ptr() == file.file.read(file.encoder.prefix + key).data_ptr()

    @every_network
    @pytest.mark.parametrize("stored", [F16, BF16, FP8, FP8_WIDE], ids=str)
    def test_narrow_weights_compute_exactly_what_they_would_as_float32(self, of_dtype, name, stored):
        file = of_dtype(stored)
        wide = {key: file.file.read(key).float() for key in file.file.shapes}
        converted = Checkpoint(TensorFile.of_tensors(Path("wide"), wide))
        with torch.inference_mode():
            results = [
                run(name, source.load(getattr(source, name), dtype=F32, device="cpu"), F32)
                for source in (file, converted)
            ]
        assert results[0].dtype == F32
        assert results[0].isfinite().all()
        assert results[0].std() > 0
        assert torch.equal(*results)

    @every_network
    def test_networks_are_for_inference_alone(self, of_dtype, name):
        file = of_dtype(F32)
        network = file.load(getattr(file, name), dtype=F32, device="cpu")
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert not any(module.training for module in network.modules())
        assert not any(tensor.is_meta for tensor in network.state_dict().values())

    def test_operations_and_attention_are_passed_on(self, of_dtype):
        calls = []

        class Operations(CastingOperations):
            class Conv2d(CastingOperations.Conv2d):
                pass

        def attention(q, k, v, heads):
            calls.append(heads)
            return v

        file = of_dtype(F32)
        options = {"operations": Operations, "attention": attention}
        network = file.load(file.encoder, dtype=F32, device="cpu", **options)
        assert {type(m) for m in network.modules() if isinstance(m, nn.Conv2d)} == {Operations.Conv2d}
        run("encoder", network, F32)
        assert calls == [1]

    def test_tensors_of_several_dtypes_load_each_by_its_own_width(self, drawn):
        stored = {key: tensor.to(F16 if tensor.ndim > 1 else F32) for key, tensor in drawn.items()}
        file = Checkpoint(TensorFile.of_tensors(Path("mixed"), stored))
        network = file.load(file.encoder, dtype=BF16, device="cpu")
        assert {(t.ndim > 1, t.dtype) for t in network.state_dict().values()} == {(True, F16), (False, BF16)}

    @every_network
    def test_a_network_that_is_not_whole_is_refused_before_anything_is_read(self, name):
        report = getattr(of_header(tiny_shapes()), name)
        lost = [report.prefix + key for key in list(report.expected)[-5:]]
        file = of_header(without(tiny_shapes(), *lost))
        with pytest.raises(CheckpointError) as refusal:
            file.load(getattr(file, name), dtype=F32, device="cpu")
        message = str(refusal.value)
        assert f"model.safetensors: the {report.name} is not whole: 5 of {len(report.expected)}" in message
        assert all(key in message for key in lost[:3])
        assert not any(f"{key};" in message or f"{key})" in message for key in lost[3:])
        assert "Download the file again" in message and OFFICIAL_FILES in message

    def test_building_takes_no_memory_and_no_reading(self):
        golden = Path(__file__).parents[2] / "golden" / "keys_svd_xt.json"
        shapes = {key: tuple(shape) for key, shape in json.loads(golden.read_text()).items()}
        file = of_header(shapes)
        tracemalloc.start()
        network = file.unet.build(device="meta")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert all(parameter.is_meta for parameter in network.parameters())
        assert peak < 50e6


class TestReport:
    def test_counts_what_is_stored(self, of_dtype):
        report = of_dtype(F16).unet
        assert report.whole
        assert report.parameters == sum(math.prod(shape) for shape in report.expected.values())
        assert report.size == 2 * report.parameters
        assert report.dtypes == (F16,)

    def test_dtypes_are_listed_the_most_frequent_first(self):
        shapes = tiny_shapes()
        encoder = {key: shape for key, shape in shapes.items() if key.startswith(CONDITION_VAE + "encoder.")}
        dtypes = {key: F32 if len(shape) == 1 else FP8 for key, shape in encoder.items()}
        first = next(iter(encoder))
        dtypes[first] = F32  # so that the order is not that of the keys
        report = of_header(shapes, dtypes | {CONDITION_VAE + "quant_conv.weight": BF16}).encoder
        assert report.dtypes == (FP8, F32, BF16, F16)
        assert next(iter(report.expected)) == first.removeprefix(CONDITION_VAE)
        wide = sum(math.prod(shape) for key, shape in encoder.items() if dtypes[key] == F32)
        assert report.size == report.parameters + 3 * wide + 8 * 8 + 8

    def test_lists_missing_keys_with_their_prefix(self):
        lost = [CONDITION_VAE + "quant_conv.bias", UNET + "out.0.weight", UNET + "time_embed.2.bias"]
        file = of_header(without(tiny_shapes(), *lost))
        assert file.encoder.missing == (lost[0],)
        assert set(file.unet.missing) == set(lost[1:])
        assert not file.unet.whole and not file.encoder.whole and not file.complete
        assert file.vision.whole and file.decoder.whole
        full = of_header(tiny_shapes()).unet
        assert file.unet.parameters == full.parameters - 32 - 128

    def test_lists_keys_of_another_shape_with_both(self):
        key = UNET + "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
        file = of_header(tiny_shapes() | {key: (32, 33)})
        assert file.unet.mismatched == (f"{key} is [32, 33] instead of [32, 32]",)
        assert file.unet.missing == ()
        with pytest.raises(
            CheckpointError, match=r"is not whole: 1 have another shape \(.*instead of"
        ) as error:
            file.load(file.unet, dtype=F32, device="cpu")
        assert key in str(error.value)

    def test_names_both_counts_where_keys_are_missing_and_others_mismatched(self):
        lost, other = UNET + "out.0.weight", UNET + "out.0.bias"
        file = of_header(without(tiny_shapes(), lost) | {other: (1,)})
        text = file.why_incomplete(file.unet)
        assert "1 of 1428 tensors are missing and 1 have another shape" in text
        assert f"({lost}; {other} is [1] instead of [32])" in text

    @pytest.mark.parametrize("transposed", [False, True])
    def test_a_shape_of_the_same_size_is_not_the_shape(self, transposed):
        key = UNET + "time_embed.0.weight"
        file = of_header(tiny_shapes() | {key: (32, 128) if transposed else (128, 32)})
        assert file.unet.whole is not transposed

    def test_unexpected_keys_are_listed_and_known_ones_not(self):
        known = ["model_ema.decay", "denoiser.sigmas", CONDITION_VAE + "loss.logvar"]
        extra = ["cond_stage_model.x", UNET + "middle_block.3.x", VISION + "extra.weight"]
        file = of_header(tiny_shapes() | dict.fromkeys([*known, *extra], (1,)))
        assert file.complete
        assert file.unexpected() == extra
        assert set(known) <= set(file.not_needed())
        assert not set(extra) & set(file.not_needed())
        assert "conditioner.embedders.0.open_clip.model.logit_scale" in file.not_needed()

    @pytest.mark.parametrize(
        ("key", "shape"),
        [
            (VISION + "proj", (64, 48)),  # CLIP embeddings of 48 for a context of 64
            ("first_stage_model.decoder.conv_in.weight", (128, 16, 3, 3)),  # latents of 4 for a decoder of 16
            (CONDITION_VAE + "encoder.conv_in.weight", (32, 1, 3, 3)),  # pictures of one channel
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_networks_that_do_not_fit_each_other_are_not_complete(self, key, shape):
        try:
            complete = of_header(tiny_shapes() | {key: shape}).complete
        except CheckpointError:
            return
        assert not complete

    def test_a_conditioning_vae_that_lost_its_first_layer_is_not_whole(self):
        file = of_header(without(tiny_shapes(), CONDITION_VAE + "encoder.conv_in.weight"))
        assert not file.complete


class TestNumberFormats:
    @pytest.mark.parametrize(
        "key",
        [
            "scaled_fp8",
            UNET + "time_embed.0.scale_weight",
            UNET + "time_embed.0.weight_scale",
            UNET + "time_embed.0.comfy_quant",
        ],
    )
    def test_scaled_weights_are_refused(self, key):
        with pytest.raises(CheckpointError, match=r"model\.safetensors holds scaled weights") as refusal:
            of_header(tiny_shapes() | {key: ()})
        assert key in str(refusal.value)
        assert "float8" in str(refusal.value)

    @pytest.mark.parametrize("dtype", ["I8", "U8", "F8_E8M0", "C64", torch.int8, torch.bool, torch.complex64])
    @pytest.mark.parametrize("key", [UNET + "time_embed.0.weight", VISION + "proj"])
    def test_weights_that_are_no_floats_are_refused(self, key, dtype):
        name = str(dtype).removeprefix("torch.")
        with pytest.raises(CheckpointError, match=rf"holds {name} numbers \(its key {key}\)"):
            of_header(tiny_shapes(), {key: dtype})

    @pytest.mark.parametrize(
        "key",
        [
            "conditioner.embedders.0.open_clip.model.logit_scale",
            "model_ema.num_updates",
            "first_stage_model.loss.discriminator.main.3.num_batches_tracked",
        ],
    )
    def test_what_is_not_needed_may_be_of_any_kind(self, key):
        assert of_header(tiny_shapes() | {key: ()}, {key: "I64"}).complete


NUMBERS = ["num_frames", "width", "height", "head_channels", "vision_head_width"]
NOT_NUMBERS = ["16", 16.5, 16.0, [16], {}, {"a": 1}, 0, -1, -16, 8193, 10**30, math.nan, math.inf, False]


def networks_of(metadata) -> Checkpoint:
    """A checkpoint with that metadata, the networks that metadata has a say in built."""
    file = of_header(tiny_shapes(), metadata=metadata)
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
        with pytest.raises(CheckpointError, match=f"its metadata gives {key} as .*1 to 8192 is expected"):
            networks_of({key: number})

    @pytest.mark.parametrize("key", NUMBERS)
    def test_true_is_no_number(self, key):
        with pytest.raises(CheckpointError, match=f"its metadata gives {key} as True"):
            networks_of({key: True})

    @pytest.mark.parametrize("number", [7, 17, 24, 33, 8192])
    @pytest.mark.parametrize("key", ["head_channels", "vision_head_width"])
    def test_heads_that_do_not_divide_the_channels_are_refused(self, key, number):
        with pytest.raises(ValueError, match=rf"heads|{key}"):
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
            number = getattr(of_header(tiny_shapes(), metadata={key: value}).variant, key)
        except CheckpointError:
            return
        assert number == value
        assert number is None or 1 <= number <= 8192


# Each decides a size alone, so that another number there is another model and still whole.
FREE = {VISION + "positional_embedding", VISION + "conv1.weight", VISION + "proj"}
FREE |= {"first_stage_model.decoder.conv_in.weight", CONDITION_VAE + "encoder.conv_in.weight"}
WITHOUT_FALLBACK = without(tiny_shapes(), "first_stage_model.encoder.")
NEEDED_KEYS = [
    *(key for key in WITHOUT_FALLBACK if key.startswith((UNET, VISION, "first_stage_model.decoder."))),
    *(key for key in WITHOUT_FALLBACK if key.startswith(CONDITION_VAE + "encoder.")),
]
DECISIVE = [
    *(UNET + key for key in ("input_blocks.0.0.weight", "out.2.weight", "label_emb.0.0.weight")),
    *(UNET + f"input_blocks.{block}.0.in_layers.2.weight" for block in (1, 2, 4, 11)),
    *(UNET + f"input_blocks.{block}.0.op.weight" for block in (3, 6)),
    UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    *(VISION + key for key in ("class_embedding", "conv1.weight", "positional_embedding", "proj")),
    VISION + "transformer.resblocks.0.mlp.c_fc.weight",
    *(CONDITION_VAE + f"encoder.{key}.weight" for key in ("conv_in", "conv_out", "down.1.block.0.conv1")),
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
            complete = of_header(shapes).complete
        except ValueError:  # CheckpointError is one
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
            (CONDITION_VAE + "encoder.conv_in.weight", (2**62, 0)),
            (CONDITION_VAE + "encoder.conv_out.weight", (2**62, 0)),
        ],
    )
    def test_absurd_sizes_are_reported_or_refused(self, key, shape):
        try:
            complete = of_header(tiny_shapes() | {key: shape}).complete
        except ValueError:
            return
        assert not complete

    @pytest.mark.parametrize("name", ["unet", "vision", "encoder", "decoder"])
    def test_a_network_without_any_of_its_keys_lacks_those_of_the_released_size(self, name):
        report = getattr(of_header(tiny_shapes()), name)
        shapes = without(tiny_shapes(), report.prefix, "first_stage_model.encoder.")
        if name == "unet":
            shapes[UNET + "input_blocks.1.0.time_stack.x"] = (1,)
        lacking = getattr(of_header(shapes), name)
        assert len(lacking.missing) == len(lacking.expected) > 0
        assert lacking.parameters == lacking.size == 0
        assert lacking.dtypes == ()


def test_a_unet_alone_is_an_svd_without_its_other_networks():
    """Whose kind of decoder is not known, so it is called by the usual one."""
    unet = {key: tensor for key, tensor in checkpoints.tensors("svd").items() if key.startswith(layout.UNET)}
    checkpoint = Checkpoint(TensorFile.of_tensors(Path("unet.safetensors"), unet))
    assert checkpoint.variant.name == "svd_xt"
    assert checkpoint.unet.whole
    assert not checkpoint.complete


def test_networks_that_do_not_fit_together_are_named():
    proj = layout.VISION + "proj"
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
        with pytest.raises(CheckpointError) as refusal:
            Checkpoint.open(path)
        assert OFFICIAL_FILES in str(refusal.value)

    def test_they_are_the_pages_of_their_makers(self):
        pages = re.findall(r"https://huggingface\.co/stabilityai/([\w-]+)", OFFICIAL_FILES)
        assert pages == ["stable-video-diffusion-img2vid", "stable-video-diffusion-img2vid-xt", "sv3d"]
