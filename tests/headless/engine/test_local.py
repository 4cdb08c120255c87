"""What the solver calls: equal to plain evaluations of the UNet, however the work is divided."""

import math
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stillmotion.headless.engine.local import Conditions, Denoiser, Guidance
from stillmotion.samplers import guidance, preconditioning, schedules
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.sources import TensorFile
from stillmotion.svd_model.networks.unet import VideoUNet
from support import checkpoints, tiny
from support.rounding import Reference

FRAMES, HEIGHT, WIDTH = 3, 8, 16
SCALES = torch.linspace(1, 3, FRAMES)
SIGMA = torch.tensor(1.5)


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    checkpoint = Checkpoint(TensorFile.of_tensors(Path("svd.safetensors"), checkpoints.tensors("svd")))
    return checkpoint.unet.load(dtype=torch.float32, device="cpu")


@pytest.fixture(scope="module")
def plain(unet):
    """Computes what `plainly` does, in float32 and in float64."""
    exact = deepcopy(unet).double()

    def reference(given: Conditions, sigma: Tensor, scales: Tensor = SCALES) -> Reference:
        return Reference(
            plainly(unet, given, picture(), sigma, scales),
            plainly(exact, doubled(given), picture().double(), sigma.double(), scales.double()),
        )

    return reference


def doubled(given: Conditions) -> Conditions:
    return Conditions(given.context.double(), given.concat.double(), given.vector.double())


def conditions(vectors: int = 1) -> Conditions:
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    width = tiny.UNET.context_dim
    return Conditions(random(1, 1, width), random(1, 4, HEIGHT, WIDTH), random(vectors, tiny.UNET.vector_dim))


def picture() -> Tensor:
    return torch.randn(FRAMES, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5))


def plainly(unet: VideoUNet, given: Conditions, x: Tensor, sigma: Tensor, scales: Tensor = SCALES) -> Tensor:
    """Both branches by `forward`, one after the other, and guided."""

    def denoise(branch: Conditions) -> Tensor:
        def network(x: Tensor, c_noise: Tensor) -> Tensor:
            rows = (c_noise.expand(FRAMES), branch.context.expand(FRAMES, -1, -1))
            x = torch.cat([x, branch.concat.expand(FRAMES, -1, -1, -1)], dim=1)
            return unet(x, *rows, branch.vector.expand(FRAMES, -1), FRAMES)

        return preconditioning.precondition(network)(x, sigma)

    return guidance.guide(denoise(given), denoise(given.unconditional()), scales)


@torch.no_grad()
@pytest.mark.parametrize("vectors", [1, FRAMES], ids=["one vector", "a vector for each frame"])
@pytest.mark.parametrize("known", [True, False], ids=["sigma known ahead", "sigma not known ahead"])
@pytest.mark.parametrize("together", [True, False], ids=["together", "one after the other"])
def test_equals_both_branches_evaluated_alone(unet, plain, together, known, vectors):
    given = conditions(vectors)
    sigmas = schedules.karras(5) if not known else torch.tensor([700, 1.5, 0.1, 0])
    denoise = Denoiser(unet, given, Guidance(SCALES), torch.float32, batch_branches=together, sigmas=sigmas)
    assert plain(given, SIGMA).error(denoise(picture(), SIGMA)) < 1


@torch.no_grad()
def test_each_known_step_gets_its_own_shifts(unet, plain):
    sigmas = schedules.karras(4)
    denoise = Denoiser(unet, conditions(), Guidance(SCALES), torch.float32, sigmas=sigmas)
    for sigma in sigmas[:-1]:
        assert plain(conditions(), sigma).error(denoise(picture(), sigma)) < 1


@torch.no_grad()
def test_outside_of_the_interval_one_branch_is_evaluated(unet, plain, monkeypatch):
    batches = []
    predict = unet.predict
    monkeypatch.setattr(unet, "predict", lambda x, *given: batches.append(len(x)) or predict(x, *given))
    given = Guidance(SCALES, (1.0, math.inf))
    denoise = Denoiser(unet, conditions(), given, torch.float32)
    denoise(picture(), SIGMA)
    outside = torch.tensor(0.5)
    only_conditional = denoise(picture(), outside)
    assert batches == [2 * FRAMES, FRAMES]
    assert plain(conditions(), outside, torch.ones(FRAMES)).error(only_conditional) < 1


class TestFeatureCache:
    @torch.no_grad()
    @pytest.mark.parametrize("together", [True, False])
    def test_computes_the_deep_blocks_at_every_nth_evaluation(self, unet, monkeypatch, together):
        calls = []
        deep = unet.deep
        monkeypatch.setattr(unet, "deep", lambda *given: calls.append(1) or deep(*given))
        cached = Denoiser(
            unet, conditions(), Guidance(SCALES), torch.float32, batch_branches=together, feature_cache=3
        )
        for sigma in (5.0, 4.0, 3.0, 2.0):
            cached(picture(), torch.tensor(sigma))
        assert len(calls) == (2 if together else 4)

    @torch.no_grad()
    def test_an_evaluation_that_computes_all_is_exact(self, unet, plain):
        cached = Denoiser(unet, conditions(), Guidance(SCALES), torch.float32, feature_cache=2)
        assert plain(conditions(), SIGMA).error(cached(picture(), SIGMA)) < 1
        assert (cached(picture(), torch.tensor(0.3)) - cached(picture(), torch.tensor(0.3))).abs().max() > 0

    @torch.no_grad()
    def test_the_same_input_again_gives_the_same_from_the_cache(self, unet, plain):
        cached = Denoiser(unet, conditions(), Guidance(SCALES), torch.float32, feature_cache=2)
        first, again = cached(picture(), SIGMA), cached(picture(), SIGMA)
        assert plain(conditions(), SIGMA).error(first) < 1
        assert plain(conditions(), SIGMA).error(again) < 1
