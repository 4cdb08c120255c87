"""Files with faults drawn at random: each is loaded, or refused in one sentence, and never taken for another.

STILLMOTION_FUZZ is the count of faulty headers a kind, STILLMOTION_FUZZ_SEED the first seed.
"""

import io
import json
import os
import time
from collections.abc import Callable
from functools import cache
from random import Random

import pytest
import torch
from safetensors.torch import save

from stillmotion.headless.commands.inspect import describe
from stillmotion.svd_model.checkpoint import Checkpoint, CheckpointError
from stillmotion.svd_model.checkpoint.layouts import released
from stillmotion.svd_model.checkpoint.small_decoders import open_small_decoder, small_decoder_of
from stillmotion.svd_model.networks.taesd import SmallDecoder, SmallDecoderParams
from support import checkpoints, diffusers_keys, golden_family, headers, tiny
from support.fuzzing import Header, mutated
from support.headers import SVD_VAE, UNET, VISION, Shapes, only

COUNT = int(os.environ.get("STILLMOTION_FUZZ", "30"))
FIRST = int(os.environ.get("STILLMOTION_FUZZ_SEED", "0"))
MANY = 10_000
SECONDS = 1500
"""Budget of a kind's many headers."""

FIRST_STAGE = "first_stage_model."


def inside(shapes: Shapes, *prefixes: str) -> dict[str, torch.Tensor]:
    """Tensors on meta below prefixes, which are taken off."""
    return {
        key[len(prefix) :]: torch.empty(shape, device="meta")
        for prefix in prefixes
        for key, shape in shapes.items()
        if key.startswith(prefix)
    }


