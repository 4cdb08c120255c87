"""The service in Ray Serve: serve run stillmotion.headless.on_ray:clips store=/shared/clips token_file=tokens

Each replica has a GPU, where the cluster has any, and a desk of its own; all have one store. A request for a
clip is answered by its progress, since no other replica knows how far it is.
"""

import os
from argparse import Namespace

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported

import ray
from ray import serve
from starlette.applications import Starlette

from ..clips.mistakes import Mistakes
from .batch.status import own_store, prepare
from .commands.animate import version
from .commands.serve import EXTENSION, about_of, limits_of, makers_of, tokens_of
from .options import parse
from .serve.app import Service, make_app
from .serve.desk import Desk
from .serve.hands import Hands
from .serve.tokens import Tokens

OTHERS = 64
"""Requests beside those for clips that a replica answers at once."""


def clips(options: dict[str, str]) -> serve.Application:
    """The application of the options of the command `serve`, by their names; `replicas` says how many.

    Raises ValueError for mistakes.
    """
    options = dict(options)
    replicas, mistakes = int(options.pop("replicas", 1)), Mistakes()
    words = [word for name, value in options.items() for word in _option(name, str(value))]
    chosen = parse(["serve", *words], version(), mistakes)
    if chosen.store is None:
        mistakes.add("store is missing: name a folder or an address that all replicas share.")
    if chosen.token_file is None:
        mistakes.add("token_file is missing, since Ray Serve may be reached from other machines.")
    mistakes.raise_any()
    tokens, limits = tokens_of(chosen, bool), limits_of(chosen)

    def build() -> Starlette:
        return app_of(chosen, tokens)

    has_gpus = ray.is_initialized() and ray.cluster_resources().get("GPU", 0) > 0
    most = limits.queue + OTHERS
    deployment = serve.deployment(
        serve.ingress(build)(),
        name="clips",
        num_replicas=replicas,
        max_ongoing_requests=most,
        max_queued_requests=most,  # without end by default; Ray's own 503 says not when to come again
        ray_actor_options={"num_gpus": 1} if has_gpus else {"num_cpus": 1},
        graceful_shutdown_timeout_s=60,
    )
    return deployment.bind()


def _option(name: str, value: str) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    return [option] if value == "true" else [f"{option}={value}"]


def app_of(options: Namespace, tokens: Tokens) -> Starlette:
    """The app of a replica."""
    mistakes = Mistakes()
    store = own_store(options.store, "--store", EXTENSION)
    common, makers = makers_of(options, mistakes)
    desk = Desk(store, common.extension, limits_of(options), len(makers), stores_orders=False)
    prepare(store, common)
    about = about_of(makers[0], common, desk.limits)
    service = Service(Hands(desk, makers), makers[0], about, streams_only=True)
    return make_app(lambda: service, tokens, desk.limits)
