"""The sockets: requests come in, replies go out, and what a test wants to go wrong goes wrong here."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from .routing import Reply, Request, dispatch, refusal
from .store import HubError

if TYPE_CHECKING:
    from .hub import LoopbackHub


class Server(ThreadingHTTPServer):
    """One port of the loopback. A connection has a thread of its own."""

    daemon_threads = True
    request_queue_size = 64  # the client connects from many threads at once

    def __init__(self, hub: LoopbackHub, name: str) -> None:
        self.hub = hub
        self.name = name
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), Handler)

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
        """A client that hangs up between two requests is no error."""

    def stop(self) -> None:
        self.shutdown()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _CutError(Exception):
    """The connection is to be closed without another byte."""


class Handler(BaseHTTPRequestHandler):
    """The requests of one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def log_message(self, *_: object) -> None:
        pass

    def serve(self) -> None:
        request = self._request()
        try:
            reply = self._answer(request)
            if self.server.hub.take("lose_reply", request):
                raise _CutError
            self._send(request, reply)
        except (_CutError, ConnectionError, TimeoutError):
            self._reset()
        except Exception as error:  # of the hub itself or of a test's hook: told when the hub is closed
            self.server.hub.errors.append(error)
            self._reset()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_CONNECT = serve

    def _request(self) -> Request:
        place = urlsplit(self.path if self.path.startswith("/") else f"/{self.path}")  # a proxy is asked for a host
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = parse_qs(place.query, keep_blank_values=True)
        request = Request(self.server.name, self.command, unquote(place.path), query, headers, place.path)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        request.user, request.role = self.server.hub.tokens.get(token, (None, None))
        self.server.hub.log.append(request)
        return request

    def _answer(self, request: Request) -> Reply:
        hub = self.server.hub
        while hook := hub.take("before", request):
            hook.value()
        if wait := hub.take("delay", request):
            time.sleep(wait.value)
        request.body = self._body(request)
        if failure := hub.take("fail", request):
            status, headers, message = failure.value
            return refusal(HubError(status, message, headers=headers))
        with hub.lock:
            return dispatch(hub, request)

    def _body(self, request: Request) -> bytes:
        """The whole body of the request, unless a fault cuts or spoils it on the way."""
        hub, length = self.server.hub, int(self.headers.get("Content-Length", 0))
        cut = hub.take("cut", request) if request.method in ("PUT", "POST") else None
        if cut:
            self._read(request, min(cut.value, length))
            raise _CutError
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self._read(request, size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self._read(request, length)
        return _spoiled(body) if request.method == "PUT" and hub.take("corrupt", request) else body

    def _read(self, request: Request, size: int) -> bytes:
        body = self.rfile.read(size)
        request.received += len(body)
        if len(body) < size:
            raise _CutError  # the client hung up
        return body

    def _send(self, request: Request, reply: Reply) -> None:
        hub, body, cut = self.server.hub, reply.body, None
        status, ranged = reply.status, {}
        if reply.file and request.method == "GET":
            ignored = request.range is not None and hub.take("ignore_range", request)
            if request.range is not None and not ignored:
                status, body, ranged = _part(body, request.range)
            if hub.take("corrupt", request):
                body = _spoiled(body)
            cut = hub.take("cut", request)
        self.send_response(status)
        # A header may hold less than a message may.
        for name, value in {"Content-Length": str(len(body)), **reply.headers, **ranged}.items():
            self.send_header(name, value.encode("ascii", "replace").decode())
        if cut:
            body = body[: cut.value]
        if request.method == "HEAD":
            body = b""
        request.status, request.sent = status, len(body)
        self._headers_buffer.append(b"\r\n" + body)  # in one write with the headers, so as not to wait for two
        self.flush_headers()
        if cut:
            raise _CutError

    def _reset(self) -> None:
        """Close the connection at once: after what was written of a reply, or in the middle of a request."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            if self.command != "GET":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def _spoiled(body: bytes) -> bytes:
    """The body with the bits of its middle byte flipped."""
    middle = len(body) // 2
    return body[:middle] + bytes(255 - byte for byte in body[middle : middle + 1]) + body[middle + 1 :]


def _part(body: bytes, asked: str) -> tuple[int, bytes, dict[str, str]]:
    """What a Range header asks for: the status, the part of the body, the header that goes with it."""
    first, _, last = asked.removeprefix("bytes=").partition("-")
    size = len(body)
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        return 416, b"", {"Content-Range": f"bytes */{size}"}
    return 206, body[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
