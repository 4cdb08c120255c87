"""The plain UNet, around which the reference has other networks."""

import torch

from support import golden_family


@torch.no_grad()
def test_golden_family_unet():
    inputs = golden_family.inputs()
    out = golden_family.unet()(*inputs.values(), golden_family.FRAMES)
    golden_family.check("unet.out", out)
