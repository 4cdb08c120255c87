"""The driver of a batch on a Ray cluster: Ray Data gives the rows to actors, each of which holds a worker.

Ray tries a row again whenever its worker ends, without end: the marks of attempts in the record give it one.
An actor may be ended at any moment, so the driver writes the lines of the record.
"""

import itertools
import json
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from ...clips.values import plain
from .drivers import Orders
from .outcomes import Outcome
from .ray_lobby import Lobby
from .record import Record
from .rows import Row
from .stores import StoreError, open_store
from .work import Task, Worker

ROWS_AT_ONCE = 100_000
"""Rows of one dataset: all of them are in Ray's store at once, while the others wait in their manifest."""

MOST_BLOCKS, MOST_ROWS_OF_A_BLOCK = 10_000, 64

IN_FLIGHT = 3
"""Rows of an actor: one is read, one becomes a clip, one is written."""

PATIENCE, TO_STOP, TO_END = 30.0, 15.0, 5.0  # seconds: for a first worker, for all to stop, for Ray to end

_MISSING = "--engine ray needs the package ray: pip install 'stillmotion[cluster]', or leave --engine out."


@dataclass(frozen=True)
class Pool:
    """Workers on a cluster, from `least` to `most` of them, and what each asks for."""

    least: int
    most: int
    gpus: float
    cpus: int

    def __str__(self) -> str:
        number = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        asked = [f"{self.gpus:g} GPU"] * bool(self.gpus) + [f"{self.cpus} CPU"]
        return f"{number} workers with {' and '.join(asked)} each"


