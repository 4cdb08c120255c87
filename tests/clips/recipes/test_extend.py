"""Long clips: the published numbers of a chain, and what holds for any network."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stillmotion.clips.conditions import Conditions
from stillmotion.clips.noise import seed_of_chunk, start_noise
from stillmotion.clips.plan import Plan
from stillmotion.clips.recipes import Keep, Sample, drive, returned
from stillmotion.clips.recipes.animate import animate
from stillmotion.clips.recipes.extend import extend, joined
from stillmotion.clips.run import Hold, Run, Windows, solve
from stillmotion.clips.settings import Settings
from stillmotion.samplers import windows
from stillmotion.samplers.guidance import CONDITIONAL
from stillmotion.svd_model.checkpoint.variants import SVD_XT
from support.golden_time import (
    LATENT_SCALE,
    SIGMAS,
    Picture,
    check,
    draw,
    time_network,
    time_noise,
    time_picture,
    weight,
)

CHUNK, OVERLAP = 5, 2


def a_plan(num_frames: int, **changes) -> Plan:
    usual = {"chunk": CHUNK, "overlap": OVERLAP, "long": "chain", "guidance": "linear"}
    scales = {"min_guidance": 1.5, "max_guidance": 3.0, "steps": 10, "width": 64, "height": 64}
    return Plan.of(Settings(num_frames=num_frames, **{**usual, **scales, **changes}), SVD_XT)


def sampled(run: Run) -> Tensor:
    """A run on the closed form, led by the run's concat and by the token in its context."""

    def make_evaluate(branches):
        conditions = branches[CONDITIONAL].conditions
        concat, token = conditions.concat[0].double(), conditions.context.flatten().double()
        return Picture(concat, token, None, time_network).evaluate

    x = run.start.double() * (run.sigmas[0].double() ** 2 + 1).sqrt()
    return solve(run, make_evaluate, x, time_noise(), lambda *_: None)


class Door:
    """Samples runs on the closed form, and notes the steps."""

    def __init__(self, change=lambda step: step.run):
        self.steps, self._change = [], change

    def __call__(self, step):
        self.steps.append(step)
        return sampled(self._change(step)) if isinstance(step, Sample) else None


def performed(plan: Plan, door: Door, start=None, kept=None) -> Tensor:
    a = time_picture("start")
    pictured = Conditions(a.token[None, None], a.concat[None], torch.zeros(1, 768))
    return returned(extend(plan, pictured, start, kept), door)


def test_golden_time_chain():
    def published(step: Sample) -> Run:
        """The run with the published noise, token and levels in place of the recipe's."""
        run, number = step.run, step.number - 1
        start = draw(f"time.chain.{number}.x", CHUNK, 4, 8, 12)
        if number == 0:
            return replace(run, start=start, sigmas=SIGMAS)
        branches = dict(run.branches)
        conditions = branches[CONDITIONAL].conditions
        mean = (conditions.concat.double() * LATENT_SCALE).mean(dim=(0, 2, 3))
        token = (weight("time.encode", 16, 4) @ mean).tanh()
        branches[CONDITIONAL] = replace(
            branches[CONDITIONAL], conditions=replace(conditions, context=token[None, None])
        )
        return replace(run, branches=branches, start=start, sigmas=SIGMAS, way=replace(run.way, until=20.0))

    check("time.chain", performed(a_plan(12, match=0.5), Door(published)))


@pytest.mark.parametrize("num_frames", [3, CHUNK])
@pytest.mark.parametrize("long", ["chain", "windows", "freenoise"])
def test_a_clip_of_no_more_frames_than_a_chunk_is_the_plain_clip(num_frames, long):
    plain, door = a_plan(num_frames, long=None, chunk=None, overlap=None), Door()
    a = time_picture("start")
    pictured = Conditions(a.token[None, None], a.concat[None], torch.zeros(1, 768))
    result = performed(a_plan(num_frames, long=long), door)
    expected = sampled(plain.run(pictured))
    if long == "chain":
        assert torch.equal(result, expected)
    assert (result - expected).abs().max() < 1e-12 * expected.abs().max()
    assert len(door.steps) == 1


