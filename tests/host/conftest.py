"""What several files of host tests share: files to load, LoRAs, a ComfyUI with harmless switches."""

import pytest
import torch
from safetensors.torch import save_file

from stillmotion import builtin_model
from stillmotion.svd_model.networks.unet import VideoUNet
from support import host, lora_files, tiny

LORA_KEY = "middle_block.1.transformer_blocks.0.ff.net.2"
SHIPPED_LAST = 7  # the number of the shipped model's last output block
FILES = {"random": "tiny_svd.safetensors", "shipped": builtin_model.NAME}
SAME_VIDEO = ("--cache-none", "--disable-metadata", "--preview-method", "latent2rgb")


@pytest.fixture(scope="session")
def switched_server(base):
    """A ComfyUI with all switches that neither exclude each other nor change how a model computes."""
    with host.Server(base, *SAME_VIDEO) as running:
        yield running


def write_lora(base, file: str, key: str, rows: int, columns: int) -> str:
    """A LoRA of rank 4 for a layer of a tiny UNet, weights (rows, columns), named as in released files."""
    name = "lora_unet_" + key.replace(".", "_")
    generator = torch.Generator().manual_seed(0)
    content = {
        f"{name}.lora_up.weight": torch.randn(rows, 4, generator=generator),
        f"{name}.lora_down.weight": torch.randn(4, columns, generator=generator),
        f"{name}.alpha": torch.tensor(4.0),
    }
    save_file(content, base / "models" / "loras" / file)
    return file


@pytest.fixture(scope="session", params=FILES.values(), ids=FILES)
def file(request):
    """What a loader is to load: a tiny checkpoint of random weights, then the model that is shipped."""
    return request.param


@pytest.fixture(scope="session")
def lora(base):
    """A LoRA for a layer of the middle block that every pass goes through."""
    unet = tiny.SMALL.unet
    channels = unet.model_channels * unet.channel_mult[-1]
    return write_lora(base, "tiny_lora.safetensors", LORA_KEY, channels, 4 * channels)


@pytest.fixture(scope="session")
def lora_of_diffusers(base):
    """A LoRA for all attention of the tiny UNet, in names that core does not know."""
    shapes = lora_files.shapes(VideoUNet(tiny.SMALL.unet, device="meta"))
    pairs = lora_files.random_pairs(shapes, "to_q", "to_k", "to_v", "to_out.0", seed=7)
    name = "pytorch_lora_weights.safetensors"
    lora_files.write(base / "models" / "loras" / name, lora_files.as_diffusers(pairs, tiny.SMALL.unet))
    return name


@pytest.fixture(scope="session")
def lora_of_file(base, file, lora):
    """A LoRA for the file; in the shipped model for its last block, since its middle counts for little."""
    if file != builtin_model.NAME:
        return lora
    unet = builtin_model.load().unet.params
    key = f"output_blocks.{SHIPPED_LAST}.1.transformer_blocks.0.ff.net.2"
    return write_lora(base, "shipped_lora.safetensors", key, unet.model_channels, 4 * unet.model_channels)


@pytest.fixture(scope="session")
def lora_of_prepared(base):
    """A LoRA for a layer that only the conditioning goes through."""
    unet = tiny.SMALL.unet
    channels = unet.model_channels * unet.channel_mult[-1]
    key = "middle_block.1.transformer_blocks.0.attn2.to_v"
    return write_lora(base, "prepared.safetensors", key, channels, unet.context_dim)
