"""What training rounds to bfloat16: products, where the processor has it, with few exceptions."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from stillmotion.svd_model.networks import kernels
from stillmotion.svd_model.networks.operations import CastingOperations

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
    """The layers of inference; convolutions over time as 2D ones, the narrow ones always in float32.

    As 3D ones in bfloat16, of two frames, their weights get wrong gradients or NaN, or the process ends:
    jit_bf16:avx512_core_bf16, backward_weights, mb1_ic64oc64_id2od2kd3 with ih128, in torch 2.13.
    """

    class Conv3d(CastingOperations.Conv3d):
        def forward(self, x: Tensor) -> Tensor:
            """3×1×1: (B, C, T, H, W) -> (B, C', T, H, W)."""
            wide = min(self.in_channels, self.out_channels) >= FEWEST_CHANNELS
            with nullcontext() if wide else torch.autocast(x.device.type, enabled=False):
                positions = x.flatten(3) if wide else x.flatten(3).float()
                return self.compute(positions, kernels.over_time).unflatten(3, x.shape[3:])
