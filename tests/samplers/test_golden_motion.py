"""Held regions, and guidance beyond CFG, against numbers of their equations and of their authors' code."""

import pytest
import torch
from torch import Tensor

from stillmotion.samplers.denoisers import constrained
from stillmotion.samplers.guidance import (
    CONDITIONAL,
    SPATIAL,
    TEMPORAL,
    UNCONDITIONAL,
    Term,
    apg,
    cfg,
    guided,
    rescaled,
    skip,
)
from stillmotion.samplers.solvers import dpmpp_2m, euler, heun
from support import golden_time
from support.golden_motion import FRAMES, SCALES, SIGMA, at, check, evaluate, levels, noise, start
from support.golden_time import control_picture, draw, ramp

SOLVERS = {"euler": euler, "dpmpp_2m": dpmpp_2m}


def with_terms(*terms):
    return guided(evaluate, terms)


def test_golden_motion_closed_form():
    for name, entry in (
        (CONDITIONAL, "cond"),
        (UNCONDITIONAL, "uncond"),
        (SPATIAL, "spatial"),
        (TEMPORAL, "temporal"),
    ):
        check(f"D.{entry}", evaluate([name], at(), SIGMA)[0])
    for entry, sigmas in (("cfg", levels(6)), ("sigma_max_100", levels(6, 100.0))):
        check(entry, euler(with_terms(cfg(SCALES)), start(sigmas), sigmas, noise=None))


@pytest.mark.parametrize(
    "name, solver, steps, first, until",
    [
        ("ttm.euler.10_0_4", "euler", 10, 0, 4),
        ("ttm.euler.10_3_9", "euler", 10, 3, 9),
        ("ttm.euler.50_16_21", "euler", 50, 16, 21),
        ("ttm.dpmpp_2m.10_3_6", "dpmpp_2m", 10, 3, 6),
    ],
)
def test_golden_motion_held(name: str, solver: str, steps: int, first: int, until: int):
    latents, sigmas = draw("motion.ttm.reference", FRAMES, 4, 8, 12), levels(steps)
    mask = golden_time.GOLDEN["motion.ttm.mask.nearest"].double()
    denoise = constrained(with_terms(cfg(SCALES)), latents, mask, float(sigmas[until]))
    x = latents + sigmas[first] * noise()
    check(name, SOLVERS[solver](denoise, x, sigmas[first:], noise=None))
    check("ttm.sigmas.50_16_21", levels(50)[[16, 21]])


@pytest.mark.parametrize("name, solver", [("freeze", "euler"), ("freeze.dpmpp_2m", "dpmpp_2m")])
def test_golden_motion_frozen(name: str, solver: str):
    latent, sigmas = draw("motion.freeze.latent", 1, 4, 8, 12), levels(6)
    mask = (2 * draw("motion.freeze.mask", 1, 1, 8, 12)).sigmoid()
    denoise = constrained(with_terms(cfg(SCALES)), latent, mask, until=0.0)
    check(name, SOLVERS[solver](denoise, start(sigmas), sigmas, noise=None))


def test_golden_motion_projected_guidance():
    step = with_terms(apg(SCALES, parallel=0.3, limit=3.0))
    check("apg.step", step(at(), SIGMA))
    sampled = with_terms(apg(SCALES, limit=5.0, momentum=-0.5))
    check("apg.sample", euler(sampled, start(levels(6)), levels(6), noise=None))


def test_golden_motion_cfg_by_levels():
    """CFG++ is plain guidance whose scale follows the step."""
    scales, sigmas = ramp(0.3, 0.9, FRAMES), levels(6)

    def weight(sigma: Tensor) -> Tensor:
        end = sigmas[int((sigmas >= sigma).sum())]
        return scales * sigma / (sigma - end) - 1

    denoise = with_terms(Term(UNCONDITIONAL, weight))
    check("cfgpp", euler(denoise, start(sigmas), sigmas, noise=None))


@pytest.mark.parametrize("whole_clip", [False, True])
def test_golden_motion_rescaled(whole_clip: bool):
    denoise = with_terms(cfg(SCALES), rescaled(FRAMES, 0.7, whole_clip))
    check("rescale.clip" if whole_clip else "rescale.frame", denoise(at(), SIGMA))


