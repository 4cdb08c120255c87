"""Every solver against closed forms on Gaussian data, and against diffusers or its paper on another model.

On data from N(m, s²) the ideal denoiser and the probability flow are known:
D(x, σ) = (s²·x + σ²·m)/(s² + σ²) and x(σ) = m + (x_T − m)·√((s² + σ²)/(s² + σ_T²)).

Where noise comes in, `UnitNoises` makes each drawn noise an axis of its own: with m = 0 all solvers are
linear in what they draw, so the squared length of the result is its variance, exactly and without chance.
"""

import itertools
import math
from functools import partial

import pytest
import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    EDMDPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)

from stillmotion.samplers import schedules
from stillmotion.samplers.preconditioning import precondition
from stillmotion.samplers.solvers import (
    SOLVERS,
    dpmpp_2m,
    dpmpp_2m_sde,
    euler,
    euler_ancestral,
    find_solver,
    heun,
    lcm,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MEAN, SPREAD = 0.4, 0.7
STEPS = 12
TRAINED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

DETERMINISTIC = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}
STOCHASTIC = {
    "euler_ancestral": euler_ancestral,
    "dpmpp_2m_sde": dpmpp_2m_sde,
    "lcm": lcm,
    "churned euler": partial(euler, churn=3.0),
    "churned heun": partial(heun, churn=3.0),
}
ALL = {**DETERMINISTIC, **STOCHASTIC}


def solvers(named: dict):
    return pytest.mark.parametrize("solve", named.values(), ids=named.keys())


def no_noise(x: torch.Tensor) -> torch.Tensor:
    raise AssertionError("a deterministic solver drew noise")


def seeded_noise(seed: int):
    generator = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)


class UnitNoises:
    """The n-th noise drawn is the unit vector along axis n; axis 0 is left to the start."""

    def __init__(self):
        self.drawn = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.drawn += 1
        unit = torch.zeros_like(x)
        unit[self.drawn] = 1
        return unit


def start_on_axis_0(level: float) -> torch.Tensor:
    x = torch.zeros(200, dtype=torch.float64)
    x[0] = level
    return x


def gaussian(mean: float, spread: float):
    return lambda x, sigma: (spread**2 * x + sigma**2 * mean) / (spread**2 + sigma**2)


