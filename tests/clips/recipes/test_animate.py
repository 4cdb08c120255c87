"""The recipe of a clip, without any network: what it asks for, in which order, and with which numbers."""

import pytest
import torch

from stillmotion.clips.motion.course import Course
from stillmotion.clips.noise import picture_noise, start_noise
from stillmotion.clips.plan import Plan
from stillmotion.clips.recipes import Decode, Encode, Latent, Sample, drive
from stillmotion.clips.recipes.animate import animate
from stillmotion.clips.settings import Settings
from stillmotion.samplers.guidance import CONDITIONAL, UNCONDITIONAL
from stillmotion.svd_model.checkpoint.variants import SV3D_P, SV3D_U, SVD_XT

CONTEXT, CONCAT, LATENTS = torch.full((1, 1, 4), 2.0), torch.full((1, 4, 8, 8), 3.0), torch.ones(3, 4, 8, 8)


def a_plan(variant=SVD_XT, **settings) -> Plan:
    return Plan.of(Settings(num_frames=3, width=64, height=64, steps=2, **settings), variant)


class Door:
    """Performs steps with constants and notes them."""

    def __init__(self):
        self.steps = []

    def __call__(self, step):
        self.steps.append(step)
        if isinstance(step, Encode):
            return CONTEXT, CONCAT
        if isinstance(step, Latent):
            return torch.full((len(step.picture), 4, 8, 8), 7.0)
        return LATENTS if isinstance(step, Sample) else "frames"


def performed(plan: Plan, picture=None, start=None, course=None):
    door = Door()
    picture = torch.zeros(1, 3, 64, 64) if picture is None else picture
    assert drive([animate(plan, picture, start, course=course)], door) == ["frames"]
    return door.steps


def test_a_clip_is_encoded_sampled_and_decoded():
    encode, sample, decode = performed(a_plan(seed=5, noise_aug=0.5, frame_wise_decode=True))
    assert torch.equal(encode.picture, torch.zeros(1, 3, 64, 64))
    assert torch.equal(encode.noisy, 0.5 * picture_noise(5, (1, 3, 64, 64)))
    assert torch.equal(sample.run.start, start_noise(5, (3, 4, 8, 8))) and sample.run.seed == 5
    assert decode == Decode(LATENTS, frame_wise=True, last_frame=None, ring=False)


def test_a_clip_may_be_decoded_as_a_loop():
    assert performed(a_plan(ring=True))[2] == Decode(LATENTS, ring=True)


def test_the_run_has_a_branch_under_the_picture_and_one_without():
    _, sample, _ = performed(a_plan())
    pictured, plain = (sample.run.branches[name].conditions for name in (CONDITIONAL, UNCONDITIONAL))
    assert pictured.context is CONTEXT and pictured.concat is CONCAT
    assert not plain.context.any() and not plain.concat.any()
    assert torch.equal(pictured.vector, plain.vector) and pictured.vector.shape == (1, 768)


def test_every_run_has_terms_of_its_own():
    plan = a_plan()
    first, second = (performed(plan)[1].run.terms for _ in range(2))
    assert first[0] is not second[0]


@pytest.mark.parametrize("variant", [SV3D_U, SV3D_P])
def test_an_orbit_ends_on_the_picture(variant):
    picture = torch.rand(1, 3, 64, 64)
    assert performed(a_plan(variant), picture)[2].last_frame is picture


def test_noise_of_the_callers_replaces_the_seeds():
    start = torch.rand(3, 4, 8, 8)
    assert performed(a_plan(), start=start)[1].run.start is start


def test_several_recipes_go_side_by_side():
    door, picture = Door(), torch.zeros(1, 3, 64, 64)
    drive([animate(a_plan(seed=seed), picture) for seed in range(3)], door)
    assert [type(step) for step in door.steps] == [Encode] * 3 + [Sample] * 3 + [Decode] * 3
    assert [step.run.seed for step in door.steps[3:6]] == [0, 1, 2]


def a_course(frames: int = 3, frozen: bool = False) -> Course:
    mask = torch.ones(frames, 1, 8, 8)
    return Course(torch.rand(frames, 3, 64, 64), mask, torch.ones(1, 1, 64, 64) if frozen else None)


def test_the_frames_of_a_course_are_encoded_and_followed():
    settings, course = Settings(num_frames=3, width=64, height=64, steps=10), a_course()
    moved = Plan.of(settings, SVD_XT, moves=True)
    encode, latent, sample, decode = performed(moved, course=course)
    assert latent.picture is course.frames and encode.picture.shape == (1, 3, 64, 64)
    run = sample.run
    assert torch.equal(run.constraint.latents, torch.full((3, 4, 8, 8), 7.0)) and run.constraint.until == 31
    sigmas = Plan.of(settings, SVD_XT).sigmas
    assert torch.equal(run.sigmas, sigmas[sigmas <= 75]) and decode.paste is None


def test_a_frozen_part_is_encoded_and_pasted():
    picture = torch.rand(1, 3, 64, 64)
    plan = Plan.of(Settings(num_frames=3, width=64, height=64), SVD_XT, freezes=True)
    _, latent, sample, decode = performed(plan, picture, course=Course(None, None, torch.ones(1, 1, 64, 64)))
    assert latent.picture is picture and not sample.run.constraint.leads
    assert torch.equal(decode.paste.over(torch.zeros(2, 3, 64, 64))[1:], picture)


def test_a_long_clip_in_windows_follows_all_of_its_frames():
    settings = Settings(num_frames=8, width=64, height=64, steps=10, long="windows", chunk=4, overlap=2)
    sample = performed(Plan.of(settings, SVD_XT, moves=True), course=a_course(8))[2]
    assert len(sample.run.constraint.latents) == len(sample.run.start) == 8 and sample.run.way is not None
