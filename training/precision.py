"""bfloat16 in training: products are rounded to it where the processor has it, with few exceptions."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from stillmotion.svd_model.networks import kernels
from stillmotion.svd_model.networks.operations import CastingOperations

FEWEST_CHANNELS = 16
"""Fewest channels of a 3×1×1 convolution that is computed in bfloat16.

With 3 channels, oneDNN's gradient of the weights hangs on processors with AMX, or ends the process:
brgconv_bwd_w:avx10_1_512_amx, backward_weights, bf16, mb2_ic3oc3_id7od7kd3 with ih128 and iw128, in torch
2.13. The temporal decoder's last layer has 3; its time is negligible.
"""


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware; in software it is many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def autocast(device: torch.device) -> AbstractContextManager:
    """Context in which products are rounded to bfloat16 where that is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


class TrainedOperations(CastingOperations):
    """Layers of inference, but convolutions over time are 2D, and in float32 if they have few channels.

    3D convolutions of two frames in bfloat16 give wrong gradients of the weights or NaN, or end the process:
    jit_bf16:avx512_core_bf16, backward_weights, mb1_ic64oc64_id2od2kd3 with ih128, in torch 2.13.
    """

    class Conv3d(CastingOperations.Conv3d):
        def forward(self, x: Tensor) -> Tensor:
            """Convolves over time: (B, C, T, H, W) -> (B, C', T, H, W)."""
            wide = min(self.in_channels, self.out_channels) >= FEWEST_CHANNELS
            with nullcontext() if wide else torch.autocast(x.device.type, enabled=False):
                positions = x.flatten(3) if wide else x.flatten(3).float()
                return self.compute(positions, kernels.over_time).unflatten(3, x.shape[3:])
