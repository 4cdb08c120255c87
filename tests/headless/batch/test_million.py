"""A million rows: the driver's memory stays flat, the next run goes on at once, clips are never listed."""

import json
import resource
import subprocess
import sys
import time
from collections import Counter

import pytest

from stillmotion.headless.batch.drivers import to_do
from stillmotion.headless.batch.outcomes import Tally
from stillmotion.headless.batch.record import Past, Record
from stillmotion.headless.batch.sources import find_source
from stillmotion.headless.batch.stores import FolderStore
from stillmotion.headless.batch.work import Terms, Worker
from support.batch_jobs import StubJob

ROWS = 1_000_000
MOST_GROWTH, MOST_SHARE = 50 * 2**20, 1 / 5


class CountingStore(FolderStore):
    """A folder of the record alone: of clips and marks only the calls are counted."""

    def __init__(self, root):
        super().__init__(root)
        self.calls = Counter()

    def _counted(self, call: str, name: str) -> bool:
        top = name.partition("/")[0]
        self.calls[call, top] += 1
        return top == "done"

    def exists(self, name):
        return self._counted("exists", name) and super().exists(name)

    def put(self, name, content):
        if self._counted("put", name):
            super().put(name, content)

    def put_file(self, name, file):
        self._counted("put", name)
        file.unlink()

    def delete(self, name):
        self._counted("delete", name)

    def names(self, folder):
        self._counted("names", folder)
        return super().names(folder)


def memory() -> int:
    """Bytes that the process has in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def run(folder) -> dict:
    """Runs the job on the manifest in a folder; its figures."""
    store, tally, job, start = CountingStore(folder / "out"), Tally(), StubJob(), time.process_time()
    source = find_source(str(folder / "rows.jsonl"))
    assert source.count() == ROWS
    first, clock = memory(), time.monotonic()
    tasks = to_do(source.rows(), job.fingerprint, (0, 1), Past(store, (0, 1)), tally)
    peaks = []

    def watched(tasks):
        for number, task in enumerate(tasks):
            if number % 1000 == 0:
                peaks.append(memory())
            yield task

    Worker(job, Record(store, (0, 1), 3), Terms(), tally.add).run(watched(tasks))
    calls = {" ".join(call): number for call, number in store.calls.items()}
    growth = max([*peaks, memory()]) - first
    return {
        "seconds": time.process_time() - start,
        "clock": time.monotonic() - clock,
        "growth": growth,
        "states": dict(tally.states),
        "calls": calls,
    }


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_million_rows(tmp_path):
    (tmp_path / "p.png").write_text("one picture of all rows")
    with open(tmp_path / "rows.jsonl", "w") as file:
        for number in range(ROWS):
            file.write(json.dumps({"image": "p.png", "id": str(number), "seed": number}) + "\n")
    found = []
    for _ in range(2):  # each in a process of its own, whose memory is no other test's
        code = f"import sys; sys.path[:0] = {sys.path!r}; import json, pathlib; "
        code += "from importlib.util import spec_from_file_location as spec, module_from_spec as module; "
        code += f"s = spec('million', {__file__!r}); m = module(s); s.loader.exec_module(m); "
        code += f"print(json.dumps(m.run(pathlib.Path({str(tmp_path)!r}))))"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        found.append(json.loads(result.stdout))
    first, second = found
    sys.stdout.write(f"{found}\n")
    assert first["states"] == {"done": ROWS} and second["states"] == {"skipped": ROWS}
    assert first["growth"] < MOST_GROWTH and second["growth"] < MOST_GROWTH
    assert second["seconds"] <= MOST_SHARE * first["seconds"]
    assert second["calls"].keys() == {"names done"} and second["calls"]["names done"] == 1
    assert first["calls"]["names done"] == 1 and "names clips" not in first["calls"]
