"""Hostile repositories, and servers that answer with malice: what each tries, and what must come of it.

    python -m tests.hub.hostile --output DIR

writes every repository into a folder of its own, to be tried by hand. Nothing in them does harm by itself: what would
be run, if anything ran it, writes a file named `CANARY` into the working directory.
"""

from __future__ import annotations

import argparse
import copy
import json
import pickle
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.golden.make_v1 import (
    GOLDEN_CONFIG,
    GOLDEN_TENSORS,
    build,
    canonical,
    digested,
    entries,
    file_bytes,
    sealed,
    tensor,
)
from tests.golden.make_v1 import golden as good
from tests.loopback import LoopbackHub, Request
from tests.loopback.routing import Reply, answer
from tests.loopback.server import Handler

VECTORS, CONFIG, CARD = "vectors.safetensors", "config.json", "README.md"
NAME = "mallory/tones"
CANARY = "canary-that-nobody-may-write"
RED, C1, TURN = "\x1b[31;1mred\x1b[0m", "\x9b31mred", "\u202eder"
MARKUP = "[bold red]bold[/] [link=x]y[/link] <script>alert(1)</script> **b** [a](javascript:b) `c` | d"

Bytes = dict[str, bytes]


@dataclass(frozen=True)
class Hostile:
    """A hostile repository.

    Args:
        name: Of the case.
        tries: What it tries.
        files: Path in the repository → content.
        said: Regular expression that the error matches, or None: what is hostile in it does no harm.
        pulled: The same for `emosteer pull`, which gets every file that a folder of vectors may hold.
    """

    name: str
    tries: str
    files: Bytes
    said: str | None
    pulled: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pulled", self.pulled or self.said)


Twist = Callable[["HostileHub", Request, Reply], Reply]


@dataclass(frozen=True)
class HostileServer:
    """A server with a good repository that answers with malice.

    Args:
        name: Of the case.
        tries: What it tries.
        twist: From a request and the true reply to the reply that is sent.
        said: Regular expression that the error matches, or None: what is hostile in it does no harm.
        files: Of the repository.
    """

    name: str
    tries: str
    twist: Twist
    said: str | None
    files: Bytes = field(default_factory=good)


# Repositories


def with_config(change: Callable[[dict[str, Any]], object], files: Bytes | None = None) -> Bytes:
    """The good files with another config, sealed and with right digests: only what it says is hostile."""
    config = copy.deepcopy(GOLDEN_CONFIG)
    change(config)
    config = digested(config, GOLDEN_TENSORS)
    return {**(files or good()), VECTORS: build(GOLDEN_TENSORS, config), CONFIG: json.dumps(config).encode()}


def with_tensor(name: str, values: Any) -> Bytes:
    """The good files with one tensor exchanged or added, and its right digest."""
    tensors = {**GOLDEN_TENSORS, name: tensor(values)}
    config = digested(GOLDEN_CONFIG, tensors)
    return {**good(), VECTORS: build(tensors, config), CONFIG: canonical(config).encode()}


def with_header(change: Callable[[dict[str, Any]], object]) -> Bytes:
    """The good files with other entries in the header of the vectors."""
    config = digested(GOLDEN_CONFIG, GOLDEN_TENSORS)
    header = {"__metadata__": {"emosteer": canonical(config)}, **entries(GOLDEN_TENSORS)}
    change(header)
    (length,) = struct.unpack_from("<Q", good()[VECTORS])
    return {**good(), VECTORS: file_bytes(header, good()[VECTORS][8 + length :])}


def beside(**files: bytes) -> Bytes:
    """The good files and others; `__` stands for a dot in a name."""
    return {**good(), **{name.replace("__", "."): data for name, data in files.items()}}


