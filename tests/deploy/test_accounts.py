"""The accounts that compose makes in Elasticsearch, against a server that only takes notes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from deploy.docker import accounts

PASSWORDS = {"ELASTIC_PASSWORD": "root-词", "WEIBOWATCH_ELASTIC__PASSWORD": 'own"\\', "KIBANA_PASSWORD": "kibana"}


class Notes(ThreadingHTTPServer):
    """Answers with ``statuses`` in turn, then 200; ``seen`` are path, user and body of each request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []
        self.seen: list[tuple[str, str, object]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        assert isinstance(self.server, Notes)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        user = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        self.server.seen.append((self.path, user, body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def notes() -> Iterator[Notes]:
    with Notes() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_role_the_user_and_kibanas_password(notes: Notes) -> None:
    assert accounts.main({**PASSWORDS, "ELASTIC_URL": notes.url}) == 0
    assert [path for path, _, _ in notes.seen] == [
        "/_security/role/weibowatch", "/_security/user/weibowatch", "/_security/user/kibana_system/_password",
    ]  # fmt: skip
    assert {user for _, user, _ in notes.seen} == {"elastic:root-词"}
    role, user, kibana = (body for _, _, body in notes.seen)
    assert isinstance(role, dict) and role["indices"] == [{"names": ["weibowatch*"], "privileges": ["all"]}]
    assert user == {"password": 'own"\\', "roles": ["weibowatch"]}
    assert kibana == {"password": "kibana"}


def test_it_waits_for_a_server_that_is_not_ready(notes: Notes) -> None:
    notes.statuses = [503, 429]
    assert accounts.main({**PASSWORDS, "ELASTIC_URL": notes.url}, pause_s=0) == 0
    assert len(notes.seen) == 5


def test_what_is_refused_is_not_tried_again(notes: Notes, capsys: pytest.CaptureFixture[str]) -> None:
    notes.statuses = [401]
    assert accounts.main({**PASSWORDS, "ELASTIC_URL": notes.url}, pause_s=0) == 1
    assert len(notes.seen) == 1
    assert "PUT _security/role/weibowatch: 401" in capsys.readouterr().err


def test_no_server_and_no_password_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with Notes() as gone:
        url = gone.url
    assert accounts.main({**PASSWORDS, "ELASTIC_URL": url}, wait_s_max=0, pause_s=0) == 1
    assert f"no answer from {url}" in capsys.readouterr().err
    assert accounts.main({"ELASTIC_URL": url, "ELASTIC_PASSWORD": "x"}) == 1
    assert "WEIBOWATCH_ELASTIC__PASSWORD must be set" in capsys.readouterr().err
