"""Networks of a checkpoint: what is missing of them, and how they are loaded."""

import math
import tracemalloc
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.official_files import OFFICIAL_FILES
from stillmotion.svd_model.checkpoint.sources import CheckpointError, TensorFile
from stillmotion.svd_model.networks.operations import CastingOperations
from support import checkpoints, headers
from support.headers import SVD_VAE, UNET, VISION, without
from support.refusals import refusal

NETWORKS = ("unet", "decoder", "encoder", "vision")

FP8, FP8_WIDE = torch.float8_e4m3fn, torch.float8_e5m2
F64, F32, F16, BF16 = torch.float64, torch.float32, torch.float16, torch.bfloat16


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
        network = report.load(dtype=computed, device="cpu")
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
        network = file.encoder.load(dtype=F32, device="cpu")
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
                run(name, getattr(source, name).load(dtype=F32, device="cpu"), F32)
                for source in (file, converted)
            ]
        assert results[0].dtype == F32
        assert results[0].isfinite().all()
        assert results[0].std() > 0
        assert torch.equal(*results)

    @every_network
    def test_networks_are_for_inference_alone(self, of_dtype, name):
        file = of_dtype(F32)
        network = getattr(file, name).load(dtype=F32, device="cpu")
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
        network = file.encoder.load(dtype=F32, device="cpu", **options)
        assert {type(m) for m in network.modules() if isinstance(m, nn.Conv2d)} == {Operations.Conv2d}
        run("encoder", network, F32)
        assert calls == [1]

    def test_tensors_of_several_dtypes_load_each_by_its_own_width(self, drawn):
        stored = {key: tensor.to(F16 if tensor.ndim > 1 else F32) for key, tensor in drawn.items()}
        file = Checkpoint(TensorFile.of_tensors(Path("mixed"), stored))
        network = file.encoder.load(dtype=BF16, device="cpu")
        assert {(t.ndim > 1, t.dtype) for t in network.state_dict().values()} == {(True, F16), (False, BF16)}

    @every_network
    def test_a_network_that_is_not_whole_is_refused_before_anything_is_read(self, name):
        report = getattr(headers.checkpoint(headers.tiny()), name)
        lost = [report.prefix + key for key in list(report.expected)[-5:]]
        file = headers.checkpoint(without(headers.tiny(), *lost))
        facts = ("model.safetensors", report.name, f"5 of {len(report.expected)}", *lost[:3], OFFICIAL_FILES)
        with refusal(*facts) as error:
            getattr(file, name).load(dtype=F32, device="cpu")
        message = str(error.value)
        assert not any(f"{key};" in message or f"{key})" in message for key in lost[3:])
        with refusal(*facts):
            getattr(file, name).tensors()

    def test_building_takes_no_memory_and_no_reading(self):
        file = headers.checkpoint(headers.released("svd_xt"))
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
        shapes = headers.tiny()
        encoder = {key: shape for key, shape in shapes.items() if key.startswith(SVD_VAE + "encoder.")}
        dtypes = {key: F32 if len(shape) == 1 else FP8 for key, shape in encoder.items()}
        first = next(iter(encoder))
        dtypes[first] = F32  # so that the order is not that of the keys
        report = headers.checkpoint(shapes, dtypes | {SVD_VAE + "quant_conv.weight": BF16}).encoder
        assert report.dtypes == (FP8, F32, BF16, F16)
        assert next(iter(report.expected)) == first.removeprefix(SVD_VAE)
        wide = sum(math.prod(shape) for key, shape in encoder.items() if dtypes[key] == F32)
        assert report.size == report.parameters + 3 * wide + 8 * 8 + 8

    def test_lists_missing_keys_with_their_prefix(self):
        lost = [SVD_VAE + "quant_conv.bias", UNET + "out.0.weight", UNET + "time_embed.2.bias"]
        file = headers.checkpoint(without(headers.tiny(), *lost))
        assert file.encoder.missing == (lost[0],)
        assert set(file.unet.missing) == set(lost[1:])
        assert not file.unet.whole and not file.encoder.whole and not file.complete
        assert file.vision.whole and file.decoder.whole
        full = headers.checkpoint(headers.tiny()).unet
        assert file.unet.parameters == full.parameters - 32 - 128

    def test_lists_keys_of_another_shape_with_both(self):
        key = UNET + "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
        file = headers.checkpoint(headers.tiny() | {key: (32, 33)})
        assert file.unet.mismatched == (f"{key} is [32, 33] instead of [32, 32]",)
        assert file.unet.missing == ()
        with refusal("not whole", "1 have another shape", f"{key} is [32, 33] instead of [32, 32]"):
            file.unet.load(dtype=F32, device="cpu")

    def test_names_both_counts_where_keys_are_missing_and_others_mismatched(self):
        lost, other = UNET + "out.0.weight", UNET + "out.0.bias"
        file = headers.checkpoint(without(headers.tiny(), lost) | {other: (1,)})
        text = file.unet.why_incomplete()
        assert "1 of 1428 tensors are missing and 1 have another shape" in text
        assert f"({lost}; {other} is [1] instead of [32])" in text

    @pytest.mark.parametrize("transposed", [False, True])
    def test_a_shape_of_the_same_size_is_not_the_shape(self, transposed):
        key = UNET + "time_embed.0.weight"
        file = headers.checkpoint(headers.tiny() | {key: (32, 128) if transposed else (128, 32)})
        assert file.unet.whole is not transposed

    def test_unexpected_keys_are_listed_and_known_ones_not(self):
        known = ["model_ema.decay", "denoiser.sigmas", SVD_VAE + "loss.logvar"]
        extra = ["cond_stage_model.x", UNET + "middle_block.3.x", VISION + "extra.weight"]
        file = headers.checkpoint(headers.tiny() | dict.fromkeys([*known, *extra], (1,)))
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
            (SVD_VAE + "encoder.conv_in.weight", (32, 1, 3, 3)),  # pictures of one channel
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_networks_that_do_not_fit_each_other_are_not_complete(self, key, shape):
        try:
            complete = headers.checkpoint(headers.tiny() | {key: shape}).complete
        except CheckpointError:
            return
        assert not complete

    def test_a_conditioning_vae_that_lost_its_first_layer_is_not_whole(self):
        file = headers.checkpoint(without(headers.tiny(), SVD_VAE + "encoder.conv_in.weight"))
        assert not file.complete
