"""The contrast of a clip, even over its frames."""

import torch

from stillmotion.clips.contrast import even_contrast
from stillmotion.clips.plan import Plan
from stillmotion.clips.settings import Settings
from stillmotion.svd_model.checkpoint import variants
from support.named_tensors import NamedTensors

NAMED = NamedTensors("contrast:")


def test_frames_get_the_mean_and_the_deviation_of_the_clip():
    frames = torch.linspace(0.5, 2, 5, dtype=torch.float64)[:, None, None, None]
    latents = frames * NAMED.input("latents", (5, 4, 6, 8)).double() + frames**2
    found = even_contrast(latents, 1.2)
    assert torch.allclose(found.mean((1, 2, 3)), 1.2 * latents.mean().expand(5))
    assert torch.allclose(found.std((1, 2, 3)), 1.2 * latents.std().expand(5))
    for frame, sampled in zip(found, latents, strict=True):  # a frame's own picture stays: a·x + b
        correlation = torch.corrcoef(torch.stack([frame.flatten(), sampled.flatten()]))[0, 1]
        assert abs(correlation - 1) < 1e-12


def test_it_does_not_depend_on_the_scale_of_the_latents():
    latents = NAMED.input("scaled", (3, 4, 6, 8)).double()
    assert torch.allclose(even_contrast(7 * latents, 1.5), 7 * even_contrast(latents, 1.5))


def test_without_the_setting_latents_stay():
    latents = NAMED.input("latents", (3, 4, 6, 8))
    plan = Plan.of(Settings(num_frames=3), variants.SVD_XT)
    assert plan.finished(latents) is latents
    plan = Plan.of(Settings(num_frames=3, contrast=1.5), variants.SVD_XT)
    assert torch.equal(plan.finished(latents), even_contrast(latents, 1.5))
