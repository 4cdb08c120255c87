"""The walk through the decoder gives the picture of the one-piece decode, whatever the memory."""

import functools
import gc
import os

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stillmotion.svd_model import layerwise
from stillmotion.svd_model.layerwise import NotEnoughMemoryError, Spill, SpillError, plan
from support import decoders, tiny
from support.decoders import relative
from support.failing_allocations import FailingAllocations
from support.live_memory import LiveMemory, MemoryLimit
from support.rounding import Reference

TEMPORAL = decoders.decoder()
FRAME_WISE = decoders.decoder(temporal=False, post_quant_conv=True)


def latents(frames, height, width):
    return torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(frames))


def decode(z, decoder=TEMPORAL, **options):
    return torch.stack(list(layerwise.decode_frames(decoder, z, **options)))


@functools.cache
def reference(frames, height, width, temporal=True):
    return decoders.reference(latents(frames, height, width), temporal)


def same_picture(frames, z, temporal=True):
    """Whether frames are the one-piece decode of latents, but for what its own rounding explains."""
    frames = torch.stack(frames) if isinstance(frames, list) else frames
    return reference(len(z), *z.shape[2:], temporal).error(frames) <= 1


def larger_plan_that_caches_less(z):
    """A budget and a layer that caches some rows under it, but more under half of it."""
    least = decoders.smallest(z)
    for share in torch.linspace(0.02, 1, 100).tolist():
        budget = decoders.budget_between(z, share)
        larger = decoders.plan(z, budget)
        smaller = decoders.plan(z, max(least, larger.peak // 2))
        for index, (one, other) in enumerate(zip(larger.layers, smaller.layers, strict=True)):
            if 2 * one.temporal_rows < one.cached_rows < other.cached_rows - one.temporal_rows:
                return budget, index
    raise AssertionError("there is no such plan for these latents")


def fail_once(z, planned, index, share, budget=None):
    """Decodes with one failing allocation, at a share of a layer; returns the frames and the peak after it.

    The peak is of the bytes of living tensors, from the second step after the failure on.
    """
    work = [layer.shape.frame_numbers * layer.shape.channels for layer in planned.layers]
    when = (sum(work[:index]) + share * work[index]) / sum(work)
    failing, live, told = FailingAllocations(), LiveMemory(), []

    def follow(done):
        if done >= when:
            told.append(done)
        if len(told) == 1:
            failing.fail_next()
        if len(told) == 2:
            live.restart()

    with live, failing:
        frames = list(layerwise.decode_frames(TEMPORAL, z, budget=budget, progress=follow))
    assert len(told) > 2
    return frames, live.peak


class TestPicture:
    @pytest.mark.parametrize("frames", [1, 2, 5, 25])
    @pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
    def test_is_that_of_the_one_piece_decode_under_any_budget(self, frames, share):
        z = latents(frames, 3, 5)
        assert same_picture(decode(z, budget=decoders.budget_between(z, share)), z)

    @pytest.mark.long
    @pytest.mark.parametrize("frames", [14, 25, 49])
    @pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
    def test_of_a_decoder_with_all_the_released_layers_too(self, frames, share):
        z = latents(frames, 3, 5)
        found = decode(
            z,
            decoders.decoder(sizes=tiny.GOLDEN),
            budget=decoders.budget_between(z, share, sizes=tiny.GOLDEN),
        )
        assert decoders.reference(z, sizes=tiny.GOLDEN).error(found) <= 1

    @settings(max_examples=15, deadline=None, derandomize=True, database=None)
    @given(
        frames=st.integers(1, 6),
        height=st.integers(1, 7),
        width=st.integers(1, 7),
        share=st.floats(0, 1),
    )
    def test_for_odd_sizes_too(self, frames, height, width, share):
        """But a single position, of which a group of this decoder has two numbers: one divides by nothing."""
        assume(height * width > 1)
        z = latents(frames, height, width)
        assert same_picture(decode(z, budget=decoders.budget_between(z, share)), z)

    @pytest.mark.parametrize("frames", [1, 3])
    def test_for_a_single_position_of_a_decoder_with_wider_groups(self, frames):
        z = latents(frames, 1, 1)
        found = decode(z, decoders.decoder(sizes=tiny.GOLDEN), budget=decoders.smallest(z, sizes=tiny.GOLDEN))
        assert decoders.reference(z, sizes=tiny.GOLDEN).error(found) <= 1

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_in_bfloat16(self, share):
        """Whose 8 bits err by some 1/256 a layer, whatever computes them."""
        z = latents(4, 5, 6)
        narrow = z.bfloat16()
        frames = decode(narrow, budget=decoders.budget_between(narrow, share))
        assert frames.dtype == torch.bfloat16
        assert relative(frames, reference(4, 5, 6).exact) < 3e-2

    def test_from_weights_stored_narrower_than_computed(self):
        narrow = decoders.decoder().half()
        z = latents(3, 4, 4)
        one_piece = Reference.of(lambda network, z: network(z, 3), narrow, narrow.float().double(), z)
        assert one_piece.error(decode(z, narrow)) <= 1

    def test_depends_on_all_frames(self):
        """What decoding in chunks of frames gets wrong."""
        z = latents(6, 3, 5)
        chunks = torch.cat([decode(z[:3]), decode(z[3:])])
        assert relative(chunks, decode(z)) > 0.05

    @pytest.mark.parametrize("share", [0.0, 1.0])
    def test_of_a_frame_wise_decoder(self, share):
        z = latents(3, 5, 6)
        frames = decode(z, FRAME_WISE, budget=decoders.budget_between(z, share, temporal=False))
        assert same_picture(frames, z, temporal=False)


class TestMemory:
    @pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
    def test_tensors_alive_stay_within_the_budget(self, share):
        z = latents(5, 8, 12)
        budget = decoders.budget_between(z, share)
        with LiveMemory() as live:
            for _ in layerwise.decode_frames(TEMPORAL, z, budget=budget):
                pass
        assert 0.4 * decoders.plan(z, budget).peak < live.peak <= 1.05 * budget

    def test_tensors_of_a_frame_wise_decode_stay_within_the_budget(self):
        z = latents(3, 16, 24)
        budget = decoders.smallest(z, temporal=False)
        with LiveMemory() as live:
            for _ in layerwise.decode_frames(FRAME_WISE, z, budget=budget):
                pass
        assert live.peak <= 1.05 * budget

    def test_a_budget_under_the_smallest_is_refused_naming_that(self):
        z = latents(2, 4, 4)
        least = decoders.smallest(z)
        with pytest.raises(
            NotEnoughMemoryError, match="decoding 2 frames of 32×32 needs at least"
        ) as refused:
            decode(z, budget=least - 1)
        assert refused.value.smallest == least
        decode(z, budget=least)

    @pytest.mark.parametrize("temporal", [True, False], ids=["temporal", "frame-wise"])
    def test_a_failing_allocation_anywhere_is_survived_with_the_same_picture(self, temporal):
        self.check_failing_everywhere(latents(2, 3, 4), 12, temporal=temporal)

    def test_a_failing_allocation_under_a_budget_is_survived(self):
        z = latents(3, 4, 4)
        self.check_failing_everywhere(z, 6, budget=decoders.budget_between(z, 0.3))

    def test_a_failing_allocation_between_two_bands_is_survived(self, monkeypatch):
        """Where all frames are on the device, and each is written in several bands."""
        monkeypatch.setattr(plan, "FEWEST_ROWS", 2)
        monkeypatch.setattr(plan, "STEPS_ON_CPU", (1, 1))
        z = latents(1, 3, 4)
        with FailingAllocations() as counting:
            decode(z)
        additions = [index for index, name in enumerate(counting.names) if name == "aten::add_.Tensor"]
        for position in additions[1::4]:
            with FailingAllocations(position):
                frames = decode(z)
            assert same_picture(frames, z), f"operation {position}"

    @pytest.mark.long
    @pytest.mark.parametrize("budget", [None, "tight"])
    @pytest.mark.parametrize("temporal", [True, False], ids=["temporal", "frame-wise"])
    def test_a_failing_allocation_at_very_many_places_is_survived(self, temporal, budget):
        z = latents(5, 8, 8)
        if budget:
            budget = decoders.budget_between(z, 0.3, temporal)
        self.check_failing_everywhere(z, 50, temporal=temporal, budget=budget)

    def check_failing_everywhere(self, z, count, temporal=True, **options):
        """At so many operations, from the first to the last, in decodes that are otherwise alike."""
        decoder = TEMPORAL if temporal else FRAME_WISE
        with FailingAllocations() as counting:
            decode(z, decoder, **options)
        for position in torch.linspace(0, counting.count - 2, count).long().tolist():
            with FailingAllocations(position):
                frames = list(layerwise.decode_frames(decoder, z, **options))
            assert same_picture(frames, z, temporal), f"operation {position}"

    def test_failing_again_and_again_is_survived(self):
        z = latents(4, 5, 5)
        failing = FailingAllocations(300, 1000, 1500)
        with failing:
            frames = list(layerwise.decode_frames(TEMPORAL, z))
        assert failing.count > 1500
        assert same_picture(frames, z)

    def test_failing_always_ends_in_words_once_the_smallest_plan_has_failed(self):
        failing = FailingAllocations(*range(100, 10**5))
        with failing, pytest.raises(NotEnoughMemoryError, match="memory ran out on cpu where"):
            list(layerwise.decode_frames(TEMPORAL, latents(4, 5, 5)))

    @pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
    def test_a_device_smaller_than_the_budget_is_survived(self, share):
        """Memory runs out again and again until the halved budget fits; no budget is given at first."""
        z = latents(4, 6, 8)
        with MemoryLimit(round(1.05 * decoders.budget_between(z, share))):
            frames = list(layerwise.decode_frames(TEMPORAL, z))
        assert same_picture(frames, z)

    def test_a_smaller_plan_that_caches_more_of_a_layer_takes_over_in_the_middle_of_it(self):
        """More rows may fit beside fewer frames than the larger plan allocated."""
        z = latents(5, 12, 12)
        budget, index = larger_plan_that_caches_less(z)
        first_pass_over_time = 0.7
        frames, _ = fail_once(z, decoders.plan(z, budget), index, first_pass_over_time, budget)
        assert same_picture(frames, z)

    def test_a_smaller_plan_lets_go_of_what_it_has_no_room_for(self):
        """After a failing allocation in the second pass over time of the layer that cached the most rows."""
        z = latents(6, 8, 8)
        least = decoders.smallest(z)
        larger, smallest = decoders.plan(z, 2 * least), decoders.plan(z, least)
        fewer = [
            one.cached_rows - other.cached_rows
            for one, other in zip(larger.layers, smallest.layers, strict=True)
        ]
        second_pass_over_time = 0.85
        frames, peak = fail_once(z, larger, fewer.index(max(fewer)), second_pass_over_time, 2 * least)
        assert peak <= 1.05 * least
        assert same_picture(frames, z)

    def test_other_errors_are_not_swallowed(self):
        def fail(done):
            raise RuntimeError("something else")

        with pytest.raises(RuntimeError, match="something else"):
            decode(latents(2, 2, 2), progress=fail)


class TestProgress:
    def test_grows_to_1_through_every_layer(self):
        told = []
        decode(latents(4, 4, 4), progress=told.append)
        assert told == sorted(told)
        assert told[-1] == pytest.approx(1)
        assert len(told) > 30

    @pytest.mark.parametrize("step", [0, 20, 45])
    def test_what_it_raises_stops_the_work_and_nothing_stays(self, step):
        """Cancel: between any two steps of a layer."""
        z = latents(5, 8, 8)
        told = []

        def cancel(done):
            told.append(done)
            if len(told) > step:
                raise KeyboardInterrupt

        files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
        with pytest.raises(KeyboardInterrupt):
            decode(z, budget=decoders.smallest(z), progress=cancel)
        assert len(told) == step + 1
        gc.collect()
        if files is not None:
            assert len(os.listdir("/proc/self/fd")) == files

    def test_a_frame_holds_no_other_memory_than_its_own(self):
        for frame in layerwise.decode_frames(TEMPORAL, latents(3, 2, 2)):
            assert frame.untyped_storage().nbytes() == frame.nbytes

    def test_frames_come_one_by_one(self):
        """So that a writer can take each before the next is made."""
        z = latents(4, 4, 4)
        told = []
        frames = layerwise.decode_frames(TEMPORAL, z, progress=told.append)
        next(frames)
        assert told[-1] < 1
        assert len(list(frames)) == 3


class TestSpill:
    def test_is_not_touched_where_the_plan_spills_nothing(self, tmp_path):
        z = latents(5, 8, 8)
        spill = Spill(torch.device("cpu"), folder=tmp_path / "none")
        decode(z, spill=spill)
        decode(z, budget=decoders.plan(z).peak, spill=spill)

    def test_host_memory_comes_before_files(self, tmp_path, monkeypatch):
        """As on a GPU, whose frames go to host memory first."""
        z = latents(5, 6, 6)
        spill = Spill(torch.device("meta"), host_memory=10**9, folder=tmp_path / "not there")
        assert same_picture(decode(z, budget=decoders.smallest(z), spill=spill), z)

    def test_a_full_disk_is_said_and_leaves_nothing(self, tmp_path):
        resource = pytest.importorskip("resource")
        z = latents(5, 8, 8)
        spill = Spill(torch.device("cpu"), folder=tmp_path)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(SpillError) as refused:
                decode(z, budget=decoders.smallest(z), spill=spill)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert f"of scratch space can't be had in {tmp_path} (the disk is full): free some" in str(
            refused.value
        )
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_not_there_is_said(self, tmp_path):
        z = latents(5, 8, 8)
        spill = Spill(torch.device("cpu"), folder=tmp_path / "none")
        with pytest.raises(SpillError, match="No such file or directory"):
            decode(z, budget=decoders.smallest(z), spill=spill)

    def test_files_are_nameless(self, tmp_path):
        z = latents(5, 8, 8)
        seen = []
        spill = Spill(torch.device("cpu"), folder=tmp_path)
        decode(
            z,
            budget=decoders.smallest(z),
            spill=spill,
            progress=lambda _: seen.extend(tmp_path.iterdir()),
        )
        assert seen == []
