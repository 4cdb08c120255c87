"""The command `serve`: clips by HTTP."""

import os
import stat
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

import torch

from ... import builtin_model
from ...clips.mistakes import Mistakes
from ...clips.settings import Settings
from ..batch.clips import Common, settings_of
from ..batch.drivers import interrupted_by_terminate
from ..batch.rows import Row
from ..batch.status import own_store, prepare
from ..batch.stores import Store, StoreError
from ..progress import ProgressBars
from ..serve.desk import Desk
from ..serve.hands import Hands
from ..serve.limits import Limits
from ..serve.makers import ClipMaker
from ..serve.tokens import Tokens, is_loopback, read_tokens
from .animate import version
from .checkpoints import common_of, pipeline_of
from .inspect import describe

OK, FAILED = 0, 1
EXTENSION = ".mp4"


def serve(
    options: Namespace, mistakes: Mistakes, say: Callable[[str], None], tell: Callable[[str], None]
) -> int:
    """Serves clips until SIGTERM or Ctrl-C, and returns the exit status; raises ValueError for mistakes.

    say: takes notices, tell: the address.
    """
    tokens = server = app = None
    with mistakes.collected():
        server, app = _modules()
    with mistakes.collected():
        tokens = tokens_of(options, say)
    with mistakes.collected():
        if not (options.token_file or is_loopback(options.host)):
            raise ValueError(
                f"--host {options.host} can be reached from other machines, so --token-file is needed; or "
                "listen at 127.0.0.1."
            )
    with mistakes.collected():
        Settings(**settings_of(options)).check()
    with interrupted_by_terminate(), _store(options, mistakes) as store:
        common, makers = makers_of(options, mistakes)
        desk = Desk(store, common.extension, limits_of(options), len(makers))
        about = about_of(makers[0], common, desk.limits)
        listening = server.bound(options.host, options.port)
        if options.checkpoint is None:
            say(f"{builtin_model.NOTICE} Name the file with --checkpoint.")
        if options.store is None:
            say("Without --store clips and queue are gone at the end.")
        try:
            prepare(store, common)
            waiting = desk.go_on(makers[0])
        except StoreError as error:
            say(f"error: {error}.")
            return FAILED
        if waiting:
            say(f"{waiting} clips of an earlier run go on.")
        service = app.Service(Hands(desk, makers), makers[0], about)
        tell(_address(*listening.getsockname()[:2]))
        server.run(app.make_app(lambda: service, tokens, desk.limits), listening, desk.close)
    say("ended; clips that wait go on with the next start." if options.store else "ended.")
    return OK


def _modules():
    """The service's modules that need packages of its own; raises ValueError where these are missing."""
    try:
        import_module("python_multipart")  # which Starlette asks for at the first request
        from ..serve import app, server
    except ModuleNotFoundError as error:
        raise ValueError(
            f'serve needs the package {error.name}: pip install "stillmotion[serve]", which brings it.'
        ) from error
    return server, app


def limits_of(options: Namespace) -> Limits:
    """The limits that the options set."""
    return Limits(
        work=options.most_work,
        seconds=options.timeout,
        queue=options.queue,
        clips_of_client=options.clips_per_token,
    )


def about_of(maker: ClipMaker, common: Common, limits: Limits) -> dict:
    """What /v1/model says; raises ValueError for options whose clips no request could get."""
    work = maker.work(Row(""))
    if work > limits.work:
        raise ValueError(f"these options make {work:.3g} times the checkpoint's own work; see --most-work.")
    _, *report = describe(maker.checkpoint).splitlines()  # without the path of the file, which is private
    settings, name = maker.settings(), maker.checkpoint.file.path.name
    return {
        "stillmotion": common.version,
        "checkpoint": name,
        "inspect": report,
        "settings": settings,
        "limits": vars(limits),
    }


def tokens_of(options: Namespace, say: Callable[[str], None]) -> Tokens:
    """The tokens of the options' file; raises ValueError."""
    if options.token_file is None:
        return Tokens()
    path = Path(options.token_file)
    tokens = read_tokens(path)
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        say(f"warning: other users can read {path}; chmod 600 mends it.")
    return tokens


@contextmanager
def _store(options: Namespace, mistakes: Mistakes) -> Iterator[Store]:
    """The store, a temporary one where none is named."""
    if options.store is not None:
        store = None
        with mistakes.collected():
            store = own_store(options.store, "--store", EXTENSION)
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="stillmotion-") as folder:
        yield own_store(folder, "--store")


def makers_of(options: Namespace, mistakes: Mistakes) -> tuple[Common, list[ClipMaker]]:
    """What clips have in common, and what makes them, for each worker; raises MistakesError."""
    common = None
    with closing(ProgressBars()) as bars, mistakes.collected():
        common = common_of(options, version(), bars, mistakes)
    mistakes.raise_any()
    gpus = torch.cuda.device_count() if options.device in (None, "cuda") else 0
    number = options.workers or max(1, gpus)
    if not gpus and number > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // number))
    devices = [f"cuda:{index % gpus}" if gpus else options.device for index in range(number)]
    return common, [ClipMaker(common, partial(pipeline_of, options), device) for device in devices]


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