@pytest.mark.parametrize("name, spatial, temporal, share", [("plain", 1, 1, 0), ("rescaled", 2, 0.5, 0.7)])
def test_golden_motion_skip_guidance(name: str, spatial: float, temporal: float, share: float):
    terms = (cfg(SCALES), *skip(FRAMES, spatial, temporal), rescaled(FRAMES, share, whole_clip=True))
    check(f"stg.{name}", euler(with_terms(*terms), start(levels(6)), levels(6), noise=None))


# The authors' own code


def control(name: str, value: Tensor) -> None:
    golden_time.check(f"control.{name}", value)


def control_noise() -> Tensor:
    return draw("noise", 6, 4, 8, 8)


def sampled(*terms, steps: int = 8) -> Tensor:
    sigmas = levels(steps)
    x = control_noise() * (sigmas[0] ** 2 + 1).sqrt()
    return euler(guided(control_picture("start").evaluate, terms), x, sigmas, noise=None)


@pytest.mark.parametrize(
    "name, steps, first, until, mask",
    [
        ("ttm.50_16_21", 50, 16, 21, "ttm.mask.latent"),
        ("ttm.10_0_4", 10, 0, 4, "ttm.mask.latent"),
        ("ttm.10_3_9_odd_mask", 10, 3, 9, "ttm.mask_odd.latent"),
        ("ttm.first_2_frames_10_0_6", 10, 0, 6, None),
    ],
)
def test_golden_control_held(name: str, steps: int, first: int, until: int, mask: str | None):
    latents, sigmas = draw("ttm.reference", 6, 4, 8, 8), levels(steps)
    if mask is None:
        known = torch.zeros(6, 1, 8, 8, dtype=torch.float64)
        known[:2] = 1
    else:
        known = golden_time.GOLDEN[f"control.{mask}"].double()
    denoise = control_picture("start").guided(ramp(1, 3, 6))
    denoise = constrained(denoise, latents, known, float(sigmas[until]))
    x = latents + sigmas[first] * control_noise()
    control(name, euler(denoise, x, sigmas[first:], noise=None))


def test_golden_control_projected_guidance():
    scales, constant = ramp(1, 3, 6), torch.full((6,), 3.0, dtype=torch.float64)
    control("apg.neutral.linear1to3", sampled(apg(scales, parallel=1.0)))
    control("apg.frame.eta0.3_r1.5_b0_linear1to3", sampled(apg(scales, parallel=0.3, limit=1.5)))
    control("apg.frame.eta0_r2.5_b-0.5_s3", sampled(apg(constant, limit=2.5, momentum=-0.5)))


def test_golden_control_projected_guidance_of_whole_clips():
    constant = torch.full((6,), 3.0, dtype=torch.float64)
    term = apg(constant, limit=6.0, momentum=-0.75, whole_clip=True)
    control("apg.clip.eta0_r6_b-0.75_s3", sampled(term))


@pytest.mark.parametrize("whole_clip", [False, True])
def test_golden_control_rescaled(whole_clip: bool):
    name = "rescale.clip.0.7" if whole_clip else "rescale.frame.0.7"
    control(name, sampled(cfg(ramp(2, 6, 6)), rescaled(6, 0.7, whole_clip)))


def test_golden_control_interval():
    ramp_of_levels = torch.linspace(0, 1, 10, dtype=torch.float64)
    high, low = 80 ** (1 / 7), 0.002 ** (1 / 7)
    sigmas = torch.cat([(high + ramp_of_levels * (low - high)) ** 7, torch.zeros(1, dtype=torch.float64)])
    guidance, evaluations = torch.full((6,), 1.0, dtype=torch.float64), iter(range(19))

    def weight(sigma: Tensor) -> Tensor | None:
        """In both evaluations of steps 3 to 6; σ can't tell them, since a step ends where one begins."""
        return guidance if 3 <= next(evaluations) // 2 <= 6 else None

    denoise = guided(control_picture("start").evaluate, [Term(UNCONDITIONAL, weight)])
    control("interval.heun_10_3_6_s2", heun(denoise, 80 * control_noise(), sigmas, noise=None))
