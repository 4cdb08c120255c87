"""Parts of the benchmark: each runs its processes and returns its results, as markdown and as JSON."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from compare import LONGEST_SECONDS, PARTS, PeerProcess, compare_parts, peer_process
from measure import (
    COMPARISON_HEAD,
    DisagreementError,
    check_agreement,
    comparison_rows,
    spread,
    summary,
    table,
)
from page_cache import drop
from scale import ROOT, Scale
from weights import GB, files

HERE = Path(__file__).parent
NAMES = (*PARTS, "load", "memory", "growth", "flops", "levers", "gpu", "rehearsal")
TITLES = {
    "unet": "guided UNet step",
    "decode": "VAE temporal decode",
    "embed": "CLIP image embedding",
    "clip": "whole clip",
}
COLD = 0.05  # largest share of a peer's files in memory at a cold start
REHEARSAL = ROOT / "tests" / "rehearsal" / "scripts" / "gpu.py"
REHEARSED = (("sample", "float16"), ("sample", "bfloat16"), ("sample", "float32"), ("solvers",))
REHEARSED += (("decode", "float32"), ("decode", "bfloat16"))
MEMORY_RATIOS = ("ours / theirs, above", "ours / theirs, in all")


@dataclass(frozen=True)
class Section:
    """Result of one part."""

    name: str
    markdown: str
    data: dict
    failed: bool = False


@dataclass(frozen=True)
class Bench:
    """State that all parts share."""

    scale: Scale
    path: Path  # the weights
    host: object | None  # tests/support/host.Host
    plot: Path  # the picture of growth
    eager: bool = False  # without compiled peers

    @property
    def peers(self) -> list[str]:
        """Peers that run in processes of their own."""
        core = ["ComfyUI core"] if self.host and not self.scale.quick else []  # core has no tiny networks
        return ["Stillmotion", "diffusers", *core]

    def process(self, script: str, *arguments: object, in_host: bool = False) -> dict:
        """Runs a script of this folder, in the host's Python or ours; returns the JSON that it wrote."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.json"
            command, environment = self._command(script, *arguments, out, in_host=in_host, folder=folder)
            ran = subprocess.run(
                command, env=environment, stdout=sys.stderr, timeout=LONGEST_SECONDS, check=False
            )
            if not out.is_file():
                ran.check_returncode()
            found = json.loads(out.read_text())
            if ran.returncode:  # after some of its parts
                found["failed"] = f"{script} ended with {ran.returncode}"
            if out.with_suffix(".pt").is_file():
                found["output"] = torch.load(out.with_suffix(".pt"), weights_only=True)
            return found

    @contextmanager
    def peer(self, name: str, part: str, in_host: bool) -> Iterator[PeerProcess]:
        """Process of one peer for one part."""
        arguments = (name, self.scale.to_json(), self.path, part)
        with tempfile.TemporaryDirectory() as folder:
            command, environment = self._command("peer.py", *arguments, in_host=in_host, folder=folder)
            with peer_process(name, command, environment) as process:
                yield process

    def _command(
        self, script: str, *arguments: object, in_host: bool, folder: str
    ) -> tuple[list[str], dict[str, str]]:
        """Command line and environment of a script; folder: a temporary one, for a host's path of modules."""
        command = [self.host.python if in_host else sys.executable, HERE / script, *arguments]
        environment = dict(os.environ)
        if in_host:
            command.append(self.host.path)
            (Path(folder) / "stillmotion").symlink_to(ROOT, target_is_directory=True)
            environment["PYTHONPATH"] = folder
        return [str(word) for word in command], environment


def run(bench: Bench, names: Sequence[str]) -> Iterator[Section]:
    """Runs the named parts, one after another."""
    compared = [name for name in PARTS if name in names]
    if compared:
        yield from _compare(bench, compared)
    parts = {"load": _load, "memory": _memory, "growth": _growth, "flops": _flops, "levers": _levers}
    if bench.scale.device == "cuda":
        parts["gpu"] = _gpu
    if bench.host:
        parts["rehearsal"] = _rehearsal
    for name, part in parts.items():
        if name in names:
            yield _guarded(name, part, bench)


