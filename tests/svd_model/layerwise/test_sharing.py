"""A clip shared by several processes is decoded as the whole: here by threads, which exchange tensors."""

import threading

import pytest
import torch

from stillmotion.svd_model import layerwise
from stillmotion.svd_model.layerwise import Spill, counts_of
from stillmotion.svd_model.layerwise.moments import moments
from support import decoders
from support.exchange import Exchange
from support.live_memory import LiveMemory

EXACT = decoders.decoder().double()
ROUNDING = 1e-12
"""Of float64 through some forty layers, relative to the largest magnitude."""


def latents(frames, height=3, width=5):
    return torch.randn(
        frames, 4, height, width, generator=torch.Generator().manual_seed(frames), dtype=torch.float64
    )


def together(z, size, decode, ring=False):
    """decode(share) in as many threads, joined."""
    exchange, found = Exchange(size), [None] * size
    counts = counts_of(len(z), size)

    def work(index):
        with torch.no_grad():  # which is a thread's own
            found[index] = torch.stack(list(decode(exchange.share(counts, index, ring))))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return torch.cat(found)


def budget_of(share, z, size):
    """The budget of a share of the way from the least to the most."""
    return decoders.budget_between(z.new_empty(size.held, *z.shape[1:]), share)


@pytest.mark.parametrize("ring", [False, True], ids=["line", "ring"])
@pytest.mark.parametrize("tightness", [None, 0.0])
@pytest.mark.parametrize(("frames", "size"), [(4, 2), (14, 3), (9, 4)])
def test_each_has_its_frames_of_the_whole_in_any_memory(frames, size, tightness, ring, tmp_path):
    z = latents(frames)

    def decode(share):
        budget = None if tightness is None else budget_of(tightness, z, share)
        spill = Spill(torch.device("cpu"), folder=tmp_path)
        return layerwise.decode_frames(EXACT, z, ring=ring, share=share, budget=budget, spill=spill)

    expected = torch.stack(list(layerwise.decode_frames(EXACT, z, ring=ring)))
    error = (together(z, size, decode, ring) - expected).abs().max()
    assert error < ROUNDING * expected.abs().max()


def test_in_float32_it_errs_no_more_than_the_whole():
    z = latents(14).float()
    plain = decoders.decoder()
    found = together(z, 3, lambda share: layerwise.decode_frames(plain, z, share=share))
    assert decoders.reference(z).error(found) <= 1


def test_a_share_needs_less_memory_and_keeps_to_it():
    z = latents(16, 8, 12).float()
    plain, peaks = decoders.decoder(), {}

    def decode(share):
        budget = budget_of(0.2, z, share)
        if share.index:
            return list(layerwise.decode_frames(plain, z, share=share, budget=budget))
        with LiveMemory() as live:
            frames = list(layerwise.decode_frames(plain, z, share=share, budget=budget))
        peaks["live"], peaks["budget"] = live.peak, budget
        return frames

    together(z, 2, decode)
    assert peaks["live"] <= 1.05 * peaks["budget"] < decoders.plan(z).peak


@pytest.mark.parametrize(
    ("frames", "size", "counts"),
    [(25, 2, (13, 12)), (25, 3, (9, 8, 8)), (14, 3, (5, 5, 4)), (4, 2, (2, 2)), (3, 2, None), (1, 2, None)],
)
def test_frames_are_dealt_out_evenly_and_two_at_least(frames, size, counts):
    assert counts_of(frames, size) == counts


def test_one_process_alone_shares_no_clip():
    """It would be its own neighbour in a ring, and nobody can send anything to itself."""
    assert counts_of(25, 1) is None


def test_moments_of_all_are_the_whole_clips():
    x = torch.randn(7, 32, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts, exchange, found = (3, 2, 2), Exchange(3), [None] * 3

    def work(index):
        share = exchange.share(counts, index)
        found[index] = share.of_all(moments(x[share.own], 8).merged_rows())

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = moments(x, 8).merged_rows()
    for part in found:
        assert part.count == whole.count
        assert torch.allclose(part.mean, whole.mean, rtol=0, atol=1e-14)
        assert torch.allclose(part.variance, whole.variance, rtol=1e-13)
