"""A Hugging Face Hub on the loopback, for the installed client to speak to over a real socket.

with LoopbackHub() as hub, connected(hub, tmp_path, token=hub.token("alice")) as client:
    hub.create("bob/calm", {"README.md": b"..."})
    ...
    assert hub.repositories["alice/joy"].files()["config.json"] == ...
"""

from .client import Connection, connected, environment
from .hub import LoopbackHub
from .routing import Request

__all__ = ["Connection", "LoopbackHub", "Request", "connected", "environment"]
