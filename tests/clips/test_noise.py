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
    constants = (0, noise._PICTURE, noise._STEP, noise._SHUFFLE)
    for seed in (0, 1, 0x91C7, 0x5EED, 123456789, 2**64 - 1):
        videos = [noise.seed_of_video(seed, video) for video in range(8000)]
        streams = {each ^ constant for each in videos for constant in constants}
        assert len(streams) == len(constants) * len(videos)


@pytest.mark.parametrize("seed", [0, 1, 0x91C7, 0xFFFFFFFF, 123456789, 2**64 - 1])
def test_streams_of_all_chunks_of_a_batch_are_of_other_seeds(seed):
    """They differ in the lowest 32 bits, which are all that torch's generator looks at."""
    assert noise.seed_of_chunk(seed, 0) == seed
    videos, chunks = 1000, 1024
    starts = sorted(noise.seed_of_chunk(seed, chunk) % 2**32 for chunk in range(chunks))
    gaps = [(after - one) % 2**32 for one, after in zip(starts, starts[1:] + starts[:1], strict=True)]
    reach = max(noise._PICTURE, noise._STEP, noise._SHUFFLE)  # how far XOR moves a seed, either way
    assert min(gaps) > videos + 2 * reach


def test_shuffles_are_the_seeds_permutations():
    first, again, other = (noise.shuffles(seed, 19, 3) for seed in (7, 7, 8))
    assert all(torch.equal(one, same) for one, same in zip(first, again, strict=True))
    assert all(sorted(one.tolist()) == list(range(19)) for one in first)
    assert not torch.equal(torch.cat(first), torch.cat(other)) and not torch.equal(first[0], first[1])


def test_noise_of_the_steps_goes_on():
    draw = noise.step_noise(7)
    first, second = draw((16,)), draw((16,))
    assert not torch.equal(first, second)
    assert torch.equal(torch.cat([first, second]), noise.step_noise(7)((32,)))


def test_seeds_of_videos_count_on_from_the_first_and_begin_again_at_the_end():
    assert [noise.seed_of_video(5, video) for video in range(3)] == [5, 6, 7]
    assert noise.seed_of_video(2**64 - 1, 1) == 0
