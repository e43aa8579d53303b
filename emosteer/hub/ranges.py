"""A file on the Hub, read by ranges."""

from __future__ import annotations

from emosteer.hub.client import hub_errors

AHEAD = 2**14  # bytes fetched beyond a read, so that small reads that follow need no request
PIECE = 2**16
TRIES = 3

__all__ = ["Ranges"]


class Ranges:
    """A remote file that reads like `open(…, "rb")` and fetches only what is read.

    Args:
        repository: `user/name`, for messages.
        url: Of the file.
        size: In bytes.
        token: As for `huggingface_hub`.
    """

    def __init__(self, repository: str, url: str, size: int, token: str | bool | None) -> None:
        self._repository, self._url, self._size, self._token = repository, url, size, token
        self._at = 0
        self._held, self._held_from = b"", 0

    def seek(self, offset: int) -> int:
        """Move to an offset, in bytes from the beginning."""
        self._at = offset
        return offset

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, or fewer at the end of the file.

        Raises:
            HubError: The Hub does not give them.
        """
        stop = min(self._at + size, self._size)
        if not self._held_from <= self._at <= stop <= self._held_from + len(self._held):
            with hub_errors(self._repository):
                self._held = self._fetched(self._at, min(max(stop, self._at + AHEAD), self._size))
            self._held_from = self._at
        data = self._held[self._at - self._held_from : stop - self._held_from]
        self._at += len(data)
        return data

    def _fetched(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop`, never more; an interrupted download is resumed."""
        from huggingface_hub import constants
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
            httpx,
        )

        headers = build_hf_headers(token=self._token) | {"Accept-Encoding": "identity"}
        received = bytearray()
        for tries_left in reversed(range(TRIES)):
            at = start + len(received)
            request = {**headers, "Range": f"bytes={at}-{stop - 1}"}
            timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
            try:
                with http_stream_backoff("GET", self._url, headers=request, timeout=timeout) as response:
                    hf_raise_for_status(response)
                    before = 0 if response.status_code == 206 else at  # a server that knows no ranges sends all of it
                    for part in response.iter_raw(PIECE):
                        received += part[before:]
                        before = max(before - len(part), 0)
                        if len(received) >= stop - start:
                            break
                return bytes(received[: stop - start])
            except httpx.TransportError:
                if not tries_left:
                    raise
        raise AssertionError  # the last try returns or raises