def test_a_longer_clip_begins_with_the_shorter_ones_frames():
    clips = {frames: performed(a_plan(frames), Door()) for frames in (5, 6, 9, 14)}
    assert all(len(clip) == frames for frames, clip in clips.items())
    for frames in clips:
        sure = CHUNK + (frames - CHUNK) // (CHUNK - OVERLAP) * (CHUNK - OVERLAP) - OVERLAP
        for longer in (other for other in clips if other > frames):
            assert torch.equal(clips[longer][:sure], clips[frames][:sure])


def test_each_chunk_is_led_by_the_end_of_the_clip_and_has_noise_of_its_own():
    door = Door()
    performed(a_plan(9, seed=5), door)
    first, kept, second, kept_again, third = door.steps
    assert [step.number for step in (first, second, third)] == [1, 2, 3]
    assert {step.total for step in (first, second, third)} == {3}
    assert isinstance(kept, Keep) and len(kept.latents) == 5 and len(kept_again.latents) == 8
    way = third.run.way
    assert isinstance(way, Hold) and torch.equal(way.latents, kept_again.latents[-OVERLAP:])
    concat = third.run.branches[CONDITIONAL].conditions.concat
    assert torch.equal(concat, kept_again.latents[-OVERLAP:][:1] / LATENT_SCALE)
    assert torch.equal(third.run.start, start_noise(seed_of_chunk(5, 2), (CHUNK, 4, 8, 12)))
    assert third.run.seed == seed_of_chunk(5, 2)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_chain_goes_on_from_what_was_kept(kept: int):
    door, again = Door(), Door()
    whole = performed(a_plan(13), door)
    keeps = [step.latents for step in door.steps if isinstance(step, Keep)]
    assert torch.equal(performed(a_plan(13), again, kept=keeps[kept]), whole)
    assert [step.number for step in again.steps if isinstance(step, Sample)] == list(range(kept + 2, 5))


def test_a_chunk_matched_all_the_way_has_the_first_frames_means():
    clip = draw("time.x", CHUNK, 4, 8, 12)
    chunk = 3 * draw("time.chain.1.x", CHUNK, 4, 8, 12) + 2
    result = joined(clip, chunk, OVERLAP, 1.0)
    assert torch.equal(result[: CHUNK - OVERLAP], clip[: CHUNK - OVERLAP])
    shared = result[CHUNK - OVERLAP : CHUNK]
    old, parts = clip[-OVERLAP:], torch.tensor([1 / 3, 2 / 3], dtype=torch.float64).view(2, 1, 1, 1)
    new = torch.cat([(shared - old * (1 - parts)) / parts, result[CHUNK:]])
    assert (new.mean((0, 2, 3)) - clip[:1].mean((0, 2, 3))).abs().max() < 1e-6


def test_windows_hold_every_frame_in_runs_of_a_chunks_frames():
    anchored, free = (performed_run(a_plan(12, long=long)) for long in ("windows", "freenoise"))
    assert anchored.way.frames == tuple(map(tuple, windows.anchored(12, CHUNK, OVERLAP)))
    assert free.way.frames == tuple(map(tuple, windows.sliding(12, CHUNK, OVERLAP)))
    for run in (anchored, free):
        assert isinstance(run.way, Windows) and run.frames_at_once == CHUNK
        assert torch.equal(run.start[:CHUNK], start_noise(0, (CHUNK, 4, 8, 12)))
        frames = {tuple(frame.flatten()[:3].tolist()) for frame in run.start}
        assert len(run.start) == 12 and len(frames) == CHUNK


def performed_run(plan: Plan) -> Run:
    door = Door()
    assert len(performed(plan, door)) == plan.settings.num_frames
    (step,) = door.steps
    return step.run


def test_noise_of_the_callers_begins_a_long_clip():
    start, door = torch.rand(CHUNK, 4, 8, 12), Door()
    performed(a_plan(9), door, start)
    assert door.steps[0].run.start is start


def test_a_long_clip_is_decoded_in_one_go():
    steps = []

    def door(step):
        steps.append(step)
        if isinstance(step, Sample):
            return torch.randn(CHUNK, 4, 8, 12)
        return (torch.zeros(1, 1, 4), torch.zeros(1, 4, 8, 12)) if len(steps) == 1 else "frames"

    (result,) = drive([animate(a_plan(12), torch.zeros(1, 3, 64, 96))], door)
    assert result == "frames" and len(steps[-1].latents) == 12
