"""What training rounds to bfloat16: products, where the processor has it, with few exceptions."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from stillmotion.svd_model.operations import CastingOperations

FEWEST_CHANNELS = 16
"""Of a 3×1×1 convolution in bfloat16.

oneDNN's gradient of the weights of one with 3 channels does not end on processors with AMX, or ends the
process: brgconv_bwd_w:avx10_1_512_amx, backward_weights, bf16, mb2_ic3oc3_id7od7kd3 with ih128 and iw128, in
torch 2.13. It is the temporal decoder's last layer, which takes no time to speak of.
"""


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware; elsewhere it takes many times as long as float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def autocast(device: torch.device) -> AbstractContextManager:
    """Within it products are rounded to bfloat16 where that is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


class TrainedOperations(CastingOperations):
    """The layers of inference, the narrow convolutions over time always in float32."""

    class Conv3d(CastingOperations.Conv3d):
        def forward(self, x: Tensor) -> Tensor:
            if min(self.in_channels, self.out_channels) >= FEWEST_CHANNELS:
                return super().forward(x)
            with torch.autocast(x.device.type, enabled=False):
                return super().forward(x.float())
