"""Who is answered, how much is read, and how long it may take."""

from __future__ import annotations

import asyncio
import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import FormData
from starlette.requests import Request

from cxrkit_clinic.server import guard, routes
from cxrkit_clinic.server.guard import Limits
from cxrkit_clinic.server.pool import Pool, Uploads
from tests.clinic.server.serving import client, film, listening, post

TOKEN = "a-token-of-20-letters"
PAGE = Path(guard.__file__).parent / "page"


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with client() as opened:
        yield opened


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {}),
        (200, {"Host": "127.0.0.1:8080"}),
        (200, {"Host": "[::1]:8080"}),
        (200, {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}),
        (403, {"Host": "evil.example"}),  # whose owner has let the name lead here
        (403, {"Host": "localhost.evil.example:8080"}),
        (403, {"Host": ""}),
        (403, {"Origin": "https://evil.example"}),
        (403, {"Origin": "http://localhost:3000"}),  # another program's page on this machine
        (403, {"Origin": "null"}),
        (403, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),  # a picture in another site's page
        (200, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}),  # a link that somebody followed
    ],
)
def test_other_sites_are_not_answered(server: Any, status: int, headers: dict[str, str]) -> None:
    answer = server.get("/v1/info", headers=headers)
    assert answer.status_code == status
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_another_site_cannot_send_a_film_by_navigating(server: Any, tmp_path: Path) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    content = film(tmp_path / "one.png").read_bytes()
    assert server.post("/v1/segment", files={"film": ("a.png", content)}, headers=headers).status_code == 403


def test_a_token_guards_everything_but_the_empty_page() -> None:
    with client(limits=Limits(TOKEN, ("films.example",))) as server:
        for path in ("/v1/info", "/metrics", "/v1/segment"):
            answer = server.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer wrong", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00e9".encode()):
            assert server.get("/v1/info", headers={"Authorization": wrong}).status_code == 401
        sent = {"Authorization": f"Bearer {TOKEN}", "Host": "films.example"}
        assert server.get("/v1/info", headers=sent).status_code == 200
        for path in ("/", "/static/app.js", "/docs", "/openapi.json", "/healthz"):
            assert server.get(path).status_code == 200


def test_the_page_has_nothing_from_elsewhere(server: Any) -> None:
    for path in PAGE.iterdir():
        answer = server.get("/" if path.name == "index.html" else f"/static/{path.name}")
        assert answer.content == path.read_bytes()
        links = set(re.findall(r"https?://[\w.]+", answer.text)) - {"http://www.w3.org"}
        assert not links
        assert "innerHTML" not in answer.text
    assert "style=" not in server.get("/").text
    for name in ("..%2Fcommand.py", "command.py", "%2e%2e/guard.py", "app.js%00"):
        assert server.get(f"/static/{name}").status_code == 404


