"""A real ComfyUI, run as a process on the CPU with the pack in its custom_nodes."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import save_file

from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.networks.unet import VideoUNet
from support import checkpoints, controlnets, exvideo_files, lora_files, tiny

ROOT = Path(__file__).parent.parent.parent
PACK_NAME = "stillmotion-0.1.0"
START_SECONDS = 180
RUN_SECONDS = 600
GUARD_SECONDS = 120
MOST_OF_NO_MODEL = 100  # live tensors; the tiny checkpoint alone has several hundred
HOW_TO_PROVIDE = "no ComfyUI found: set COMFYUI_PATH, or put one in ~/comfy/ComfyUI with its own .venv"


@dataclass(frozen=True)
class Host:
    """A ComfyUI checkout and its interpreter."""

    path: Path
    python: Path


def find() -> Host | None:
    """Finds a ComfyUI: by COMFYUI_PATH, around the pack, or in ~/comfy/ComfyUI, in this order."""
    named = os.environ.get("COMFYUI_PATH")
    places = [Path(named)] if named else [ROOT.parent.parent, Path.home() / "comfy" / "ComfyUI"]
    for path in places:
        if (path / "main.py").is_file() and (path / "comfy").is_dir():
            return Host(path, _interpreter(path))
    return None


def _interpreter(path: Path) -> Path:
    if named := os.environ.get("COMFYUI_PYTHON"):
        return Path(named)
    for own in (path / ".venv" / "bin" / "python", path / ".venv" / "Scripts" / "python.exe"):
        if own.is_file():
            return own
    return Path(sys.executable)


def missing_reason() -> str:
    """Reason of a skipped test."""
    return HOW_TO_PROVIDE


def require() -> Host:
    """Returns the host; without one skips the test, or fails it if STILLMOTION_REQUIRE_HOST is 1."""
    host = find()
    if host is None:
        (pytest.fail if os.environ.get("STILLMOTION_REQUIRE_HOST") == "1" else pytest.skip)(missing_reason())
    return host


def make_base(path: Path, pack_name: str = "stillmotion") -> Path:
    """Creates a base directory: this pack under a folder name, another pack, tiny checkpoints, a picture."""
    for folder in (
        "custom_nodes",
        "models/checkpoints",
        "models/loras",
        "models/controlnet",
        "input",
        "output",
        "temp",
        "user",
    ):
        (path / folder).mkdir(parents=True, exist_ok=True)
    (path / "custom_nodes" / pack_name).symlink_to(ROOT, target_is_directory=True)
    shutil.copy(Path(__file__).parent / "other_pack.py", path / "custom_nodes" / "other_pack.py")
    for kind in checkpoints.VECTOR_DIMS:
        file = path / "models" / "checkpoints" / f"tiny_{kind}.safetensors"
        checkpoints.write(file, kind, sizes=tiny.SMALL)
    _write_parts(path / "models")
    controlnets.write(path / "models" / "controlnet" / "tiny_controlnet.safetensors", tiny.SMALL.unet)
    pairs = lora_files.random_pairs(
        lora_files.shapes(VideoUNet(tiny.SMALL.unet, device="meta")), "attn1.to_v"
    )
    lora_files.write(path / "models" / "loras" / "your_lora.safetensors", pairs)
    exvideo_files.write(path / "models" / "diffusion_models" / "tiny_exvideo.safetensors")
    shutil.copy(ROOT / "assets" / "rocket.jpg", path / "input" / "rocket.jpg")
    return path


PARTS = {"diffusion_models": "unet", "vae": "vae", "clip_vision": "vision"}
"""Folders of parts of a checkpoint, and the names of their tiny files."""


def _write_parts(models: Path) -> None:
    """Writes the parts of the tiny svd as files of their own, tiny_unet.safetensors and others."""
    svd = Checkpoint.open(models / "checkpoints" / "tiny_svd.safetensors")
    networks = {"unet": svd.unet, "vae": svd.decoder, "vision": svd.vision}
    tensors = {name: part.tensors() for name, part in networks.items()}
    tensors["vae"] |= svd.encoder.tensors()
    tensors["vision"] = {f"visual.{key}": tensor for key, tensor in tensors["vision"].items()}
    for folder, name in PARTS.items():
        (models / folder).mkdir(exist_ok=True)
        save_file(tensors[name], models / folder / f"tiny_{name}.safetensors")


class Server:
    """A running ComfyUI; `with Server(base, "--cache-none") as server: ...`."""

    def __init__(self, base: Path, *arguments: str):
        """Starts --novram and --lowvram, which exclude --cpu, through low_memory_host.py."""
        low_memory = {"--novram", "--lowvram"} & set(arguments)
        self._program = [Path(__file__).parent / "low_memory_host.py"] if low_memory else ["main.py", "--cpu"]
        self._base, self._arguments = base, arguments
        self._log = base / f"server-{uuid.uuid4().hex}.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._port = str(port)

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def complaints(self) -> list[str]:
        """Lines in the start's log that complain about the pack, and all tracebacks."""
        folders = {path.name.lower() for path in (self._base / "custom_nodes").iterdir()} - {"other_pack.py"}
        about = [
            line
            for line in self.start_log.splitlines()
            if any(name in line.lower() for name in {"stillmotion", *folders})
        ]
        words = ("WARN", "ERROR", "FAILED")
        complaints = [line for line in about if any(word in line for word in words)]
        return complaints + re.findall("^Traceback.*", self.start_log, re.MULTILINE)

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> "Server":
        host = find()
        command = [host.python, *self._program, "--port", self._port, "--base-directory", self._base]
        command += ["--database-url", "sqlite:///:memory:"]  # or servers on one base lock each other out
        # One thread: two processes with two threads each on two cores wait for each other.
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, "--disable-auto-launch", *self._arguments],
                cwd=host.path,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        self._wait_until_ready()
        self.start_log = self.log
        return self

    def __exit__(self, *error) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def get(self, path: str):
        """Gets the JSON at a path."""
        with self._answer(self.url + path) as response:
            return json.load(response)

    def post(self, graph: dict) -> dict:
        """Queues a graph in API format; the answer holds prompt_id, or error and node_errors."""
        return self.send("/prompt", {"prompt": graph, "client_id": "tests"})

    def send(self, path: str, content: dict) -> dict:
        """Posts JSON to a path."""
        body = json.dumps(content).encode()
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        try:
            with self._answer(request) as response:
                return json.loads(response.read() or "{}")
        except urllib.error.HTTPError as error:
            return json.load(error)

    def _answer(self, request: str | urllib.request.Request):
        """What the host answers; RuntimeError with the end of its log where the host itself fails."""
        try:
            return urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise
            raise RuntimeError(f"{error}; the host's log ends:\n{self.log[-3000:]}") from error

    def wait(self, prompt_id: str) -> dict:
        """Waits until a prompt has ended, well or not; returns its history entry."""
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            self._check_alive()
            time.sleep(0.03)
        raise TimeoutError(f"prompt {prompt_id} did not end in {RUN_SECONDS} s:\n{self.log[-2000:]}")

    def run(self, graph: dict) -> dict:
        """Queues a graph and waits for its end; fails the test if the host refuses it."""
        answer = self.post(graph)
        assert "prompt_id" in answer, answer
        return self.wait(answer["prompt_id"])

    def freed(self) -> dict:
        """Has the host free models and cached outputs; returns the live tensors once it is at rest.

        Repeats the request, since the host misses one that arrives while its worker is about to sleep.
        """
        deadline = time.monotonic() + GUARD_SECONDS
        last = None
        while True:
            self.send("/free", {"unload_models": True, "free_memory": True})
            time.sleep(0.2)
            live = self.get("/tests/memory")
            if live["tensors"] <= MOST_OF_NO_MODEL and live["bytes"] == last:
                return live
            assert time.monotonic() < deadline, live
            last = live["bytes"]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._check_alive()
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.3)
        raise TimeoutError(f"ComfyUI did not start in {START_SECONDS} s:\n{self.log[-2000:]}")

    def _check_alive(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(f"ComfyUI stopped with {self._process.returncode}:\n{self.log[-3000:]}")


def succeeded(entry: dict) -> bool:
    return entry["status"]["status_str"] == "success"


def error_of(entry: dict) -> str:
    """Message of the failing node."""
    for kind, content in entry["status"]["messages"]:
        if kind == "execution_error":
            return content["exception_message"]
    return ""


def cached_nodes(entry: dict) -> set[str]:
    """Nodes whose outputs came from the host's cache."""
    return {
        node
        for kind, content in entry["status"]["messages"]
        if kind == "execution_cached"
        for node in content["nodes"]
    }
