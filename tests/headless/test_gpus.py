"""`animate --gpus N` as a user meets it: one clip, one voice, refusals before work, and nothing left over."""

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from functools import partial

import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stillmotion.clips.plan import Plan
from stillmotion.clips.settings import Settings
from stillmotion.headless.command_line import INTERRUPTED, OK, REFUSED, main
from stillmotion.headless.commands import ranks as commands
from stillmotion.headless.engine import ranks
from stillmotion.svd_model.checkpoint.variants import SVD_XT

SIZES = ("--frames", "4", "--width", "64", "--height", "64", "--device", "cpu")
LONG = (*SIZES, "--steps", "2", "--frames", "1000", "--chunk", "4", "--overlap", "1", "--gpus", "2")
"""A clip of many chunks, which are kept one by one."""


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.radial_gradient("L").convert("RGB").save(path)
    return path


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def started(*words):
    """The command in a session of its own."""
    command = [sys.executable, "-m", "stillmotion", "animate", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    # Of a shell's background job the interrupt is ignored, and so it would be of its children.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, start_new_session=True, preexec_fn=heard, **pipes)


@pytest.fixture
def at_work(picture, out, tmp_path):
    """Starts the command for a long clip; it and its ranks, once they have sampled a chunk."""
    kept, processes = tmp_path / "kept.safetensors", []

    def start():
        process = started(picture, *LONG, "--output", out / "clip.mp4", "--save-latents", kept)
        processes.append(process)
        while process.poll() is None and not kept.exists():
            time.sleep(0.1)
        found = psutil.Process(process.pid).children()
        assert len(found) == 2
        return process, sorted(found, key=lambda rank: int(rank.environ()["RANK"]))

    yield start
    for process in processes:
        process.kill()


def ended(processes, seconds=20):
    """Whether all processes end within a time."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


def test_two_ranks_write_one_clip_and_print_once(picture, out):
    """The second is no other picture than one process makes, by more than rounding."""
    words = (picture, *SIZES, "--steps", "2", "--output", out / "clip.png", "--overwrite")
    names = [out / "together.safetensors", out / "alone.safetensors"]
    (out / "clip.png").touch()
    process = started(*words, "--gpus", "2", "--save-latents", names[0])
    printed, notices = process.communicate(timeout=120)
    assert process.returncode == OK, notices
    assert printed.splitlines() == [str(names[0]), str(out / "clip.png")]
    assert notices.count("The built-in model is a small one") == 1 and "rank" not in notices
    assert main(["animate", *map(str, words), "--save-latents", str(names[1])]) == OK
    together, alone = (load_file(name)["latents"] for name in names)
    assert (together - alone).abs().max() < 1e-4 * alone.abs().max()
    assert sorted(path.name for path in out.iterdir()) == [
        "alone.safetensors",
        "clip.png",
        "together.safetensors",
    ]


def test_four_ranks_divide_the_frames_of_each_estimate(picture, out):
    """Five frames, 3 and 2 of them, of guidance's two estimates; by processes, which are to start once."""
    words = (picture, *SIZES, "--frames", "5", "--width", "128", "--steps", "2", "--output", out / "clip.png")
    names = [out / "together.safetensors", out / "alone.safetensors"]
    process = started(*words, "--gpus", "4", "--save-latents", names[0])
    _, notices = process.communicate(timeout=150)
    assert process.returncode == OK, notices
    assert main(["animate", *map(str, words), "--overwrite", "--save-latents", str(names[1])]) == OK
    together, alone = (load_file(name)["latents"] for name in names)
    assert 0 < (together - alone).abs().max() < 1e-4 * alone.abs().max()


def test_a_rank_that_is_killed_ends_the_command_with_a_reason(at_work, out):
    process, members = at_work()
    members[1].kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == REFUSED
    assert "rank 0 of 2 has lost another one" in errors
    assert "rank 1: error: it ended by signal SIGKILL" in errors and "Traceback" not in errors
    assert ended(members) and not list(out.iterdir())


def test_an_interrupt_ends_all_ranks(at_work, out):
    process, members = at_work()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert errors.count("stopped; no half-written file is left.") == 1 and "Traceback" not in errors
    assert ended(members) and not list(out.iterdir())


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_ranks_do_not_outlive_the_command(at_work, out, how):
    process, members = at_work()
    process.send_signal(how)
    assert ended(members)
    process.communicate(timeout=60)
    assert not list(out.iterdir())


@pytest.mark.long
def test_it_joins_the_ranks_of_torchrun(picture, out):
    run = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "stillmotion")
    words = ("animate", picture, *SIZES, "--steps", "1", "--output", out / "clip.png")
    result = subprocess.run(
        [sys.executable, *run, *map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == OK, result.stderr
    assert result.stdout.splitlines() == [str(out / "clip.png")]


WAITS = "import time; time.sleep(60)"
REFUSES = "import sys; sys.stderr.write('error: the disk is full'); sys.exit(2)"
KILLED = "import os; os.kill(os.getpid(), 9)"
LOSES = "import sys, time; time.sleep(0.3); sys.exit(3)"


@pytest.mark.parametrize(
    ("first", "second", "status", "said"),
    [
        ("", "", OK, []),
        (LOSES, REFUSES, REFUSED, ["rank 1: error: the disk is full"]),
        (WAITS, REFUSES, REFUSED, ["rank 1: error: the disk is full"]),
        (REFUSES, WAITS, REFUSED, []),
        (REFUSES, REFUSES, REFUSED, []),
        (KILLED, LOSES, REFUSED, ["rank 0: error: it ended by signal SIGKILL, as where memory runs out."]),
    ],
    ids=["well", "lost", "waiting", "first", "both", "killed"],
)
def test_the_rank_that_is_the_reason_is_the_one_that_speaks(monkeypatch, first, second, status, said):
    """Rank 0 has said its own errors; what others say is kept, and told where it is the reason."""
    members, found = [], []

    def start(words, several, told):
        for code, file in zip((first, second), told, strict=True):
            members.append(subprocess.Popen([sys.executable, "-c", code], stderr=file))
        return members

    monkeypatch.setattr(commands, "_start", start)
    monkeypatch.setattr(commands, "PATIENCE", 1.0)
    assert commands.run([], 2, found.append) == status
    assert found == said
    assert all(process.poll() is not None for process in members)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--gpus", "0", "--device", "cpu"], "--gpus: '0' is no number of GPUs from 1 on"),
        (["--gpus", "two", "--device", "cpu"], "'two' is no whole number"),
        (
            ["--gpus", "2", "--device", "cuda:0"],
            "--gpus goes with the devices cuda and cpu, and not with cuda:0",
        ),
        (["--gpus", "2", "--device", "mps"], "--gpus goes with the devices cuda and cpu, and not with mps"),
        (["--gpus", "2"], "--gpus goes with the devices cuda and cpu, and not with mps"),
        (["--gpus", "3", "--device", "cuda"], "--gpus is 3, and this machine has 2 of them."),
        (["-", "--gpus", "2", "--device", "cpu"], "--gpus can't go with a picture on standard input"),
    ],
)
def test_what_ranks_can_not_do_is_refused_before_any_starts(picture, capsys, monkeypatch, words, sentence):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    best = torch.device("mps")  # of a Mac
    monkeypatch.setattr(commands, "find_device", lambda name: torch.device(name or best))
    monkeypatch.setattr(commands, "_start", None)
    pictures = [] if "-" in words else [str(picture)]
    assert main(["animate", *pictures, *words]) == REFUSED
    assert sentence in capsys.readouterr().err


