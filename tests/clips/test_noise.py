"""Streams of noise: each of the seed alone, and unlike each other."""

import itertools

import pytest
import torch

from stillmotion.clips import noise

SHAPE = (3, 4, 32, 32)
STREAMS = {
    "picture": noise.picture_noise,
    "start": noise.start_noise,
    "step": lambda seed, shape: noise.step_noise(seed)(shape),
}


@pytest.fixture(params=STREAMS)
def draw(request):
    return STREAMS[request.param]


def test_noise_is_the_seeds_alone_whatever_torchs_own_seed_and_dtype_are(draw):
    expected = draw(7, SHAPE)
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    try:
        found = draw(7, SHAPE)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected)
    assert (found.shape, found.dtype, found.device.type) == (SHAPE, torch.float32, "cpu")
    assert not torch.equal(draw(8, SHAPE), expected)


def test_noise_is_normal(draw):
    """Mean 0 and deviation 1 within five standard errors of 12288 numbers."""
    found = draw(3, SHAPE)
    assert abs(found.mean().item()) < 5 / found.numel() ** 0.5
    assert abs(found.std().item() - 1) < 5 / (2 * found.numel()) ** 0.5


def test_noises_of_one_seed_and_of_a_batch_are_unlike():
    """A correlation of 12288 numbers drawn apart is about 1/√12288."""
    drawn = [draw(noise.seed_of_video(7, video), SHAPE) for draw in STREAMS.values() for video in range(3)]
    for one, other in itertools.combinations(drawn, 2):
        likeness = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
        assert likeness.abs() < 6 / 12288**0.5


def test_streams_of_a_large_batch_are_all_of_other_seeds():
    for seed in (0, 1, 0x91C7, 0x5EED, 123456789, 2**64 - 1):
        videos = [noise.seed_of_video(seed, video) for video in range(8000)]
        streams = {each ^ constant for each in videos for constant in (0, noise._PICTURE, noise._STEP)}
        assert len(streams) == 3 * len(videos)


def test_noise_of_the_steps_goes_on():
    draw = noise.step_noise(7)
    first, second = draw((16,)), draw((16,))
    assert not torch.equal(first, second)
    assert torch.equal(torch.cat([first, second]), noise.step_noise(7)((32,)))


def test_seeds_of_videos_count_on_from_the_first_and_begin_again_at_the_end():
    assert [noise.seed_of_video(5, video) for video in range(3)] == [5, 6, 7]
    assert noise.seed_of_video(2**64 - 1, 1) == 0
