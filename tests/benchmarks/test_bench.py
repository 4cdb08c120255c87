"""The benchmark: it refuses what disagrees, its sums are right, and all of it runs on tiny networks."""

import json
import runpy
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import compare  # noqa: E402
import flops  # noqa: E402
import growth  # noqa: E402
import levers  # noqa: E402
import measure  # noqa: E402
import page_cache  # noqa: E402
import run  # noqa: E402
import sections  # noqa: E402
import weights  # noqa: E402
from scale import choose  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tiny weights for all of these tests."""
    path = tmp_path_factory.mktemp("bench")
    weights.prepare(choose(quick=True, pairs=1), path)
    return path


def test_outputs_that_differ_are_not_timed():
    right = torch.tensor([1.0, -4.0])
    wrong, timed = right + torch.tensor([0.0, 0.1]), []
    runs = {name: lambda name=name: timed.append(name) or 1.0 for name in ("Stillmotion", "theirs", "wrong")}
    with pytest.raises(
        measure.DisagreementError, match=r"theirs is 2\.5e-02 off Stillmotion, more than 0\.001"
    ):
        measure.compare({"Stillmotion": right, "theirs": wrong}, runs, pairs=5, bound=1e-3)
    assert not timed
    outputs = {"Stillmotion": right, "wrong": wrong, "theirs": right}
    result = measure.compare(outputs, runs, pairs=5, bound=1e-3)
    assert set(timed) == set(result["seconds"]) == {"Stillmotion", "theirs"}
    assert result["refused"] == ["wrong is 2.5e-02 off Stillmotion, more than 0.001"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_not_timed(bad):
    same = torch.tensor([1.0, bad])
    with pytest.raises(measure.DisagreementError, match="ours gives NaN or infinity"):
        measure.check_agreement({"ours": same, "theirs": same}, 1e-3)


def test_another_shape_is_no_agreement():
    with pytest.raises(measure.DisagreementError, match=r"theirs gives \(1,\), ours \(2,\)"):
        measure.check_agreement({"ours": torch.ones(2), "theirs": torch.ones(1)}, 1e-3)


def test_runs_alternate_and_ratios_are_of_pairs():
    order, times = [], iter([1.0, 4.0, 6.0, 2.0])
    runs = {name: lambda name=name: order.append(name) or next(times) for name in ("Stillmotion", "theirs")}
    seconds = measure.alternate(runs, 2)
    assert order == ["Stillmotion", "theirs", "theirs", "Stillmotion"]
    assert seconds == {"Stillmotion": [1, 2], "theirs": [4, 6]}
    ratio = measure.ratios(seconds)["Stillmotion"]["theirs"]
    assert ratio["all"] == [1 / 4, 2 / 6]
    assert ratio["median"] == pytest.approx((1 / 4 + 2 / 6) / 2)


def test_a_peer_that_dies_leaves_the_parts_that_are_done(folder):
    scale = choose(quick=True, pairs=1)
    bench = sections.Bench(scale, weights.place(scale, folder), None, folder / "growth.png")
    held = []

    @contextmanager
    def start(name, part):
        with bench.peer(name, part, in_host=False) as process:
            held.append(process)
            if (name, part) == ("diffusers", "decode"):
                process._process.kill()
                process._process.wait()
            yield process

    found = compare.compare_parts(["Stillmotion", "diffusers"], ["embed", "decode"], scale, start)
    assert set(found["parts"]) == {"embed"}
    assert found["parts"]["embed"]["above"].keys() == {"Stillmotion", "diffusers"}
    assert "died" in found["failed"]
    assert all(process._process.poll() is not None for process in held)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_exponent_of_a_power_law(power):
    sizes = [5, 10, 20, 40]
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(4))
    assert growth.exponent(sizes, 3.0 * np.power(sizes, power) * noise) == pytest.approx(power, abs=0.03)


def test_growth_measures_and_draws(folder, monkeypatch):
    monkeypatch.setattr(growth, "QUICK_FRAMES", (1, 2))
    monkeypatch.setattr(growth, "QUICK_SIZES", ((64, 64), (128, 64)))
    scale = replace(choose(quick=True, pairs=1), frames=1)
    found = growth.measure(scale, weights.place(scale, folder))
    assert set(found) == {"frames", "pixels"}
    for along in found.values():
        for peers in along["at"].values():
            for used in peers.values():
                assert len(used["seconds"]) == len(used["bytes"]) == len(along["sizes"]) == 2
                assert min(used["bytes"]) > 0
    assert len(growth.rows(found)) == 8
    if growth.plot(found, "a test", folder / "growth.png"):
        assert (folder / "growth.png").stat().st_size > 10_000


def test_flops_are_those_of_the_matrix_products():
    a, b = torch.empty(3, 5, device="meta"), torch.empty(5, 7, device="meta")
    assert sum(flops.count(lambda: a @ b).values()) == 2 * 3 * 5 * 7


def test_an_operator_that_the_counter_does_not_know_is_refused():
    a, vector = torch.empty(3, 5), torch.empty(5)
    with pytest.raises(ValueError, match=r"doesn't know aten\.(mv|addmv|_?dot)"):
        flops.count(lambda: torch.mv(a, vector))


def test_diffusers_flops_are_those_of_the_reference():
    """SVD.md: 79.95 TFLOP for a branch of the UNet, 173.6 for the decode."""
    calls = flops.their_calls(flops.full_size_networks(), 25, 1024, 576)
    totals = {name: sum(flops.count(call).values()) / flops.TERA for name, call in calls.items()}
    assert totals["guided UNet step"] == pytest.approx(2 * 79.95, abs=0.02)
    assert totals["VAE temporal decode"] == pytest.approx(173.6, abs=0.05)


def test_our_flops_are_fewer_than_those_of_diffusers():
    for name, peers in flops.measure(3, 128, 64).items():
        ours, theirs = (sum(found.values()) for found in peers.values())
        assert 0.8 * theirs < ours < theirs, name


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
def test_levers_are_compared_with_the_exact_clip(monkeypatch, every):
    if not every:
        few = (levers.EXACT, "Align Your Steps with interval 2")
        monkeypatch.setattr(levers, "LEVERS", {name: levers.LEVERS[name] for name in few})
    found = levers.on_builtin(quick=True)
    assert set(found) == {*levers.LEVERS, levers.BF16}
    assert found[levers.EXACT]["psnr"] == 99
    assert all(0 < used["psnr"] < 99 for name, used in found.items() if name != levers.EXACT)
    assert levers.rows(found, {})[0][0] == levers.EXACT


def test_the_page_cache_is_read(folder):
    path = folder / "tiny-float32" / "model.safetensors"
    assert 0 <= page_cache.drop([path]) <= 1
    path.read_bytes()
    held, total = page_cache._pages(path)
    assert held == total > 1000


def check_times(section) -> None:
    """Those of steps, decodes, embeddings and clips, of which the outputs agree."""
    for part in ("unet", "decode", "embed", "clip"):
        assert section[part]["ratios"]["Stillmotion"]["diffusers"]["median"] > 0
        assert section[part]["errors"]["diffusers"] < 1e-2


def in_this_process(bench, script, *arguments, in_host=False):
    """In the place of Bench.process, which gives every script a process of its own."""
    out = bench.path / f"{script}.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(word) for word in (script, *arguments, out)])
        runpy.run_path(str(ROOT / "benchmarks" / script), run_name="__main__")
    found = json.loads(out.read_text())
    if out.with_suffix(".pt").is_file():
        found["output"] = torch.load(out.with_suffix(".pt"), weights_only=True)
    return found


def test_the_command_in_one_process(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sections.Bench, "process", in_this_process)
    out = tmp_path / "bench.json"
    arguments = ["--quick", "--pairs", "1", "--no-host", "--folder", str(folder), "--output", str(out)]
    monkeypatch.setattr(
        sys, "argv", ["run.py", *arguments, "--only", "unet", "decode", "embed", "clip", "load"]
    )
    assert run.main() == 0
    content = json.loads(out.read_text())
    assert content.keys() >= {"date", "commit", "dirty", "hardware", "versions", "scale", "sections"}
    assert content["hardware"].keys() >= {"cpu", "threads", "gpu"}
    assert content["versions"].keys() >= {"torch", "diffusers", "transformers"}
    assert set(content["sections"]) == {"times in Stillmotion's Python", "load"}
    check_times(content["sections"]["times in Stillmotion's Python"])
    load = content["sections"]["load"]
    assert load["results"]["first step done"]["ratios"]["Stillmotion"]["diffusers"]["median"] > 0
    assert load["cache"].startswith(("cold", "warm"))
    assert "| guided UNet step | Stillmotion |" in capsys.readouterr().out


@pytest.mark.long
def test_the_command_with_a_process_for_each_part(folder, tmp_path):
    out = tmp_path / "bench.json"
    names = ["unet", "decode", "embed", "clip", "load", "memory"]
    command = [sys.executable, ROOT / "benchmarks" / "run.py", "--quick", "--pairs", "1", "--no-host"]
    command += ["--folder", folder, "--output", out, "--only", *names]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    sections = json.loads(out.read_text())["sections"]
    assert set(sections) == {"times in Stillmotion's Python", "load", "memory"}
    check_times(sections["times in Stillmotion's Python"])
    assert sections["load"]["results"]["first step done"]["ratios"]["Stillmotion"]["diffusers"]["median"] > 0
    assert sections["memory"]["unet"]["Stillmotion"]["above"] > 0
    assert "| guided UNet step | Stillmotion |" in ran.stdout