@pytest.fixture
def one_of_four(one_of_three, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")


@pytest.fixture
def one_of_three(monkeypatch):
    """The variables of a rank."""
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "3", "MASTER_ADDR": "a"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.setattr(ranks.Ranks, "join", None)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            (),
            "--gpus is 3, and this clip's guidance compares 2 estimates, each on one GPU or on as many as "
            "another; give --gpus 2 or 4.",
        ),
        (("--gpus", "2"), "--gpus is 2, and 3 ranks were started; leave it out."),
    ],
)
def test_more_ranks_than_guidance_has_work_for_are_refused(
    picture, out, capsys, one_of_three, words, sentence
):
    words = words or ("--gpus", "3")
    assert main(["animate", str(picture), *SIZES, *words, "--output", str(out / "a.mp4")]) == REFUSED
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--frames", "3"), "the UNet takes 3 frames at once, under 2 for each of 2 GPUs"),
        (("--frames", "8", "--chunk", "3", "--overlap", "1"), "the UNet takes 3 frames at once, under 2"),
        (("--width", "64"), "the smallest features are 1×1, under a position for each of 2 GPUs"),
        (("--compile",), "--compile can't go with that"),
        (("--reference", "picture.png", "--compile"), "--reference and --compile can't go with that"),
        (("--control", "none", "--control-frames", "none"), "--control can't go with that"),
        (("--linear-dtype", "float8"), "--linear-dtype can't go with that"),
    ],
)
def test_frames_that_do_not_divide_are_refused_before_work(picture, out, capsys, one_of_four, words, reason):
    words = (*SIZES, "--width", "128", "--gpus", "4", *words, "--output", str(out / "a.mp4"))
    assert main(["animate", str(picture), *words]) == REFUSED
    said = " ".join(capsys.readouterr().err.split())
    assert "--gpus is 4, which would divide the frames of each estimate among 2 GPUs, and " + reason in said
    assert "give --gpus 2, or fewer." in said


def test_variables_of_ranks_count_only_where_they_are_meant(one_of_three, picture, out):
    """A cluster sets such variables for its own purposes."""
    words = ("animate", str(picture), *SIZES, "--steps", "1", "--output", str(out / "clip.png"))
    assert main(words) == OK


@pytest.mark.parametrize(
    ("several", "sentence"),
    [("2", "divide the decoding alone"), ("4", "2 GPUs divide the sampling, which others repeat")],
)
def test_where_guidance_compares_nothing_it_says_what_is_divided(
    monkeypatch, one_of_three, several, sentence
):
    monkeypatch.setenv("WORLD_SIZE", several)
    plan = Plan.of(Settings(num_frames=4, min_guidance=1, max_guidance=1), SVD_XT)
    (doubt,) = commands.doubts(Namespace(gpus=int(several)), plan)
    assert sentence in doubt
    assert not list(commands.doubts(Namespace(gpus=int(several)), Plan.of(Settings(num_frames=4), SVD_XT)))
