"""Random weights for all peers: a single file, and a diffusers folder with its tensors."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

from scale import ROOT, Scale, find_modules

FOLDER = ROOT / "outputs" / "bench"
GB = 10**9
_KEYS = ROOT / "tests" / "golden" / "keys_svd_xt.json"
_VERSION = 1  # of the folder's contents
_PARTS = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "vision": "image_encoder/model.safetensors",
}


def place(scale: Scale, folder: Path = FOLDER) -> Path:
    """Folder of the weights for a scale: model.safetensors, and diffusers/."""
    return folder / f"{'tiny' if scale.quick else 'svd_xt'}-{scale.dtype}"


def single_file(path: Path) -> Path:
    """Path of the single file in such a folder."""
    return path / "model.safetensors"


def prepare(scale: Scale, folder: Path = FOLDER) -> Path:
    """Writes the folder of a scale unless it is complete; raises OSError if the disk has no room."""
    path = place(scale, folder)
    done = path / "done.json"
    if done.is_file() and json.loads(done.read_text()) == {"version": _VERSION}:
        return path
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    _check_room(scale, path)
    find_modules()
    _write_single_file(scale, single_file(path))
    _write_diffusers_folder(scale, path)
    done.write_text(json.dumps({"version": _VERSION}))
    return path


def _check_room(scale: Scale, path: Path) -> None:
    if scale.quick:
        return
    needed = int(5.2 * GB * scale.torch_dtype.itemsize)
    free = shutil.disk_usage(path).free
    print(f"writing {needed / GB:.0f} GB of random weights to {path}, once", flush=True)
    if free < needed:
        raise OSError(f"{path} has {free / GB:.1f} GB left and {needed / GB:.1f} GB are needed; --folder")


def _write_single_file(scale: Scale, path: Path) -> None:
    from support import checkpoints, full_size

    if scale.quick:
        checkpoints.write(path, "svd", scale.torch_dtype)
    else:
        full_size.write(_KEYS, path, scale.torch_dtype)


def _write_diffusers_folder(scale: Scale, path: Path) -> None:
    """Writes configurations from diffusers, and tensors from the single file."""
    from stillmotion.svd_model.checkpoint import Checkpoint
    from support import diffusers_keys, diffusers_models, full_size

    checkpoint = Checkpoint.open(single_file(path))
    networks = [
        of_file(network)
        for network in (checkpoint.unet, checkpoint.encoder, checkpoint.decoder, checkpoint.vision)
    ]
    folder = path / "diffusers"
    pipeline = diffusers_models.pipeline(*networks)
    pipeline.save_config(folder)
    for name in ("unet", "vae", "scheduler"):
        getattr(pipeline, name).save_config(folder / name)
    pipeline.image_encoder.config.save_pretrained(folder / "image_encoder")
    pipeline.feature_extractor.save_pretrained(folder / "feature_extractor")
    unet, encoder, decoder, vision = (network.state_dict() for network in networks)
    states = {
        "unet": diffusers_keys.unet(unet),
        "vae": diffusers_keys.vae(encoder, decoder),
        "vision": diffusers_keys.vision(vision),
    }
    for name, state in states.items():
        shapes = {key: list(tensor.shape) for key, tensor in state.items()}
        full_size.save(folder / _PARTS[name], shapes, scale.torch_dtype, state.__getitem__)


def of_file(network) -> SimpleNamespace:
    """Stand-in for one of our networks in tests/support/diffusers_models.py: params and state_dict only."""
    tensors = network.tensors()
    return SimpleNamespace(params=network.params, state_dict=lambda: tensors)


def files(path: Path, peer: str) -> list[Path]:
    """Files that a peer reads in such a folder."""
    if peer == "diffusers":
        return [path / "diffusers" / name for name in _PARTS.values()]
    return [single_file(path)]


def remove(folder: Path = FOLDER) -> None:
    """Removes all folders that `prepare` wrote."""
    for path in folder.glob("*"):
        if (path / "done.json").is_file() or single_file(path).is_file():
            shutil.rmtree(path)