def network(x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
    """Some nonlinear v-prediction."""
    return torch.sin(2 * x + c_noise) + 0.3 * x


svd_like = precondition(network)


def latents(seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn((3, 4, 5, 6), generator=torch.Generator().manual_seed(seed))


def geometric(high: float, low: float, steps: int) -> torch.Tensor:
    """Equal steps in ln σ that do not end in 0: the solvers only look at pairs of levels."""
    return torch.linspace(math.log(high), math.log(low), steps + 1, dtype=torch.float64).exp()


# What all solvers do


@solvers(ALL)
@pytest.mark.parametrize("steps", [1, 2, 5, 25])
def test_a_perfect_denoiser_is_followed_to_the_picture(solve, steps: int):
    clean = latents(1).double()
    sigmas = schedules.karras(steps).double()
    x = clean + sigmas[0] * latents(2)
    result = solve(lambda x, sigma: clean, x, sigmas, noise=seeded_noise(0))
    torch.testing.assert_close(result, clean, rtol=0, atol=1e-11)


@solvers(ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_and_type_of_the_latents_are_kept_with_levels_in_float32(solve, dtype: torch.dtype):
    x = latents(scale=80.0).to(dtype)
    result = solve(gaussian(MEAN, SPREAD), x, schedules.karras(4, 0.01, 80.0), noise=seeded_noise(0))
    assert (result.shape, result.dtype) == (x.shape, dtype)
    assert result.isfinite().all()


@solvers(ALL)
def test_float32_is_precise_enough_for_the_levels_of_svd(solve):
    """From σ 700 down, float32 and float64 end within a thousandth of the data's spread of each other."""
    sigmas, x = schedules.karras(25), latents(scale=700.0)
    axes = itertools.cycle([latents(seed) for seed in range(7)])
    single = solve(gaussian(MEAN, SPREAD), x, sigmas, noise=lambda x: next(axes))
    axes = itertools.cycle([latents(seed).double() for seed in range(7)])
    double = solve(gaussian(MEAN, SPREAD), x.double(), sigmas.double(), noise=lambda x: next(axes))
    torch.testing.assert_close(single.double(), double, rtol=0, atol=SPREAD / 1000)


@solvers(ALL)
@pytest.mark.parametrize("steps", [1, 4])
def test_the_latents_passed_in_are_not_modified(solve, steps: int):
    x, sigmas = latents(scale=700.0), schedules.karras(steps)
    before, levels = x.clone(), sigmas.clone()
    solve(gaussian(MEAN, SPREAD), x, sigmas, noise=seeded_noise(0))
    assert torch.equal(x, before)
    assert torch.equal(sigmas, levels)


@solvers(ALL)
@pytest.mark.parametrize("steps", [1, 2, 6])
def test_the_callback_is_called_once_a_step_with_the_estimate_of_that_step(solve, steps: int):
    calls, estimates = [], []

    def denoise(x, sigma):
        estimates.append(gaussian(MEAN, SPREAD)(x, sigma))
        return estimates[-1]

    def watch(step, x, denoised):
        calls.append((step, denoised, len(estimates)))

    sigmas = schedules.karras(steps).double()
    result = solve(denoise, latents(scale=700.0).double(), sigmas, noise=seeded_noise(0), callback=watch)
    assert [step for step, _, _ in calls] == list(range(steps))
    per_step = 2 if len(estimates) > steps else 1
    for step, denoised, known in calls:
        assert known == per_step * step + 1  # the first estimate of a step, as soon as it is there
        assert denoised is estimates[per_step * step]
    torch.testing.assert_close(result, calls[-1][1])  # to step to 0 is to arrive at the estimate


@solvers({**ALL, "churned euler": partial(euler, churn=1e9), "churned heun": partial(heun, churn=1e9)})
def test_the_callback_gets_the_latents_that_each_step_started_from(solve):
    """Those that a run over only the steps before it ends in (churn at its limit does not count steps)."""
    x, sigmas, started = latents(scale=700.0), schedules.karras(6), []
    solve(svd_like, x, sigmas, noise=seeded_noise(0), callback=lambda step, x, denoised: started.append(x))
    assert started[0] is x
    for step in range(1, 6):
        until_here = solve(svd_like, x, sigmas[: step + 1], noise=seeded_noise(0))
        assert torch.equal(started[step], until_here)


@solvers(ALL)
def test_no_callback_is_needed_and_it_does_not_change_the_result(solve):
    x, sigmas = latents(scale=700.0), schedules.karras(5)
    without = solve(svd_like, x, sigmas, noise=seeded_noise(0))
    watched = solve(svd_like, x, sigmas, noise=seeded_noise(0), callback=lambda step, x, denoised: None)
    assert torch.equal(without, watched)


@solvers(ALL)
def test_the_last_level_is_never_denoised_at(solve):
    levels = []

    def denoise(x, sigma):
        assert sigma.shape == ()
        levels.append(sigma.item())
        return 0 * x

    solve(denoise, latents(scale=700.0), schedules.karras(6), noise=seeded_noise(0))
    assert min(levels) > 0


@pytest.mark.parametrize(
    "solve, calls",
    [(euler, 6), (heun, 11), (euler_ancestral, 6), (dpmpp_2m, 6), (dpmpp_2m_sde, 6), (lcm, 6)],
)
def test_heun_denoises_twice_a_step_but_for_the_last_and_the_others_once(solve, calls: int):
    levels = []

    def denoise(x, sigma):
        levels.append(sigma.item())
        return 0 * x

    sigmas = schedules.karras(6)
    solve(denoise, latents(scale=700.0), sigmas, noise=seeded_noise(0))
    assert len(levels) == calls
    assert set(levels) == set(sigmas[:-1].tolist())


@pytest.mark.parametrize(
    "solve, expected",
    [
        (euler, 0),
        (heun, 0),
        (dpmpp_2m, 0),
        (euler_ancestral, 5),
        (dpmpp_2m_sde, 5),
        (lcm, 5),
        (partial(euler, churn=1), 6),
        (partial(heun, churn=1), 6),
    ],
)
def test_noise_is_drawn_as_often_as_the_algorithm_needs_it(solve, expected: int):
    drawn = []

    def noise(x):
        drawn.append(x)
        return torch.zeros_like(x)

    solve(gaussian(0, 1), latents(scale=700.0), schedules.karras(6), noise=noise)
    assert len(drawn) == expected


@solvers(STOCHASTIC)
def test_the_same_noise_gives_the_same_result_and_another_one_another(solve):
    x, sigmas = latents(scale=700.0), schedules.karras(5)
    first, again, other = (solve(svd_like, x, sigmas, noise=seeded_noise(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


# The probability flow


def error_on_the_flow(solve, steps: int) -> float:
    high, low, start = 10.0, 0.1, 7.0
    exact = MEAN + (start - MEAN) * math.sqrt((SPREAD**2 + low**2) / (SPREAD**2 + high**2))
    x = torch.tensor([start], dtype=torch.float64)
    result = solve(gaussian(MEAN, SPREAD), x, geometric(high, low, steps), noise=no_noise)
    return abs(result.item() - exact)


@pytest.mark.parametrize("solve, order", [(euler, 1), (heun, 2), (dpmpp_2m, 2)])
def test_the_error_on_the_exact_flow_falls_with_the_order_of_the_solver(solve, order: int):
    errors = [error_on_the_flow(solve, steps) for steps in (100, 200, 400, 800)]
    assert errors[0] < 0.05
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


@solvers(DETERMINISTIC)
def test_a_whole_karras_schedule_turns_noise_into_the_data(solve):
    """Quantiles of N(0, 700² + s²) land on those of N(m, s²)."""
    quantiles = torch.linspace(-2, 2, 9, dtype=torch.float64)
    x = MEAN + quantiles * math.sqrt(700**2 + SPREAD**2)
    result = solve(gaussian(MEAN, SPREAD), x, schedules.karras(400).double(), noise=no_noise)
    torch.testing.assert_close(result, MEAN + quantiles * SPREAD, rtol=0, atol=0.02)


@pytest.mark.parametrize("solve", [heun, dpmpp_2m])
def test_second_order_solvers_are_closer_to_the_flow_than_euler(solve):
    assert error_on_the_flow(solve, 50) < error_on_the_flow(euler, 50) / 5


# The stochastic solvers


@solvers(STOCHASTIC)
def test_with_a_single_picture_as_data_every_step_leaves_exactly_the_noise_of_its_level(solve):
    """D = 0: x must have variance σ² at every level, however few steps there are."""
    sigmas = torch.tensor([80.0, 13.0, 11.0, 2.0, 0.3], dtype=torch.float64)
    for end in range(2, len(sigmas) + 1):
        noises = UnitNoises()
        x = solve(lambda x, sigma: 0 * x, start_on_axis_0(80.0), sigmas[:end], noise=noises)
        assert noises.drawn == end - 1
        assert x.norm().item() == pytest.approx(sigmas[end - 1].item(), rel=1e-12)


def variance_of_samples(solve, steps: int) -> float:
    """What a solver makes of the exact distribution at a high level, over that at a low one: 0 is perfect."""
    high, low = 30.0, 0.05
    x = start_on_axis_0(math.sqrt(SPREAD**2 + high**2))
    result = solve(gaussian(0, SPREAD), x, geometric(high, low, steps), noise=UnitNoises())
    return result.square().sum().item() / (SPREAD**2 + low**2) - 1


@pytest.mark.parametrize(
    "solve, order",
    [(euler_ancestral, 1), (dpmpp_2m_sde, 2), (partial(euler, churn=3.0), 1), (partial(heun, churn=3.0), 2)],
    ids=["euler_ancestral", "dpmpp_2m_sde", "churned euler", "churned heun"],
)
def test_the_variance_of_the_samples_converges_to_that_of_the_data(solve, order: int):
    errors = [abs(variance_of_samples(solve, steps)) for steps in (40, 80, 160)]
    assert errors[0] < (0.3 if order == 1 else 0.05)
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


@solvers({name: solve for name, solve in STOCHASTIC.items() if name != "lcm"})
def test_samples_drawn_at_random_have_the_mean_and_the_variance_of_the_data(solve):
    count = 20_000
    sigmas = schedules.karras(60, 0.01, 30.0).double()
    x = MEAN + math.sqrt(30**2 + SPREAD**2) * seeded_noise(0)(torch.empty(count, dtype=torch.float64))
    samples = solve(gaussian(MEAN, SPREAD), x, sigmas, noise=seeded_noise(1))
    assert samples.mean().item() == pytest.approx(MEAN, abs=4 * SPREAD / math.sqrt(count))
    assert samples.std().item() == pytest.approx(SPREAD, rel=0.08)  # first order: some per cent at 60 steps


def test_lcm_with_the_flow_to_0_as_its_model_draws_from_the_data():
    """A perfect consistency model is the exact flow to σ = 0; every step then gives exact samples."""

    def consistent(x, sigma):
        return MEAN + (x - MEAN) * SPREAD / (SPREAD**2 + sigma**2).sqrt()

    sigmas = schedules.animate_lcm(4).double()
    x = torch.zeros(200, dtype=torch.float64)
    x[0] = (SPREAD**2 + sigmas[0] ** 2).sqrt()
    result = lcm(lambda x, sigma: consistent(x + MEAN, sigma) - MEAN, x, sigmas, noise=UnitNoises())
    assert result.norm().item() == pytest.approx(SPREAD, rel=1e-12)


# Churn


@solvers(DETERMINISTIC | {"euler, churn 0": partial(euler, churn=0), "heun, churn 0": partial(heun, churn=0)})
def test_without_churn_no_noise_is_drawn(solve):
    solve(svd_like, latents(scale=700.0), schedules.karras(5), noise=no_noise)


@pytest.mark.parametrize("solve", [euler, heun])
@pytest.mark.parametrize(
    "churn, gamma",
    [(0.5, 0.125), (1.6, 0.4), (4 * 0.42, math.sqrt(2) - 1), (1000, math.sqrt(2) - 1)],
)
def test_churn_raises_every_level_by_its_share_of_the_steps_up_to_a_limit(solve, churn: float, gamma: float):
    levels = []

    def denoise(x, sigma):
        levels.append(sigma.item())
        return 0 * x

    sigmas = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    solve(denoise, latents().double(), sigmas, noise=seeded_noise(0), churn=churn)
    raised = levels if solve is euler else levels[::2]
    assert raised == pytest.approx([(1 + gamma) * sigma for sigma in sigmas[:-1].tolist()], rel=1e-12)


@pytest.mark.parametrize("solve", [euler, heun])
def test_churned_steps_are_algorithm_2_of_the_paper(solve):
    """Algorithm 2 line by line, in plain numbers, with S_tmin = 0, S_tmax = ∞ and S_noise = 1."""
    levels, drawn, churn = [9.0, 4.0, 1.5, 0.5, 0.0], [0.3, -1.2, 0.8, 2.0], 1.2

    def ideal(x, t):
        return math.tanh(x / (1 + t)) - 0.1 * t

    x = 5.0
    for t, t_next, epsilon in zip(levels[:-1], levels[1:], drawn, strict=True):
        t_hat = t + 0.3 * t
        x_hat = x + math.sqrt(t_hat**2 - t**2) * epsilon
        d = (x_hat - ideal(x_hat, t_hat)) / t_hat
        x = x_hat + (t_next - t_hat) * d
        if solve is heun and t_next != 0:
            d_prime = (x - ideal(x, t_next)) / t_next
            x = x_hat + (t_next - t_hat) * (0.5 * d + 0.5 * d_prime)

    noises = iter(drawn)
    result = solve(
        lambda x, sigma: torch.tanh(x / (1 + sigma)) - 0.1 * sigma,
        torch.tensor([5.0], dtype=torch.float64),
        torch.tensor(levels, dtype=torch.float64),
        noise=lambda x: torch.full_like(x, next(noises)),
        churn=churn,
    )
    assert result.item() == pytest.approx(x, rel=1e-13)


# Diffusers, as an independent implementation


def assert_as_close_as_float32(result: torch.Tensor, theirs: torch.Tensor, atol: float = 1e-5) -> None:
    assert theirs.std() > 0.2
    torch.testing.assert_close(result, theirs, rtol=0, atol=atol)


def run_diffusers(scheduler, x: torch.Tensor, output, **options) -> torch.Tensor:
    """The loop of a pipeline; output(x, sigma) is what the scheduler's prediction type asks for."""
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        scheduler.scale_model_input(x, timestep)
        x = scheduler.step(output(x, sigma), timestep, x, **options).prev_sample
    return x


def v_output(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return network(x / (sigma**2 + 1) ** 0.5, sigma.log() / 4)


def test_euler_is_the_published_pipeline_of_svd():
    scheduler = EulerDiscreteScheduler(
        **TRAINED,
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
        timestep_type="continuous",
        prediction_type="v_prediction",
        timestep_spacing="leading",
        steps_offset=1,
    )
    scheduler.set_timesteps(STEPS)
    x = latents(scale=float(scheduler.init_noise_sigma))

    def network_of_the_pipeline(x, sigma):
        return network(scheduler.scale_model_input(x, None), scheduler.timesteps[scheduler.step_index])

    theirs = run_diffusers(scheduler, x, network_of_the_pipeline)
    assert_as_close_as_float32(euler(svd_like, x, schedules.karras(STEPS), noise=no_noise), theirs)


@pytest.mark.parametrize("churn", [0.7, 3.0, 50.0])
def test_churned_euler_is_that_of_diffusers(churn: float):
    """diffusers draws the noise after the model ran, so the estimates here do not look at x."""
    scheduler = EulerDiscreteScheduler(
        **TRAINED, use_karras_sigmas=True, sigma_min=0.05, sigma_max=20.0, prediction_type="sample"
    )
    scheduler.set_timesteps(STEPS)
    x, estimates = latents(scale=20.0), [latents(seed) for seed in range(10, 10 + STEPS)]
    theirs_from, ours_from = iter(estimates), iter(estimates)
    # all but the last step: that one arrives at its estimate whatever was before it
    scheduler.sigmas[-1] = 0.02
    generator = torch.Generator().manual_seed(5)
    theirs = run_diffusers(
        scheduler, x, lambda x, sigma: next(theirs_from), s_churn=churn, generator=generator
    )
    result = euler(lambda x, sigma: next(ours_from), x, scheduler.sigmas, noise=seeded_noise(5), churn=churn)
    assert_as_close_as_float32(result, theirs)


def test_heun_is_that_of_diffusers():
    scheduler = HeunDiscreteScheduler(**TRAINED, prediction_type="v_prediction", use_karras_sigmas=True)
    scheduler.set_timesteps(STEPS)
    levels = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1::2]])  # it lists inner levels twice
    x = latents(scale=float(scheduler.init_noise_sigma))
    theirs = run_diffusers(scheduler, x, v_output)
    assert_as_close_as_float32(heun(svd_like, x, levels, noise=no_noise), theirs)


@pytest.mark.parametrize("solve, algorithm", [(dpmpp_2m, "dpmsolver++"), (dpmpp_2m_sde, "sde-dpmsolver++")])
@pytest.mark.parametrize("steps", [1, 2, 3, STEPS, 20])
def test_dpmpp_2m_with_and_without_noise_is_that_of_diffusers(solve, algorithm: str, steps: int):
    scheduler = EDMDPMSolverMultistepScheduler(
        sigma_min=0.002,
        sigma_max=700.0,
        sigma_data=1.0,
        prediction_type="v_prediction",
        algorithm_type=algorithm,
    )
    scheduler.set_timesteps(steps)
    x = latents(scale=700.0)
    theirs = run_diffusers(scheduler, x, v_output, generator=torch.Generator().manual_seed(5))
    assert_as_close_as_float32(solve(svd_like, x, scheduler.sigmas, noise=seeded_noise(5)), theirs)


def test_euler_ancestral_is_that_of_diffusers():
    scheduler = EulerAncestralDiscreteScheduler(**TRAINED, prediction_type="v_prediction")
    scheduler.set_timesteps(STEPS)
    x = latents(scale=float(scheduler.init_noise_sigma))
    theirs = run_diffusers(scheduler, x, v_output, generator=torch.Generator().manual_seed(5))
    assert_as_close_as_float32(euler_ancestral(svd_like, x, scheduler.sigmas, noise=seeded_noise(5)), theirs)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_lcm_on_the_animate_lcm_levels_is_the_consistency_scheduler_of_diffusers(steps: int):
    """That one takes sigma_min² off the variance of the noise; its parameterisation cancels at a low σ."""
    scheduler = CMStochasticIterativeScheduler(
        num_train_timesteps=40, sigma_min=0.002, sigma_max=700.0, clip_denoised=False
    )
    scheduler.set_timesteps(steps)

    def consistency_output(x, sigma):
        c_skip, c_out = scheduler.get_scalings_for_boundary_condition(sigma)
        return (svd_like(x, sigma) - c_skip * x) / c_out

    x = latents(scale=700.0)
    theirs = run_diffusers(scheduler, x, consistency_output, generator=torch.Generator().manual_seed(5))
    result = lcm(svd_like, x, schedules.animate_lcm(steps), noise=seeded_noise(5))
    assert_as_close_as_float32(result, theirs, atol=1e-3)


# Written out


def test_lcm_with_one_step_is_the_estimate_at_the_highest_level():
    x, sigmas = latents(scale=700.0), schedules.animate_lcm(1)
    assert torch.equal(lcm(svd_like, x, sigmas, noise=no_noise), svd_like(x, sigmas[0]))


def test_lcm_with_three_steps_adds_noise_of_the_next_level_to_each_estimate():
    x = latents(scale=700.0)
    a, b, c, _ = sigmas = schedules.animate_lcm(3)
    fresh = [latents(7), latents(8)]
    noises = iter(fresh)
    result = lcm(svd_like, x, sigmas, noise=lambda x: next(noises))
    expected = svd_like(svd_like(svd_like(x, a) + b * fresh[0], b) + c * fresh[1], c)
    torch.testing.assert_close(result, expected)


def test_dpmpp_2m_takes_algorithm_2_of_its_paper_on_uneven_levels():
    """Lu et al. (2022), Algorithm 2 with α = 1 and λ = −ln σ, written in plain numbers."""
    t = [9.0, 4.0, 3.0, 0.5]

    def model(x, sigma):
        return math.tanh(x / (1 + sigma)) - 0.1 * sigma

    h = [math.log(t[i - 1] / t[i]) for i in range(1, 4)]
    x0, q0 = 5.0, model(5.0, 9.0)
    x1 = t[1] / t[0] * x0 - (math.exp(-h[0]) - 1) * q0
    q1 = model(x1, t[1])
    r2 = h[0] / h[1]
    x2 = t[2] / t[1] * x1 - (math.exp(-h[1]) - 1) * ((1 + 1 / (2 * r2)) * q1 - 1 / (2 * r2) * q0)
    q2 = model(x2, t[2])
    r3 = h[1] / h[2]
    x3 = t[3] / t[2] * x2 - (math.exp(-h[2]) - 1) * ((1 + 1 / (2 * r3)) * q2 - 1 / (2 * r3) * q1)

    result = dpmpp_2m(
        lambda x, sigma: torch.tanh(x / (1 + sigma)) - 0.1 * sigma,
        torch.tensor([5.0], dtype=torch.float64),
        torch.tensor(t, dtype=torch.float64),
        noise=no_noise,
    )
    assert result.item() == pytest.approx(x3, rel=1e-13)


def test_euler_ancestral_splits_the_next_level_into_a_way_down_and_a_way_up():
    """σ_up² = σ_next²·(σ² − σ_next²)/σ², σ_down² = σ_next² − σ_up²: from 5 to 3, up 2.4 and down 1.8."""
    sigmas = torch.tensor([5.0, 3.0], dtype=torch.float64)
    x, fresh = latents(1).double(), latents(2).double()
    clean = svd_like(x, sigmas[0])
    result = euler_ancestral(svd_like, x, sigmas, noise=lambda x: fresh)
    torch.testing.assert_close(result, x + (1.8 - 5) * (x - clean) / 5 + 2.4 * fresh)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_found_by_name_has_its_churn_where_it_takes_one(name):
    solver = find_solver(name, churn=2.0)
    assert getattr(solver, "keywords", {}) == ({"churn": 2.0} if name in ("euler", "heun") else {})
    assert getattr(solver, "func", solver) is SOLVERS[name]