class _Payload:
    """A pickle that writes the canary when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (CANARY, "w")


PICKLE = pickle.dumps(_Payload())
CODE = f"open({CANARY!r}, 'w').close()\n".encode()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
AUTO_MAP = {"AutoConfig": "modeling.Config", "AutoModel": "modeling.Model"}
# A lone carriage return is a line to YAML and no line to the loopback hub, which would read the bomb itself.
BOMB = (
    "---\r" + "\r".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]) + "\r---\n"
)
TAG = f"---\rlicense: !!python/object/apply:builtins.open [{CANARY}, w]\r---\n"


def emotion(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda config: config["emotions"][1].update(changes)


def base(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda config: config["base_model"].update(changes)


def top(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda config: config.update(changes)


def repositories() -> Iterator[Hostile]:
    """Every hostile repository, made anew."""
    yield from _headers()
    yield from _configs()
    yield from _texts()
    yield from _trees()
    yield from _beside_the_vectors()


def _headers() -> Iterator[Hostile]:
    deep = b'{"a":' * (2**20) + b"1" + b"}" * (2**20)
    twice = canonical(
        {"__metadata__": {"emosteer": canonical(digested(GOLDEN_CONFIG, GOLDEN_TENSORS))}, **entries(GOLDEN_TENSORS)}
    )
    twice = file_bytes(twice.replace('"center":{', '"residual_norm":{', 1).encode(), b"\0" * 100)
    yield Hostile("header-length", "a header of 2^63 bytes", {**good(), VECTORS: struct.pack("<Q", 2**63)}, "too|would")
    yield Hostile("header-deep", "6 MiB of nesting", {**good(), VECTORS: file_bytes(deep, b"")}, "lists more")
    wide = b'{"a":[' + b"[]," * (5 * 2**20) + b"[]]}"
    yield Hostile("header-wide", "15 MiB of empty lists", {**good(), VECTORS: file_bytes(wide, b"")}, "lists more")
    yield Hostile("header-twice", "a tensor under two meanings", {**good(), VECTORS: twice}, "stands twice")
    yield Hostile(
        "tensors-overlap",
        "a tensor over another",
        with_header(lambda h: h.update({"center": {**h["center"], "data_offsets": [32, 64]}})),
        "overlaps",
    )
    yield Hostile(
        "tensor-outside",
        "a tensor beyond the end of the file",
        with_header(lambda h: h.update({"center": {**h["center"], "data_offsets": [10**9, 10**9 + 32]}})),
        "overlaps|gap",
    )
    yield Hostile(
        "shape-huge",
        "an allocation of 4 exabytes",
        with_header(lambda h: h.update({"center": {**h["center"], "shape": [10**9, 10**9]}})),
        "does not fill",
    )
    yield Hostile(
        "not-a-number",
        "NaN in a direction, with its right digest",
        with_tensor("direction.joy", [[float("nan"), 0.8, 0.0, 0.0], [0.5, -0.5, 0.5, -0.5]]),
        "not finite",
    )
    yield Hostile(
        "infinity",
        "an infinite norm, with its right digest",
        with_tensor("residual_norm", [12.0, float("inf")]),
        "finite",
    )
    yield Hostile(
        "tensor-path",
        "a tensor whose name is a path",
        with_tensor("direction.../../../etc/passwd", [[1.0, 0.0, 0.0, 0.0]] * 2),
        "does not mention",
    )
    yield Hostile("vectors-pickle", "a pickle in the place of the vectors", {**good(), VECTORS: PICKLE}, "not a valid")
    yield Hostile("vectors-pointer", "the pointer to a large file", {**good(), VECTORS: POINTER}, "not a valid")
    yield Hostile("vectors-page", "a web page", {**good(), VECTORS: b"<!DOCTYPE html><p>" + b"x" * 999}, "not a valid")


def _configs() -> Iterator[Hostile]:
    zeros = digested(GOLDEN_CONFIG, GOLDEN_TENSORS)
    zeros = sealed({**zeros, "digests": dict.fromkeys(zeros["digests"], "0" * 64)})
    wrong = {**good(), VECTORS: build(GOLDEN_TENSORS, zeros), CONFIG: canonical(zeros).encode()}
    yield Hostile("digests-wrong", "tensors that are not those of the digests", wrong, "not those that were written")
    other = {**good(), CONFIG: with_config(top(license="other"))[CONFIG]}
    yield Hostile("config-differs", "a config for people that says something else", other, "differ")
    changed = json.loads(good()[CONFIG]) | {"license": "other"}
    unsealed = {**good(), VECTORS: build(GOLDEN_TENSORS, changed), CONFIG: canonical(changed).encode()}
    yield Hostile("config-unsealed", "a config changed after writing", unsealed, "changed after it was written")
    later = with_config(top(format_version=99, emosteer_version="1.0' ; touch x #"))
    yield Hostile("version-later", "a command where a version stands", later, "pip install -U emosteer$")
    yield Hostile("critical", "a field that must be known", with_config(top(critical=[RED, "soul"])), "does not know")
    yield Hostile(
        "emotion-path", "a path as a name", with_config(emotion(name="../../etc/passwd")), "not the name of an"
    )
    yield Hostile(
        "emotion-escape", "a terminal's code as a name", with_config(emotion(name=f"joy{RED}")), "not the name"
    )
    yield Hostile("emotion-markup", "markup as a name", with_config(emotion(name="[red]joy[/]")), "not the name")
    yield Hostile("emotion-lookalike", "a Cyrillic letter", with_config(emotion(name="j\u043ey")), "not the name")
    crowd = [{"name": f"e{n}"} for n in range(5_000)]
    yield Hostile("emotions-many", "five thousand emotions", with_config(top(emotions=crowd)), "1 to 1000")
    yield Hostile(
        "base-path", "a path as the base model", with_config(base(repo_id="../../../x")), "name of a repository"
    )
    wide = with_config(base(hidden_size=1_000_000, num_hidden_layers=1_000_000))
    yield Hostile("base-huge", "a model of a million layers", wide, "has the shape")
    yield Hostile("base-odd", "a number of 4,000 digits", with_config(base(hidden_size=10**3_999)), "whole number")
    listed = with_config(lambda c: c["doses"]["joy"].update(dose=1e308))
    yield Hostile("dose-huge", "a dose that would overflow", listed, "not a number from 0 to 1000")


def _texts() -> Iterator[Hostile]:
    refused = "not a short printable text"
    for kind, text in (("escape", RED), ("c1", C1), ("turn", TURN), ("line", "fine\nError: no"), ("long", "x" * 5_000)):
        yield Hostile(
            f"label-{kind}", "control characters in a label", with_config(emotion(labels={"en": text})), refused
        )
    yield Hostile("source-escape", "the same in a source", with_config(emotion(source=RED)), refused)
    yield Hostile("type-escape", "the same in a model type", with_config(base(model_type=RED)), refused)
    yield Hostile("variant-escape", "the same in a variant", with_config(base(weights_variant=C1)), refused)
    yield Hostile("licence-escape", "the same in the licence", with_config(top(license=RED)), refused)
    yield Hostile(
        "method-escape", "the same in the method", with_config(lambda c: c["extraction"].update(method=RED)), refused
    )
    everywhere = with_config(
        lambda c: (
            c.update(license=MARKUP),
            base(model_type=MARKUP, weights_variant=MARKUP, revision=MARKUP)(c),
            emotion(labels={"en": MARKUP}, source=MARKUP)(c),
            c["extraction"].update(method=MARKUP, concepts=MARKUP),
        )
    )
    yield Hostile("markup", "markup in every text that may be free", everywhere, None)
    odd = {f"{kind}{text}": text for kind in ("a", "b") for text in (RED, C1, TURN, MARKUP, "\x7f\x00\u2028")}
    free = with_config(
        lambda c: (c["measured"].update(odd), c["extraction"].update(odd), c["measured"].update(deep=[odd]))
    )
    yield Hostile("free-fields", "control characters where anything may stand", free, None)
    unknown = with_config(top(**{f"x{RED}": 1, f"y{MARKUP}": 2, "z\nError: no": 3}))
    yield Hostile("unknown-fields", "control characters in fields that are not known", unknown, None)


def _trees() -> Iterator[Hostile]:
    vectors, config = good()[VECTORS], good()[CONFIG]
    yield Hostile(
        "pickle-only", "weights as a pickle only", {"pytorch_model.bin": PICKLE, CONFIG: config}, "has no vec|has no"
    )
    yield Hostile("empty", "a repository with a card only", {CARD: b"# Trust me\n"}, f"has no ({VECTORS}|{CONFIG})")
    code = {"handler.py": CODE, "modeling.py": CODE, "pytorch_model.bin": PICKLE, "setup.py": CODE, "conftest.py": CODE}
    mapped = with_config(top(auto_map=AUTO_MAP, architectures=["Model"], trust_remote_code=True), {**good(), **code})
    yield Hostile("code", "code that other libraries would run for a config with auto_map", mapped, None)
    only = {**good(), **code, CONFIG: json.dumps({**json.loads(config), "auto_map": AUTO_MAP}).encode()}
    yield Hostile("code-config", "the same, in the config for people only", only, "differ")
    model = {
        CONFIG: json.dumps({"model_type": "llama", "auto_map": AUTO_MAP}).encode(),
        **code,
        "model.safetensors": vectors,
    }
    yield Hostile("model", "a model and no vectors", model, f"has no {VECTORS}")
    yield Hostile(
        "folder-for-vectors", "a folder of that name", {CONFIG: config, f"{VECTORS}/x": vectors}, "has no vec"
    )
    yield Hostile(
        "folder-for-config", "a folder of that name", {VECTORS: vectors, f"{CONFIG}/x": config}, "has no conf"
    )
    link = b"../../../../../../etc/passwd"
    yield Hostile("link-for-vectors", "a symbolic link, as git stores it", {**good(), VECTORS: link}, "not a valid")
    yield Hostile("link-for-config", "a symbolic link, as git stores it", {**good(), CONFIG: link}, "cannot be read")
    upper = {
        "Vectors.safetensors": vectors,
        "CONFIG.JSON": config,
        "vectors.safetensors ": vectors,
        "c\u043enfig.json": config,
    }
    yield Hostile("lookalike-files", "other case, a blank, a Cyrillic letter", upper, "has no ")
    paths = {**good(), "..\\..\\x": b"x", ".git/config": b"x", "-rf": b"x", "con/aux": b"x", "\u202egnp.exe": b"x"}
    yield Hostile("odd-paths", "names that are paths or options elsewhere", paths, None)
    yield Hostile(
        "config-large", "a config of 5 MB", {**good(), CONFIG: b" " * (5 * 2**20) + config}, "was not downloaded"
    )


def _beside_the_vectors() -> Iterator[Hostile]:
    def pulled(name: str, tries: str, said: str | None, **files: bytes) -> Hostile:
        return Hostile(name, tries, beside(**files), None, said)

    script = f"<script>{'x' * 99}</script>\n{RED}{C1}{MARKUP}\n".encode()
    yield pulled("card-script", "a card with a script and a terminal's codes", None, README__md=script)
    yield pulled("card-broken", "a card whose front matter is none", "front matter", README__md=b"---\ntags: [\n---\n")
    yield pulled(
        "card-escape", "the same with codes in it", "front matter", README__md=f"---\na: [{RED}\n---\n".encode()
    )
    yield pulled("card-list", "front matter that is a list", "front matter", README__md=b"---\r- a\r- b\r---\n")
    yield pulled("card-large", "a card of 50 MB", "was not downloaded", README__md=b"x" * 50_000_000)
    yield pulled("card-aliases", "aliases that would be 2^60 words", "front matter", README__md=BOMB.encode())
    yield pulled("card-tag", "a YAML tag that calls a function", "front matter", README__md=TAG.encode())
    yield pulled("card-binary", "a card that is no text", "decode byte", README__md=b"\xff\xfe\x00")
    deep = b"[" * 2**20 + b"]" * 2**20
    yield pulled("record-deep", "a record of a million brackets", "lists more", calibration__json=deep)
    yield pulled(
        "record-wide", "a record of a million commas", "lists more", calibration__json=b"[1" + b",1" * 2**20 + b"]"
    )
    yield pulled("record-page", "a web page as a record", "cannot be read", calibration__json=b"<html>")
    yield pulled("record-large", "a record of 17 MiB", "was not downloaded", steering__json=b" " * (17 * 2**20) + b"{}")
    yield pulled(
        "figure-page", "a web page as a picture, of nothing in the file", None, confusion__png=b"<svg onload=alert(1)>"
    )


# Servers


@dataclass
class Flood(Reply):
    """A body in chunks without end, or until `most` bytes are sent, so that a client that takes it all ends too."""

    most: int = 2**28


class HostileHub(LoopbackHub):
    """A loopback hub whose replies go through a twist, whatever was asked."""

    def __init__(self, twist: Twist | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.twist = twist

    def __enter__(self) -> HostileHub:
        super().__enter__()
        for server in self._servers:
            server.RequestHandlerClass = _Handler
        return self


class _Handler(Handler):
    def _answer(self, request: Request) -> Reply:
        hub: Any = self.server.hub
        reply = super()._answer(request)
        return hub.twist(hub, request, reply) if hub.twist else reply

    def _send(self, request: Request, reply: Reply) -> None:
        if not isinstance(reply, Flood):
            return super()._send(request, reply)
        self.send_response(200)
        for name, value in {**reply.headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(name, value)
        self.end_headers()
        chunk = f"{len(reply.body):x}\r\n".encode() + reply.body + b"\r\n"
        self.close_connection = True
        with suppress(OSError):
            while request.sent < reply.most:
                self.wfile.write(chunk)
                request.sent += len(reply.body)
            self.wfile.write(b"0\r\n\r\n")
        return None


def on(part: str, method: str = "") -> Callable[[Twist], Twist]:
    """Twist only replies to requests whose path has this in it."""

    def only(twist: Twist) -> Twist:
        return lambda hub, request, reply: (
            twist(hub, request, reply) if part in request.path and request.method.startswith(method) else reply
        )

    return only


def told(change: Callable[[Any], Any], part: str, **headers: str) -> Twist:
    """A reply of the API whose JSON is changed."""

    def twist(hub: HostileHub, request: Request, reply: Reply) -> Reply:
        new = answer(change(json.loads(reply.body)))
        return replace(new, headers={**new.headers, **headers})

    return on(part)(twist)


def headed(**headers: str) -> Twist:
    """Other headers on the files themselves; `_` stands for a dash."""
    new = {name.replace("_", "-"): value for name, value in headers.items()}
    return on("/resolve/")(lambda hub, request, reply: replace(reply, headers={**reply.headers, **new}))


def sized(size: str) -> Twist:
    """Another size of the vectors in what the Hub says of them."""
    return on(VECTORS, "HEAD")(headed(X_Linked_Size=size))


def committed(sha: Any) -> Twist:
    """Another commit than there is, for the branch."""
    return told(lambda found: {**found, "sha": sha} if "siblings" in found else found, f"/api/models/{NAME}")


def to(place: Callable[[HostileHub, Request], str]) -> Twist:
    """A redirect of files to another place."""

    def twist(hub: HostileHub, request: Request, reply: Reply) -> Reply:
        return Reply(302, b"", {**reply.headers, "Location": place(hub, request)})

    return on("/resolve/")(twist)


def flood(_: HostileHub, request: Request, reply: Reply) -> Reply:
    """A body without end in the place of a part of a file."""
    if not request.range:
        return reply
    kept = {name: value for name, value in reply.headers.items() if name != "Content-Length"}
    return Flood(200, b"\0" * 2**16, kept)


@cache
def squeezed(mib: int = 256) -> bytes:
    """Zeros, in a thousandth of their size."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(b"\0" * 2**20) for _ in range(mib)) + packer.flush()