@contextmanager
def connected() -> Iterator[None]:
    """A block with a Ray cluster: of RAY_ADDRESS, or running here, or one of this machine for the block.

    Raises ValueError where Ray is missing, and where the cluster does not answer.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray reads it when it is imported, and reports otherwise
    try:
        import ray
        import ray.data  # which ray alone, without its extra, lacks packages for
    except ImportError as error:
        raise ValueError(_MISSING) from error
    try:
        # Without an address Ray joins what RAY_ADDRESS or `ray start` names; "auto" would also join a cluster
        # that another batch on this machine has for itself.
        ray.init(runtime_env=_with_package(), include_dashboard=False, logging_level="ERROR")
    except ConnectionError as error:
        named = os.environ.get("RAY_ADDRESS", "that `ray start` has left word of")
        raise ValueError(
            f"the Ray cluster {named} does not answer; start it, set RAY_AUTH_MODE=token if it has one, "
            f"or RAY_ADDRESS=local for one of this machine ({error})."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _with_package() -> dict:
    """What workers on other machines are given: this package, where it is installed and no checkout.

    A checkout has gigabytes beside it, such as its environment; there each machine has one of its own.
    """
    folder = Path(__file__).parents[2]
    installed = folder.name == __package__.partition(".")[0] and not (folder / "pyproject.toml").exists()
    return {"py_modules": [str(folder)]} if installed else {}


def find_pool(workers: tuple[int, int] | None, gpus: float | None, device: str | None) -> Pool:
    """The workers of a batch on the connected cluster; by default one a GPU, or one where there is none.

    workers: the least and the most. gpus: of a worker.
    """
    import ray

    return pool_of([node["Resources"] for node in ray.nodes() if node["Alive"]], workers, gpus, device)


def pool_of(
    nodes: Sequence[dict], workers: tuple[int, int] | None, gpus: float | None, device: str | None
) -> Pool:
    """The workers on nodes with CPU and GPU; each has its share of the processors, for its threads."""
    cards = sum(node.get("GPU", 0) for node in nodes)
    if device == "cpu":
        gpus = 0
    elif gpus is None:
        gpus = 1 if cards else 0
    least, most = workers or 2 * (max(1, int(cards / gpus)) if gpus else 1,)
    processors = [node.get("CPU", 0) for node in nodes]
    if gpus:
        shares = [node.get("CPU", 0) / node["GPU"] * gpus for node in nodes if node.get("GPU")]
    else:
        shares = [min(sum(processors) / most, max(processors, default=0))]
    return Pool(least, most, gpus, max(1, int(min(shares, default=1))))


def run_ray(
    pool: Pool,
    tasks: Iterable[Task],
    orders: Orders,
    report: Callable[[Outcome], None],
    say: Callable[[str], None],
) -> None:
    """Runs a job in the actors of a pool; say: takes notices.

    Raises ValueError where a worker can't begin, StoreError where the store or the workers fail for good.
    """
    import ray

    lobby = ray.remote(Lobby).options(num_cpus=0, max_concurrency=10_000).remote()
    record, tasks = orders.record(), iter(tasks)
    watch = _Watch(pool, lobby, say, most_starts=2 * pool.most * orders.attempts)
    try:
        while chunk := list(itertools.islice(tasks, ROWS_AT_ONCE)):
            with closing(_outcomes(chunk, pool, orders, lobby, watch)) as outcomes:
                for outcome in outcomes:
                    record.add(outcome)
                    report(outcome)
    finally:
        record.flush()


def _outcomes(tasks: Sequence[Task], pool: Pool, orders: Orders, lobby, watch: "_Watch") -> Iterator[Outcome]:
    """Yields what becomes of some rows, while `watch` looks each second whether to go on."""
    found: queue.SimpleQueue[Outcome | Exception | None] = queue.SimpleQueue()

    def read() -> None:
        try:
            rows = _dataset(tasks, pool, orders, lobby)
            for batch in rows.iter_batches(batch_size=None, prefetch_batches=0):
                for text in batch["outcome"]:
                    found.put(Outcome(**json.loads(text)))
            found.put(None)
        except Exception as error:
            found.put(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while True:
            watch.check()
            try:
                outcome = found.get(timeout=1)
            except queue.Empty:
                continue
            if outcome is None:
                return
            if isinstance(outcome, Exception):
                watch.check(now=True)  # which has the worker's own words, if it has any
                raise StoreError(_why(outcome)) from outcome
            watch.progress()
            yield outcome
    except BaseException:
        _stop(lobby)  # lest the clips under way count as attempts that ended their worker
        reader.join(TO_END)
        raise


def _why(error: Exception) -> str:
    text = str(error)
    if "ModuleNotFoundError" in text or "ImportError" in text:
        return (
            "workers lack a package that this machine has; install stillmotion[headless] on all of the "
            f"cluster's machines, in one version: {text.strip().splitlines()[-1]}"
        )
    return f"Ray ended the batch: {text.strip().splitlines()[-1] if text.strip() else type(error).__name__}"


def _dataset(tasks: Sequence[Task], pool: Pool, orders: Orders, lobby):
    """The outcomes of tasks, which Ray computes when they are read."""
    import logging

    from ray import data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised, too
    context = data.DataContext.get_current()
    context.enable_progress_bars = False  # the driver has its own
    context.max_consecutive_actor_init_deaths = 1
    rows_of_a_block = min(MOST_ROWS_OF_A_BLOCK, -(-len(tasks) // MOST_BLOCKS))
    rows = [{"task": _as_text(task)} for task in tasks]
    return data.from_items(rows, override_num_blocks=-(-len(rows) // rows_of_a_block)).map(
        RayWorker,
        fn_constructor_args=(orders, lobby, os.getcwd()),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
        compute=data.ActorPoolStrategy(
            min_size=pool.least,
            max_size=pool.most,
            initial_size=pool.least,
            max_tasks_in_flight_per_actor=IN_FLIGHT,
            max_concurrent_calls_per_actor=IN_FLIGHT,
            enable_true_multi_threading=True,
        ),
    )


def _as_text(task: Task) -> str:
    return json.dumps({"digest": task.digest, "row": asdict(task.row)})


def _task_of(text: str) -> Task:
    content = json.loads(text)
    row = Row(**content["row"])
    settings = {name: plain(value) for name, value in row.settings.items()}  # tuples again, not lists
    return Task(replace(row, settings=settings), content["digest"])


def _stop(lobby) -> None:
    """Has the workers drop the clips under way, and then give up their rows."""
    import ray

    with suppress(Exception):  # the cluster may be what failed
        ray.get(lobby.stop.remote(), timeout=TO_STOP)
        end = time.monotonic() + TO_STOP
        while time.monotonic() < end and ray.get(lobby.state.remote(), timeout=TO_STOP).present:
            time.sleep(0.1)
        ray.get(lobby.release.remote(), timeout=TO_STOP)


class _Watch:
    """What the driver looks at while it waits: whether workers come, and whether one can't go on."""

    def __init__(self, pool: Pool, lobby, say: Callable[[str], None], most_starts: int):
        self._pool, self._lobby, self._say, self._most_starts = pool, lobby, say, most_starts
        self._notice, self._starts_before = time.monotonic() + PATIENCE, 0
        self._starts, self._next = 0, 0.0

    def progress(self) -> None:
        """A row is done with."""
        self._starts_before = self._starts

    def check(self, now: bool = False) -> None:
        """Raises what keeps workers from their work; says what is missing where there is no worker.

        now: otherwise it looks once a second.
        """
        import ray

        if time.monotonic() < self._next and not now:
            return
        self._next = time.monotonic() + 1
        try:
            state = ray.get(self._lobby.state.remote())
        except ray.exceptions.RayError as error:
            raise StoreError(_why(error)) from error
        self._starts = state.starts
        if state.refusal:
            raise ValueError(state.refusal)
        if state.failure:
            raise StoreError(state.failure)
        if state.starts - self._starts_before > self._pool.most + self._most_starts:
            raise StoreError("workers ended again and again without a row between; see Ray's logs of them")
        if not state.starts and time.monotonic() >= self._notice:
            self._notice = time.monotonic() + PATIENCE
            self._say(f"waiting for workers: asked are {self._pool}; {_there()}.")


