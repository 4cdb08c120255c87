"""The job of a batch: a picture becomes a clip by a pipeline, under a key of all that the clip depends on."""

import hashlib
import io
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...clips.plan import Plan
from ...clips.recipes import drive
from ...clips.recipes.clip import clip as recipe
from ...clips.settings import FIELDS, Settings
from ...clips.values import plain
from ...samplers.solvers import silent
from ...svd_model.adapters.lora import Applied
from ...svd_model.checkpoint import Checkpoint
from ...svd_model.layerwise import SHARE_OF_FREE, NotEnoughMemoryError
from ..engine.devices import find_dtype
from ..files import images
from ..files.formats import ENCODINGS
from ..files.hashes import sha256
from ..files.videos import write_video
from ..pipeline import DECODE_DTYPES, Pipeline
from .rows import Row, canonical

KEY_FORMAT = 1
"""Number that changes when equal rows get other clips."""

Open = Callable[[Callable[[str, int, int], object], str | None], Pipeline]
"""Opens the pipeline of a batch, with its progress and its device."""


def weights_of(
    checkpoint: Checkpoint,
    loras: tuple[Applied, ...],
    exvideo: Path | None,
    progress: Callable[[str, int, int], object],
) -> dict:
    """SHA-256 of all files with weights, by their parts, and the strengths of LoRAs."""

    def hashed(path: Path, what: str) -> list[str]:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        return [sha256(file, what, progress) for file in inside if file.is_file()]

    own = [path for path in checkpoint.file.all_paths() if path.is_file()]
    weights = {"checkpoint": sorted(sha256(path, "the checkpoint", progress) for path in own)}
    for part, path in checkpoint.places.replacements().items():
        weights[part] = hashed(path, part.replace("_", " "))
    if exvideo is not None:
        weights["exvideo"] = hashed(exvideo, "ExVideo's blocks")
    if loras:
        weights["loras"] = [[*hashed(one.lora.path, "the LoRA"), *one.strengths] for one in loras]
    return weights


def settings_of(options: Namespace) -> dict:
    """The settings among the options of a command."""
    return {name: plain(value) for name, value in vars(options).items() if name in FIELDS}


@dataclass(frozen=True)
class Common:
    """What all clips of a batch have in common; it travels to the workers."""

    options: Namespace  # of the command line
    weights: Mapping
    dtypes: Mapping[str, str | None]
    extension: str
    metadata: bool
    version: str

    @property
    def settings(self) -> dict:
        """The settings that rows leave open."""
        return settings_of(self.options)

    @property
    def fingerprint(self) -> str:
        """All but the row that a clip depends on, as canonical JSON."""
        return canonical({**self._of_key(), "settings": self.settings})

    def key(self, settings: Settings, picture: str) -> str:
        """Content key of a clip: SHA-256 of what its bytes depend on, with complete settings."""
        chosen = {name: value for name, value in asdict(settings).items() if value is not None}
        content = {**self._of_key(), "settings": chosen, "picture": picture}
        return hashlib.sha256(canonical(content).encode()).hexdigest()

    def _of_key(self) -> dict:
        output = {"format": self.extension, "encoder": ENCODINGS[self.extension], "metadata": self.metadata}
        return {"key_format": KEY_FORMAT, "weights": self.weights, **self.dtypes, "output": output}


def dtypes_of(pipeline: Pipeline) -> dict[str, str | None]:
    """Names of the types in which a pipeline computes."""
    return _named_dtypes(pipeline.dtype, pipeline.decode_dtype, pipeline.linear_dtype)


def dtypes_on(device: str, options: Namespace) -> dict[str, str | None]:
    """Names of the types in which workers compute on a kind of device that this machine may lack."""
    dtype = find_dtype(options.dtype, torch.device(device))
    return _named_dtypes(dtype, DECODE_DTYPES[options.decode_dtype], options.linear_dtype)


def _named_dtypes(dtype: torch.dtype, decode_dtype: torch.dtype, linear_dtype: str | None) -> dict:
    named = {"dtype": dtype, "decode_dtype": decode_dtype}
    names = {name: str(dtype).removeprefix("torch.") for name, dtype in named.items()}
    return {**names, "linear_dtype": linear_dtype}


