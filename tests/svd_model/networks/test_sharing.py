"""A video whose frames several processes evaluate is evaluated as the whole: here by threads."""

import threading
from dataclasses import replace

import pytest
import torch

from stillmotion.svd_model.networks import kernels, planes
from stillmotion.svd_model.networks.hooks import NO_HOOKS
from stillmotion.svd_model.networks.pieces import WHOLE, Pieces
from stillmotion.svd_model.networks.sharing import counts_of
from stillmotion.svd_model.networks.steering import Sharpened, Skipped
from stillmotion.svd_model.networks.unet import VideoUNet
from support import tiny
from support.exchange import Exchange
from support.named_tensors import NamedTensors

HEIGHT, WIDTH = 6, 10
UNET = NamedTensors("sharing:").fill(VideoUNet(tiny.SMALL.unet, dtype=torch.float32, device="meta"))
EXACT = VideoUNet(tiny.SMALL.unet, dtype=torch.float64, device="cpu")
EXACT.load_state_dict(UNET.state_dict())


def inputs_of(frames, videos=1, tokens=1):
    params, rows = tiny.SMALL.unet, videos * frames
    generator = torch.Generator().manual_seed(frames)
    x, context, y = (
        torch.randn(shape, generator=generator)
        for shape in ((rows, 8, HEIGHT, WIDTH), (rows, tokens, params.context_dim), (rows, params.vector_dim))
    )
    return x, torch.linspace(0.1, 0.9, rows), context, y


def evaluated(unet, inputs, frames, share=None, hooks=NO_HOOKS, pieces=WHOLE):
    """The output for videos, (B, T, 4, h, w): with a share by way of all of them."""
    x, steps, context, y = (value.to(next(unet.parameters()).dtype) for value in inputs)
    constants = unet.prepare(context, y, frames)
    shifts = unet.shifts(steps, constants)
    if share is None:
        return unet.predict(x, shifts, constants, hooks, pieces).unflatten(0, (-1, frames))
    own = [[type(each)(*map(share.rows, each)) for each in stage] for stage in shifts]
    result = unet.predict(share.rows(x), own, constants.shared(share), hooks, pieces)
    return share.whole(result.unflatten(0, (-1, share.num_frames)))


def together(size, frames, work):
    """work(share) in as many threads."""
    exchange, found = Exchange(size), [None] * size

    def one(index):
        with torch.no_grad():  # which is a thread's own
            found[index] = work(exchange.frame_share(frames, index))

    threads = [threading.Thread(target=one, args=(index,)) for index in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@torch.no_grad()
def check(size, frames, videos=1, tokens=1, unet=UNET, within=1e-5, **options):
    """That every process has the whole output, near enough to one process's in float64."""
    inputs = inputs_of(frames, videos, tokens)
    expected = evaluated(EXACT, inputs, frames, hooks=options.get("hooks", NO_HOOKS))
    for found in together(size, frames, lambda share: evaluated(unet, inputs, frames, share, **options)):
        error = ((found - expected).abs().max() / expected.abs().max()).item()
        assert error < within, f"{error:.1e}"


def in_planes(monkeypatch):
    monkeypatch.setattr(planes, "fits", lambda device: True)
    monkeypatch.setattr(kernels, "memory_format", lambda device: torch.contiguous_format)


@pytest.fixture(params=[False, True], ids=["as on a CPU", "in planes"])
def layout(request, monkeypatch):
    if request.param:
        in_planes(monkeypatch)


@pytest.mark.parametrize(("size", "frames"), [(2, 4), (2, 5), (2, 25), (3, 8), (3, 3)])
def test_frames_of_two_and_three_processes_are_the_whole_videos(layout, size, frames):
    check(size, frames)


def test_in_float64_there_is_no_more_than_rounding(layout):
    check(2, 5, unet=EXACT, within=1e-12)


def test_videos_and_tokens_may_be_several(layout):
    check(2, 5, videos=2, tokens=3)


@pytest.mark.parametrize("workspace", [2**12, 2**16])
def test_pieces_of_positions_need_not_be_the_same_in_all_processes(layout, workspace):
    """A process with more frames, or with less memory, has smaller ones."""

    def work(share):
        own = Pieces(workspace if share.index else 2 * workspace)
        return evaluated(UNET, inputs, 5, share, pieces=own)

    inputs = inputs_of(5, videos=2)
    expected = evaluated(EXACT, inputs, 5)
    for found in together(2, 5, work):
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    "hooks", [Sharpened(1.5), Skipped("time", frozenset({"m0"})), Skipped("space", frozenset({"u0"}))]
)
def test_hooks_over_time_see_all_frames(hooks):
    check(2, 5, hooks=hooks)


def silent(share):
    """A share that hears nothing of its neighbours."""
    return replace(share, pass_on=lambda *_: False)


def alone(share):
    """A share that has its own moments for all."""
    return replace(share, gather=lambda x: torch.stack([x] * len(share.counts)))


@torch.no_grad()
@pytest.mark.parametrize("broken", [silent, alone])
def test_what_processes_tell_each_other_counts(broken):
    """Without it the result is another one by far, so the comparisons above would see it missing."""
    inputs = inputs_of(4)
    expected = evaluated(EXACT, inputs, 4)

    def work(share):
        x, steps, context, y = inputs
        constants = UNET.prepare(context, y, 4).shared(broken(share))
        shifts = UNET.shifts(share.rows(steps), constants)
        return share.whole(
            UNET.predict(share.rows(x), shifts, constants).unflatten(0, (-1, share.num_frames))
        )

    for found in together(2, 4, work):
        assert (found - expected).abs().max() > 1e-3 * expected.abs().max()


@pytest.mark.parametrize(
    ("many", "processes", "counts"), [(25, 2, (13, 12)), (14, 3, (5, 5, 4)), (4, 4, (1, 1, 1, 1))]
)
def test_the_first_processes_have_the_more_frames(many, processes, counts):
    assert counts_of(many, processes) == counts


def test_positions_come_back_to_their_places():
    x = torch.arange(1 * 5 * 7 * 2).view(1, 5, 7, 2)

    def work(share):
        own = share.to_positions(x[:, share.own])
        return own, share.to_frames(own, 7)

    (first, back), (second, rest) = together(2, 5, work)
    assert torch.equal(first, x[:, :, :4]) and torch.equal(second, x[:, :, 4:])
    assert torch.equal(back, x[:, :3]) and torch.equal(rest, x[:, 3:])
