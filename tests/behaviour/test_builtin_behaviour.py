"""What random weights can't show: that pictures, numbers, guidance and solvers do what they are for.

The thresholds lie between what the model does (builtin_model/MODEL_CARD.md) and what comes of a broken
sampler, of a conditioning channel left out, and of guidance the wrong way round.
"""

import numpy as np
import pytest
from scipy.stats import spearmanr

from training import measures

WITHOUT_GUIDANCE = {"guidance": (1.0,)}


def motion(frames: np.ndarray) -> float:
    """Mean absolute difference of frames two apart, in levels of 255."""
    pixels = frames.astype(np.float32)
    return float(np.abs(pixels[2:] - pixels[:-2]).mean())


def moved_right(clip: np.ndarray) -> float:
    """How far the content of the first frame has moved in the last one, in pixels."""
    return measures.shift(clip[0], clip[-1], reach=24)[1]


class TestThePicture:
    def test_is_the_first_frame(self, studio):
        for picture in studio.chosen:
            assert measures.psnr(studio.clip(picture)[0], studio.pictures[picture]) > 21.5

    def test_is_less_like_the_later_ones(self, studio):
        first, later = (
            np.mean([measures.psnr(studio.clip(p)[frame], studio.pictures[p]) for p in studio.chosen])
            for frame in (0, 6)
        )
        assert later < first - 3

    def test_is_kept_less_with_more_noise_on_it(self, studio):
        little, much = (
            np.mean([measures.psnr(studio.clip(p, **extra)[0], studio.pictures[p]) for p in studio.chosen])
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
        buckets = (10, 70, 127, 190, 250) if studio.thorough else (10, 127, 250)
        clips = [
            studio.clip(0, **({} if bucket == 127 else {"motion_bucket_id": bucket})) for bucket in buckets
        ]
        moved = [motion(clip) for clip in clips]
        assert spearmanr(buckets, moved).statistic >= 0.8
        assert moved[-1] > 2.5 * moved[0]
        assert moved_right(clips[0]) == pytest.approx(0, abs=3)

    def test_takes_smaller_steps_at_more_frames_a_second(self, studio):
        slow, fast = studio.clip(0), studio.clip(0, fps=12.0)  # at 6 and at 12
        assert motion(fast) < 0.75 * motion(slow)
        assert moved_right(fast) - moved_right(slow) > 5


@pytest.mark.parametrize("picture", (0, 2))
def test_another_seed_invents_another_border_and_keeps_the_picture(studio, picture):
    """The start, as strong as σ_max says, is what a clip has from its seed."""
    one, other = (clip.astype(np.float32) for clip in (studio.clip(picture), studio.clip(picture, seed=1)))
    by_frame = np.abs(one - other).mean(axis=(1, 2, 3))
    assert by_frame[-3:].min() > 2.5
    assert by_frame[:2].max() < 0.7 * by_frame[-3:].min()


def test_guidance_keeps_the_last_frames_sharp(studio):
    """Its scale is 1 in the first frame and grows; without it the last frames are a blur."""
    for picture in studio.chosen:
        guided, plain = studio.clip(picture), studio.clip(picture, **WITHOUT_GUIDANCE)
        assert measures.sharpness(guided[0]) == pytest.approx(measures.sharpness(plain[0]), rel=0.1)
        assert measures.sharpness(guided[-1]) > 1.25 * measures.sharpness(plain[-1])
        assert measures.sharpness(guided[-1]) < 1.6 * measures.sharpness(guided[0])


def test_starting_from_too_little_noise_spoils_the_picture(studio):
    """From σ 1 the start, noise·√2, is taken for a picture with as much noise again."""
    whole, cut = (
        measures.psnr(studio.clip(0, schedule="karras", sigma_max=sigma)[0], studio.pictures[0])
        for sigma in (700.0, 1.0)
    )
    assert cut < whole - 4


class Road:
    """The way of clips of so many frames from noise to latents, by solvers of more and of fewer steps."""

    def __init__(self, studio, frames: int):
        self._studio, self._frames = studio, frames
        self.truth = self._latents("heun", "karras", 40)

    def error(self, sampler: str, schedule: str, steps: int) -> float:
        """Root mean square of the latents' error, in standard deviations of the latents."""
        found = self._latents(sampler, schedule, steps)
        return float((found - self.truth).square().mean().sqrt() / self.truth.std())

    def _latents(self, sampler: str, schedule: str, steps: int):
        settings = {"sampler": sampler, "schedule": schedule, "steps": steps, "num_frames": self._frames}
        return self._studio.latents(0, **settings, **WITHOUT_GUIDANCE)


@pytest.fixture(scope="module")
def road(studio):
    """Of two frames, or of the model's fourteen."""
    return Road(studio, 14 if studio.thorough else 2)


# The errors of few frames are larger, so the last counts are.
@pytest.mark.parametrize(
    ("sampler", "schedule", "counts"),
    [
        ("euler", "karras", (5, 20, 60)),
        ("heun", "karras", (8, 20)),
        ("dpmpp_2m", "karras", (5, 10, 20)),
        ("euler", "align_your_steps", (5, 10, 40)),
    ],
)
def test_solvers_come_nearer_to_the_truth_with_more_steps(road, sampler, schedule, counts):
    errors = [road.error(sampler, schedule, steps) for steps in counts]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1


def test_a_solver_of_second_order_is_nearer_than_euler_in_as_many_steps(road):
    assert road.error("dpmpp_2m", "karras", 20) < 0.8 * road.error("euler", "karras", 20)
