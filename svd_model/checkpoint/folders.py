"""Folders of networks as diffusers writes them, and files in several pieces, as one view of their tensors."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from .json_files import read_json
from .layouts import with_released_names
from .notes import METADATA_KEY, VISION_HEAD_WIDTH
from .sources import AnotherFileWanted, CheckpointError, TensorFile, joined

NETWORKS = ("unet", "vae", "image_encoder")
"""Folders of a model, as diffusers names them."""

MODEL_INDEX = "model_index.json"
_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>[\w-]+))?\.(?P<kind>safetensors|bin)"
)
_INDEX = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)\.(?P<kind>safetensors|bin)\.index"
    r"(?:\.(?P<variant>[\w-]+))?\.json"
)
_PIECE = re.compile(r".*-\d{5}-of-\d{5}.*")
_VARIANTS = (None, "fp16", "bf16")
"""Variants of a file, the first choice first; any other comes after them."""

_LONGEST_JSON = 2**25
_AGAIN = "download it again"
_MOST_PIECES = 1000


def open_tensors(path: str | Path) -> TensorFile:
    """Opens a file, a file in pieces by its index, or a folder; raises CheckpointError for anything else.

    A folder is a model as diffusers saves it, a network of one, a copy of the hub's cache, or has one
    checkpoint in it. Headers are read, and no tensor of safetensors.
    """
    path = Path(path)
    if path.name == MODEL_INDEX and path.is_file():
        path = path.parent
    if path.is_dir():
        return _of_folder(path)
    if path.name.endswith(".json") and ".index" in path.name and path.is_file():
        return _of_index(path)
    return TensorFile.open(path)


def _of_folder(folder: Path) -> TensorFile:
    folder = _snapshot(folder)
    networks = [folder / name for name in NETWORKS if _weights(folder / name)]
    if networks:
        files = [with_released_names(_of_network(network)) for network in networks]
        notes: dict = {}
        for file in files:
            notes |= file.json_metadata(METADATA_KEY)
        return joined(folder, files, {METADATA_KEY: json.dumps(notes)} if notes else None)
    if _weights(folder):
        return _of_network(folder)
    singles = sorted(file for file in folder.glob("*.safetensors") if not _PIECE.match(file.name))
    if len(singles) == 1:
        return TensorFile.open(singles[0])
    names = ", ".join(file.name for file in singles[:5])
    raise AnotherFileWanted(
        f"{folder} is a folder with {len(singles)} .safetensors files ({names})"
        if singles
        else f"{folder} is a folder without weights",
        "name one of them."
        if singles
        else f"a model in diffusers' layout has them in {', '.join(f'{name}/' for name in NETWORKS)}.",
    )


def _snapshot(folder: Path) -> Path:
    """The files of a model in the hub's cache: of its branch main, or the newest; other folders unchanged."""
    if not (folder / "snapshots").is_dir():
        return folder
    main = folder / "refs" / "main"
    if main.is_file() and main.stat().st_size < _LONGEST_JSON:
        revision = main.read_text(errors="replace").strip()
        if revision and Path(revision).name == revision and (folder / "snapshots" / revision).is_dir():
            return folder / "snapshots" / revision
    revisions = [path for path in (folder / "snapshots").iterdir() if path.is_dir()]
    if not revisions:
        raise AnotherFileWanted(f"{folder} is a model of the hub's cache without files", "download it again.")
    return max(revisions, key=lambda path: path.stat().st_mtime)


def _weights(folder: Path) -> list[Path]:
    """Files or indices with all weights of a network, the first choice first."""
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        for pattern in (_WEIGHTS, _INDEX):
            match = pattern.fullmatch(path.name)
            if match and not _PIECE.match(path.name):
                variant, kind = match["variant"], match["kind"]
                rank = _VARIANTS.index(variant) if variant in _VARIANTS else len(_VARIANTS)
                found.append((kind != "safetensors", rank, path))
    return [path for _, _, path in sorted(found)]


def _of_network(folder: Path) -> TensorFile:
    """The tensors of one network's folder, with notes of what its config.json says and keys don't."""
    chosen = _weights(folder)[0]
    file = _of_index(chosen) if chosen.name.endswith(".json") else TensorFile.open(chosen)
    notes = dict(_notes(folder / "config.json"))
    metadata = {METADATA_KEY: json.dumps(notes)} if notes else {}
    return joined(folder, [file], metadata)


def _of_index(path: Path) -> TensorFile:
    """The tensors of a file in pieces, which lie beside its index."""
    places = read_json(path, dict, _LONGEST_JSON, _AGAIN).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{path} names no files (its weight_map); {_AGAIN}.")
    names = list(dict.fromkeys(places.values()))
    outside = next((name for name in names if not _is_beside(name)), None)
    if outside is not None:
        raise CheckpointError(f"{path} names {outside!r}; the pieces of a file lie beside its index.")
    if len(names) > _MOST_PIECES:
        raise CheckpointError(f"{path} names {len(names)} files; {_MOST_PIECES} are the most.")
    files = {name: TensorFile.open(path.parent / name) for name in names}
    for key, name in places.items():
        if key not in files[name].shapes:
            raise CheckpointError(f"{path} has {key} in {name}, where it is not; download both again.")
    pieces = [
        file.having({key for key, place in places.items() if place == name}) for name, file in files.items()
    ]
    return joined(path, pieces)


def _is_beside(name: str) -> bool:
    """Whether a name is of a file beside another, on any system."""
    return name not in ("", ".", "..") and not re.search(r"[/\\:\0]", name)


def _notes(path: Path) -> Iterator[tuple[str, int]]:
    """Sizes that a network's configuration says and its keys don't; none without a configuration."""
    config = read_json(path, dict, _LONGEST_JSON, _AGAIN) if path.is_file() else {}
    frames = config.get("num_frames")
    if type(frames) is int and frames > 0:
        yield "num_frames", frames
    widths, heads = config.get("block_out_channels"), config.get("num_attention_heads")
    if isinstance(widths, list) and isinstance(heads, list) and len(widths) == len(heads):
        # A list with several head widths is a mistake of old versions.
        sizes = {
            width // count if type(width) is type(count) is int and count > 0 and width % count == 0 else 0
            for width, count in zip(widths, heads, strict=True)
        }
        if len(sizes) == 1 and (size := sizes.pop()):
            yield "head_channels", size
    width, count = config.get("hidden_size"), config.get("num_attention_heads")
    if type(width) is type(count) is int and count > 0 and width % count == 0:
        yield VISION_HEAD_WIDTH, width // count
