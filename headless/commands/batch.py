"""The command `batch`: many clips, and a record of what is done."""

import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial

from ... import builtin_model
from ...clips.mistakes import Mistakes
from ...clips.settings import Settings
from ..batch import drivers
from ..batch.clips import ClipJob, Common, open_job, settings_of
from ..batch.drivers import Orders, to_do
from ..batch.outcomes import ASIDE, REFUSED, SKIPPED, Outcome, Tally, printable
from ..batch.places import is_address
from ..batch.progress import served, shown
from ..batch.ray_data import Pool, run_ray
from ..batch.record import JOB, Past
from ..batch.sources import Source, find_source
from ..batch.status import job_of, own_store, prepare, summary, write_index
from ..batch.stores import Store, StoreError
from ..batch.texts import sweeps_of
from ..batch.work import Task, Terms, reason_of
from ..options_of_batch import AGAIN
from ..progress import ProgressBars
from .animate import version
from .checkpoints import common_of, pipeline_of
from .sharing import RAY, check_sharing, dtypes_of_workers, planned, ray_pool
from .statuses import CUT_SHORT, NOT_WHOLE, OK


def batch(
    options: Namespace, mistakes: Mistakes, say: Callable[[str], None], tell: Callable[[str], None]
) -> int:
    """Makes the clips of a source, and returns the exit status; raises ValueError for mistakes.

    say: takes notices, tell: results.
    """
    source, store = None, None
    with mistakes.collected():
        extension = None if options.status else f".{options.format}"
        store = own_store(options.out, "--out", extension)
    if options.status:
        mistakes.raise_any()
        return _without_failure(partial(_status, options, store, tell), say)
    with mistakes.collected():
        source = _source(options)
    with mistakes.collected():
        Settings(**settings_of(options)).check()
    with mistakes.collected():
        check_sharing(options)
    plans, common = planned(options), None
    with closing(ProgressBars()) as bars:
        with mistakes.collected():
            common = common_of(plans, version(), bars, mistakes)
        mistakes.raise_any()
    with ExitStack() as stack:
        pool = None
        if options.engine == RAY:
            pool = stack.enter_context(ray_pool(options))
            common = replace(common, options=options, dtypes=dtypes_of_workers(pool, options))
        job = ClipJob(common, partial(pipeline_of, plans), plans.device)
        if options.checkpoint is None:
            say(f"{builtin_model.NOTICE} Name the file with --checkpoint.")
        with drivers.interrupted_by_terminate():  # which Ray would put its own handler over
            run = partial(_run, options, source, store, common, job, pool, say, tell)
            return _without_failure(run, say)


def _without_failure(run: Callable[[], int], say: Callable[[str], None]) -> int:
    """The exit status of a run; a store that fails ends it in words."""
    try:
        return run()
    except StoreError as error:
        say(f"error: {str(error).rstrip('.')}. Given again, the command goes on where it stopped.")
        return CUT_SHORT


def _run(
    options: Namespace,
    source: Source,
    store: Store,
    common: Common,
    job: ClipJob,
    pool: Pool | None,
    say: Callable[[str], None],
    tell: Callable[[str], None],
) -> int:
    again = frozenset(ASIDE if "all" in options.again else map(AGAIN.get, options.again))
    terms = Terms(options.timeout, again)
    opens = partial(open_job, common, pipeline_of)
    orders = Orders(opens, options.out, options.shard, options.attempts, terms)
    tally = Tally(-(-source.count() // options.shard[1]))
    past = None if options.verify else Past(store, options.shard, again)
    tasks = to_do(source.rows(), job.fingerprint, options.shard, past, tally)
    if options.dry_run:
        return _dry_run(job, tasks, tally, tell)
    prepare(store, common, sweep=options.sweep, shards=options.shard[1])
    with ExitStack() as stack:
        stack.enter_context(served(tally, options.metrics_port))
        stack.enter_context(shown(tally, say))
        if pool is not None:
            run_ray(pool, tasks, orders, tally.add, say)
        elif options.workers is None:
            drivers.run_here(job, tasks, orders, tally.add)
        else:
            drivers.run_workers(options.workers[1], tasks, orders, tally.add)
    if options.index:
        write_index(store, job.extension)
    for line in _results(tally):
        say(line)
    return NOT_WHOLE if tally.aside else OK


def _results(tally: Tally) -> Iterator[str]:
    counts = [f"{number:,} {state}" for state, number in tally.states.items() if number]
    yield f"{tally.rows:,} rows: {', '.join(counts) or 'none'}."
    yield from _reasons(tally, ", each in a file of aside/; --again tries them once more.")


def _reasons(tally: Tally, of_further: str = "") -> Iterator[str]:
    """Why rows are aside, the first ones; of_further: words behind the number of the others."""
    for _, reason in tally.reasons:
        yield f"  {printable(reason)}"
    further = tally.aside - len(tally.reasons)
    if further:
        yield f"  … and {further:,} more{of_further}"


def _dry_run(job: ClipJob, tasks: Iterator[Task], tally: Tally, tell: Callable[[str], None]) -> int:
    """Checks the settings of all rows and whether their files are there; makes and writes nothing."""
    number = 0
    for row, digest in tasks:
        try:
            if row.fault:
                raise ValueError(row.fault)
            job.key(row, row.sha256 or "")
            if not is_address(row.place) and not os.path.isfile(row.place):
                raise ValueError(f"{row.image}: there is no such file; check the path.")
            number += 1
        except ValueError as error:
            tally.add(Outcome(row.id, digest, REFUSED, reason=row.fault or reason_of(row, error)))
    tell(f"{number:,} to do, {tally.states[SKIPPED]:,} done, {tally.aside:,} aside")
    for line in _reasons(tally):
        tell(line)
    return NOT_WHOLE if tally.aside else OK


def _status(options: Namespace, store: Store, tell: Callable[[str], None]) -> int:
    about = job_of(store)
    if about is None:
        raise ValueError(f"--out {options.out} has no batch: there is no {JOB} in it.")
    for line in summary(store):
        tell(line)
    if options.index:
        write_index(store, about["extension"])
    return OK


def _source(options: Namespace) -> Source:
    if options.source is None:
        raise ValueError("SOURCE is missing: name a picture, a folder, a glob or a manifest.")
    source = find_source(options.source, options.pictures, sweeps_of(options.sweep))
    twice = [sweep.name for sweep in source.sweeps if sweep.name in settings_of(options)]
    if twice:
        raise ValueError(f"{' and '.join(twice)} is an option and in --sweep; give one of them.")
    out = os.path.join(os.path.realpath(options.out or os.curdir), "")
    if options.out is not None and any(os.path.realpath(name).startswith(out) for name in source.names):
        raise ValueError(f"{options.source} names files in --out, which has clips; name others.")
    return source
