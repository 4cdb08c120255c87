"""What random weights can't show: that pictures, numbers, guidance and solvers do what they are for.

The thresholds lie between what the model does (builtin_model/MODEL_CARD.md) and what comes of a broken
sampler, of a conditioning channel left out, and of guidance the wrong way round.
"""

import numpy as np
import pytest
from scipy.stats import spearmanr

ALL = (0, 1, 2)
BUCKETS = (10, 70, 127, 190, 250)
WITHOUT_GUIDANCE = {"guidance": (1.0,)}


def psnr(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of two pictures or clips, uint8, in dB."""
    error = ours.astype(np.float64) - theirs.astype(np.float64)
    return float(10 * np.log10(255**2 / max((error**2).mean(), 1e-9)))


def motion(frames: np.ndarray) -> float:
    """Mean absolute difference of frames two apart, in levels of 255."""
    pixels = frames.astype(np.float32)
    return float(np.abs(pixels[2:] - pixels[:-2]).mean())


def shift(first: np.ndarray, second: np.ndarray, reach: int = 24) -> tuple[int, int]:
    """How far down and right the second picture shows what the first did, in pixels, by the best match."""
    first, second = (picture.astype(np.float32).mean(axis=2) for picture in (first, second))
    inner = slice(reach, first.shape[0] - reach)
    errors = {
        (down, right): np.square(
            np.roll(second, (-down, -right), (0, 1))[inner, inner] - first[inner, inner]
        ).mean()
        for down in range(-reach, reach + 1)
        for right in range(-reach, reach + 1)
    }
    return min(errors, key=errors.get)


def sharpness(frame: np.ndarray) -> float:
    """Mean absolute difference of neighbours in a row, in levels of 255."""
    return float(np.abs(np.diff(frame.astype(np.float32), axis=1)).mean())


class TestThePicture:
    @pytest.mark.parametrize("picture", ALL)
    def test_is_the_first_frame(self, studio, picture):
        assert psnr(studio.clip(picture)[0], studio.pictures[picture]) > 21.5

    def test_is_less_like_the_later_ones(self, studio):
        first, later = (
            np.mean([psnr(studio.clip(p)[frame], studio.pictures[p]) for p in ALL]) for frame in (0, 6)
        )
        assert later < first - 3

    def test_is_kept_less_with_more_noise_on_it(self, studio):
        little, much = (
            np.mean([psnr(studio.clip(p, **extra)[0], studio.pictures[p]) for p in (0, 1)])
            for extra in ({}, {"noise_aug": 1.0})
        )
        assert much < little - 1


class TestMotion:
    """The first picture is the one with the most to go by: the tower, the rocket, the lights."""

    @pytest.mark.parametrize("picture", (0, 2))
    def test_is_a_pan_to_the_right_at_the_speed_that_was_asked_for(self, studio, picture):
        """14 pixels a second at bucket 255: 127 at 6 frames a second goes 15 in 13 frames."""
        clip = studio.clip(picture)
        assert shift(clip[0], clip[-1])[1] == pytest.approx(-13 * 14 * 127 / 255 / 6, abs=4)

    def test_grows_with_the_bucket(self, studio):
        clips = [studio.clip(0, motion_bucket_id=bucket) for bucket in BUCKETS]
        moved = [motion(clip) for clip in clips]
        assert spearmanr(BUCKETS, moved).statistic >= 0.8
        assert moved[-1] > 2.5 * moved[0]
        assert shift(clips[0][0], clips[0][-1])[1] == pytest.approx(0, abs=3)

    def test_takes_smaller_steps_at_more_frames_a_second(self, studio):
        slow, fast = (studio.clip(0, fps=fps) for fps in (5.0, 12.0))
        assert motion(fast) < 0.75 * motion(slow)
        assert shift(fast[0], fast[-1])[1] - shift(slow[0], slow[-1])[1] > 5


def test_guidance_keeps_the_last_frames_sharp(studio):
    """Its scale is 1 in the first frame and grows; without it the last frames are a blur."""
    for picture in ALL:
        guided, plain = studio.clip(picture), studio.clip(picture, **WITHOUT_GUIDANCE)
        assert sharpness(guided[0]) == pytest.approx(sharpness(plain[0]), rel=0.1)
        assert sharpness(guided[-1]) > 1.25 * sharpness(plain[-1])
        assert sharpness(guided[-1]) < 1.6 * sharpness(guided[0])


def test_starting_from_too_little_noise_spoils_the_picture(studio):
    """From σ 1 the start, noise·√2, is taken for a picture with as much noise again."""
    whole, cut = (
        psnr(studio.clip(0, schedule="karras", steps=10, sigma_max=sigma)[0], studio.pictures[0])
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
    errors = []
    for steps in counts:
        settings = {"sampler": sampler, "schedule": schedule, "steps": steps, **WITHOUT_GUIDANCE}
        errors.append(float((studio.latents(0, **settings) - truth).square().mean().sqrt()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * float(truth.std())
