"""One running ComfyUI for all host tests that need no switches of their own."""

import pytest
import torch
from safetensors.torch import save_file

from support import host

LORA_KEY = "middle_block.1.transformer_blocks.0.ff.net.2"


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    host.require()
    return host.make_base(tmp_path_factory.mktemp("comfyui"), pack_name="any folder name")


@pytest.fixture(scope="session")
def server(base):
    with host.Server(base) as running:
        yield running


@pytest.fixture(scope="session")
def lora(base):
    """A LoRA for one layer of the tiny UNet, under the names of the released files."""
    name = "lora_unet_" + LORA_KEY.replace(".", "_")
    generator = torch.Generator().manual_seed(0)
    content = {
        f"{name}.lora_up.weight": torch.randn(128, 4, generator=generator),
        f"{name}.lora_down.weight": torch.randn(4, 512, generator=generator),
        f"{name}.alpha": torch.tensor(4.0),
    }
    save_file(content, base / "models" / "loras" / "tiny_lora.safetensors")
    return "tiny_lora.safetensors"
