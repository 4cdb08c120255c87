"""The service from outside: orders, states, progress, clips, and its answers to what it can't do."""

import json

import pytest
from starlette.testclient import TestClient

from stillmotion.headless.batch.record import clip_name
from stillmotion.headless.serve.limits import Limits
from stillmotion.headless.serve.tokens import Tokens
from support.serving import StubMaker, app_of, clip_of, events_of, parts, picture, until

FORM = {"content-type": "multipart/form-data; boundary=x"}
PART = b'--x\r\ncontent-disposition: form-data; name="picture"; filename="a"\r\n'
FIRST, SECOND = "first-token-of-the-test", "second-token-of-the-test"


@pytest.fixture
def maker():
    return StubMaker()


@pytest.fixture
def open_client(tmp_path, maker):
    """Opens a client of a new service, which ends with the test."""
    clients = []

    def opened(out="out", tokens=None, token=None, **limits):
        app, desk = app_of(tmp_path / out, maker, Limits(**limits), Tokens(tokens))
        client = TestClient(app, "http://127.0.0.1:8765", raise_server_exceptions=False)
        client.headers.update({"authorization": f"Bearer {token}"} if token else {})
        client.desk = desk
        clients.append(client)
        return client.__enter__()

    yield opened
    maker.gate.set()
    for client in clients:
        client.__exit__(None, None, None)


def ask(client, content=None, **settings):
    return client.post("/v1/clips", files=parts(picture() if content is None else content, **settings))


def made(client, answer):
    """The state of a clip when it is over."""
    address = f"/v1/clips/{answer.json()['id']}"
    return until(
        lambda: (state := client.get(address).json())["state"] not in ("queued", "running") and state
    )


def test_a_picture_becomes_a_clip_once_and_a_retry_costs_nothing(open_client, maker):
    client = open_client()
    answer = ask(client, seed=3)
    assert answer.status_code == 202 and answer.json()["state"] in ("queued", "running")
    assert answer.headers["location"] == f"/v1/clips/{answer.json()['id']}"
    state = made(client, answer)
    assert state["state"] == "done"
    again = ask(client, seed=3)
    assert (again.status_code, again.json()) == (202, state)
    assert len(maker.asked) == 1
    assert client.get(state["clip"]).content == clip_of(picture())
    assert made(client, ask(client, seed=4))["id"] != state["id"]


def test_the_reply_may_be_the_progress_itself(open_client):
    client = open_client()
    client.headers["accept"] = "text/event-stream"
    answer = ask(client)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    assert events[-1][0] == "done" and events[-1][1]["clip"].endswith("/clip.mp4")
    assert {name for name, _ in events[:-1]} <= {"queued", "running"}
    assert [name for name, _ in events_of(ask(client).text)] == ["done"]


def test_events_tell_the_stage_and_end_with_the_clip(open_client, maker):
    client = open_client()
    maker.gate.clear()
    answer = ask(client).json()
    until(lambda: client.get(f"/v1/clips/{answer['id']}").json().get("stage") == "sampling")
    state = client.get(f"/v1/clips/{answer['id']}").json()
    assert (state["step"], state["of"]) == (1, 2)
    maker.gate.set()
    assert events_of(client.get(answer["events"]).text)[-1][0] == "done"
    assert [name for name, _ in events_of(client.get(answer["events"]).text)] == ["done"]


def test_a_clip_comes_in_parts_and_is_not_sent_again(open_client):
    client = open_client()
    clip, whole = made(client, ask(client))["clip"], clip_of(picture())
    answer = client.get(clip)
    assert answer.headers["content-type"] == "video/mp4" and answer.headers["accept-ranges"] == "bytes"
    assert (
        int(answer.headers["content-length"]) == len(whole) and "immutable" in answer.headers["cache-control"]
    )
    for words, part in (("0-99", whole[:100]), ("100-", whole[100:]), ("-5", whole[-5:])):
        answer = client.get(clip, headers={"range": f"bytes={words}"})
        assert (answer.status_code, answer.content) == (206, part)
    assert answer.headers["content-range"] == "bytes 2995-2999/3000"
    assert client.get(clip, headers={"range": "bytes=5000-"}).status_code == 416
    tag = answer.headers["etag"]
    assert client.get(clip, headers={"if-none-match": tag}).status_code == 304
    fresh = client.get(clip, headers={"range": "bytes=0-9", "if-range": tag})
    assert fresh.content == whole[:10]
    assert client.get(clip, headers={"range": "bytes=0-9", "if-range": '"other"'}).content == whole
    assert client.head(clip).headers["content-length"] == "3000"


