"""Pointing the installed huggingface_hub at a loopback hub, in this process or in another."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from .hub import LoopbackHub


class Connection:
    """The client of this process, while it is pointed at a hub.

    `naps` are the seconds that it would have slept before trying again; `strays` are the hosts, other than the
    loopback, that anything in the process looked up.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.naps: list[float] = []
        self.strays: list[str] = []
        self._patch = patch

    def offline(self) -> None:
        """Forbid all requests from here on, as HF_HUB_OFFLINE does."""
        from huggingface_hub import constants

        self._patch.setattr(constants, "HF_HUB_OFFLINE", True)

    def use_token(self, token: str | None) -> None:
        """Log in as the owner of a token, or log out."""
        if token is None:
            self._patch.delenv("HF_TOKEN", raising=False)
        else:
            self._patch.setenv("HF_TOKEN", token)


def environment(hub: LoopbackHub, home: Path, *, token: str | None = None) -> dict[str, str]:
    """The environment for a subprocess whose huggingface_hub speaks to a hub, and whose cache is under `home`.

    Whatever it would send elsewhere through http or https goes to the hub as a proxy, which logs and refuses it.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))
    }
    kept |= {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    kept |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), hub.url)
    kept |= {name.lower(): kept[name] for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")}
    return kept | ({} if token is None else {"HF_TOKEN": token})


@contextlib.contextmanager
def connected(hub: LoopbackHub, home: Path, *, token: str | None = None) -> Iterator[Connection]:
    """Point the huggingface_hub of this process at a hub, with an empty cache under `home`.

    The library reads its settings when it is imported and keeps some of them in several places; all are set here
    and put back. Its waits before it tries again are skipped and counted.

    The hub speaks no Xet, so the client is told to do without it.

    Raises:
        AssertionError: At the end, when a host other than the loopback was looked up.
    """
    import huggingface_hub.utils._http as http
    from huggingface_hub import constants, file_download, hf_api, hf_file_system, repocard
    from huggingface_hub.utils import _git_credential

    home.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # What the client gets from its own HTTP library when it uploads a large file without Xet.
        warnings.filterwarnings("ignore", "Use 'content=<...>'", DeprecationWarning)
        connection = Connection(patch)
        settings = {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_URL_HOSTS": constants.HF_URL_HOSTS | {"127.0.0.1"},
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HUGGINGFACE_HUB_CACHE": str(home / "hub"),
            "HF_ASSETS_CACHE": str(home / "assets"),
            "HF_XET_CACHE": str(home / "xet"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
        }
        for name, value in settings.items():
            patch.setattr(constants, name, value)
        proxies = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]
        for name in ("HUGGING_FACE_HUB_TOKEN", *proxies):
            patch.delenv(name, raising=False)
        connection.use_token(token)

        patch.setattr(_git_credential, "ENDPOINT", hub.url)
        for api in (hf_api.api, hf_file_system.hffs._api):
            patch.setattr(api, "endpoint", hub.url)
            patch.setattr(api, "_whoami_cache", {})
        patch.setattr(hf_file_system.hffs, "endpoint", hub.url)
        patch.setattr(sys.modules["huggingface_hub.utils.tqdm"], "HF_HUB_DISABLE_PROGRESS_BARS", True)

        clock = SimpleNamespace(**{**vars(time), "sleep": connection.naps.append})
        patch.setattr(http, "time", clock)
        patch.setattr(file_download, "time", clock)
        look_up = socket.getaddrinfo

        def on_the_loopback(name: str | bytes | None, *args: object, **kwargs: object) -> object:
            if name not in ("127.0.0.1", "localhost", "::1"):
                connection.strays.append(str(name))
                raise socket.gaierror(f"a test reached for {name}")
            return look_up(name, *args, **kwargs)  # type: ignore[arg-type]

        patch.setattr(socket, "getaddrinfo", on_the_loopback)

        # Before version 2 the client asks about a card at an address that cannot be set.
        asked = SimpleNamespace(post=lambda url, **body: http.get_session().post(hub.url + urlsplit(url).path, **body))
        patch.setattr(repocard, "get_session", lambda: asked)

        http.close_session()  # it may know a proxy
        try:
            yield connection
        finally:
            http.close_session()
            hf_file_system.HfFileSystem.clear_instance_cache()  # they remember what they listed
    assert not connection.strays, f"reached beyond the loopback: {connection.strays}"
