"""The four scalings, the denoiser made of them, and the noise that sampling starts from."""

import math

import pytest
import torch
from diffusers import EDMEulerScheduler

from stillmotion.samplers.preconditioning import precondition, scale_noise, scalings

LEVELS = [0.002, 0.1, 1.0, 14.6, 700.0]


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def picture(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape or (3, 4, 5, 6), generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("sigma", LEVELS)
def test_the_scalings_are_those_of_edm_with_unit_data(sigma: float):
    c_skip, c_out, c_in, c_noise = scalings(number(sigma))
    assert c_skip.item() == pytest.approx(1 / (1 + sigma * sigma), rel=1e-14)
    assert c_out.item() == pytest.approx(-sigma / (1 + sigma * sigma) ** 0.5, rel=1e-14)
    assert c_in.item() == pytest.approx((1 + sigma * sigma) ** -0.5, rel=1e-14)
    assert torch.exp(4 * c_noise).item() == pytest.approx(sigma, rel=1e-14)


@pytest.mark.parametrize("sigma", LEVELS)
def test_the_scalings_agree_with_the_edm_scheduler_of_diffusers(sigma: float):
    scheduler = EDMEulerScheduler(sigma_data=1.0, prediction_type="v_prediction")
    sample, output = picture(0), picture(1)
    c_skip, c_out, c_in, c_noise = scalings(number(sigma))
    theirs = scheduler.precondition_outputs(sample, output, number(sigma))
    torch.testing.assert_close(c_skip * sample + c_out * output, theirs)
    torch.testing.assert_close(c_in * sample, scheduler.precondition_inputs(sample, number(sigma)))
    torch.testing.assert_close(c_noise, scheduler.precondition_noise(number(sigma)))


@pytest.mark.parametrize("sigma", LEVELS)
def test_input_and_target_of_the_network_have_unit_variance(sigma: float):
    """Requirements (114) and (117) of Karras et al. (2022), for x = x0 + σ·n with var x0 = var n = 1."""
    c_skip, c_out, c_in, _ = (float(scaling) for scaling in scalings(number(sigma)))
    assert c_in**2 * (1 + sigma**2) == pytest.approx(1)
    # (x0 − c_skip·x)/c_out; 1 − c_skip is written so that it does not cancel at a small σ
    one_minus_c_skip = sigma**2 * c_skip
    assert (one_minus_c_skip**2 + (c_skip * sigma) ** 2) / c_out**2 == pytest.approx(1)


def test_the_scalings_have_the_shape_and_type_of_sigma():
    for sigma in (torch.tensor(2.0), torch.rand(3) + 1, torch.rand(2, 1, 1, 1).double() + 1):
        for scaling in scalings(sigma):
            assert scaling.shape == sigma.shape
            assert scaling.dtype == sigma.dtype


@pytest.mark.parametrize("sigma", LEVELS)
def test_the_exact_v_is_denoised_to_the_clean_picture(sigma: float):
    """v = α·n − β·x0 where α = 1/√(1+σ²) and β = σ/√(1+σ²) (Salimans & Ho, 2022)."""
    clean, noise = picture(0), picture(1)
    alpha, beta = 1 / (1 + sigma**2) ** 0.5, sigma / (1 + sigma**2) ** 0.5
    denoise = precondition(lambda scaled, c_noise: alpha * noise - beta * clean)
    torch.testing.assert_close(denoise(clean + sigma * noise, number(sigma)), clean, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sigma", LEVELS)
def test_a_denoiser_is_skip_plus_the_scaled_network(sigma: float):
    x = picture(2)
    denoise = precondition(lambda scaled, c_noise: torch.sin(scaled) + c_noise)
    root = (sigma**2 + 1) ** 0.5
    expected = x / root**2 - sigma / root * (torch.sin(x / root) + 0.25 * math.log(sigma))
    torch.testing.assert_close(denoise(x, number(sigma)), expected)


def test_the_network_sees_the_scaled_picture_and_a_noise_level_of_no_dimensions():
    seen = []

    def network(scaled, c_noise):
        seen.append((scaled, c_noise))
        return torch.zeros_like(scaled)

    x = picture(3)
    precondition(network)(x, number(3.0))
    ((scaled, c_noise),) = seen
    torch.testing.assert_close(scaled, x / 10**0.5)
    assert c_noise.shape == ()
    assert c_noise.item() == pytest.approx(0.27465307216702745)  # ln(3)/4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (7,), (2, 4, 3, 5), (2, 3, 4, 5, 6)])
def test_a_denoiser_keeps_shape_and_type_of_the_picture(shape: tuple[int, ...], dtype: torch.dtype):
    x = torch.ones(shape, dtype=dtype)
    denoised = precondition(lambda scaled, c_noise: scaled)(x, torch.tensor(2.0))
    assert (denoised.shape, denoised.dtype) == (x.shape, x.dtype)


def test_almost_without_noise_the_denoiser_returns_the_picture_whatever_the_network_says():
    x = picture(4)
    denoised = precondition(lambda scaled, c_noise: 10 * picture(5))(x, number(1e-9))
    torch.testing.assert_close(denoised, x, rtol=0, atol=1e-7)


def test_almost_only_noise_is_denoised_to_the_negative_of_the_network():
    denoised = precondition(lambda scaled, c_noise: picture(5))(1e9 * picture(4), number(1e9))
    torch.testing.assert_close(denoised, -picture(5), rtol=0, atol=1e-7)


@pytest.mark.parametrize("sigma", LEVELS)
def test_the_network_first_sees_the_unit_noise_itself(sigma: float):
    noise = picture(6)
    torch.testing.assert_close(scalings(number(sigma)).c_in * scale_noise(noise, number(sigma)), noise)


def test_noise_starts_at_the_initial_sigma_of_diffusers():
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=700.0, sigma_data=1.0)
    started = scale_noise(torch.ones(2, 4, 3, 3), torch.tensor(700.0))
    torch.testing.assert_close(started, torch.full((2, 4, 3, 3), float(scheduler.init_noise_sigma)))
    assert started[0, 0, 0, 0].item() == pytest.approx(700.000714, rel=1e-7)  # √490001


def test_scaled_noise_keeps_shape_and_type_and_leaves_the_noise_alone():
    noise = torch.ones(2, 4, 3, 5, dtype=torch.bfloat16)
    started = scale_noise(noise, torch.tensor(1.0))
    assert (started.shape, started.dtype) == (noise.shape, noise.dtype)
    assert (noise == 1).all()
