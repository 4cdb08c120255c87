"""Checkpoints of every kind, and what changes their networks, on ranks: to the byte, here by threads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion.clips.conditions import Conditions
from stillmotion.clips.run import Branch, Ring, Run
from stillmotion.clips.settings import Settings
from stillmotion.headless import Pipeline
from stillmotion.headless.engine import local, parallel
from stillmotion.samplers.guidance import CONDITIONAL, UNCONDITIONAL
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.sources import TensorFile
from stillmotion.svd_model.networks.references import References
from support import checkpoints, controlnets, lora_files, tiny
from support.exchange import Ranks

pytestmark = pytest.mark.usefixtures("one_thread")

PICTURE = Image.fromarray(np.indices((64, 64)).sum(0).astype(np.uint8)).convert("RGB")
QUICK = {"width": 64, "height": 64, "steps": 2, "sigma_max": 20.0}
"""From σ 20 on: the last bit of x, below 128, is 8e-6, a twelfth of the bound on latents; from σ 700 3e-4."""

KINDS = {
    "svd": {"num_frames": 4},
    "svd_image_decoder": {"num_frames": 4},
    "sv3d_u": {"num_frames": 21},
    "sv3d_p": {"num_frames": 21, "elevation": 15},
    "motionctrl_svd": {"num_frames": 4, "camera": "pan_left"},
}


@pytest.fixture
def one_by_one(monkeypatch):
    """Has pipelines evaluate branches one after the other, from its call on."""
    return lambda: monkeypatch.setattr(local, "_batched", lambda names, _: [(name,) for name in names])


def checkpoint(kind="svd"):
    return Checkpoint(
        TensorFile.of_tensors(Path(f"{kind}.safetensors"), checkpoints.tensors(kind, sizes=tiny.SMALL))
    )


def check(one_by_one, kind, settings, frames=None, size=2, **options):
    """That ranks make the latents of one pipeline, and frames that differ by a byte at most."""

    def clip(ranks=None):
        pipeline = Pipeline(checkpoint(kind), "cpu", "float32", ranks=ranks, **options)
        return pipeline.animate(PICTURE, QUICK | settings, control=frames)

    found = Ranks.run(size, clip)
    one_by_one()
    expected = clip()
    for of_rank in found:
        assert torch.equal(of_rank.latents, expected.latents)
        assert np.abs(of_rank.frames.astype(int) - expected.frames).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_each_kind(one_by_one, kind):
    check(one_by_one, kind, KINDS[kind])


def test_a_lora(one_by_one, tmp_path):
    tensors = lora_files.random_pairs(checkpoint().unet.expected, "attn1.to_q")
    file = lora_files.write(tmp_path / "style.safetensors", tensors)
    check(one_by_one, "svd", KINDS["svd"], loras=[file])


def test_a_controlnet(one_by_one, tmp_path):
    file = controlnets.write(tmp_path / controlnets.FILE, tiny.SMALL.unet)
    check(one_by_one, "svd", KINDS["svd"], frames=[PICTURE], control=file)


DIVIDED = {
    "plain": {},
    "13 and 12 frames": {"num_frames": 25, "steps": 1},
    "one skip": {"skip_guidance": (2, 0)},
    "cache and interval": {"feature_cache": 2, "steps": 5, "guidance_interval": (1, 10)},
    "windows": {"num_frames": 7, "chunk": 4, "overlap": 1, "long": "windows"},
    "ring": {"loop": "shift"},
}


@pytest.fixture
def shares(monkeypatch):
    """The frames of all shares that are dealt out."""
    found, share_of = [], parallel.share_of

    def noted(frames, group):
        share = share_of(frames, group)
        found.append(None if share is None else share.counts)
        return share

    monkeypatch.setattr(parallel, "share_of", noted)
    return found


@pytest.mark.parametrize("way", DIVIDED)
def test_two_ranks_for_each_branch_divide_its_frames(one_by_one, shares, way):
    """Sums are in another order, so the latents are those of one pipeline to what its steps make of that."""
    settings = QUICK | {"num_frames": 5} | DIVIDED[way]
    frames = settings.get("chunk", settings["num_frames"])

    def latents(ranks=None):
        return Pipeline(checkpoint(), "cpu", "float32", ranks=ranks).animate(PICTURE, settings).latents

    found = Ranks.run(6 if way == "one skip" else 4, latents)
    assert set(shares) == {(frames - frames // 2, frames // 2)}
    one_by_one()
    expected = latents()
    for of_rank in found:
        assert torch.equal(of_rank, found[0])
        assert (of_rank - expected).abs().max() < 1e-4 * expected.abs().max()


def test_guidance_that_is_left_and_comes_back_has_no_old_features(one_by_one):
    """As with solvers that return to earlier levels."""
    unet = checkpoint().unet.load(dtype=torch.float32, device="cpu")
    context, concat = torch.ones(1, 1, unet.params.context_dim), torch.ones(1, 4, 8, 8)
    given = Conditions(context, concat, torch.ones(1, unet.params.vector_dim))
    branches = {CONDITIONAL: Branch(given), UNCONDITIONAL: Branch(given.unconditional())}
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    names, both = (CONDITIONAL,), (CONDITIONAL, UNCONDITIONAL)
    course = [(both, 3.0), (both, 2.0), (names, 1.0), (both, 2.0), (both, 1.5), (names, 1.0), (names, 0.5)]

    @torch.no_grad()
    def estimates(ranks=None):
        def make(branches):
            return local.Evaluator(unet, branches, torch.float32, feature_cache=3)

        evaluate = (parallel.divided(make, ranks) if ranks else make)(branches)
        return [torch.stack(tuple(evaluate(which, x, torch.tensor(sigma)))) for which, sigma in course]

    found = Ranks.run(2, estimates)
    one_by_one()
    for of_rank in found:
        assert all(map(torch.equal, of_rank, estimates()))


@pytest.mark.parametrize("kind", ["sv3d_p", "motionctrl_svd"])
def test_the_frames_of_each_kind_are_divided(one_by_one, shares, kind):
    settings = QUICK | KINDS[kind] | {"steps": 1}

    def latents(ranks=None):
        return Pipeline(checkpoint(kind), "cpu", "float32", ranks=ranks).animate(PICTURE, settings).latents

    found = Ranks.run(4, latents)
    assert None not in shares
    one_by_one()
    expected = latents()
    assert all((of_rank - expected).abs().max() < 1e-4 * expected.abs().max() for of_rank in found)


@torch.no_grad()
def test_an_estimate_is_that_of_one_process_to_1e_5(shares):
    """Of plain guidance on six ranks, three for each branch."""
    settings = Settings(num_frames=8, width=64, height=64, steps=2)
    x = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    def denoised(ranks=None):
        pipeline = Pipeline(checkpoint(), "cpu", "float32", ranks=ranks)
        conditions = pipeline.encode(pipeline.prepare(PICTURE, settings), settings)
        return pipeline.denoiser(conditions, settings)(x, torch.ones(()))

    expected = denoised()
    for of_rank in Ranks.run(6, denoised):
        assert (of_rank - expected).abs().max() < 1e-5 * expected.abs().max()
    assert set(shares) == {None, (3, 3, 2)}


def of(**changes):
    """A run of plain guidance."""
    branch = Branch(Conditions(torch.zeros(1, 1, 64), torch.zeros(1, 4, 8, 8)))
    run = Run({CONDITIONAL: branch, UNCONDITIONAL: branch}, (), torch.ones(2), torch.zeros(5, 4, 8, 8), *RUN)
    return replace(run, **changes)


RUN = (0, "euler", 0.0, 1)
REFERRED = Conditions(
    torch.zeros(1, 1, 64), torch.zeros(1, 4, 8, 8), references=References(*torch.zeros(2, 1))
)


@pytest.mark.parametrize(
    ("run", "ranks", "size"),
    [
        (of(), 1, 1),
        (of(), 2, 1),
        (of(), 3, 1),
        (of(), 4, 2),
        (of(), 6, 1),  # of 5 frames there are not 2 for each of 3
        (of(start=torch.zeros(6, 4, 8, 8)), 6, 3),
        (of(start=torch.zeros(6, 4, 2, 2)), 4, 1),  # whose smallest features are one position
        (of(control=object()), 4, 1),
        (of(branches={CONDITIONAL: Branch(REFERRED)}), 2, 1),
        (of(way=Ring(1, 3)), 4, 1),
    ],
)
def test_ranks_have_a_branch_together_where_its_frames_divide(run, ranks, size):
    assert parallel.group_size(run, tiny.SMALL.unet, ranks) == size


def test_learned_positions_are_not_divided():
    params = replace(tiny.SMALL.unet, frame_positions=5)
    assert parallel.group_size(of(), params, 4) == 1


def test_more_ranks_than_a_run_divides_among_have_no_work(one_by_one):
    """Of 4 frames and 6 ranks each branch stays one rank's."""
    check(one_by_one, "svd", KINDS["svd"], size=6)


