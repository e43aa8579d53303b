"""From a request to a reply, and who may do what. The routes themselves are in `reading`, `writing`, `large_files`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .store import HubError, Repository

if TYPE_CHECKING:
    from .hub import LoopbackHub


@dataclass
class Request:
    """What was asked, and what became of it.

    `path` is decoded and has no query; `query` has a list for each name; `server` is "hub" or "storage"; `user` is
    None without a token; `status` is 0 when no answer was given; `received` and `sent` count the bytes of the bodies.
    """

    server: str
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    raw_path: str
    user: str | None = None
    role: str | None = None
    status: int = 0
    received: int = 0
    sent: int = 0
    body: bytes = field(default=b"", repr=False)

    @property
    def target(self) -> str:
        """The decoded path and query, as faults look for it."""
        query = "&".join(f"{name}={value}" for name, values in self.query.items() for value in values)
        return f"{self.path}?{query}" if query else self.path

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body or b"{}")
        except ValueError as problem:
            raise HubError(400, f"the body is not JSON: {problem}") from None

    def flag(self, name: str) -> bool:
        return self.query.get(name, ["false"])[0].lower() in ("1", "true")


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    file: bool = False
    """Whether the body is the content of a file, which a Range may cut and a fault may spoil."""


def answer(value: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8"})


def refusal(error: HubError) -> Reply:
    """The reply for a refusal, with the headers that the client tells them apart by."""
    reply = answer({"error": error.message}, error.status)
    reply.headers |= {"X-Error-Message": error.message, **error.headers}
    if error.code:
        reply.headers["X-Error-Code"] = error.code
    return reply


Route = Callable[..., Reply]
_ROUTES: dict[str, list[tuple[str, re.Pattern[str], Route]]] = {"hub": [], "storage": []}
REPO = "(?P<repo>[^/]+(?:/[^/]+)?)"
REVISION = "(?P<revision>[^/]+)"


def route(methods: str, path: str, server: str = "hub") -> Callable[[Route], Route]:
    """Register a function for paths that match a regular expression; its groups become arguments, decoded."""

    def register(function: Route) -> Route:
        for method in methods.split():
            _ROUTES[server].append((method, re.compile(path), function))
        return function

    return register


def dispatch(hub: LoopbackHub, request: Request) -> Reply:
    """The reply to a request."""
    for method, pattern, function in _ROUTES[request.server]:
        found = pattern.fullmatch(request.raw_path) if method == request.method else None
        if found:
            try:
                if request.user is None and "authorization" in request.headers and request.server == "hub":
                    raise HubError(401, "Invalid credentials in Authorization header")
                return function(hub, request, **{name: unquote(text or "") for name, text in found.groupdict().items()})
            except HubError as error:
                return refusal(error)
    # A status that the client neither retries nor takes for "not there".
    return refusal(HubError(501, f"the loopback hub does not speak {request.method} {request.path}"))


def readable(hub: LoopbackHub, request: Request, repo: str) -> Repository:
    """A repository that the user may see. One that is hidden and one that is not there look the same."""
    repository = hub.repositories.get(repo)
    if repository is None or (repository.private and request.user not in {repository.owner, *repository.readers}):
        if request.user is None:
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        raise HubError(404, "Repository not found", "RepoNotFound")
    return repository


def may_write(request: Request, repository: Repository) -> bool:
    return request.user == repository.owner and request.role == "write"


def writable(hub: LoopbackHub, request: Request, repo: str) -> Repository:
    """A repository that the user may push to."""
    repository = readable(hub, request, repo)
    if request.user is None:
        raise HubError(401, "Invalid username or password.")
    if not may_write(request, repository):
        hint = "pass `create_pr=1` as a query parameter to create a Pull Request"
        raise HubError(403, f"Forbidden: {hint}")
    return repository


def check_gate(request: Request, repository: Repository) -> None:
    """Refuse the files of a gated repository to who has not been let in."""
    if repository.gated and request.user not in {repository.owner, *repository.readers}:
        restricted = f"Access to model {repository.id} is restricted"
        if request.user is None:
            raise HubError(401, f"{restricted}. You must be authenticated to access it.", "GatedRepo")
        raise HubError(403, f"{restricted} and you are not in the authorized list.", "GatedRepo")
