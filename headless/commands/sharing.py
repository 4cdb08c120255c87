"""How a batch shares its work: the options of engines, and the pipeline of a worker or of who only plans."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ... import builtin_model
from ..batch.ray_data import Pool, connected, find_pool
from ..pipeline import Pipeline
from .checkpoints import open_checkpoint, open_pipeline, read_loras

RAY = "ray"


def check_sharing(options: Namespace) -> None:
    """Raises ValueError for options that the engine hasn't."""
    least, most = options.workers or (1, 1)
    if options.engine == RAY:
        if options.device not in (None, "cpu", "cuda"):
            raise ValueError(f"--engine ray can't ask for {options.device}; give --device cuda or cpu.")
        if options.device == "cpu" and options.gpus_per_worker is not None:
            raise ValueError("--gpus-per-worker and --device cpu exclude each other; leave one out.")
    elif least != most:
        raise ValueError(f"--workers {least}:{most} goes with --engine ray; give one number.")
    elif options.gpus_per_worker is not None:
        raise ValueError("--gpus-per-worker goes with --engine ray; leave it out.")


@contextmanager
def ray_pool(options: Namespace) -> Iterator[Pool]:
    """A block with the workers that the options ask of a Ray cluster."""
    gpus = 1.0 if options.device == "cuda" else None
    with connected():
        yield find_pool(options.workers, options.gpus_per_worker or gpus, options.device)


def opened_pipeline(
    options: Namespace,
    progress: Callable[[str, int, int], object],
    device: str | None = None,
    planning: bool = False,
) -> Pipeline:
    """The pipeline of the options' files.

    planning: it makes no clip, so it needs neither the device nor the types that workers elsewhere have.
    """
    named = options.checkpoint
    if planning:
        options = Namespace(**{**vars(options), "linear_dtype": None, "compile": False})
        device = "cpu"
    checkpoint = builtin_model.load() if named is None else open_checkpoint(named, options)
    return open_pipeline(checkpoint, read_loras(checkpoint, options), options, progress, device=device)
