"""Recipes between pictures and of loops, without any network: what they ask for, and with which numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.clips import between
from stillmotion.clips.conditions import vector
from stillmotion.clips.noise import seed_of_chunk, start_noise
from stillmotion.clips.plan import Plan
from stillmotion.clips.recipes import Decode, Encode, Latent, Sample, drive
from stillmotion.clips.recipes.inbetween import inbetween, loop
from stillmotion.clips.run import BETWEEN, Ring
from stillmotion.clips.settings import Settings
from stillmotion.samplers.guidance import CONDITIONAL
from stillmotion.svd_model.checkpoint.variants import EXVIDEO, SVD_XT
from stillmotion.svd_model.networks.vae import LATENT_SCALE

SMALL = {"width": 64, "height": 64}


def a_plan(keyframes=(), end_frame=False, **chosen) -> Plan:
    return Plan.of(Settings(**SMALL, **chosen), SVD_XT, keyframes, end_frame)


class Door:
    """Performs steps with numbers that tell where they come from, and notes them."""

    def __init__(self):
        self.steps = []

    def __call__(self, step):
        self.steps.append(step)
        if isinstance(step, Encode):
            mark = step.picture.mean()
            return mark.expand(1, 1, 4), mark.expand(1, 4, 8, 8)
        if isinstance(step, Latent):
            return step.picture.mean().expand(1, 4, 8, 8)
        if isinstance(step, Sample):
            frames = torch.arange(len(step.run.start), dtype=torch.float32) + 100 * step.number
            return frames.view(-1, 1, 1, 1).expand(step.run.start.shape)
        return "frames"

    def of(self, kind: type) -> list:
        return [step for step in self.steps if isinstance(step, kind)]


def a_picture(value: float) -> torch.Tensor:
    return torch.full((1, 3, 64, 64), float(value))


def performed(recipe) -> Door:
    door = Door()
    assert drive([recipe], door) == ["frames"]
    return door


def through(plan: Plan) -> Door:
    """The recipe through pictures, each of which has its frame's number as its value."""
    return performed(inbetween(plan, {frame: a_picture(frame) for frame in plan.picture_frames}))


def marks(latents: torch.Tensor) -> list[float]:
    return latents[:, 0, 0, 0].tolist()


def test_a_clip_to_an_end_frame_is_one_run_that_ends_on_both_pictures():
    door = through(a_plan(end_frame=True, num_frames=8, seed=5))
    (sample,), (decode,) = door.of(Sample), door.of(Decode)
    run, way = sample.run, sample.run.way
    assert (sample.number, sample.total, len(run.start), run.seed) == (1, 1, 8, 5)
    assert torch.equal(run.start, start_noise(5, (8, 4, 8, 8)))
    assert way.method == "mpd" and way.scales.tolist() == [1.0] * 8
    assert (way.start.unique().item(), way.end.unique().item()) == (0, 7)
    contexts = [
        branches[CONDITIONAL].conditions.context.unique().item() for branches in (run.branches, way.branches)
    ]
    assert contexts == [0, 7]
    assert marks(decode.latents) == [0, *(100.0 + frame for frame in range(1, 7)), 7]
    assert not decode.ring


def test_keyframes_are_a_run_each_with_noise_of_its_own_and_share_a_frame():
    door = through(a_plan([16, 10], num_frames=None, seed=5))
    runs = [step.run for step in door.of(Sample)]
    assert [len(run.start) for run in runs] == [11, 7]
    assert [run.seed for run in runs] == [5, seed_of_chunk(5, 1)]
    assert [(step.number, step.total) for step in door.of(Sample)] == [(1, 2), (2, 2)]
    assert not torch.equal(runs[0].start[:7], runs[1].start)
    inner = [*(100.0 + frame for frame in range(1, 10)), 10, *(200.0 + frame for frame in range(1, 6))]
    assert marks(door.of(Decode)[0].latents) == [0, *inner, 16]


def test_a_clip_with_one_more_keyframe_begins_with_the_frames_of_the_shorter_one():
    shorter, longer = (through(a_plan(frames)).of(Sample) for frames in ([10], [10, 20]))
    assert torch.equal(shorter[0].run.start, longer[0].run.start)
    assert shorter[0].run.seed == longer[0].run.seed