def test_memory_that_runs_out_where_frames_are_divided_is_not_waited_for():
    """The others of a rank's group wait in the midst of the work, so there is nothing to agree on."""

    def work(ranks):
        tried = []

        def evaluate(names, x, sigma, among):
            tried.append(names)
            raise torch.OutOfMemoryError("for a test")

        divided = parallel.divided(lambda branches: evaluate, ranks, 2)({})
        with pytest.raises(torch.OutOfMemoryError):
            divided(("conditional", "unconditional"), torch.zeros(4, 4, 1, 1), torch.ones(()))
        return tried

    assert Ranks.run(4, work) == [[("conditional",)]] * 2 + [[("unconditional",)]] * 2


def test_a_budget_of_memory(one_by_one):
    """In pieces, which round otherwise, but on every rank alike."""
    least = Pipeline(checkpoint(), "cpu", "float32").fit.needed((4, 8, 8), False)

    def clip(ranks=None):
        pipeline = Pipeline(checkpoint(), "cpu", "float32", ranks=ranks, memory_budget=least)
        return pipeline.animate(PICTURE, QUICK | KINDS["svd"]).latents

    (first, second), alone = Ranks.run(2, clip), clip()
    assert torch.equal(first, second)
    assert (first - alone).abs().max() < 1e-4 * alone.abs().max()
