"""Masks at the size of latents, against Time-to-Move's."""

import torch

from stillmotion.clips.motion import masks
from support.golden_motion import check
from support.golden_time import GOLDEN, draw


def test_golden_motion_masks():
    dense = masks.of_video(draw("motion.ttm.mask", 5, 3, 64, 96) - 0.5)
    check("ttm.mask.nearest", masks.nearest(dense, (8, 12)))
    sparse = masks.of_video(draw("motion.mask.sparse", 5, 3, 64, 96) - 2)
    check("ttm.mask.any", masks.touched(sparse))
    check("ttm.mask.nearest_of_sparse", masks.nearest(sparse, (8, 12)))


def test_golden_control_masks():
    for name, size in (("ttm.mask", (64, 64)), ("ttm.mask_odd", (40, 72))):
        mask = (draw(name, 6, *size) > 0).double()[:, None]
        assert torch.equal(masks.nearest(mask, (8, 8)), GOLDEN[f"control.{name}.latent"].double())


def test_shares_are_means_of_8_by_8_pixels():
    mask = torch.zeros(1, 1, 8, 16)
    mask[..., :2] = 1
    assert masks.shares(mask).tolist() == [[[[0.25, 0.0]]]]
