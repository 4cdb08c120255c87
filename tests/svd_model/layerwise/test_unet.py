"""Plans of the UNet: their peaks against tracked bytes, and their order. A rehearsed GPU has its own test."""

from dataclasses import replace

import pytest
import torch

from stillmotion.svd_model.layerwise import NotEnoughMemoryError, UNetPlanner
from stillmotion.svd_model.networks.controlnet import ControlHooks, ControlNet, author_weights
from stillmotion.svd_model.networks.sharing import FrameShare
from stillmotion.svd_model.networks.unet import UNetParams, VideoUNet
from support import tiny
from support.live_memory import LiveMemory
from support.named_tensors import NamedTensors

NAMED = NamedTensors("planner:")


def planner(branches=2, size=(25, 72, 128), dtype=torch.float16, device="cpu", params=None, **options):
    params = params or UNetParams()
    return UNetPlanner(params, branches, *size, dtype, torch.device(device), **options)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("branches", "sizes"),
    [
        (1, {}),
        (2, {}),
        (2, {"camera_dim": 12}),
        (2, {"frame_positions": 3}),
    ],
)
def test_the_peak_is_predicted(dtype, branches, sizes):
    frames, height, width = size = (3, 48, 64)
    params = replace(tiny.SMALL.unet, **sizes)
    unet = NAMED.fill(VideoUNet(params, device="meta")).to(dtype)
    plans = planner(branches, size, dtype, params=params, apart=False)
    whole, least = plans.within(None), plans.smallest()
    rows = branches * frames
    shapes = ((rows, 8, height, width), (rows, 1, 64), (rows, 768))
    for budget in (None, (whole.peak + least.peak) // 2, least.peak):
        plan = plans.within(budget)
        with LiveMemory() as live:
            x, context, y = (torch.zeros(shape, dtype=dtype, device="cpu") for shape in shapes)
            camera = context.new_zeros((rows, params.camera_dim)) if params.camera_dim else None
            constants = unet.prepare(context, y, frames, camera)
            steps = torch.ones(rows, dtype=torch.float32, device="cpu")
            unet.predict(x, unet.shifts(steps, constants), constants, pieces=plan.pieces)
        assert 0.98 * live.peak <= plan.peak <= 1.05 * live.peak


@torch.no_grad()
def test_the_peak_beside_a_controlnet_is_predicted():
    frames, height, width = size = (3, 48, 64)
    params, rows = tiny.SMALL.unet, 2 * 3
    unet = NAMED.fill(VideoUNet(params, device="meta"))
    network = NAMED.fill(ControlNet(params, device="meta"))
    plans = planner(2, size, torch.float32, params=params, apart=False, controlled=True)
    shapes = ((rows, 8, height, width), (rows, 1, 64), (rows, 768))
    for plan in (plans.within(None), plans.smallest()):
        with LiveMemory() as live:
            x, context, y = (torch.zeros(shape, dtype=torch.float32, device="cpu") for shape in shapes)
            embedding = torch.zeros(frames, params.model_channels, height, width, device="cpu")
            steps = torch.ones(rows, dtype=torch.float32, device="cpu")
            constants, own = (each.prepare(context, y, frames) for each in (unet, network))
            residuals = network.residuals(x, network.shifts(steps, own), own, embedding, plan.pieces)
            hooks = ControlHooks(residuals, author_weights(params), 1.0)
            del residuals
            unet.predict(x, unet.shifts(steps, constants), constants, hooks, pieces=plan.pieces)
        assert 0.98 * live.peak <= plan.peak <= 1.08 * live.peak


def lone_share(frames):
    """The share of half a video, whose other half is made up."""

    def swapped(x, given, received):
        return x.new_zeros(sum(received))

    return FrameShare((frames, frames), 0, lambda x: torch.stack((x, x)), lambda *_: False, swapped)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_peak_where_others_have_other_frames_is_predicted(dtype):
    frames, height, width = size = (12, 24, 32)
    unet, share = NAMED.fill(VideoUNet(tiny.SMALL.unet, device="meta")).to(dtype), lone_share(frames)
    plans = planner(1, size, dtype, params=tiny.SMALL.unet, exchanges=True)
    shapes = ((2 * frames, 1, 64), (2 * frames, 768))
    for plan in (plans.within(None), plans.smallest()):
        with LiveMemory() as live:
            constants = unet.prepare(
                *(torch.zeros(shape, dtype=dtype, device="cpu") for shape in shapes), 2 * frames
            )
            constants, steps = constants.shared(share), torch.ones(frames, device="cpu")
            x = torch.zeros(frames, 8, height, width, dtype=dtype, device="cpu")
            unet.predict(x, unet.shifts(steps, constants), constants, pieces=plan.pieces)
        assert 0.98 * live.peak <= plan.peak <= 1.1 * live.peak


def test_a_smaller_budget_is_a_smaller_peak_and_more_calls():
    plans = planner()
    peaks = [plans.within(None)]
    least = plans.smallest()
    while peaks[-1].peak > least.peak:
        peaks.append(plans.within(peaks[-1].peak - 1))
    assert [plan.calls for plan in peaks] == sorted(plan.calls for plan in peaks)
    assert len(peaks) > 8


def test_below_the_smallest_a_budget_is_refused():
    plans = planner(device="cuda")
    least = plans.smallest()
    with pytest.raises(NotEnoughMemoryError) as caught:
        plans.within(least.peak - 1)
    assert caught.value.smallest == least.peak
    assert not plans.within(least.peak).pieces.skips_on_device


def test_branches_that_stay_together_are_never_parted():
    plans = planner(apart=False)
    assert plans.smallest().branches == plans.within(None).branches == 2
    assert planner().smallest().branches == 1


def test_kept_deep_features_count():
    both, kept, plain = (planner(cached=sets).within(None).peak for sets in (2, 1, 0))
    assert kept - plain == both - kept == 2 * 320 * 25 * 72 * 128 * 2


def test_a_camera_counts_a_row_a_frame_in_each_transformer():
    """Five of 320 channels, of 640 and of 1280, and the middle's."""
    moved, plain = (planner(params=UNetParams(camera_dim=numbers)).within(None).peak for numbers in (12, 0))
    assert moved - plain == 2 * 25 * (5 * (320 + 640 + 1280) + 1280) * 2
