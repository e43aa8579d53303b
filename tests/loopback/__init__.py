"""A Hugging Face Hub on the loopback, for the installed client to speak to over a real socket.

    with LoopbackHub() as hub, connected(hub, tmp_path, token=hub.token("alice")) as client:
        hub.create("bob/calm", {"README.md": b"..."}, gated="auto")  # without the client
        hub.before("/commit/", lambda: hub.commit("alice/joy", {"README.md": b"..."}))  # someone is quicker
        ...
        assert hub.repositories["alice/joy"].files("refs/pr/1")["config.json"] == b"..."
        assert [request.path for request in hub.requests if request.range] == [...]

`client` is the one of this process; `environment` is for another. What can go wrong is in `faults`. The hub speaks the
routes that the tests use: models only, without Xet, tags, organisations or discussions. Where the real one would send a
small file by way of a redirect, it sends it at once.
"""

from .client import Connection, connected, environment
from .hub import LoopbackHub
from .routing import Request

__all__ = ["Connection", "LoopbackHub", "Request", "connected", "environment"]