def _guarded(name: str, part, bench: Bench) -> Section:
    """Runs a part; reports its failure as a section, so that the other parts still run."""
    try:
        return part(bench)
    except (subprocess.SubprocessError, DisagreementError, OSError) as error:
        return Section(name, f"## {name}\n\nfailed: {error}", {"failed": str(error)}, failed=True)


def _compare(bench: Bench, names: list[str]) -> Iterator[Section]:
    """Compares step, decode, embedding and clip, by peers in our Python and by peers in the host's."""
    ours = ["Stillmotion", "diffusers"]
    if bench.scale.device == "cuda" and not bench.eager:
        ours += ["diffusers, compiled", "Stillmotion, compiled"]
    places = {"in Stillmotion's Python": (ours, False)}
    if "ComfyUI core" in bench.peers:
        places["in ComfyUI's Python"] = (["Stillmotion", "ComfyUI core", "Stillmotion's nodes"], True)
    for where, (peers, in_host) in places.items():
        start = partial(bench.peer, in_host=in_host)
        found = compare_parts(peers, names, bench.scale, start)
        title = f"{', '.join(TITLES[name] for name in names)}, {where} (torch {found['torch']})"
        yield _comparison(f"times {where}", title, found)


def _comparison(name: str, title: str, found: dict) -> Section:
    rows, refused, peaks = [], [], []
    if "failed" in found:
        refused.append(f"- the rest is missing: {found['failed']}")
    for part, result in found["parts"].items():
        refused += [f"- {TITLES[part]}: no time, since {reason}" for reason in result["refused"]]
        if "seconds" in result:
            rows += comparison_rows(TITLES[part], result)
            peaks += [(TITLES[part], peer, f"{most / GB:.3f}") for peer, most in result["above"].items()]
    text = f"## {title}\n\n{table(COMPARISON_HEAD, rows)}" + "".join(f"\n{line}" for line in refused)
    text += f"\n\n{table(('what', 'peer', 'peak above what it held, GB'), peaks)}"
    return Section(name, text, found["parts"], failed=bool(refused))


def _load(bench: Bench) -> Section:
    """Times each peer in a fresh process, with its files dropped from the page cache first."""
    runs: dict[str, list[dict]] = {name: [] for name in bench.peers}
    most_cached = 0.0
    first = 1 if bench.scale.quick else 0
    for turn in range(first, bench.scale.pairs + 1):
        for name in bench.peers if turn % 2 else reversed(bench.peers):
            cached = drop(files(bench.path, name))
            found = bench.process(
                "load.py", name, bench.scale.to_json(), bench.path, in_host=name == "ComfyUI core"
            )
            if turn:  # the first run only has the system cache the peer's code
                runs[name].append(found)
                most_cached = max(most_cached, cached)
    bound = bench.scale.bound
    errors = check_agreement({name: found[0]["output"] for name, found in runs.items()}, bound)
    ready_seconds = {name: [_until(run, "condition") for run in found] for name, found in runs.items()}
    step_seconds = {name: [_until(run, "step") for run in found] for name, found in runs.items()}
    results = {
        "ready for the first step": summary(ready_seconds, errors),
        "first step done": summary(step_seconds, errors),
    }
    stages = {
        name: {stage: spread([run["seconds"][stage] for run in found]) for stage in found[0]["seconds"]}
        for name, found in runs.items()
    }
    peaks = {name: spread([run["peak"] for run in found]) for name, found in runs.items() if found[0]["peak"]}
    state = "cold" if most_cached <= COLD else f"warm ({most_cached:.0%} of the files were in memory)"
    text = f"## load to first step, page cache {state}\n\n"
    text += table(COMPARISON_HEAD, [row for name in results for row in comparison_rows(name, results[name])])
    text += f"\n\n{_stage_table(stages, peaks)}"
    return Section("load", text, {"cache": state, "results": results, "stages": stages, "peaks": peaks})


