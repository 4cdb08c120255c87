"""Who may ask: nobody from another site's page, nobody without a token from afar, and never too much."""

import pytest
from starlette.testclient import TestClient

from stillmotion.headless.serve.limits import Limits
from stillmotion.headless.serve.tokens import Tokens, is_loopback, name_of, read_tokens
from support.serving import StubMaker, app_of, parts, picture

TOKEN = "a-token-of-the-test"


@pytest.fixture
def open_client(tmp_path):
    """Opens a client of a service with the stub's clips."""
    clients = []

    def opened(tokens=None, **limits):
        app, _ = app_of(tmp_path, StubMaker(), Limits(**limits), Tokens(tokens))
        clients.append(TestClient(app, "http://127.0.0.1:8765"))
        return clients[-1].__enter__()

    yield opened
    for client in clients:
        client.__exit__(None, None, None)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://127.0.0.1:8765.evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://["},
        {"origin": "http://[127.0.0.1:8765"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"host": "evil.example:8765"},  # which its owner made to lead to 127.0.0.1
        {"host": "127.0.0.1.evil.example"},
        {"host": "localhost@evil.example"},
        {"host": ""},
    ],
    ids=str,
)
def test_a_page_of_another_site_can_neither_ask_nor_look(headers, open_client, tmp_path):
    client = open_client()
    for answer in (
        client.post("/v1/clips", files=parts(picture()), headers=headers),
        client.get("/v1/model", headers=headers),
        client.options("/v1/clips", headers={**headers, "access-control-request-method": "POST"}),
    ):
        assert answer.status_code == 403
        assert not any(name.startswith("access-control") for name in answer.headers)
    assert not (tmp_path / "queue").exists()


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1", "[::1]:8765", "LOCALHOST", "127.9.9.9:1"])
def test_names_of_this_machine_are_hosts(host, open_client):
    assert open_client().get("/v1/model", headers={"host": host}).status_code == 200


def test_with_tokens_a_host_may_have_any_name_and_its_own_page_may_ask(open_client):
    headers = {"host": "clips.example", "authorization": f"Bearer {TOKEN}"}
    client = open_client([TOKEN])
    own = {**headers, "origin": "https://clips.example", "sec-fetch-site": "same-origin"}
    assert client.get("/v1/model", headers=own).status_code == 200
    assert client.get("/v1/model", headers={**own, "origin": "https://other.example"}).status_code == 403


def test_answers_are_of_no_use_to_other_sites(open_client):
    for answer in (open_client().get("/v1/model"), open_client().get("/nothing")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers


def test_a_large_body_is_refused_with_and_without_its_length(open_client):
    client = open_client(body=1000)
    answer = client.post("/v1/clips", files=parts(bytes(2000)))
    assert answer.status_code == 413 and answer.headers["connection"] == "close"

    def pieces():
        yield b'--x\r\ncontent-disposition: form-data; name="picture"; filename="a"\r\n\r\n'
        for _ in range(100):
            yield bytes(100)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/v1/clips", content=pieces(), headers=headers)
    assert answer.status_code == 413 and "larger than 1,000 bytes" in answer.json()["error"]


@pytest.mark.parametrize("lengths", [["5", "6"], ["5", "5"], ["-1"], ["5 "], ["٣"], ["9" * 5000]])
def test_odd_lengths_are_refused(lengths, open_client):
    headers = [("content-length", length.encode()) for length in lengths]
    headers += [("content-type", "multipart/form-data; boundary=x")]
    assert open_client().post("/v1/clips", content=b"", headers=headers).status_code in (400, 413)


def test_a_length_beside_chunks_is_refused(open_client):
    headers = {"content-length": "3", "transfer-encoding": "chunked"}
    assert open_client().post("/v1/clips", content=b"0\r\n", headers=headers).status_code == 400


def test_all_tokens_are_compared_whichever_is_right(monkeypatch):
    compared = []
    monkeypatch.setattr(
        "hmac.compare_digest", lambda one, other: compared.append((one, other)) or one == other
    )
    tokens = Tokens([f"{TOKEN}-{number}" for number in range(5)])
    names = {tokens.client_of(f"Bearer {TOKEN}-{number}") for number in (0, 4)}
    assert len(names) == 2 and None not in names and len(compared) == 10
    assert tokens.client_of("Bearer \udcff") is None
    assert len(compared) == 15 and len({len(digest) for pair in compared for digest in pair}) == 1


def test_a_file_of_tokens_has_one_a_line(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# of the test\n\n{TOKEN}\n{TOKEN}-2\n")
    tokens = read_tokens(path)
    assert tokens.client_of(f"Bearer {TOKEN}-2") and not tokens.client_of("Bearer # of the test")
    for text in ("", "# none\n", "short\n", "with spaces in it, and long\n", "not ascii äöü äöü äöü\n"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="--token-file"):
            read_tokens(path)
    with pytest.raises(ValueError, match="can't be read"):
        read_tokens(tmp_path / "none")


@pytest.mark.parametrize(
    ("host", "accepted"),
    [
        *((host, True) for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", "localhost.org", "")),
    ],
)
def test_hosts_of_this_machine_alone(host, accepted):
    assert is_loopback(host) == accepted


@pytest.mark.parametrize("host", ["a b", "a:b:c", "a:123456", "user@a", "a/b", "[::1", "a:80:80", "\x00:"])
def test_headers_that_name_no_host(host):
    assert name_of(host) is None or not is_loopback(name_of(host))
