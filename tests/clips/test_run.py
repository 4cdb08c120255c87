"""How a run is sampled: each way on a closed form, for an engine that only evaluates."""

import pytest
import torch
from torch import Tensor

from stillmotion.clips import held
from stillmotion.clips.conditions import Conditions
from stillmotion.clips.run import (
    Between,
    Branch,
    Constraint,
    Hold,
    Ring,
    Run,
    Windows,
    denoiser,
    first_x,
    solve,
)
from stillmotion.samplers import windows
from stillmotion.samplers.bidirectional import BIDIRECTIONAL, End
from stillmotion.samplers.guidance import CONDITIONAL, UNCONDITIONAL, cfg
from stillmotion.samplers.solvers import SOLVERS, euler
from support import golden_motion, golden_time
from support.golden_time import SIGMAS, draw, ramp, time_noise, time_picture, time_start

FRAMES = 5
AT, SIGMA = 4 * draw("time.x", FRAMES, 4, 8, 12), torch.tensor(3.7, dtype=torch.float64)


def branches(name: str) -> dict[str, Branch]:
    """Branches that an engine tells apart by their concat."""
    concat = time_picture(name).concat[None]
    pictured = Conditions(torch.zeros(1, 1, 4), concat)
    return {CONDITIONAL: Branch(pictured), UNCONDITIONAL: Branch(pictured.unconditional())}


def make_evaluate(of: dict[str, Branch]):
    concat = of[CONDITIONAL].conditions.concat[0]
    (picture,) = (one for one in map(time_picture, ("start", "end")) if torch.equal(one.concat, concat))
    return picture.evaluate


def a_run(way=None, frames: int = FRAMES, scales: Tensor | None = None, **changes) -> Run:
    scales = ramp(1, 3, FRAMES) if scales is None else scales
    options = {"sigmas": SIGMAS, "start": draw("time.x", frames, 4, 8, 12), "seed": 0, "solver": "euler"}
    return Run(
        branches("start"), (cfg(scales),), **{**options, "churn": 0.0, "feature_cache": 1, **changes}, way=way
    )


def between(method: str) -> Between:
    start, end = (time_picture(name).latent for name in ("start", "end"))
    return Between(method, branches("end"), (cfg(ramp(1, 3, FRAMES)),), start, end, torch.ones(FRAMES))


def solved(run: Run) -> Tensor:
    x = run.start * (run.sigmas[0] ** 2 + 1).sqrt()
    return solve(run, make_evaluate, x, time_noise(), lambda step, x, denoised: None)


def test_a_plain_run_is_its_solver_over_the_guided_denoiser():
    expected = euler(time_picture("start").guided(ramp(1, 3, 5)), time_start(), SIGMAS, noise=None)
    assert torch.equal(solved(a_run()), expected)


@pytest.mark.parametrize("method", BIDIRECTIONAL)
def test_a_run_between_pictures_is_its_solver_over_the_estimates_under_each(method: str):
    pictures = map(time_picture, ("start", "end"))
    ends = (End(picture.evaluate, picture.latent, torch.ones(FRAMES)) for picture in pictures)
    expected = BIDIRECTIONAL[method](*ends, time_start(), SIGMAS, noise=time_noise())
    assert torch.equal(solved(a_run(between(method))), expected)


def test_time_reversal_fusion_goes_with_every_solver_and_returns_with_eulers():
    results = [solved(a_run(between("trf"), solver=solver)) for solver in SOLVERS]
    assert all(x.isfinite().all() for x in results)
    sigmas = torch.cat([SIGMAS[:1] * 1.0, torch.linspace(600, 0, 30, dtype=torch.float64)])
    calls = {}
    for solver in ("euler", "dpmpp_2m"):
        seen = []
        run = a_run(between("trf"), solver=solver, sigmas=sigmas)
        solve(
            run,
            lambda of, seen=seen: lambda *inputs: seen.append(1) or make_evaluate(of)(*inputs),
            run.start,
            time_noise(),
            lambda *_: None,
        )
        calls[solver] = len(seen)
    assert calls == {"euler": 2 * 35, "dpmpp_2m": 2 * 30}


def test_one_window_is_the_plain_run():
    way = Windows((tuple(range(FRAMES)),), windows.tent(FRAMES))
    assert (solved(a_run(way)) - solved(a_run())).abs().max() < 1e-12


def test_a_window_sees_as_many_frames_as_the_network_takes():
    way = Windows(tuple(map(tuple, windows.anchored(12, FRAMES, 2))), windows.tent(FRAMES))
    run = a_run(way, frames=12, scales=ramp(1, 3, 12))
    assert run.frames_at_once == FRAMES
    assert denoiser(run, make_evaluate)(run.start, SIGMA).shape == run.start.shape


def test_a_ring_of_one_tile_without_a_shift_is_the_plain_run():
    assert torch.equal(solved(a_run(Ring(0, FRAMES))), solved(a_run()))
    assert a_run(Ring(3, FRAMES), frames=10).frames_at_once == FRAMES