def test_what_waits_and_what_is_under_way_can_be_cancelled(open_client, maker, tmp_path):
    client = open_client()
    maker.gate.clear()
    running = ask(client, seed=1).json()["id"]
    until(lambda: client.get(f"/v1/clips/{running}").json()["state"] == "running")
    waiting = ask(client, seed=2).json()
    assert client.get(f"/v1/clips/{waiting['id']}").json()["position"] == 1
    assert client.get(f"/v1/clips/{running}/clip.mp4").status_code == 409
    for key in (waiting["id"], running):
        assert client.delete(f"/v1/clips/{key}").status_code == 202
        until(lambda key=key: client.get(f"/v1/clips/{key}").json()["state"] == "cancelled", 2)
    assert not list((tmp_path / "out" / "queue").iterdir())
    maker.gate.set()
    again = ask(client, seed=1)
    assert made(client, again)["state"] == "done"
    assert client.delete(f"/v1/clips/{again.json()['id']}").status_code == 409
    assert client.delete(f"/v1/clips/{'0' * 64}").status_code == 404


def test_a_full_queue_says_when_to_come_again(open_client, maker):
    client = open_client(queue=2)
    maker.gate.clear()
    until(lambda: ask(client, seed=1).json()["state"] == "running")
    assert [ask(client, seed=seed).status_code for seed in (2, 3, 4)] == [202, 202, 503]
    answer = ask(client, seed=4)
    assert int(answer.headers["retry-after"]) > 0 and "queue is full" in answer.json()["error"]
    assert ask(client, seed=3).status_code == 202  # which waits already


def test_a_token_has_one_clip_under_way_and_cancels_only_its_own(open_client, maker):
    client = open_client(tokens=[FIRST, SECOND], token=FIRST)
    maker.gate.clear()
    key = ask(client, seed=1).json()["id"]
    assert ask(client, seed=1).status_code == 202
    refused = ask(client, seed=2)
    assert refused.status_code == 429 and "retry-after" in refused.headers
    client.headers["authorization"] = f"Bearer {SECOND}"
    assert client.delete(f"/v1/clips/{key}").status_code == 404
    assert ask(client, seed=1).json()["id"] == key  # joins the other's
    assert client.delete(f"/v1/clips/{key}").json()["state"] == "running"
    maker.gate.set()
    until(lambda: client.get(f"/v1/clips/{key}").json()["state"] == "done")


