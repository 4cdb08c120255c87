"""What random weights can't show: that pictures, numbers, guidance and solvers do what they are for.

The thresholds lie between what the model does (builtin_model/MODEL_CARD.md) and what comes of a broken
sampler, of a conditioning channel left out, and of guidance the wrong way round.
"""

import numpy as np
import pytest
from scipy.stats import spearmanr

from training import measures

ALL = (0, 1, 2)
BUCKETS = (10, 70, 127, 190, 250)
WITHOUT_GUIDANCE = {"guidance": (1.0,)}


def motion(frames: np.ndarray) -> float:
    """Mean absolute difference of frames two apart, in levels of 255."""
    pixels = frames.astype(np.float32)
    return float(np.abs(pixels[2:] - pixels[:-2]).mean())


def moved_right(clip: np.ndarray) -> float:
    """How far the content of the first frame has moved in the last one, in pixels."""
    return measures.shift(clip[0], clip[-1], reach=24)[1]


class TestThePicture:
    @pytest.mark.parametrize("picture", ALL)
    def test_is_the_first_frame(self, studio, picture):
        assert measures.psnr(studio.clip(picture)[0], studio.pictures[picture]) > 21.5

    def test_is_less_like_the_later_ones(self, studio):
        first, later = (
            np.mean([measures.psnr(studio.clip(p)[frame], studio.pictures[p]) for p in ALL])
            for frame in (0, 6)
        )
        assert later < first - 3

    def test_is_kept_less_with_more_noise_on_it(self, studio):
        little, much = (
            np.mean([measures.psnr(studio.clip(p, **extra)[0], studio.pictures[p]) for p in (0, 1)])
            for extra in ({}, {"noise_aug": 1.0})
        )
        assert much < little - 1


class TestMotion:
    """The first picture is the one with the most to go by: the tower, the rocket, the lights."""

    @pytest.mark.parametrize("picture", (0, 2))
    def test_is_a_pan_to_the_right_at_the_speed_that_was_asked_for(self, studio, picture):
        """14 pixels a second at bucket 255: 127 at 6 frames a second goes 15 in 13 frames."""
        clip = studio.clip(picture)
        assert moved_right(clip) == pytest.approx(-13 * 14 * 127 / 255 / 6, abs=4)

    def test_grows_with_the_bucket(self, studio):
        clips = [studio.clip(0, motion_bucket_id=bucket) for bucket in BUCKETS]
        moved = [motion(clip) for clip in clips]
        assert spearmanr(BUCKETS, moved).statistic >= 0.8
        assert moved[-1] > 2.5 * moved[0]
        assert moved_right(clips[0]) == pytest.approx(0, abs=3)

    def test_takes_smaller_steps_at_more_frames_a_second(self, studio):
        slow, fast = (studio.clip(0, fps=fps) for fps in (5.0, 12.0))
        assert motion(fast) < 0.75 * motion(slow)
        assert moved_right(fast) - moved_right(slow) > 5


@pytest.mark.parametrize("picture", (0, 2))
def test_another_seed_invents_another_border_and_keeps_the_picture(studio, picture):
    """The start, as strong as σ_max says, is what a clip has from its seed."""
    one, other = (studio.clip(picture, seed=seed).astype(np.float32) for seed in (1, 2))
    by_frame = np.abs(one - other).mean(axis=(1, 2, 3))
    assert by_frame[-3:].min() > 2.5
    assert by_frame[:2].max() < 0.7 * by_frame[-3:].min()


def test_guidance_keeps_the_last_frames_sharp(studio):
    """Its scale is 1 in the first frame and grows; without it the last frames are a blur."""
    for picture in ALL:
        guided, plain = studio.clip(picture), studio.clip(picture, **WITHOUT_GUIDANCE)
        assert measures.sharpness(guided[0]) == pytest.approx(measures.sharpness(plain[0]), rel=0.1)
        assert measures.sharpness(guided[-1]) > 1.25 * measures.sharpness(plain[-1])
        assert measures.sharpness(guided[-1]) < 1.6 * measures.sharpness(guided[0])


def test_starting_from_too_little_noise_spoils_the_picture(studio):
    """From σ 1 the start, noise·√2, is taken for a picture with as much noise again."""
    whole, cut = (
        measures.psnr(studio.clip(0, schedule="karras", steps=10, sigma_max=sigma)[0], studio.pictures[0])
        for sigma in (700.0, 1.0)
    )
    assert cut < whole - 4


@pytest.fixture(scope="module")
def truth(studio):
    """The latents of one clip without guidance, by a solver of second order with many steps."""
    return studio.latents(0, sampler="heun", steps=20, **WITHOUT_GUIDANCE)


@pytest.mark.parametrize(
    ("sampler", "schedule", "counts"),
    [
        ("euler", "karras", (5, 10, 20)),
        ("heun", "karras", (8, 12)),
        ("dpmpp_2m", "karras", (5, 10, 20)),
        ("euler", "align_your_steps", (5, 10)),
    ],
)
def test_solvers_come_nearer_to_the_truth_with_more_steps(studio, truth, sampler, schedule, counts):
    errors = [error(studio, truth, sampler, schedule, steps) for steps in counts]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * float(truth.std())


def test_a_solver_of_second_order_is_nearer_than_euler_in_as_many_steps(studio, truth):
    assert error(studio, truth, "dpmpp_2m", "karras", 20) < 0.8 * error(studio, truth, "euler", "karras", 20)


def error(studio, truth, sampler: str, schedule: str, steps: int) -> float:
    """Root mean square, of the latents."""
    settings = {"sampler": sampler, "schedule": schedule, "steps": steps, **WITHOUT_GUIDANCE}
    return float((studio.latents(0, **settings) - truth).square().mean().sqrt())