@pytest.mark.parametrize("until", [0.5, 20.0])
def test_held_frames_follow_their_latents_and_noise_down_to_a_level(until: float):
    latents, seen = draw("time.middle.latent", 2, 4, 8, 12), []
    run = a_run(Hold(latents, until))
    x = run.start * (run.sigmas[0] ** 2 + 1).sqrt()
    solve(run, make_evaluate, x, None, lambda step, x, denoised: seen.append(x))
    for x, sigma in list(zip(seen, SIGMAS, strict=False))[1:]:
        on_the_line = (x[:2] - latents - sigma * run.start[:2]).abs().max() < 1e-9
        assert on_the_line == bool(sigma >= until)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_holds_the_frames_at_their_noise_level(solver: str):
    """(x − latents)/σ stays noise: its deviation is 1 within five standard errors of 768 numbers."""
    latents, seen = draw("time.middle.latent", 2, 4, 8, 12), []
    run = a_run(Hold(latents, 0.5), solver=solver)
    x = run.start * (run.sigmas[0] ** 2 + 1).sqrt()
    solve(run, make_evaluate, x, time_noise(), lambda step, x, denoised: seen.append(x))
    held = [(x[:2] - latents) / sigma for x, sigma in zip(seen, SIGMAS[:-1], strict=True) if sigma >= 0.5]
    assert len(held) > 4
    for noise in held[1:-1]:  # the last held step of Heun's looks at the first free one
        assert abs(noise.square().mean().sqrt() - 1) < 5 / (2 * 768) ** 0.5


LATENTS, MASK = draw("time.z", FRAMES, 4, 8, 12), (draw("time.mask", 1, 1, 8, 12) > 0).double()


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m", "heun"])
def test_a_run_that_follows_latents_to_the_end_is_these_latents_where_the_mask_says(solver: str):
    run = a_run(solver=solver, sigmas=SIGMAS[3:], constraint=Constraint(LATENTS, MASK, until=0.0))
    x = first_x(run, run.start)
    assert torch.equal(x, LATENTS + SIGMAS[3] * run.start)
    x = solve(run, make_evaluate, x, time_noise(), lambda *_: None)
    inside = MASK.expand_as(x) == 1
    assert torch.equal(x[inside], LATENTS[inside])
    assert (x - LATENTS)[~inside].abs().mean() > 0.1


def test_above_its_level_a_run_follows_the_mask_and_below_it_the_frozen_part():
    frozen = torch.zeros_like(MASK)
    frozen[..., :4] = 0.5
    plain = denoiser(a_run(), make_evaluate)(AT, SIGMA)
    for until, mask in ((3.0, MASK), (SIGMA.item(), frozen), (9.0, frozen)):
        denoise = denoiser(a_run(constraint=Constraint(LATENTS, MASK, until, frozen)), make_evaluate)
        assert (denoise(AT, SIGMA) - (plain + mask * (LATENTS - plain))).abs().max() < 1e-12
    denoise = denoiser(a_run(constraint=Constraint(LATENTS, MASK, 9.0)), make_evaluate)
    assert torch.equal(denoise(AT, SIGMA), plain)


def test_a_run_with_a_frozen_part_alone_starts_as_always():
    run = a_run(constraint=Constraint(LATENTS[:1], MASK, 0.0, leads=False))
    assert torch.equal(first_x(run, run.start), first_x(a_run(), run.start))


def test_a_constraint_is_outermost_over_windows():
    way = Windows(tuple(map(tuple, windows.anchored(12, FRAMES, 2))), windows.tent(FRAMES))
    latents = draw("time.z", 12, 4, 8, 12)
    options = {"frames": 12, "scales": ramp(1, 3, 12)}
    run = a_run(way, **options, constraint=Constraint(latents, MASK, until=0.0))
    inside = MASK.expand_as(latents) == 1
    estimate = denoiser(run, make_evaluate)(run.start, SIGMA)
    assert torch.equal(estimate[inside], latents[inside])
    free = denoiser(a_run(way, **options), make_evaluate)(run.start, SIGMA)
    assert torch.equal(estimate[~inside], free[~inside])


def test_golden_motion_a_run_that_follows_a_coarse_video_is_time_to_moves():
    levels = golden_motion.levels(50)
    latents = draw("motion.ttm.reference", FRAMES, 4, 8, 12)
    mask = golden_time.GOLDEN["motion.ttm.mask.nearest"].double()
    run = a_run(
        scales=golden_motion.SCALES,
        sigmas=held.levels(levels, 75.0, 31.0),
        start=golden_motion.noise(),
        constraint=Constraint(latents, mask, until=31.0),
    )
    x = solve(run, lambda of: golden_motion.evaluate, first_x(run, run.start), None, lambda *_: None)
    golden_motion.check("ttm.euler.50_16_21", x)


def test_golden_motion_a_run_with_a_frozen_part():
    latents = draw("motion.freeze.latent", 1, 4, 8, 12)
    mask = (2 * draw("motion.freeze.mask", 1, 1, 8, 12)).sigmoid()
    run = a_run(
        scales=golden_motion.SCALES,
        sigmas=golden_motion.levels(6),
        start=golden_motion.noise(),
        constraint=Constraint(latents, mask, until=0.0, leads=False),
    )
    x = solve(run, lambda of: golden_motion.evaluate, first_x(run, run.start), None, lambda *_: None)
    golden_motion.check("freeze", x)
