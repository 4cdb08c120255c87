"""How a batch shares its work: the options of engines, and the workers of a Ray cluster."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from ..batch.clips import dtypes_on
from ..batch.ray_data import Pool, connected, find_pool

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


def planned(options: Namespace) -> Namespace:
    """The options of who plans; with Ray it makes no clip, and lacks the device and types of workers."""
    if options.engine != RAY:
        return options
    return Namespace(**{**vars(options), "device": "cpu", "linear_dtype": None, "compile": False})


def dtypes_of_workers(pool: Pool, options: Namespace) -> dict[str, str | None]:
    """Names of the types in which the workers of a pool compute."""
    return dtypes_on("cuda" if pool.gpus else "cpu", options)
