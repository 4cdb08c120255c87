"""The service in Ray Serve: replicas of one app have a store together, and answer by the progress itself."""

import http.client
import json
import os
import time

import pytest

from stillmotion.clips.mistakes import MistakesError
from support.pages import ROOT
from support.serving import events_of, picture, until

ray = pytest.importorskip("ray", reason="Ray is not installed; make test-cluster installs it")
pytest.importorskip("ray.serve", reason="Ray Serve is not installed", exc_type=ImportError)

from stillmotion.headless.on_ray import clips  # noqa: E402 (it imports Ray)

TOKEN, PORT = "a-token-of-the-test", 8796
QUICK = {"frames": "2", "width": "64", "height": "64", "steps": "2"}


@pytest.fixture
def options(tmp_path):
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    return {"store": str(tmp_path / "out"), "token_file": str(tmp_path / "tokens"), **QUICK}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"store": None}, "store is missing"),
        ({"token_file": None}, "token_file is missing"),
        ({"seeed": "3"}, "did you mean --seed?"),
        ({"steps": "many"}, "no whole number"),
    ],
)
def test_mistakes_end_it_before_a_replica_starts(change, words, options):
    options = {name: value for name, value in {**options, **change}.items() if value is not None}
    with pytest.raises(MistakesError) as error:
        clips(options)
    assert words in str(error.value)


def asked(seed: int, **settings) -> http.client.HTTPResponse:
    """The answer to a request for a clip."""
    text = json.dumps({"seed": seed, **settings})
    parts = (b'"picture"; filename="a.png"\r\n\r\n' + picture(), b'"settings"\r\n\r\n' + text.encode())
    lines = [b"--x\r\ncontent-disposition: form-data; name=" + part for part in parts]
    body = b"\r\n".join([*lines, b"--x--\r\n"])
    return request("POST", "/v1/clips", body, {"content-type": "multipart/form-data; boundary=x"})


def request(method: str, path: str, body=None, headers=(), token=TOKEN) -> http.client.HTTPResponse:
    """The answer to a request, unread."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
    connection.request(method, path, body, {"authorization": f"Bearer {token}", **dict(headers)})
    return connection.getresponse()


@pytest.fixture
def replicas(options, tmp_path):
    """Two replicas with the built-in model."""
    (tmp_path / "stillmotion").symlink_to(ROOT)
    ray.init(
        num_cpus=3,
        include_dashboard=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}},
    )
    try:
        ray.serve.start(http_options={"host": "127.0.0.1", "port": PORT})
        more = {"replicas": "2", "queue": "2", "clips_per_token": "100"}
        ray.serve.run(clips({**options, **more}), route_prefix="/")
        yield
        ray.serve.shutdown()
    finally:
        ray.shutdown()


@pytest.mark.skipif(os.name != "posix", reason="Ray Serve is for Linux and macOS")
def test_replicas_answer_by_progress_and_end_what_nobody_watches(replicas):
    assert request("GET", "/v1/model", token="another-token-of-the-test").status == 401
    answer = asked(1)
    events = events_of(answer.read().decode())
    assert answer.getheader("content-type").startswith("text/event-stream")
    assert events[-1][0] == "done" and len(events) > 2
    for _ in range(4):  # whichever replica answers
        clip = request("GET", events[-1][1]["clip"], headers={"range": "bytes=4-7"})
        assert (clip.status, clip.read()) == (206, b"ftyp")
    leaving = asked(2, num_frames=14, steps=50)
    key = json.loads([leaving.readline(), leaving.readline()][1][6:])["id"]
    until(lambda: state(key) == "running")
    leaving.close()
    start = time.monotonic()
    until(lambda: state(key) == "cancelled")
    print(f"cancelled {time.monotonic() - start:.1f} s after its stream was closed")  # noqa: T201


def state(key: str) -> str | None:
    """The state of a clip where a replica knows it; the other one knows only what is made."""
    return next(
        (
            content["state"]
            for _ in range(8)
            if "state" in (content := json.loads(request("GET", f"/v1/clips/{key}").read()))
        ),
        None,
    )
