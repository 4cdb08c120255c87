"""What several files of host tests share: a LoRA, and a ComfyUI with switches that change no video."""

import pytest
import torch
from safetensors.torch import save_file

from support import host, tiny

LORA_KEY = "middle_block.1.transformer_blocks.0.ff.net.2"
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


@pytest.fixture(scope="session")
def lora(base):
    """A LoRA for a layer of the middle block that every pass goes through."""
    unet = tiny.SMALL.unet
    channels = unet.model_channels * unet.channel_mult[-1]
    return write_lora(base, "tiny_lora.safetensors", LORA_KEY, channels, 4 * channels)


@pytest.fixture(scope="session")
def lora_of_prepared(base):
    """A LoRA for a layer that only the conditioning goes through."""
    unet = tiny.SMALL.unet
    channels = unet.model_channels * unet.channel_mult[-1]
    key = "middle_block.1.transformer_blocks.0.attn2.to_v"
    return write_lora(base, "prepared.safetensors", key, channels, unet.context_dim)
