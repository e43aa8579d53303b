"""What can go wrong on the way, switched on by a test for the next requests that match."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .routing import Request


@dataclass
class Fault:
    """One thing that will go wrong, `left` more times."""

    kind: str
    path: re.Pattern[str]
    method: str | None
    left: int
    value: Any


class Faults:
    """The faults of one hub.

    `path` is a regular expression that is searched in "path?query"; `method` is any one when None; `times` is how
    many matching requests it befalls. Those that spoil a body (`cut` of a reply, `corrupt`, `ignore_range`) wait for
    a reply that has a file in it: the redirect to the storage passes unharmed.
    """

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._faults_lock = threading.Lock()

    def fail(
        self,
        path: str = "",
        *,
        method: str | None = None,
        status: int = 500,
        times: int = 1,
        headers: dict[str, str] | None = None,
        message: str = "a fault of the loopback hub",
    ) -> None:
        """Answer with an error and do nothing.

        For 429, pass {"Retry-After": "2"} or {"RateLimit": '"api";r=0;t=2'}.
        """
        self._add("fail", path, method, times, (status, headers or {}, message))

    def cut(self, path: str = "", *, method: str | None = None, after_bytes: int = 0, times: int = 1) -> None:
        """Close the socket in mid-body: of the request for PUT and POST, else of the reply."""
        self._add("cut", path, method, times, after_bytes)

    def lose_reply(self, path: str = "", *, method: str | None = None, times: int = 1) -> None:
        """Do what was asked, then close the socket without a word."""
        self._add("lose_reply", path, method, times, None)

    def delay(self, path: str = "", *, method: str | None = None, seconds: float, times: int = 1) -> None:
        """Wait before answering."""
        self._add("delay", path, method, times, seconds)

    def corrupt(self, path: str = "", *, method: str = "GET", times: int = 1) -> None:
        """Flip every bit of one byte in the middle: of the reply to a GET, of the body of a PUT."""
        self._add("corrupt", path, method, times, None)

    def ignore_range(self, path: str = "", *, times: int = 1) -> None:
        """Answer a Range request with 200 and everything."""
        self._add("ignore_range", path, "GET", times, None)

    def stale(self, path: str = "", *, method: str | None = None, times: int = 1) -> None:
        """Let `resolve` answer from the commit before the one that was asked for."""
        self._add("stale", path, method, times, None)

    def before(self, path: str, do: Callable[[], object], *, method: str | None = None, times: int = 1) -> None:
        """Call `do` when the request has arrived and before it is looked at; `do` may use the hub and its clients."""
        self._add("before", path, method, times, do)

    def mend(self) -> None:
        """Let nothing go wrong any more."""
        with self._faults_lock:
            self._faults.clear()

    def _add(self, kind: str, path: str, method: str | None, times: int, value: Any) -> None:
        with self._faults_lock:
            self._faults.append(Fault(kind, re.compile(path), method, times, value))

    def take(self, kind: str, request: Request) -> Fault | None:
        """The first fault of this kind that the request meets, used up once."""
        with self._faults_lock:
            for fault in self._faults:
                fits = fault.kind == kind and fault.left > 0 and fault.method in (None, request.method)
                if fits and fault.path.search(request.target):
                    fault.left -= 1
                    return fault
        return None