def _until(run: dict, last: str) -> float:
    """Sums the seconds up to the end of a stage, without drawing the inputs."""
    total = 0.0
    for stage, seconds in run["seconds"].items():
        total += seconds if stage != "draw" else 0.0
        if stage == last:
            break
    return total


def _stage_table(stages: dict, peaks: dict) -> str:
    names = [stage for stage in next(iter(stages.values())) if stage != "draw"]
    head = ("peer", *(f"{name}, s" for name in names), "peak resident, GB")
    rows = []
    for peer, found in stages.items():
        most = f"{peaks[peer]['median'] / GB:.2f}" if peer in peaks else ""
        rows.append((peer, *(f"{found[name]['median']:.2f}" for name in names), most))
    return table(head, rows)


def _memory(bench: Bench) -> Section:
    """Measures the peak memory of each peer in a fresh process."""
    data, rows = {}, []
    for part in ("unet",) if bench.scale.quick else ("unet", "decode"):
        for name in bench.peers:
            arguments = (name, bench.scale.to_json(), bench.path, part)
            found = bench.process("memory.py", *arguments, in_host=name == "ComfyUI core")
            data.setdefault(part, {})[name] = found
            ours = data[part][bench.peers[0]]
            figures = [f"{found[key] / GB:.3f}" for key in ("weights", "above", "peak")]
            keys = () if found is ours else ("above", "peak")
            shares = [f"{ours[key] / found[key]:.3f}" for key in keys] or ["", ""]
            rows.append((TITLES[part], name, *figures, *shares))
    head = ("what", "peer", "weights, GB", "peak above them, GB", "peak in all, GB", *MEMORY_RATIOS)
    kind = "allocated on the GPU" if bench.scale.device == "cuda" else "resident (VmHWM)"
    return Section("memory", f"## peak memory, {kind}, fresh processes\n\n{table(head, rows)}", data)


def _growth(bench: Bench) -> Section:
    return _script("growth", bench, bench.scale.to_json(), bench.path, bench.plot)


def _flops(bench: Bench) -> Section:
    size = ["--frames", 2, "--width", 128, "--height", 64] if bench.scale.quick else []
    return _script("flops", bench, *size)


def _levers(bench: Bench) -> Section:
    return _script("levers", bench, bench.scale.to_json(), bench.path)


def _gpu(bench: Bench) -> Section:
    return _script("gpu", bench, bench.scale.to_json(), bench.path)


def _rehearsal(bench: Bench) -> Section:
    """Counts a GPU's kernels and bytes at full size, by the host's CUDA build of torch without a GPU."""
    runs = []
    for arguments in REHEARSED:
        command = [bench.host.python, REHEARSAL, ROOT, *arguments]
        ran = subprocess.run(command, stdout=subprocess.PIPE, timeout=LONGEST_SECONDS, check=True)
        found = json.loads(ran.stdout.splitlines()[-1])
        runs += [run | {"name": f"{arguments[0]}: {run['name']}"} for run in found]
    head = ("what", "kernels", "read and written, GB", "peak above the weights, GB", "estimate, GB")
    rows = [
        (run["name"], run["kernels"], *(f"{run[key] / GB:.2f}" for key in ("traffic", "peak", "allowed")))
        for run in runs
    ]
    title = "## a GPU rehearsed: two or three guided steps of svd_xt, two frames decoded, 1024×576"
    return Section("rehearsal", f"{title}\n\n{table(head, rows)}", {"runs": runs})


def _script(name: str, bench: Bench, *arguments: object) -> Section:
    """Runs a part that is a script with tables of its own."""
    found = bench.process(f"{name}.py", *arguments)
    return Section(name, found["markdown"], found["data"])