@pytest.mark.parametrize("header", [None, "Bearer wrong", f"Basic {FIRST}", f"Bearer {FIRST}x", "Bearer"])
def test_without_its_token_nothing_is_answered_but_the_probes(header, open_client):
    client = open_client(tokens=[FIRST])
    headers = {} if header is None else {"authorization": header}
    for path in ("/metrics", "/v1/model", f"/v1/clips/{'0' * 64}"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert client.post("/v1/clips", headers=headers, files=parts(picture())).status_code == 401
    assert client.get("/healthz", headers=headers).status_code == 200


def test_what_animate_refuses_is_refused_with_its_sentence(open_client, maker):
    client = open_client()
    for content, settings, words in (
        (picture(), {"width": 100}, "width is 100"),
        (picture(), {"seeed": 3}, "did you mean seed?"),
        (picture(), {"num_frames": 30}, "times the checkpoint's own"),
        (b"no picture", {}, "is no picture of a known kind"),
        (picture()[:60], {}, "the picture"),
        (b"", {}, "the picture"),
    ):
        answer = ask(client, content, **settings)
        assert answer.status_code == 400 and words in answer.json()["error"], answer.text
    assert not maker.asked
    answer = ask(client, seed=13)
    assert answer.status_code == 202  # as it is seen only when it is made
    assert made(client, answer)["reason"] == "the picture wants to be refused."
    assert client.get(f"/v1/clips/{answer.json()['id']}/clip.mp4").status_code == 409


@pytest.mark.parametrize(
    ("request_of", "status"),
    [
        ({"content": b"{}", "headers": {"content-type": "application/json"}}, 415),
        ({"data": {"picture": "x"}}, 415),
        ({"files": {"settings": (None, "{}")}}, 400),
        ({"files": {"picture": (None, "text")}}, 400),
        ({"files": {"picture": ("a.png", b"x"), "further": (None, "1")}}, 400),
        ({"files": [("picture", ("a.png", b"x")), ("picture", ("b.png", b"x"))]}, 400),
        ({"files": [(f"field{number}", (None, "x")) for number in range(50)]}, 400),
        ({"content": b"nonsense", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400),
        ({"content": b"nonsense", "headers": {"content-type": "multipart/form-data"}}, 400),
        ({"content": PART + b"a: b\r\n" * 10**5, "headers": FORM}, 400),
        ({"content": PART + b"a: " + b"b" * 10**6, "headers": FORM}, 400),
        ({"content": PART + b"\r\n" + b"\r\n--" * 10**6 + b"\r\n--x--\r\n", "headers": FORM}, 400),
        ({"files": {"picture": ("a.png", b"x"), "settings": (None, " " * 70_000)}}, 400),
        ({"files": {"picture": ("a.png", b"x"), "settings": ("s.json", b" " * 70_000)}}, 413),
    ],
)
def test_other_requests_are_refused_in_words(request_of, status, open_client):
    answer = open_client().post("/v1/clips", **request_of)
    assert answer.status_code == status and answer.json()["error"]


def test_a_key_has_64_digits_whatever_files_there_are(open_client, tmp_path):
    client = open_client()
    for key in ("abcd", "A" * 64, "0" * 65):
        path = tmp_path / "out" / clip_name(key, ".mp4")
        path.parent.mkdir(parents=True)
        path.write_text("no clip of the service's")
        for address in (f"/v1/clips/{key}", f"/v1/clips/{key}/clip.mp4", f"/v1/clips/{key}/events"):
            assert client.get(address).status_code == 404


def test_other_addresses_are_not_there(open_client):
    client = open_client()
    for path in ("/", "/v1/clips/x", f"/v1/clips/{'A' * 64}", f"/v1/clips/{'0' * 64}/events", "/docs"):
        assert client.get(path).status_code == 404 and client.get(path).json()["error"]
    assert client.put("/v1/clips").status_code == 405


def test_probes_numbers_and_the_model(open_client, maker):
    client = open_client()
    until(lambda: client.get("/readyz").status_code == 200)
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/v1/model").json() == {"stillmotion": "test"}
    made(client, ask(client, seed=13))
    made(client, ask(client, seed=1))
    lines = client.get("/metrics").text.splitlines()
    assert 'stillmotion_rows_total{state="done"} 1' in lines and "stillmotion_clips_queued 0" in lines
    assert 'stillmotion_rows_total{state="refused"} 1' in lines and "stillmotion_bytes_total 3000" in lines


def test_faults_of_the_program_are_no_answer_to_the_client_and_make_it_ill(open_client, maker):
    client = open_client()
    for number in range(3):
        state = made(client, ask(client, picture((number, 0, 0)), seed=99))
        assert state["state"] == "failed" and "a fault" not in json.dumps(state)
    until(lambda: client.get("/healthz").status_code == 503)
    assert made(client, ask(client))["state"] == "done"
    assert client.get("/healthz").status_code == 200


def test_a_clip_that_takes_too_long_is_ended(open_client, maker):
    client = open_client(seconds=0.05)
    maker.gate.clear()
    assert "took longer than 0.05 s" in made(client, ask(client))["reason"]


def test_a_clip_of_an_address_is_sent_whole_and_in_parts(open_client, maker, tmp_path):
    from stillmotion.headless.batch.stores import open_store
    from stillmotion.headless.serve.app import Service, make_app
    from stillmotion.headless.serve.desk import Desk
    from stillmotion.headless.serve.hands import Hands

    store = open_store(f"memory://serve/{tmp_path.name}")
    desk = Desk(store, ".mp4", Limits())
    service = Service(Hands(desk, [maker]), maker, {})
    with TestClient(make_app(lambda: service, Tokens(), Limits()), "http://localhost") as client:
        clip = made(client, ask(client))["clip"]
        assert client.get(clip, headers={"range": "bytes=10-19"}).content == clip_of(picture())[10:20]
        assert client.get(clip).content == clip_of(picture())
        for words, status in (("bytes=5000-", 416), ("bytes=9-3", 400), ("lines=1", 400)):
            assert client.get(clip, headers={"range": words}).status_code == status
        assert not list(store.parts().iterdir())


def test_a_full_disk_is_the_store_s_fault_and_leaves_no_half_file(tmp_path, monkeypatch):
    from stillmotion.headless.batch.stores import StoreError, open_store
    from stillmotion.headless.serve.answers import fetched

    store = open_store(f"memory://serve/{tmp_path.name}")
    store.put("clip.mp4", b"content")

    def full(self, content):
        self.touch()
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(StoreError, match="No space left"):
        fetched(store, "clip.mp4")
    assert not list(store.parts().iterdir())
