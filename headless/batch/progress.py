"""How far a batch is: a line on the terminal, and numbers for Prometheus."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tqdm import tqdm

from .outcomes import STATES, Tally

EVERY_SECONDS, LIVE_SECONDS = 10, 1
LOOPBACK = "127.0.0.1"


class Pace:
    """Speed of a run, from its tally."""

    def __init__(self, tally: Tally):
        self._tally, self._start = tally, time.monotonic()

    def line(self) -> str:
        """Rows that are done with, clips a minute, rows set aside and the time left."""
        tally, elapsed = self._tally, time.monotonic() - self._start
        clips = tally.states["done"]
        parts = [
            f"{tally.rows:,} of {tally.rows + tally.waiting:,}",
            f"{60 * clips / max(elapsed, 1e-3):.1f} clips a minute",
        ]
        if tally.aside:
            parts.append(f"{tally.aside:,} aside")
        if clips and tally.waiting:
            parts.append(f"{in_words(elapsed / clips * tally.waiting)} left")
        return ", ".join(parts)


def in_words(seconds: float) -> str:
    """A duration as 3 h 5 min, or 12 s."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes >= 2 else f"{seconds:.0f} s"


@contextmanager
def shown(tally: Tally, say: Callable[[str], None]) -> Iterator[None]:
    """A block with the pace of a run shown: a live line on a terminal, elsewhere one every ten seconds."""
    pace, over = Pace(tally), threading.Event()
    terminal = sys.stderr is not None and sys.stderr.isatty()
    bar = tqdm(total=tally.waiting, bar_format="{l_bar}{bar}|", dynamic_ncols=True, disable=not terminal)

    def show() -> None:
        while not over.wait(LIVE_SECONDS if terminal else EVERY_SECONDS):
            if terminal:
                bar.set_description_str(pace.line(), refresh=False)
                bar.update(tally.rows - bar.n)
            else:
                say(pace.line())

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        bar.close()


def metrics(tally: Tally) -> str:
    """A run's numbers in Prometheus' text format."""
    lines = ["# TYPE stillmotion_rows_total counter"]
    lines += [f'stillmotion_rows_total{{state="{state}"}} {tally.states[state]}' for state in STATES]
    lines.append("# TYPE stillmotion_seconds_total counter")
    for stage in ("read", "make", "write"):
        lines.append(f'stillmotion_seconds_total{{stage="{stage}"}} {tally.seconds[stage]:.3f}')
    lines += ["# TYPE stillmotion_bytes_total counter", f"stillmotion_bytes_total {tally.bytes}"]
    lines += ["# TYPE stillmotion_rows_waiting gauge", f"stillmotion_rows_waiting {tally.waiting}"]
    return "\n".join(lines) + "\n"


@contextmanager
def served(tally: Tally, port: int | None) -> Iterator[None]:
    """A block with a run's numbers served on this machine alone; raises ValueError for a used port.

    port: None for no service.
    """
    if port is None:
        yield
        return

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name is http.server's
            """Answers with the numbers."""
            found = self.path == "/metrics"
            content = metrics(tally).encode() if found else b"the numbers are at /metrics\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_) -> None:
            """Says nothing of requests."""

    try:
        server = ThreadingHTTPServer((LOOPBACK, port), Handler)
    except (OSError, OverflowError) as error:
        raise ValueError(f"--metrics-port {port} can't be used ({error}); name another one.") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