def test_a_long_gap_has_a_coarse_run_first_which_is_told_a_lower_rate():
    door = through(a_plan([100], fps=12.0))
    first, *others = door.of(Sample)
    assert len(first.run.start) == 7 and [len(step.run.start) for step in others] == [18, 17, 18, 18, 17, 18]
    assert first.total == 7 and [step.number for step in door.of(Sample)] == list(range(1, 8))

    def told(run):
        return run.branches[CONDITIONAL].conditions.vector

    assert torch.equal(told(first.run), vector(SVD_XT, 7, 0.02, fps=3.0))
    assert torch.equal(told(others[0].run), vector(SVD_XT, 18, 0.02, fps=12.0))
    way = others[0].run.way
    assert way.end.unique().item() == 101  # the coarse run's first frame after the picture
    conditions = way.branches[CONDITIONAL].conditions
    assert torch.allclose(conditions.concat, way.end / LATENT_SCALE)
    assert conditions.context.unique().item() == 0  # the nearer picture's
    latents = door.of(Decode)[0].latents
    assert len(latents) == 101 and marks(latents)[17] == 101


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(1, 511).map(lambda frame: 2 * frame), min_size=1, max_size=6))
def test_all_pictures_are_in_the_clip_wherever_they_are(frames):
    door = through(a_plan(frames))
    latents, last = door.of(Decode)[0].latents, max(frames)
    assert len(latents) == last + 1 and all(latents[frame, 0, 0, 0] == frame for frame in (0, *frames))
    samples = door.of(Sample)
    assert [step.number for step in samples] == list(range(1, samples[0].total + 1))
    assert max(len(step.run.start) for step in samples) <= 44
    assert len({step.run.seed for step in samples}) == len(samples)


def test_a_network_of_many_frames_needs_no_coarse_run():
    variant = EXVIDEO.__class__(**{**EXVIDEO.__dict__, "num_frames": 128, "most_frames": 128})
    assert between.run_lengths((0, 127), variant) == [128]
    assert between.run_lengths((0, 128), variant) == [7, 22, 23, 22, 22, 23, 22]
    assert not list(between.doubts((0, 127), variant))


def test_a_pinned_loop_goes_back_to_its_picture_and_drops_the_second_copy():
    door = performed(loop(a_plan(loop="pinned", num_frames=8), a_picture(3)))
    (sample,), (decode,) = door.of(Sample), door.of(Decode)
    way = sample.run.way
    assert len(door.of(Encode)) == len(door.of(Latent)) == 1
    assert len(sample.run.start) == 9 and torch.equal(way.start, way.end)
    assert way.branches[CONDITIONAL].conditions == sample.run.branches[CONDITIONAL].conditions
    assert decode.ring and marks(decode.latents) == [3, *(100.0 + frame for frame in range(1, 8))]


@pytest.mark.parametrize(("frames", "tile", "skip"), [(14, 14, 5), (25, 25, 12), (28, 14, 5), (50, 25, 12)])
def test_a_shifted_loop_is_a_ring_of_tiles_with_one_scale(frames, tile, skip):
    plan = a_plan(loop="shift", num_frames=frames)
    door = performed(loop(plan, a_picture(3)))
    run = door.of(Sample)[0].run
    assert run.way == Ring(skip, tile) and len(run.start) == frames and run.frames_at_once == tile
    assert plan.settings.guidance == "constant" and plan.settings.max_guidance in (1.75, 2.25)
    assert door.of(Decode)[0].ring and len(door.of(Latent)) == 0


def test_a_shift_comes_to_every_frame_of_a_tile():
    for tile in range(2, 130):
        skip = between.skip_of(tile)
        assert {skip * step % tile for step in range(tile)} == set(range(tile))


def test_noise_of_the_callers_may_replace_a_shifted_loops():
    start = torch.rand(25, 4, 8, 8)
    assert performed(loop(a_plan(loop="shift"), a_picture(0), start)).of(Sample)[0].run.start is start


@pytest.mark.parametrize("method", BETWEEN)
def test_defaults_between_pictures(method):
    settings = a_plan(end_frame=True, between=method).settings
    guided = ("linear", 1.5, 3.0) if method == "trf" else ("constant", 1.0, 1.0)
    assert (settings.guidance, settings.min_guidance, settings.max_guidance) == guided
    steps = 50 if method == "trf" else 25
    assert (settings.steps, settings.num_frames, settings.between) == (steps, 25, method)
    assert a_plan(end_frame=True, between=method, schedule="align_your_steps").settings.steps == 10


def test_the_users_own_guidance_counts_from_each_picture():
    plan = a_plan(end_frame=True, num_frames=3, guidance=(1.0, 2.0, 3.0))
    assert through(plan).of(Sample)[0].run.way.scales.tolist() == [1.0, 2.0, 3.0]
    plan = a_plan(end_frame=True, num_frames=3, guidance="linear", min_guidance=2.0, max_guidance=4.0)
    assert through(plan).of(Sample)[0].run.way.scales.tolist() == [2.0, 3.0, 4.0]


def test_settings_of_a_clip_may_be_used_again():
    for plan in (a_plan(loop="pinned"), a_plan(loop="shift")):
        assert Plan.of(plan.settings, SVD_XT).settings == plan.settings
    settings = a_plan(end_frame=True).settings
    assert Plan.of(settings, SVD_XT, end_frame=True).settings == settings


@pytest.mark.parametrize("frames", [[5], [40]])
def test_short_and_long_gaps_are_doubted(frames):
    plan = a_plan(frames)
    (doubt,) = between.doubts(plan.picture_frames, SVD_XT)
    assert f"{frames[0] + 1} frames" in doubt
    assert not list(between.doubts((0, 6, 36), SVD_XT))