def _there() -> str:
    """What the cluster has, and what of it is free."""
    import ray

    total, free = ray.cluster_resources(), ray.available_resources()
    parts = [f"{total.get(kind, 0):g} {kind} ({free.get(kind, 0):g} free)" for kind in ("GPU", "CPU")]
    return f"the cluster has {' and '.join(parts)}"


class _Marks(Record):
    """A worker's part of the record without its lines."""

    def add(self, outcome: Outcome) -> None:
        """Adds nothing: the driver does."""


class RayWorker:
    """A worker in an actor. A call brings a row and waits for its outcome; several calls wait at once."""

    def __init__(self, orders: Orders, lobby, folder: str):
        """folder: the driver's current one, in which relative names of files are meant."""
        import ray

        self._lobby, self._stopped, self._lock = lobby, threading.Event(), threading.Lock()
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._waiting: dict[str, list[Future]] = {}
        self._name, self._released = ray.get_runtime_context().get_actor_id(), False
        with suppress(OSError):
            os.chdir(folder)
        try:
            record = _Marks(open_store(orders.out), orders.shard, orders.attempts)
            terms = replace(orders.terms, stopped=self._stopped.is_set)
            worker = Worker(orders.open_job(0, 1), record, terms, self._finish)
        except (ValueError, OSError) as error:
            ray.get(lobby.refuse.remote(str(error)))
            raise
        ray.get(lobby.start.remote(self._name))
        for work in (partial(self._run, worker), self._wait_for_stop):
            threading.Thread(target=work, daemon=True).start()

    def __call__(self, row: dict) -> dict:
        """The outcome of a row, as texts of JSON both."""
        task, outcome = _task_of(row["task"]), Future()
        with self._lock:
            if self._released:
                raise _Released
            self._waiting.setdefault(task.digest, []).append(outcome)
        self._tasks.put(task)
        return {"outcome": json.dumps(asdict(outcome.result()))}

    def _finish(self, outcome: Outcome) -> None:
        with self._lock:
            waiting = self._waiting[outcome.digest]
            first = waiting.pop(0)
            if not waiting:
                del self._waiting[outcome.digest]
        first.set_result(outcome)

    def _run(self, worker: Worker) -> None:
        try:
            worker.run(self._received())
        except KeyboardInterrupt:
            self._lobby.leave.remote(self._name)
        except StoreError as error:
            self._lobby.fail.remote(self._name, str(error))
        except BaseException:  # as in a process of its own: the row has a mark of it, and Ray begins anew
            traceback.print_exc()
            os._exit(1)

    def _received(self) -> Iterator[Task]:
        while not self._stopped.is_set():
            with suppress(queue.Empty):
                yield self._tasks.get(timeout=0.2)

    def _wait_for_stop(self) -> None:
        import ray

        with suppress(Exception):  # a driver that has ended
            ray.get(self._lobby.stopped.remote())
            self._stopped.set()
            ray.get(self._lobby.released.remote())
        self._stopped.set()
        with self._lock:
            self._released = True
            for outcome in itertools.chain(*self._waiting.values()):
                outcome.set_exception(_Released())


class _Released(Exception):
    """A row that is given up, since all workers are to stop."""
