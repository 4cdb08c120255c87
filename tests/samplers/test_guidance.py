"""A guidance scale for each frame, and the denoiser guided by terms."""

import math

import numpy as np
import pytest
import torch

from stillmotion.samplers import guidance

FRAMES = [1, 2, 3, 5, 14, 21, 24, 25]
RANGES = [(1.0, 2.5), (1.5, 3.0), (3.0, 1.0), (2.0, 2.0), (-1.0, 0.5)]


def assert_scales(scales: torch.Tensor, expected) -> None:
    assert scales.dtype == torch.float32
    np.testing.assert_allclose(scales.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("scale", [1, 2.5, 0.0, -3.0])
def test_constant_is_the_same_for_every_frame(frames: int, scale: float):
    assert_scales(guidance.constant(frames, scale), [scale] * frames)


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("low, high", RANGES)
def test_linear_goes_in_equal_steps_from_min_to_max(frames: int, low: float, high: float):
    expected = [low + (high - low) * frame / max(frames - 1, 1) for frame in range(frames)]
    assert_scales(guidance.linear(frames, low, high), expected)


def test_linear_of_the_published_models_ends_exactly_at_its_ends():
    svd, svd_xt = guidance.linear(14, 1.0, 2.5), guidance.linear(25, 1.5, 3.0)
    assert (svd[0], svd[-1], svd_xt[0], svd_xt[12], svd_xt[-1]) == (1.0, 2.5, 1.5, 2.25, 3.0)


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("low, high", RANGES)
def test_triangle_falls_off_with_the_distance_from_the_middle(frames: int, low: float, high: float):
    middle = (frames - 1) / 2
    near = [1 - abs(frame - middle) / middle if frames > 1 else 0 for frame in range(frames)]
    assert_scales(guidance.triangle(frames, low, high), [low + (high - low) * part for part in near])


@pytest.mark.parametrize("frames", FRAMES)
def test_triangle_is_the_wave_of_the_reference(frames: int):
    v = np.linspace(0, 1, frames)
    assert_scales(guidance.triangle(frames, 1.0, 2.5), 1 + 1.5 * 2 * np.abs(v - np.floor(v + 0.5)))


@pytest.mark.parametrize("frames", FRAMES)
def test_triangle_ends_where_it_began_and_is_symmetric(frames: int):
    scales = guidance.triangle(frames, 1.0, 2.5)
    assert scales[0] == scales[-1] == 1.0
    torch.testing.assert_close(scales, scales.flip(0))


@pytest.mark.parametrize("frames", [3, 5, 21, 25])
def test_triangle_has_its_max_in_the_middle_frame_of_an_odd_count(frames: int):
    scales = guidance.triangle(frames, 1.0, 2.5)
    assert scales[frames // 2] == 2.5
    assert (scales < 2.5).sum() == frames - 1


@pytest.mark.parametrize(
    "frames, expected",
    [
        (1, [3]),
        (9, [3] * 9),  # a tenth is less than one frame: no edge
        (10, [1] + [3] * 8 + [1]),
        (14, [1] + [3] * 12 + [1]),
        (21, [1, 3] + [3] * 17 + [3, 1]),
        (30, [1, 2, 3] + [3] * 24 + [3, 2, 1]),
        (50, [1, 1.5, 2, 2.5, 3] + [3] * 40 + [3, 2.5, 2, 1.5, 1]),
    ],
)
def test_trapezoid_rises_over_a_tenth_holds_its_max_and_falls_over_a_tenth(
    frames: int, expected: list[float]
):
    assert_scales(guidance.trapezoid(frames, 1.0, 3.0), expected)


@pytest.mark.parametrize("frames", [10, 14, 25, 40])
@pytest.mark.parametrize("low, high", RANGES)
def test_trapezoid_ends_at_min_and_has_max_on_its_plateau(frames: int, low: float, high: float):
    scales = guidance.trapezoid(frames, low, high)
    assert scales.shape == (frames,)
    assert scales[0] == scales[-1] == low
    assert (scales[frames // 10 : -(frames // 10)] == high).all()
    assert torch.equal(scales, scales.flip(0))


@pytest.mark.parametrize("scales", [[1], [1.5, 2, 2.5], (0, -1.25), np.array([1.0, 2.0])])
def test_a_given_list_is_taken_as_it_is(scales):
    assert_scales(guidance.listed(len(scales), scales), list(scales))


@pytest.mark.parametrize(
    "frames, scales, shown",
    [
        (3, [1.0, 2.5], "1, 2.5 (2 numbers)"),
        (1, [1.0, 2.0], "1, 2 (2 numbers)"),
        (2, [], " (0 numbers)"),
        (2, [1.0, math.nan], "1, nan (2 numbers)"),
        (2, [math.inf, 1.0], "inf, 1 (2 numbers)"),
        (2, [1.0, -math.inf], "1, -inf (2 numbers)"),
    ],
)
def test_a_list_of_the_wrong_length_or_not_finite_is_refused_and_shown(frames: int, scales: list, shown: str):
    with pytest.raises(ValueError) as refusal:
        guidance.listed(frames, scales)
    assert f"the guidance list is {shown}; give one finite number for each of the {frames} frames." == str(
        refusal.value
    )


def pictures(seed: int, frames: int) -> torch.Tensor:
    return torch.randn((frames, 4, 3, 5), generator=torch.Generator().manual_seed(seed))


def denoiser(branches: dict, *terms: guidance.Term):
    """Guided by terms over the denoisers of the branches."""

    def evaluate(names, x: torch.Tensor, sigma: torch.Tensor) -> list[torch.Tensor]:
        return [branches[name](x, sigma) for name in names]

    return guidance.guided(evaluate, terms)


def of_two(conditional, unconditional, scales: torch.Tensor, interval=guidance.EVERYWHERE):
    branches = {guidance.CONDITIONAL: conditional, guidance.UNCONDITIONAL: unconditional}
    return denoiser(branches, guidance.cfg(scales, interval))


def guide(conditional: torch.Tensor, unconditional: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Two estimates, guided."""
    estimates = (lambda x, sigma: conditional), (lambda x, sigma: unconditional)
    return of_two(*estimates, scales)(conditional, torch.tensor(5.0))


@pytest.mark.parametrize("videos", [1, 2, 3])
def test_guide_scales_each_frame_of_each_video_by_its_own_number(videos: int):
    scales = [0.0, 1.0, 2.5, -1.0]
    conditional, unconditional = pictures(0, videos * 4), pictures(1, videos * 4)
    result = guide(conditional, unconditional, torch.tensor(scales))
    assert result.shape == conditional.shape
    for video in range(videos):
        for frame, scale in enumerate(scales):
            i = video * 4 + frame
            expected = (1 - scale) * unconditional[i] + scale * conditional[i]
            torch.testing.assert_close(result[i], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_guide_keeps_the_type_of_the_pictures(dtype: torch.dtype):
    result = guide(pictures(0, 2).to(dtype), pictures(1, 2).to(dtype), torch.tensor([1.0, 2.0]))
    assert result.dtype == dtype


class Counted:
    """A denoiser that returns a multiple of x, and remembers the noise levels of its calls."""

    def __init__(self, factor: float):
        self.factor, self.sigmas = factor, []

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.sigmas.append(sigma.item())
        return self.factor * x


def test_a_guided_denoiser_goes_from_the_unconditional_result_past_the_conditional_one():
    x = pictures(2, 6)
    denoise = of_two(Counted(2), Counted(3), torch.tensor([0.0, 1.0, 4.0]))
    factors = torch.tensor([3.0, 2.0, -1.0]).repeat(2)  # 3 + scale·(2 − 3)
    torch.testing.assert_close(denoise(x, torch.tensor(5.0)), factors.view(-1, 1, 1, 1) * x)


def test_both_denoisers_are_given_the_picture_and_the_level():
    x, sigma, seen = pictures(2, 2), torch.tensor(5.0), []

    def remember(*arguments):
        seen.append(arguments)
        return x

    of_two(remember, remember, torch.tensor([2.0, 3.0]))(x, sigma)
    assert len(seen) == 2
    assert all(given_x is x and given_sigma is sigma for given_x, given_sigma in seen)


def test_with_every_scale_0_the_result_is_the_unconditional_one():
    x = pictures(2, 3)
    assert torch.equal(of_two(Counted(2), Counted(3), torch.zeros(3))(x, torch.tensor(5.0)), 3 * x)


def test_with_every_scale_1_the_unconditional_denoiser_is_never_called():
    x, conditional, unconditional = pictures(2, 3), Counted(2), Counted(3)
    denoise = of_two(conditional, unconditional, torch.ones(3))
    for sigma in (700.0, 1.0, 0.002):
        assert torch.equal(denoise(x, torch.tensor(sigma)), 2 * x)
    assert len(conditional.sigmas) == 3
    assert unconditional.sigmas == []


def test_one_scale_other_than_1_is_enough_to_guide():
    x, unconditional = pictures(2, 3), Counted(3)
    result = of_two(Counted(2), unconditional, torch.tensor([1.0, 1.0, 2.0]))(x, torch.tensor(5.0))
    assert unconditional.sigmas == [5.0]
    torch.testing.assert_close(result, torch.tensor([2.0, 2.0, 1.0]).view(-1, 1, 1, 1) * x)


def test_guidance_applies_at_every_level_when_no_interval_is_given():
    unconditional = Counted(3)
    denoise = of_two(Counted(2), unconditional, torch.tensor([2.0]))
    for sigma in (1e-6, 0.002, 1.0, 700.0, 1e6):
        denoise(pictures(2, 1), torch.tensor(sigma, dtype=torch.float64))
    assert unconditional.sigmas == [1e-6, 0.002, 1.0, 700.0, 1e6]


@pytest.mark.parametrize("low", [0.25, 0.034])  # of which float32 holds one exactly, like 8 of 8 and 15.886
@pytest.mark.parametrize("high", [8.0, 15.886])
def test_guidance_applies_inside_of_an_interval_with_both_of_its_ends_and_not_outside(low, high):
    x, conditional, unconditional = pictures(2, 1), Counted(2), Counted(3)
    denoise = of_two(conditional, unconditional, torch.tensor([2.0]), interval=(low, high))
    levels = torch.tensor([700.0, high + 0.5, high, 3.0, low, low / 2])
    factors = [2, 2, 1, 1, 1, 2]  # guided: 3 + 2·(2 − 3) = 1
    for sigma, factor in zip(levels, factors, strict=True):
        torch.testing.assert_close(denoise(x, sigma), factor * x)
    assert conditional.sigmas == levels.tolist()
    assert unconditional.sigmas == levels[2:5].tolist()


@pytest.mark.parametrize(("frames", "scales"), [(1, 2), (5, 2), (2, 4)])
def test_scales_that_do_not_fit_the_frames_are_refused(frames, scales):
    pictures = torch.zeros(frames, 1, 1, 1)
    with pytest.raises(ValueError, match=f"{scales} scales don't fit {frames} frames"):
        guide(pictures, pictures, torch.full((scales,), 2.0))


class TestTerms:
    """Several terms, each with a branch, weights and an interval."""

    @staticmethod
    def term(branch: str, weights: list[float], **options) -> guidance.Term:
        return guidance.Term(branch, lambda sigma: torch.tensor(weights), **options)

    def test_each_adds_its_weighted_difference_to_the_conditional_estimate(self):
        x = pictures(2, 4)
        branches = {"conditional": Counted(2), "unconditional": Counted(3), "perturbed": Counted(5)}
        terms = guidance.cfg(torch.tensor([1.0, 4.0])), self.term("perturbed", [0.5, -1.0])
        # 2 + (s − 1)·(2 − 3) + w·(2 − 5)
        factors = torch.tensor([0.5, 2.0]).repeat(2).view(-1, 1, 1, 1)
        result = denoiser(branches, *terms)(x, torch.tensor(5.0))
        torch.testing.assert_close(result, factors * x)

    def test_a_step_evaluates_in_one_call_each_branch_that_a_term_compares_there(self):
        calls = []

        def evaluate(names, x, sigma):
            calls.append(names)
            return [x] * len(names)

        scales = torch.tensor([2.0])
        terms = guidance.cfg(scales, (4.0, 8.0)), self.term("perturbed", [1.0]), guidance.cfg(scales)
        denoise = guidance.guided(evaluate, terms)
        for sigma in (9.0, 5.0):
            denoise(pictures(2, 1), torch.tensor(sigma))
        assert calls == [
            ("conditional", "perturbed", "unconditional"),
            ("conditional", "unconditional", "perturbed"),
        ]

    def test_no_terms_leave_the_conditional_estimate(self):
        x = pictures(2, 3)
        assert torch.equal(denoiser({"conditional": Counted(2)})(x, torch.tensor(5.0)), 2 * x)

    def test_a_change_gets_the_estimate_so_far_both_branches_the_weights_of_all_frames_x_and_sigma(self):
        x = pictures(2, 4)

        def change(estimate, conditional, other, weights, noisy):
            assert noisy.x is x and noisy.sigma == 5
            return estimate * weights + conditional * other

        branches = {"conditional": Counted(2), "unconditional": Counted(3)}
        terms = self.term("unconditional", [1.0, 2.0]), self.term("unconditional", [4.0, 5.0], change=change)
        weights = torch.tensor([4.0, 5.0]).repeat(2).view(-1, 1, 1, 1)
        before = torch.tensor([1.0, 0.0]).repeat(2).view(-1, 1, 1, 1) * x  # 2 + w·(2 − 3)
        result = denoiser(branches, *terms)(x, torch.tensor(5.0))
        torch.testing.assert_close(result, before * weights + 2 * x * 3 * x)


@pytest.mark.parametrize("name", guidance.TERMS)
class TestEveryTerm:
    """What any row of TERMS keeps."""

    def test_scales_of_1_and_levels_outside_of_the_interval_need_the_conditional_branch_alone(self, name):
        make, sigma = guidance.TERMS[name], torch.tensor(5.0)
        assert guidance.branches_at(sigma, [make(torch.ones(3), guidance.EVERYWHERE)]) == ("conditional",)
        assert guidance.branches_at(sigma, [make(torch.full((3,), 2.0), (6.0, 7.0))]) == ("conditional",)

    def test_a_frame_whose_scale_is_1_stays_the_conditional_one(self, name):
        estimates = {"conditional": pictures(3, 3), "unconditional": pictures(4, 3)}
        branches = {branch: lambda x, sigma, e=estimate: e for branch, estimate in estimates.items()}
        term = guidance.TERMS[name](torch.tensor([1.0, 3.0, 1.0]), guidance.EVERYWHERE)
        result = denoiser(branches, term)(pictures(2, 3), torch.tensor(5.0))
        assert torch.equal(result[::2], estimates["conditional"][::2])
        assert not torch.equal(result[1], estimates["conditional"][1])
