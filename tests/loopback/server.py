"""The sockets: a hub and its storage on two ports of the loopback, the log of requests, and the faults on the way."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from . import routes
from .faults import Fault, Faults
from .routes import Reply, Request
from .store import MAIN, Commit, HubError, Repository, Store


class _CutError(Exception):
    """The connection is to be closed without another byte."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: LoopbackHub, name: str) -> None:
        self.hub = hub
        self.name = name
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # without the look-up of a host name
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep a fault of the server itself for the end of the test; a client that hangs up is none."""
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self.hub.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def log_message(self, *_: object) -> None:
        pass

    def serve(self) -> None:
        hub, request = self.server.hub, self._request()
        try:
            while before := hub.take_for("before", request):
                before.value()
            if wait := hub.take_for("delay", request):
                time.sleep(wait.value)
            request.body = self._body(request)
            if failure := hub.take_for("fail", request):
                status, headers, message = failure.value
                reply = routes.refusal(HubError(status, message, headers=headers))
            else:
                with hub.lock:
                    reply = routes.dispatch(hub, request)
            if hub.take_for("lose_reply", request):
                raise _CutError
            self._send(request, reply)
        except _CutError:
            self._reset()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_CONNECT = do_PATCH = do_OPTIONS = serve

    def _request(self) -> Request:
        place = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = parse_qs(place.query, keep_blank_values=True)
        request = Request(self.server.name, self.command, unquote(place.path), query, headers, place.path)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        request.user, request.role = self.server.hub.tokens.get(token, (None, None))
        self.server.hub.log.append(request)
        return request

    def _body(self, request: Request) -> bytes:
        """The whole body of the request, unless a fault cuts or spoils it on the way."""
        uploads = request.method in ("PUT", "POST")
        cut = self.server.hub.take_for("cut", request) if uploads else None
        if cut:
            self._read(request, min(cut.value, int(self.headers.get("Content-Length", cut.value))))
            raise _CutError
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self._read(request, size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self._read(request, int(self.headers.get("Content-Length", 0)))
        if request.method == "PUT" and self.server.hub.take_for("corrupt", request):
            return _spoiled(body)
        return body

    def _read(self, request: Request, size: int) -> bytes:
        body = self.rfile.read(size)
        request.received += len(body)
        if len(body) < size:
            raise _CutError  # the client hung up
        return body

    def _send(self, request: Request, reply: Reply) -> None:
        hub, body, headers, status = self.server.hub, reply.body, reply.headers, reply.status
        cut: Fault | None = None
        if reply.file:
            asked = request.range if not hub.take_for("ignore_range", request, only=request.range is not None) else None
            status, body, more = _ranged(body, asked)
            headers = {**headers, **more}
            if request.method == "GET" and hub.take_for("corrupt", request):
                body = _spoiled(body)
            cut = hub.take_for("cut", request, only=request.method == "GET")
        request.status = status
        lines = {"Content-Length": str(len(body)), **headers, "X-Request-Id": f"loopback-{len(hub.log)}"}
        self.send_response(status)
        for name, value in lines.items():
            self.send_header(name, value.encode("ascii", "replace").decode())
        if self.command == "HEAD":
            body = b""
        if cut:
            body = body[: cut.value]
        request.sent = len(body)
        # Together, so that a small reply is one packet.
        self._headers_buffer.append(b"\r\n" + body)
        self.flush_headers()
        if cut:
            raise _CutError

    def _reset(self) -> None:
        """Close as a broken line does, after what was written has left."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            if self.command == "GET":
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()


def _spoiled(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes(255 - byte for byte in body[middle : middle + 1]) + body[middle + 1 :]


def _ranged(body: bytes, asked: str | None) -> tuple[int, bytes, dict[str, str]]:
    """The part of a body that a Range header asks for: the status, the part, the headers that go with it."""
    if asked is None:
        return 200, body, {}
    first, _, last = asked.removeprefix("bytes=").partition("-")
    size = len(body)
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size or start >= stop:
        return 416, b"", {"Content-Range": f"bytes */{size}"}
    return 206, body[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}


class LoopbackHub(Faults):
    """A hub that listens on the loopback while the context lasts.

    Files above `lfs_threshold` bytes, and those that .gitattributes names, go to the storage, in parts when larger
    than `part_size`. A list of models has at most `page_size` of them a page.
    """

    def __init__(self, *, lfs_threshold: int = 10 << 20, part_size: int = 5 << 20, page_size: int = 1000) -> None:
        super().__init__()
        self.store = Store(lfs_threshold=lfs_threshold)
        self.part_size = part_size
        self.page_size = page_size
        self.tokens: dict[str, tuple[str, str]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.log: list[Request] = []
        self.errors: list[Exception] = []
        self.lock = threading.RLock()
        self._servers: list[_Server] = []

    def __enter__(self) -> LoopbackHub:
        self._servers = [_Server(self, "hub"), _Server(self, "storage")]
        self.url, self.storage_url = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            for connection in list(server.open):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            server.server_close()
        if self.errors:
            raise ExceptionGroup("the loopback hub itself failed", self.errors)

    @property
    def repositories(self) -> dict[str, Repository]:
        return self.store.repositories

    @property
    def requests(self) -> list[Request]:
        """What has been asked so far, in the order of arrival."""
        return list(self.log)

    def token(self, user: str, *, role: str = "write") -> str:
        """A token of a user, who may write under their own name; with the role "read", nowhere."""
        token = f"hf_{user}_{role}"
        self.tokens[token] = (user, role)
        return token

    def create(
        self,
        repo_id: str,
        files: Mapping[str, bytes] | None = None,
        *,
        private: bool = False,
        gated: str | bool = False,
        downloads: int = 0,
        likes: int = 0,
        last_modified: datetime | None = None,
        tags: tuple[str, ...] = (),
    ) -> Repository:
        """Plant a repository, without a client. `gated` is False, "auto" or "manual"; `tags` come before the card's."""
        with self.lock:
            settings = {"private": private, "gated": gated, "downloads": downloads, "likes": likes, "tags": tags}
            repository = self.store.create(repo_id, **settings)
            if files:
                self.commit(repo_id, files)
            repository.last_modified = last_modified
            return repository

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, bytes | None],
        *,
        revision: str = "main",
        title: str = "Edited online",
    ) -> Commit:
        """Commit files (None: delete), without a client, as someone does on the site."""
        with self.lock:
            repository = self.repositories[repo_id]
            ref = repository.ref(revision) or MAIN
            tip = repository.refs[ref]
            blobs = {path: None if data is None else self.store.blob(tip, path, data) for path, data in files.items()}
            return self.store.commit(repository, ref, blobs, title=title, author=repository.owner)

    def grant(self, repo_id: str, user: str) -> None:
        """Let a user into a private or gated repository."""
        self.repositories[repo_id].readers.add(user)

    def sign(self, oid: str) -> str:
        """What a link into the storage must carry, as there is no token there."""
        return hashlib.sha256(f"{self.url}{oid}".encode()).hexdigest()[:16]

    def take_for(self, kind: str, request: Request, *, only: bool = True) -> Fault | None:
        """The fault of this kind that befalls a request."""
        target = unquote(self._target(request))
        return self.take(kind, request.method, target) if only else None

    @staticmethod
    def _target(request: Request) -> str:
        query = "&".join(f"{name}={value}" for name, values in request.query.items() for value in values)
        return f"{request.path}?{query}" if query else request.path
