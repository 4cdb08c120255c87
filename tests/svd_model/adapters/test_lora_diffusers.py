"""LoRAs against diffusers' UNet with the LoRA fused by hand, and against peft's own layers and files."""

import functools

import pytest
import torch

from stillmotion.svd_model.adapters.lora import LoRA, Strengths
from stillmotion.svd_model.networks.unet import VideoUNet
from support import diffusers_models, golden_family, lora_files, tiny

OPTIONS = {"r": 4, "lora_alpha": 6, "use_rslora": True, "alpha_pattern": {"to_q": 3}}
LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "proj_in", "time_emb_proj"]


@functools.cache
def unet() -> VideoUNet:
    """The tiny UNet, apart from the shared one: peft changes diffusers' around its weights."""
    return golden_family.NAMED.fill(VideoUNet(tiny.UNET, device="meta"))


def theirs():
    return diffusers_models.unet(unet())


@torch.no_grad()
def run(network) -> torch.Tensor:
    """Diffusers' UNet on the inputs of the golden numbers."""
    inputs = golden_family.inputs()
    x = inputs["x"].unflatten(0, (golden_family.VIDEOS, golden_family.FRAMES))
    context = inputs["context"][:: golden_family.FRAMES]
    numbers = torch.tensor(golden_family.NUMBERS)
    return network(x, golden_family.C_NOISE, context, numbers).sample.flatten(0, 1)


@torch.no_grad()
def ours(lora: LoRA, strength: float = 1.0) -> torch.Tensor:
    state = lora_files.state_with(lora, Strengths(strength, strength))
    inputs = (*golden_family.inputs().values(), golden_family.FRAMES)
    return torch.func.functional_call(unet(), state, inputs)


def close(mine, reference):
    assert (mine - reference).abs().max() <= golden_family.BOUND * reference.abs().max()


@pytest.mark.parametrize("strength", [1.0, -0.6])
def test_as_diffusers_with_the_lora_fused(strength):
    """W + strength · alpha / rank · B · A on diffusers' own weights, for convolutions too."""
    peft = golden_family.weights("tiny_lora_everything", "lora.")
    network = theirs()
    state = network.state_dict()
    for key, down in peft.items():
        if key.endswith(".lora_A.weight"):
            up, weight = peft[key.replace("lora_A", "lora_B")], key.replace("lora_A.", "")
            product = torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1)).view(state[weight].shape)
            state[weight] = state[weight] + strength * (2 / 4) * product
    network.load_state_dict(state, assign=True)
    lora = LoRA.of(lora_files.of_tensors(peft, lora_alpha=2), lora_files.shapes(unet()))
    close(ours(lora, strength), run(network))


@pytest.fixture
def adapted():
    """Diffusers' UNet with peft's layers around some of its own, and the module of peft."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    config = peft.LoraConfig(target_modules=LAYERS, init_lora_weights=False, **OPTIONS)
    return peft, config, theirs()


def test_as_peft_computes_it_from_its_folder(adapted, tmp_path):
    peft, config, network = adapted
    model = peft.get_peft_model(network, config)
    model.save_pretrained(tmp_path)
    lora = LoRA.open(tmp_path, lora_files.shapes(unet()))
    assert lora.without_layer == ()
    close(ours(lora), run(model))


def test_as_peft_computes_it_from_what_diffusers_and_accelerate_save(adapted, tmp_path):
    """save_lora_weights with its options in the metadata, and the whole state of a training."""
    from diffusers.loaders import StableDiffusionLoraLoaderMixin

    peft, config, network = adapted
    peft.inject_adapter_in_model(config, network)
    reference = run(network)
    StableDiffusionLoraLoaderMixin.save_lora_weights(
        tmp_path,
        unet_lora_layers=peft.get_peft_model_state_dict(network),
        unet_lora_adapter_metadata=config.to_dict(),
    )
    saved = LoRA.open(tmp_path, lora_files.shapes(unet()))
    close(ours(saved), reference)
    state = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
    options = {"lora_alpha": 6, "use_rslora": True, "alpha_pattern": {"to_q": 3}}
    trained = LoRA.of(lora_files.of_tensors(state, **options), lora_files.shapes(unet()))
    assert (trained.found, trained.without_layer) == (saved.found, ())
    close(ours(trained), reference)