def test_openapi_describes_the_film(server: Any) -> None:
    paths = server.get("/openapi.json").json()["paths"]
    body = paths["/v1/segment"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert body["required"] == ["film"]
    assert {"413", "429"} <= paths["/v1/segment"]["post"]["responses"].keys()


def test_films_that_are_too_large_are_refused(server: Any, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(bytes((1 << 20) + 10))
    assert post(server, large).status_code == 413

    def parts() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="film"; filename="a.png"\r\n\r\n'
        for _ in range(20):
            yield bytes(100_000)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = server.post("/v1/segment", content=parts(), headers=headers)
    assert answer.status_code == 413
    assert "--max-size" in answer.json()["remedy"]
    assert list(server.service.workplace.iterdir()) == []


def test_too_many_films_at_once_are_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "one.png")
    release, began = threading.Event(), threading.Semaphore(0)

    class Waiting:
        def run(self, task: Any) -> Any:
            began.release()
            release.wait(20)
            return real.run(task)

    with client() as server:
        real: Any = server.service.pool._workers
        server.service.pool = Pool(Waiting(), 1, 2)  # type: ignore[arg-type]
        answers: list[int] = []
        threads = [threading.Thread(target=lambda: answers.append(post(server, path).status_code)) for _ in range(3)]
        for thread in threads:
            thread.start()
        began.acquire(timeout=20)
        deadline = time.monotonic() + 20
        while server.service.pool.taken < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        refused = post(server, path)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert server.get("/healthz").status_code == 200
        release.set()
        for thread in threads:
            thread.join(20)
        assert answers == [200] * 3
        assert post(server, path).status_code == 200


def test_slow_films_keep_nobody_waiting(tmp_path: Path) -> None:
    """Only films that have arrived wait in the queue, and the one that began first makes room for the next."""
    begin = (
        b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 100000\r\n\r\n--x\r\n"
    )
    with client(queue=1) as server, listening(server) as port:
        server.service.uploads = Uploads(2, grace=0.2)
        slow = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(2)]
        for one in slow:
            one.sendall(begin)
        deadline = time.monotonic() + 10
        while len(server.service.uploads._began) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.service.pool.taken == 0
        content = (
            begin.rpartition(b"\r\n\r\n")[2] + b'Content-Disposition: form-data; name="film"; filename="a.png"\r\n\r\n'
        )
        content += film(tmp_path / "one.png").read_bytes() + b"\r\n--x--\r\n"
        for status in (429, 200):  # nobody is slow at first
            sender = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            sender.request("POST", "/v1/segment", content, {"Content-Type": "multipart/form-data; boundary=x"})
            assert sender.getresponse().status == status
            sender.close()
            time.sleep(0.25)
        assert b" 408 " in slow[0].recv(1000).partition(b"\r\n")[0]
        for one in slow:
            one.close()
        assert list(server.service.workplace.iterdir()) == []


@pytest.mark.parametrize("where", ["copying", "closing"])
def test_an_interrupted_film_leaves_nothing(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b'--x\r\nContent-Disposition: form-data; name="film"; filename="a.png"\r\n\r\n'
    content += film(tmp_path / "one.png").read_bytes() + b"\r\n--x--\r\n"
    copy, begun, go_on = routes._copy, threading.Event(), threading.Event()

    def slow_copy(*arguments: Any) -> None:
        begun.set()
        go_on.wait(20)
        copy(*arguments)

    async def slow_close(form: FormData) -> None:
        begun.set()
        await asyncio.sleep(20)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content}

    async def interrupted(app: Any) -> None:
        headers = [(b"content-type", b"multipart/form-data; boundary=x")]
        scope = {"type": "http", "method": "POST", "headers": headers, "app": app}
        answering = asyncio.ensure_future(routes._answer(Request(scope, receive)))
        assert await asyncio.to_thread(begun.wait, 20)
        for _ in range(2):
            answering.cancel()
            await asyncio.sleep(0.02)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await answering

    with client() as server:
        if where == "copying":
            monkeypatch.setattr(routes, "_copy", slow_copy)
        else:
            monkeypatch.setattr(FormData, "close", slow_close)
        asyncio.run(interrupted(server.app))
        assert list(server.service.workplace.iterdir()) == []


def test_slow_and_broken_clients_are_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(guard, "_HEAD", 0.4)
    head = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    with client(limits=Limits(patience=0.5)) as server, listening(server) as port:
        silent, slow, gone = (socket.create_connection(("127.0.0.1", port), 10) for _ in range(3))
        silent.sendall(b"GET /healthz HT")  # and nothing more
        slow.sendall(head + b"Content-Length: 100000\r\n\r\n--x\r\n")
        gone.sendall(head + b"Content-Length: 100000\r\n\r\n--x\r\n")
        gone.close()
        assert b" 408 " in slow.recv(1000).partition(b"\r\n")[0]
        assert silent.recv(1000) == b""
        with socket.create_connection(("127.0.0.1", port), 10) as next_one:
            next_one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert next_one.recv(1000).startswith(b"HTTP/1.1 200")
        assert server.service.pool.taken == 0
