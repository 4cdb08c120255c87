"""Context of a result: machine, versions, date and commit."""

import importlib.metadata
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import torch
from scale import ROOT, Scale

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy")


def describe(scale: Scale, host) -> dict:
    """Describes machine, versions, date and commit for the JSON."""
    versions = {"python": platform.python_version()}
    versions |= {package: _version(package) for package in PACKAGES}
    if host is not None:
        versions |= _host_versions(host)
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "hardware": {
            "cpu": _cpu(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if scale.device == "cuda" else None,
            "memory": _memory(),
            "system": platform.platform(),
        },
        "versions": versions,
    }


def find_host():
    """Finds the ComfyUI to compare with, like the tests; None if there is none."""
    from support import host

    return host.find()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _host_versions(host) -> dict:
    namespace: dict[str, str] = {}
    version = host.path / "comfyui_version.py"
    for line in version.read_text().splitlines() if version.is_file() else []:
        name, _, value = line.partition("=")
        namespace[name.strip()] = value.strip().strip("\"'")
    code = "import torch; print(torch.__version__)"
    ran = subprocess.run([host.python, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    return {"ComfyUI": namespace.get("__version__"), "torch of ComfyUI": ran.stdout.strip() or None}


def _git(*command: str) -> str | None:
    ran = subprocess.run(["git", "-C", ROOT, *command], capture_output=True, text=True, check=False)
    return ran.stdout.strip() if ran.returncode == 0 else None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int:
    import psutil

    return psutil.virtual_memory().total