def servers(outside: Path) -> Iterator[HostileServer]:
    """Every hostile server.

    Args:
        outside: A path outside of the cache that the server may try to write.
    """
    not_so, odd, else_ = "did not arrive as it was sent", "cannot be understood", "is not about that file"
    up = "../" * 12 + str(outside).lstrip("/")
    yield HostileServer("size-huge", "3 GiB are announced", sized(str(3 * 2**30)), "was not downloaded")
    yield HostileServer("size-smaller", "more than was announced", sized("100"), f"{not_so}|not a valid|Consistency")
    yield HostileServer("size-larger", "less than was announced", sized("99999"), f"{not_so}|not a valid|Consistency")
    for name, size in (("text", "twelve"), ("negative", "-5"), ("fraction", "1e308"), ("none", "0")):
        yield HostileServer(f"size-{name}", "a size that is none", sized(size), f"{odd}|{else_}|{not_so}|not a valid")
    for name, tag in (("up", up), ("absolute", str(outside)), ("dots", ".."), ("long", "x" * 5_000), ("empty", "")):
        yield HostileServer(
            f"etag-{name}",
            "a path or none as the name of the content",
            headed(ETag=f'"{tag}"', X_Linked_Etag=f'"{tag}"'),
            f"{odd}|{else_}",
        )
    for name, sha in (("up", up), ("absolute", str(outside)), ("branch", "main"), ("long", "0" * 5_000)):
        yield HostileServer(
            f"header-commit-{name}", "a path as the commit of a file", headed(X_Repo_Commit=sha), f"{odd}|{else_}"
        )
    missing = on("/resolve/")(
        lambda *_: Reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": str(outside)})
    )
    yield HostileServer("missing-commit", "the same, of a file that is not there", missing, "has no ")
    named = headed(Content_Disposition=f"attachment; filename=\"{up}\"; filename*=UTF-8''{quote(up)}")
    yield HostileServer("disposition", "a path as the name to save under", named, None)
    for name, sha in (
        ("path", "../../x"),
        ("up", up),
        ("branch", "main"),
        ("long", "a" * 9_999),
        ("list", ["a"]),
        ("none", None),
    ):
        yield HostileServer(f"commit-{name}", "a commit that is none", committed(sha), odd)
    elsewhere = to(lambda hub, request: f"{hub.storage_url}/steal/{request.path.rpartition('/')[2]}")
    yield HostileServer("redirect", "another host that would like the token", elsewhere, "status 501")
    yield HostileServer(
        "redirect-loop", "a redirect to itself", to(lambda hub, r: f"{hub.url}{quote(r.path)}"), "connection"
    )
    yield HostileServer("redirect-file", "a file of this machine", to(lambda *_: "file:///etc/passwd"), "connection")
    yield HostileServer(
        "redirect-odd", "an address that is none", to(lambda *_: "http://[::1:bad\x01"), f"connection|{odd}"
    )
    bomb = on(VECTORS, "GET")(
        lambda hub, r, reply: Reply(200, squeezed(), {**reply.headers, "Content-Encoding": "gzip"})
    )
    yield HostileServer("squeezed", "a file that unpacks to 256 MiB", bomb, f"{not_so}|not a valid|Consistency")
    page = on("")(lambda *_: Reply(200, b"<!DOCTYPE html><title>Log in</title>", {"Content-Type": "text/html"}))
    yield HostileServer("portal", "a page to log in on, for whatever is asked", page, odd)
    login = on("")(lambda hub, *_: Reply(302, b"", {"Location": f"{hub.storage_url}/login"}))
    yield HostileServer("portal-elsewhere", "the same, on another host", login, "refuses|connection|no file|cannot")
    words = f"No{RED}\nError: {C1}\r\nWarning: {MARKUP}"
    for status in (400, 401, 403, 404, 418, 451):
        refusal = on("/api/models/")(lambda *_, s=status: answer({"error": words}, s))
        yield HostileServer(
            f"refusal-{status}", "control characters in what is said", refusal, "mallory/tones|token|may not"
        )
    yield HostileServer(
        "info-list", "a list where an object should be", told(lambda _: [RED], f"/api/models/{NAME}"), odd
    )
    yield HostileServer(
        "info-text", "a text where an object should be", told(lambda _: RED, f"/api/models/{NAME}"), odd
    )


@contextmanager
def serving(case: Hostile | HostileServer) -> Iterator[HostileHub]:
    """A hub that holds a hostile repository, or is hostile itself."""
    with HostileHub(lfs_threshold=300) as hub:
        hub.create(NAME, case.files, tags=("emosteer", "base_model:someone/tiny-model"))
        hub.twist = getattr(case, "twist", None)
        yield hub


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    folder = parser.parse_args().output
    folder.mkdir(parents=True)
    for case in repositories():
        for name, data in case.files.items():
            path = folder / case.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        wanted = case.said or f"loads; pull: {case.pulled or 'fine'}"
        sys.stdout.write(f"{case.name}: {case.tries} → {wanted}\n")


if __name__ == "__main__":
    main()