def shapes_of(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def diffusers_vae(whole: Shapes) -> dict[str, torch.Tensor]:
    encoder, decoder = inside(whole, SVD_VAE), inside(whole, FIRST_STAGE)
    encoder = {key: value for key, value in encoder.items() if key.startswith(("encoder.", "quant_conv."))}
    return diffusers_keys.vae(encoder, {k: v for k, v in decoder.items() if k.startswith("decoder.")})


@cache
def shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a kind of file, without a fault."""
    if kind in checkpoints.VECTOR_DIMS:
        return headers.tiny(kind, tiny.SMALL)
    small, whole = (
        headers.tiny("svd", tiny.SMALL),
        headers.tiny(),
    )  # names in diffusers' layouts need four levels
    found = {
        "unet": lambda: only(small, UNET),
        "bare_unet": lambda: shapes_of(inside(small, UNET)),
        "diffusers_unet": lambda: shapes_of(diffusers_keys.unet(inside(whole, UNET))),
        "vae": lambda: shapes_of(inside(small, FIRST_STAGE)),
        "diffusers_vae": lambda: shapes_of(diffusers_vae(whole)),
        "image_encoder": lambda: shapes_of(diffusers_keys.vision(inside(whole, VISION))),
        "open_clip": lambda: {f"visual.{key}": value.shape for key, value in inside(whole, VISION).items()},
        "lora": lambda: golden_family.keys("tiny_lora_attention"),
        "diffusers_lora": lambda: golden_family.keys("lora_diffusers_r4"),
        "controlnet": lambda: golden_family.keys("tiny_controlnet"),
        "controlnext": lambda: golden_family.keys("tiny_controlnext_v2"),
        "taesd": lambda: golden_family.keys("taesd_decoder"),
        "taesdv": lambda: golden_family.keys("taesdv"),
        "garbage": lambda: {"a": (1,), "weight": (), "": (3, 4), "model.": (2,), "0.0.0": (5,) * 5},
    }[kind]()
    return {key: tuple(shape) for key, shape in found.items()}


KINDS = (
    *checkpoints.VECTOR_DIMS,
    *("unet", "bare_unet", "diffusers_unet", "vae", "diffusers_vae", "image_encoder", "open_clip"),
    *("lora", "diffusers_lora", "controlnet", "controlnext", "taesd", "taesdv", "garbage"),
)
NETWORKS = ("unet", "decoder", "encoder", "vision")


def run(name: str, network: torch.nn.Module) -> None:
    """A pass on meta over the smallest clip of two frames."""

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(shape, device="meta")

    params = network.params
    if name == "unet":
        side = 2 ** (len(params.channel_mult) - 1)
        x = empty(2, params.in_channels, side, side)
        context = empty(2, 1, params.context_dim)
        out = network(x, empty(2), context, empty(2, params.vector_dim), 2)
        assert out.shape == (2, params.out_channels, side, side)
    elif name == "decoder":
        assert network(empty(2, params.z_channels, 2, 2), 2).shape[:2] == (2, params.image_channels)
    elif name == "encoder":
        side = 2 * params.downscale
        assert network(empty(1, 3, side, side)).shape[:2] == (1, params.z_channels)
    else:
        assert network(empty(1, 3, *[params.image_size] * 2)).shape == (1, params.output_dim)


@cache
def run_once(name: str, build: Callable, params, options: tuple) -> None:
    """A pass through a network of certain sizes, whatever file it is from."""
    run(name, build(params, **dict(options), device="meta"))


def load_on_meta(checkpoint: Checkpoint) -> None:
    with torch.inference_mode():
        for name in NETWORKS:
            part = getattr(checkpoint, name)
            part.load(dtype=torch.float32, device="meta")
            run_once(name, part.build.func, part.params, tuple(part.build.keywords.items()))


def check_words(error: CheckpointError, place: str = "fuzzed") -> None:
    """Asserts that a message is a sentence, or a few in one line, and says which file it is about."""
    message = str(error)
    assert place in message
    assert message.endswith((".", ").")), message
    assert "\n" not in message, message
    assert "Traceback" not in message, message
    assert len(message) < 3000, message


def verdict(header: Header) -> Checkpoint | None:
    """The checkpoint in a file, None where it was refused; whole ones are loaded and run."""
    try:
        checkpoint = Checkpoint(header.file())
        assert ("verdict      whole" in describe(checkpoint)) == checkpoint.complete
        assert checkpoint.latent_colours is None or checkpoint.notes
        for part in checkpoint.networks:
            assert part.whole or part.why_incomplete()
    except CheckpointError as error:
        check_words(error)
        return None
    if checkpoint.complete:
        load_on_meta(checkpoint)
    return checkpoint


@cache
def sound(kind: str) -> Checkpoint:
    """The checkpoint in a kind of file without a fault."""
    return Checkpoint(Header(shapes(kind)).file())


def check(kind: str, header: Header) -> None:
    """Asserts that a faulty file is loaded or refused, and taken for whole only where nothing needed differs.

    A change of one width everywhere, or fewer layers, make a network of other sizes.
    """
    checkpoint = verdict(header)
    try:
        small_decoder_of(header.file())
    except CheckpointError as error:
        check_words(error)
    if checkpoint is None or not checkpoint.complete:
        return
    assert kind in checkpoints.VECTOR_DIMS, f"{kind} was taken for {checkpoint.variant.name}"
    original = sound(kind)
    for name in NETWORKS:
        found, expected = getattr(checkpoint, name), getattr(original, name)
        assert (
            found.name != expected.name
            or found.prefix != expected.prefix
            or found.params != expected.params
            or all(
                checkpoint.file.shapes[found.prefix + key] == shape
                for key, shape in expected.expected.items()
            )
        )
        below = {key for key in checkpoint.file.shapes if key.startswith(found.prefix)}
        extra = below - {found.prefix + key for key in found.expected}
        assert extra <= {*checkpoint.unexpected(), *checkpoint.not_needed(), *_taken(checkpoint)}


def _taken(checkpoint: Checkpoint) -> set[str]:
    """Keys that a network of a checkpoint has."""
    return {part.prefix + key for part in checkpoint.networks for key in part.expected}


def fuzz(kind: str, first: int, count: int, seconds: float = float("inf")) -> int:
    """Checks that many faulty headers, or as many as the time allows; returns how many they were."""
    end = time.monotonic() + seconds
    for number in range(count):
        seed = first + number
        header = mutated(shapes(kind), Random(f"{kind} {seed}"))
        try:
            check(kind, header)
        except Exception as error:
            pytest.fail(f"{kind}, seed {seed}: {type(error).__name__}: {error}")
        if time.monotonic() > end:
            return number + 1
    return count


@cache
def contents() -> dict[str, bytes]:
    """Small sound files by their suffix."""
    narrow = SmallDecoder(SmallDecoderParams(2), device="cpu").state_dict()
    zipped, old = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": narrow}, zipped)
    torch.save(narrow, old, _use_new_zipfile_serialization=False)
    notes = {"stillmotion": json.dumps({"head_channels": 16})}
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(narrow, "fuzzed.safetensors")}
    return {
        ".safetensors": save(narrow, notes),
        ".ckpt": zipped.getvalue(),
        ".pt": old.getvalue(),
        ".safetensors.index.json": json.dumps(index).encode(),
    }


def with_faults(content: bytes, random: Random) -> bytes:
    """Bytes with one to five faults: others in their place, some cut out, some put in, or an end."""
    data = bytearray(content)
    for _ in range(random.randint(1, 5)):
        # Most of what can be wrong is in the beginning of a file, or in its end.
        place = random.choice((random.randrange(200), random.randrange(len(data)), len(data) - 99)) % len(
            data
        )
        some = random.randbytes(random.choice((1, 2, 8)))
        fault = random.choice(("other", "other", "cut", "put", "end"))
        if fault == "end":
            del data[max(1, place) :]
        else:
            data[place : place + (0 if fault == "put" else len(some))] = b"" if fault == "cut" else some
        data = data or bytearray(b"0")
    return bytes(data)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", contents())
def test_faulty_bytes_are_loaded_or_refused_in_words(suffix, tmp_path):
    """A suffix that belongs to other contents is a fault as well."""
    print(f"{suffix}: seeds {FIRST} to {FIRST + 3 * COUNT - 1}")  # noqa: T201 (pytest shows it with a failure)
    for seed in range(FIRST, FIRST + 3 * COUNT):
        random = Random(f"{suffix} {seed}")
        path = tmp_path / f"fuzzed{random.choice((suffix, suffix, *contents()))}"
        path.write_bytes(with_faults(contents()[suffix], random))
        for open_file in (Checkpoint.open, open_small_decoder):
            try:
                open_file(path)
            except CheckpointError as error:
                check_words(error, str(tmp_path))  # an index may name another file
            except Exception as error:
                pytest.fail(f"{suffix}, seed {seed}: {type(error).__name__}: {error}")
        path.unlink()


@pytest.mark.parametrize("kind", checkpoints.VECTOR_DIMS)
def test_without_a_fault_it_is_whole(kind):
    checkpoint = verdict(Header(shapes(kind)))
    assert checkpoint is not None and checkpoint.complete


@pytest.mark.parametrize("lost", [".time_stack.", ".mix_factor", ".time_mix_conv."])
def test_a_temporal_decoder_without_some_of_its_layers_is_not_taken_for_a_frame_wise_one(lost):
    decoder = FIRST_STAGE + "decoder."
    whole = shapes("svd")
    left = {key: whole[key] for key in whole if not (key.startswith(decoder) and lost in key)}
    checkpoint = verdict(Header(left))
    assert checkpoint is not None
    assert checkpoint.variant.temporal_decoder
    assert not checkpoint.complete


@pytest.mark.parametrize("lost", ["post_quant_conv.weight", "post_quant_conv.bias", "post_quant_conv."])
def test_a_frame_wise_decoder_without_its_first_convolution_is_not_whole(lost):
    whole = shapes("svd_image_decoder")
    checkpoint = verdict(Header({key: whole[key] for key in whole if not key.startswith(FIRST_STAGE + lost)}))
    assert checkpoint is not None and not checkpoint.complete
    assert set(checkpoint.decoder.missing) == {key for key in whole if key.startswith(FIRST_STAGE + lost)}


@pytest.mark.parametrize("lost", ["quant_conv.weight", "quant_conv.bias", "quant_conv."])
def test_an_encoder_of_the_first_stage_without_its_last_convolution_is_not_whole(lost):
    """The frame-wise decoder's convolution tells that the encoder had one."""
    whole = shapes("svd_image_decoder")
    gone = (*released.CONDITION_VAES, FIRST_STAGE + lost)
    checkpoint = verdict(Header({key: whole[key] for key in whole if not key.startswith(gone)}))
    assert checkpoint is not None and not checkpoint.encoder.whole and checkpoint.decoder.whole


@pytest.mark.parametrize("kind", KINDS)
def test_a_faulty_header_is_loaded_or_refused_in_words(kind):
    print(f"{kind}: seeds {FIRST} to {FIRST + COUNT - 1}")  # noqa: T201 (pytest shows it with a failure)
    fuzz(kind, FIRST, COUNT)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_many_faulty_headers(kind, capsys):
    first = FIRST or Random().randrange(10**9)
    count = fuzz(kind, first, MANY, SECONDS)
    with capsys.disabled():
        print(f"\n{kind}: {count} headers, seeds {first} to {first + count - 1}")  # noqa: T201