class ClipJob:
    """A pipeline that makes the clips of rows."""

    def __init__(self, common: Common, open_pipeline: Open, device: str | None):
        self.fingerprint, self.extension = common.fingerprint, common.extension
        self._common, self._check, self._progress = common, bool, silent
        self._pipeline = open_pipeline(self._step, device)

    def key(self, row: Row, picture: str) -> str:
        """The content key of a row's clip; raises ValueError for settings that the checkpoint refuses."""
        return self._common.key(self._plan(row).settings, picture)

    def make(
        self,
        row: Row,
        picture: bytes,
        check: Callable[[], None],
        progress: Callable[[str, int, int], object] = silent,
    ) -> Callable[[Path], None]:
        """Makes a clip, and returns what writes it to a file; raises ValueError."""
        self._check, self._progress = check, progress
        plan, pipeline = self._plan(row), self._pipeline
        self._check_room(plan)
        file = io.BytesIO(picture)
        file.name = row.image  # in messages
        pixels = plan.canvas(images.to_tensor(images.read_image(file)))
        (frames,) = drive([recipe(plan, {0: pixels})], pipeline.perform)
        notes = self._notes(plan, picture) if self._common.metadata else None
        return partial(_write, list(frames), plan.settings.fps, notes)

    def _check_room(self, plan: Plan) -> None:
        """Raises NotEnoughMemoryError for a clip that the device's memory, or the budget, doesn't hold."""
        pipeline = self._pipeline
        size, at_once = pipeline.latent_size(plan), max(plan.run_frames)
        pipeline.fit.check(size, plan.settings.frame_wise_decode, at_once=at_once)

    def _step(self, stage: str, done: int, total: int) -> None:
        self._progress(stage, done, total)
        self._check()

    def _plan(self, row: Row) -> Plan:
        plan = self._pipeline.plan({**self._common.settings, **row.settings})
        plan.refuse_control()
        return plan

    def _notes(self, plan: Plan, picture: bytes) -> dict:
        """Metadata without names of files, so that equal clips have equal bytes."""
        found = hashlib.sha256(picture).hexdigest()
        return {
            "stillmotion": self._common.version,
            "key": self._common.key(plan.settings, found),
            "image_sha256": found,
            "weights_sha256": self._common.weights,
            **plan.settings.as_metadata(),
        }

    def check_machine(self, share: float | None) -> None:
        """Raises ValueError for other dtypes than the batch has, and for too small a share of a GPU.

        share: of a GPU, None where it isn't divided.
        """
        pipeline, wanted = self._pipeline, self._common.dtypes
        for name, dtype in dtypes_of(pipeline).items():
            if dtype != wanted[name]:
                option = f"--{name.replace('_', '-')}"
                raise ValueError(
                    f"a worker computes with {name} {dtype}, and the batch has {wanted[name]}; give {option}."
                )
        if share not in (None, 1):
            try:
                self._check_room(pipeline.plan(self._common.settings))
            except NotEnoughMemoryError as error:
                raise ValueError(f"--gpus-per-worker {share:g} is too small: {error}") from error


def _write(frames: list[np.ndarray], fps: float, notes: dict | None, path: Path) -> None:
    write_video(path, frames, fps, notes)


def open_job(common: Common, open_pipeline: Callable, index: int, number: int) -> ClipJob:
    """The job in a worker: its GPU or its part of one, or its share of the processor's threads.

    Raises ValueError where the worker's machine would make other clips than the keys say, or has no room.
    """
    options, device = common.options, common.options.device
    if device in (None, "cuda") and torch.cuda.is_available():
        device = f"cuda:{index % torch.cuda.device_count()}"
        options = within_share(options, torch.cuda.get_device_properties(device).total_memory)
    elif number > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // number))
    job = ClipJob(common, partial(open_pipeline, options), device)
    job.check_machine(options.gpus_per_worker)
    return job


def within_share(options: Namespace, card: int) -> Namespace:
    """The options with a budget of a worker's part of a card with so many bytes, unless they have one."""
    share = options.gpus_per_worker
    if share in (None, 1) or options.memory_budget is not None:
        return options
    return Namespace(**{**vars(options), "memory_budget": int(share * SHARE_OF_FREE * card)})
