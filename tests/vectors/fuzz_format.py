"""Damaged vector files by the thousand: each must end in FormatError or load equal to the good one, in bounded memory.

    python tests/fuzz_format.py --n 10000 --seed 0 [--file PATH] [--json]

Two child processes do the loading, so that a crash, a hang or a swollen memory is seen and laid at the door of the file
that caused it. Mutant i of a seed is always the same bytes: `--first i --n 1` makes it again, `--keep DIR` keeps those
that broke the rule.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import random
import re
import resource
import select
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ALLOWED_GROWTH = 64 * 2**20
PER_CHILD = 1_000  # mutants, before a fresh child takes over
CHILDREN = 2
START = 60  # seconds more that a child may take for its first file: it imports torch
FINE = ("FormatError", "equal", "equal, warned")

FILE, SIDE = "vectors.safetensors", "config.json"
Mutant = dict[str, bytes]  # the single file, or the two files of a folder


# The good file


def make_good(folder: Path, *, emotions: int = 34, layers: int = 30, width: int = 576, seed: int = 0) -> Path:
    """A file of realistic size with everything in it that a file can hold."""
    import torch

    from emosteer import EmotionVectors
    from emosteer.models.fingerprint import BaseModel
    from emosteer.vectors.types import Dose, EmotionInfo

    generator = torch.Generator().manual_seed(seed)
    names = [f"feeling-{i:02}" for i in range(emotions)]

    def units(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)

    EmotionVectors(
        {name: units(layers, width) for name in names},
        torch.rand(layers, generator=generator) * 300 + 1,
        tuple(range(layers)),
        BaseModel("llama", layers, width, "someone/some-model", "a" * 40, "Q4_1 dequantised", "0" * 64),
        {
            name: EmotionInfo({"en": name, "zh": "心情"}, i / 50 - 0.3, 0.3 - i / 50, "ratings of 2019")
            for i, name in enumerate(names)
        },
        {
            name: Dose(0.2, (0, layers - 1), (0.75, 0.25), "all", 0.2, 0.1, 0.9, "budget spent")
            for name in names[: emotions // 2]
        },
        {"method": "mean_difference", "seed": 0, "stability": {name: 0.9 - i / 1000 for i, name in enumerate(names)}},
        {"alignment": {"n": 28, "rsa": 0.5}},
        "Apache-2.0",
        torch.randn(layers, width, generator=generator),
        units(layers, 4, width),
    ).save_pretrained(folder)
    return folder / FILE


# JSON that can hold what json.dumps cannot write: keys that stand twice, and text that is not JSON


class Pairs(list):
    """An object, as key-value pairs."""


class Inner(Pairs):
    """An object that stands in the file as a string."""

    escaped = False


@dataclass(frozen=True)
class Raw:
    text: str


def parse(text: bytes | str) -> Pairs:
    return json.loads(text, object_pairs_hook=Pairs)


def dump(value: Any) -> str:
    if isinstance(value, Pairs):
        text = "{" + ",".join(f"{dump(key)}:{dump(item)}" for key, item in value) + "}"
        if isinstance(value, Inner):
            text = json.dumps(text)
            for mark in ",[{" if value.escaped else "":
                text = text.replace(mark, f"\\u{ord(mark):04x}")
        return text
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return value.text if isinstance(value, Raw) else json.dumps(value)


@dataclass(frozen=True)
class Good:
    """The file that is damaged, and its parts."""

    file: bytes
    side: bytes

    @classmethod
    def read(cls, path: Path) -> Good:
        return cls(path.read_bytes(), (path.parent / SIDE).read_bytes())

    @property
    def data_at(self) -> int:
        return 8 + struct.unpack_from("<Q", self.file)[0]

    def header(self) -> tuple[Pairs, Inner]:
        """The header, and the config in it; a change to either shows in what `with_header` writes."""
        outer = parse(self.file[8 : self.data_at])
        metadata = next(value for key, value in outer if key == "__metadata__")
        inner = Inner(parse(metadata[0][1]))
        metadata[0] = ("emosteer", inner)
        return outer, inner

    def with_header(self, header: Pairs) -> Mutant:
        raw = dump(header).encode("utf-8", "surrogatepass")
        raw += b" " * (-len(raw) % 8)
        return {FILE: struct.pack("<Q", len(raw)) + raw + self.file[self.data_at :]}


# Mutations


def _flip(data: bytes, rng: random.Random, times: int, begin: int = 0, end: int | None = None) -> bytes:
    changed = bytearray(data)
    for _ in range(times):
        changed[rng.randrange(begin, end or len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_anywhere(good: Good, rng: random.Random) -> Mutant:
    return {FILE: _flip(good.file, rng, rng.choice([1, 1, 2, 8]))}


def flip_in_header(good: Good, rng: random.Random) -> Mutant:
    return {FILE: _flip(good.file, rng, rng.choice([1, 1, 1, 2, 4]), 0, good.data_at)}


def change_bytes(good: Good, rng: random.Random) -> Mutant:
    changed = bytearray(good.file)
    end = rng.choice([good.data_at, len(changed)])
    for _ in range(rng.choice([1, 4, 16])):
        changed[rng.randrange(end)] = rng.choice([rng.randrange(256), 0, 255, *b' ,:"{}[]0e.-\\'])
    return {FILE: bytes(changed)}


def truncate(good: Good, rng: random.Random) -> Mutant:
    size = len(good.file)
    return {FILE: good.file[: rng.choice([rng.randrange(size), rng.randrange(good.data_at), size - rng.randint(1, 9)])]}


def extend(good: Good, rng: random.Random) -> Mutant:
    more = rng.choice([1, 4, 100, 2304, 10**6])
    return {FILE: good.file + rng.choice([bytes(more), rng.randbytes(more), good.file[:more]])}


def move_blocks(good: Good, rng: random.Random) -> Mutant:
    """Two blocks swapped, or one copied over another, zeroed, cut out or put in twice."""
    data = bytearray(good.file)
    size = min(rng.choice([1, 4, 512, 4096, 30 * 576 * 4]), len(data) // 4)
    floor = min(rng.choice([0, 8, good.data_at]), len(data) - size - 1)
    a, b = (rng.randrange(floor, len(data) - size) for _ in range(2))
    one, other = data[a : a + size], data[b : b + size]
    match rng.randrange(5):
        case 0:
            data[a : a + size], data[b : b + size] = other, one
        case 1:
            data[b : b + size] = one
        case 2:
            data[a : a + size] = bytes(size)
        case 3:
            del data[a : a + size]
        case _:
            data[a:a] = one
    return {FILE: bytes(data)}


def change_length(good: Good, rng: random.Random) -> Mutant:
    true = good.data_at - 8
    near = true + rng.choice([-1, 1]) * rng.choice([1, 2, 8, 64, 1000])
    edges = [0, 1, 2, 16 * 2**20, 16 * 2**20 + 1, 2**31, 2**32 + true, 2**63 - 1, 2**63, 2**64 - 1, len(good.file) - 8]
    length = rng.choice([near, near, rng.choice(edges), rng.randrange(2**64), rng.randrange(len(good.file))])
    return {FILE: struct.pack("<Q", max(0, length)) + good.file[8:]}


def _objects(value: Any) -> Iterator[Pairs]:
    if isinstance(value, Pairs):
        yield value
        for _, item in value:
            yield from _objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


def _some_object(outer: Pairs, inner: Inner, rng: random.Random) -> Pairs:
    """One that has a key in it: the top ones as likely as all the others together."""
    return rng.choice([outer, inner, rng.choice([found for found in _objects(outer) if found])])


def _name(rng: random.Random, like: str) -> str:
    at = rng.randrange(len(like) + 1)
    odd = [
        "",
        "__metadata__",
        "../x",
        "direction.../../x",
        "readout.x",
        "readout.bias",
        "direction@x",
        "\ud800",
        "a\0b",
        "x" * 500,
    ]
    return rng.choice([f"{like}x", like.upper(), like[:at] + rng.choice("aé.\n") + like[at + 1 :], rng.choice(odd)])


def rename_key(good: Good, rng: random.Random) -> Mutant:
    outer, inner = good.header()
    found = _some_object(outer, inner, rng)
    at = rng.randrange(len(found))
    taken = rng.choice(found)[0]  # often another key, which then stands twice
    found[at] = (rng.choice([taken, _name(rng, found[at][0]), _name(rng, found[at][0])]), found[at][1])
    return good.with_header(outer)


def remove_key(good: Good, rng: random.Random) -> Mutant:
    outer, inner = good.header()
    found = _some_object(outer, inner, rng)
    del found[rng.randrange(len(found))]
    return good.with_header(outer)


def repeat_key(good: Good, rng: random.Random) -> Mutant:
    outer, inner = good.header()
    found = _some_object(outer, inner, rng)
    again = rng.choice(found)
    found.insert(rng.randrange(len(found) + 1), rng.choice([again, (again[0], None), (again[0], rng.choice(found)[1])]))
    return good.with_header(outer)


def _odd_value(rng: random.Random, like: Any) -> Any:
    if isinstance(like, (int, float)) and rng.random() < 0.5:
        return rng.choice([like + 1, like - 1, -like, like * 2, like * 10**9, float(like), str(like), like + 2**64])
    if isinstance(like, str) and rng.random() < 0.5:
        return rng.choice([_name(rng, like), like[:-1], like + " ", [like], like * 50])
    if isinstance(like, list) and like and rng.random() < 0.5:
        return rng.choice([like[:-1], like + like[-1:], like[::-1], [like], [*like[:-1], None]])
    texts = ["NaN", "-Infinity", "1e999", "9" * 5_000, "-0", "1.5e-400", "[" * 300 + "]" * 300, "tru", "", "0x10", "01"]
    plain = [None, True, False, 0, 1, -1, 0.5, 10**30, -(10**18), 1e308, "", "x", "\ud800", [], [None], Pairs()]
    return rng.choice([*plain, Raw(rng.choice(texts))])


def change_entry(good: Good, rng: random.Random) -> Mutant:
    """Another dtype, shape or place of a tensor."""
    outer, _ = good.header()
    named = [item for item in outer if item[0] != "__metadata__"]
    fields = rng.choice(named)[1]
    at = rng.randrange(len(fields))
    key, value = fields[at]
    if key == "dtype":
        value = rng.choice(
            ["F16", "BF16", "F64", "I32", "I64", "U8", "BOOL", "F8_E4M3", "f32", *[_odd_value(rng, "F32")]]
        )
    elif rng.random() < 0.7:
        value = list(value)
        place = rng.randrange(len(value))
        value[place] = _odd_value(rng, value[place])
    else:
        value = rng.choice([_odd_value(rng, value), dict(rng.choice(named)[1])[key]])
    fields[at] = (key, value)
    return good.with_header(outer)


def change_config(good: Good, rng: random.Random) -> Mutant:
    outer, inner = good.header()
    _change_some_value(inner, rng)
    return good.with_header(outer)


def _change_some_value(config: Pairs, rng: random.Random) -> None:
    found = rng.choice([config, rng.choice([found for found in _objects(config) if found])])
    at = rng.randrange(len(found))
    key, value = found[at]
    if isinstance(value, list) and not isinstance(value, Pairs) and value and rng.random() < 0.5:
        value = list(value)
        place = rng.randrange(len(value))
        value[place] = _odd_value(rng, value[place])
    else:
        value = _odd_value(rng, value)
    found[at] = (key, value)


def _bulk(rng: random.Random) -> Raw:
    """Much for a parser to do, from few bytes: long, wide, deep, or with a key that stands twice among many."""
    n = int(10 ** rng.uniform(1, 6))
    unit = rng.choice(["0", "1.5", "[]", "{}", "[[]]", '""', '{"a":0}', '"abcdefgh"'])
    match rng.randrange(6):
        case 0:
            text = "[" + ",".join([unit] * n) + "]"
        case 1:
            text = "{" + ",".join(f'"{i}":{unit}' for i in range(n // 2)) + "}"
        case 2:
            text = "{" + ",".join(f'"{i}":0' for i in [*range(n // 2 + 1), n // 2]) + "}"
        case 3:
            text = '"' + rng.choice(["x", "é", "😀", "\\u00e9"]) * n + '"'
        case 4:
            depth = rng.choice([n, rng.randint(50, 1_100), rng.randint(800, 1_000)])
            text = rng.choice(["[" * depth + "]" * depth, '{"a":' * depth + "0" + "}" * depth])
        case _:
            text = rng.choice(["-", ""]) + "9" * n + rng.choice(["", ".5", "e5"])
    return Raw(text)


def inflate(good: Good, rng: random.Random) -> Mutant:
    outer, inner = good.header()
    found = rng.choice([outer, inner, inner, rng.choice(list(_objects(outer)))])
    bulk = _bulk(rng)
    if found and rng.random() < 0.3:
        at = rng.randrange(len(found))
        found[at] = (found[at][0], bulk)
    else:
        found.insert(rng.randrange(len(found) + 1), ("something_new", bulk))
    inner.escaped = rng.random() < 0.5
    return good.with_header(outer)


def side_file(good: Good, rng: random.Random) -> Mutant:
    """The good vectors with a damaged `config.json` beside them, or with none."""
    config = parse(good.side)
    match rng.randrange(6):
        case 0:
            side = _flip(good.side, rng, rng.choice([1, 1, 4]))
        case 1:
            side = good.side[: rng.randrange(len(good.side))]
        case 2:
            return {FILE: good.file, SIDE + ".bak": good.side}
        case 3:
            config.insert(rng.randrange(len(config)), ("something_new", _bulk(rng)))
            side = dump(config).encode()
        case 4:
            rng.shuffle(config)
            side = dump(config).encode()
        case _:
            _change_some_value(config, rng)
            side = dump(config).encode("utf-8", "surrogatepass")
    return {FILE: good.file, SIDE: side}


def twice(good: Good, rng: random.Random) -> Mutant:
    """Damage to the bytes on top of an edit of the header."""
    first = rng.choice([rename_key, remove_key, change_entry, change_config, change_length])(good, rng)
    damaged = Good(first[FILE], good.side)
    flipped = _flip(damaged.file, rng, 1, 0, min(damaged.data_at, len(damaged.file)))
    return rng.choice([{FILE: flipped}, truncate(damaged, rng)])


KINDS: dict[str, Callable[[Good, random.Random], Mutant]] = {
    "bits flipped anywhere": flip_anywhere,
    "bits flipped in the header": flip_in_header,
    "bytes changed": change_bytes,
    "cut short": truncate,
    "made longer": extend,
    "blocks moved": move_blocks,
    "header length changed": change_length,
    "key renamed": rename_key,
    "key removed": remove_key,
    "key repeated": repeat_key,
    "tensor entry changed": change_entry,
    "config value changed": change_config,
    "header inflated": inflate,
    "config.json changed": side_file,
    "two of these": twice,
}


def mutant(good: Good, seed: int, index: int) -> tuple[str, Mutant]:
    """Mutant `index` of a seed: its kind and its files."""
    kind = list(KINDS)[index % len(KINDS)]
    return kind, KINDS[kind](good, random.Random(f"{seed}/{index}"))


# The child: loads what it is told to, and says what came of it


def _peak() -> int:
    """Most bytes of memory this process has had since the last reset, or ever where that cannot be reset."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _reset_peak() -> None:
    with contextlib.suppress(FileNotFoundError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def differences(a: Any, b: Any) -> list[str]:
    """In which fields two sets of vectors differ."""
    import torch

    def same(x: Any, y: Any) -> bool:
        if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor):
            return x.dtype == y.dtype and torch.equal(x, y)
        return type(x) is type(y) and not isinstance(x, torch.Tensor) and x == y

    names = ("emotions", "layers", "base_model", "info", "doses", "extraction", "measured", "license")
    found = [name for name in names if not same(getattr(a, name), getattr(b, name))]
    if a.emotions == b.emotions:
        found += [name for name in a.emotions if not same(a.directions[name], b.directions[name])]
    tensors = ("residual_norm", "center", "neutral_basis")
    found += [name for name in tensors if not same(getattr(a, name), getattr(b, name))]
    if a.readout is None or b.readout is None:
        return found + ["readout"] * (a.readout is not b.readout)
    parts = ("emotions", "axes", "bias", "spread", "inertia")
    found += [f"readout.{part}" for part in parts if not same(getattr(a.readout, part), getattr(b.readout, part))]
    if a.readout.weights.keys() != b.readout.weights.keys():
        return [*found, "readout.weights"]
    return found + [
        f"readout {one}" for one, rows in a.readout.weights.items() if not same(rows, b.readout.weights[one])
    ]


def judge(path: Path, good: Any) -> dict[str, Any]:
    """Load a file: what came of it, and the peak of memory while it was loading."""
    from emosteer import EmosteerWarning, EmotionVectors
    from emosteer.errors import FormatError

    gc.collect()
    _reset_peak()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loaded = EmotionVectors.from_pretrained(path)
        except FormatError:
            return {"outcome": "FormatError", "peak": _peak()}
        except Exception as error:
            peak = _peak()
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}:{frame.name}"
            return {"outcome": type(error).__name__, "detail": f"{where}: {str(error)[:200]}", "peak": peak}
    peak = _peak()
    if changed := differences(loaded, good):
        return {"outcome": "loaded changed", "detail": ", ".join(changed)[:200], "peak": peak}
    if odd := [str(entry.message) for entry in caught if entry.category is not EmosteerWarning]:
        return {"outcome": "foreign warning", "detail": odd[0][:200], "peak": peak}
    return {"outcome": "equal, warned" if caught else "equal", "peak": peak}


def child(path: Path) -> None:
    """Judge one path a line of stdin, and answer with one line of JSON each."""
    import torch

    from emosteer import EmotionVectors

    torch.set_num_threads(1)
    good = EmotionVectors.from_pretrained(path)
    gc.collect()
    gc.freeze()  # what torch holds need not be looked through each time
    trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)  # what an earlier file left is not a later one's
    base = max(judge(place, good)["peak"] for place in (path, path.parent, path))
    with contextlib.suppress(FileNotFoundError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + 4 * 2**30  # what would swallow the machine ends in MemoryError
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        trim(0)
        found = judge(Path(line.rstrip("\n")), good)
        found["growth"] = max(0, found.pop("peak") - base)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


# The parent: makes mutants, hands them out, watches


@dataclass(frozen=True)
class Violation:
    """A mutant that broke the rule."""

    index: int
    kind: str
    outcome: str
    detail: str


@dataclass
class Report:
    """What came of all mutants."""

    n: int
    seed: int
    file: str
    allowed_growth: int = ALLOWED_GROWTH
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in KINDS})
    growth: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)

    def add(self, index: int, kind: str, found: dict[str, Any]) -> bool:
        """Count one; True if it was as it should be."""
        outcome = found["outcome"]
        growth = found.get("growth", 0)
        self.growth[kind] = max(self.growth[kind], growth)
        detail = found.get("detail", "")
        if outcome in FINE and growth > self.allowed_growth:
            outcome, detail = "too much memory", f"{growth / 2**20:.0f} MiB more than the good file ({outcome})"
        self.counts[kind][outcome] += 1
        if outcome not in FINE:
            self.violations.append(Violation(index, kind, outcome, detail))
        return outcome in FINE

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": 1,
            **{name: getattr(self, name) for name in ("n", "seed", "file", "allowed_growth")},
            "counts": {kind: dict(counts) for kind, counts in self.counts.items()},
            "peak_growth": dict(self.growth),
            "violations": [asdict(violation) for violation in sorted(self.violations, key=lambda v: v.index)],
        }


class Child:
    """A process that loads; started when needed, replaced when it is worn out, has died or does not answer."""

    def __init__(self, command: Sequence[str], timeout: float) -> None:
        self.command, self.timeout = command, timeout
        self.process: subprocess.Popen[bytes] | None = None
        self.served = 0

    def ask(self, path: Path) -> dict[str, Any]:
        if self.process is None:
            self.served = 0
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.served += 1
        try:
            self.process.stdin.write(f"{path}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return self._died()
        patience = self.timeout + (START if self.served == 1 else 0)
        if not select.select([self.process.stdout], [], [], patience)[0]:
            self.stop()
            return {"outcome": "hung", "detail": f"no answer in {patience:g} s"}
        line = self.process.stdout.readline()
        if not line:
            return self._died()
        found: dict[str, Any] = json.loads(line)
        if self.served >= PER_CHILD or found.get("growth", 0) > ALLOWED_GROWTH:
            self.stop()
        return found

    def _died(self) -> dict[str, Any]:
        code = self.process.wait()
        self.stop()
        return {"outcome": "crashed", "detail": f"the process ended with {code}"}

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process.wait()
            self.process = None


def run(
    file: Path,
    *,
    n: int,
    seed: int = 0,
    first: int = 0,
    keep: Path | None = None,
    timeout: float = 20,
    command: Sequence[str] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Load n mutants of a good file.

    Args:
        file: The good `vectors.safetensors`, with its `config.json` beside it.
        n: How many mutants.
        seed: Of the mutants.
        first: Index of the first of them.
        keep: Folder for the mutants that break the rule.
        timeout: Seconds after which a load counts as hung.
        command: That starts a child, instead of this file.
        progress: Called after each mutant, with how many are done.
    """
    good, report = Good.read(file), Report(n, seed, file.name)
    command = command or [sys.executable, str(Path(__file__).resolve()), "--child", str(file.resolve())]
    indices, lock = iter(range(first, first + n)), threading.Lock()
    failures: list[BaseException] = []

    def work(folder: Path) -> None:
        served = Child(command, timeout)
        try:
            while not failures:
                with lock:
                    index = next(indices, None)
                if index is None:
                    return
                kind, files = mutant(good, seed, index)
                found = served.ask(_lay_out(folder, files))
                with lock:
                    if not report.add(index, kind, found) and keep is not None:
                        _lay_out(keep / str(index), files)
                    progress(sum(counts.total() for counts in report.counts.values()))
        except BaseException as error:
            failures.append(error)
        finally:
            served.stop()

    with tempfile.TemporaryDirectory() as scratch:
        threads = [threading.Thread(target=work, args=(Path(scratch, str(i)),)) for i in range(min(CHILDREN, n))]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException as error:
            failures.append(error)
            for thread in threads:
                thread.join()
    if failures:
        raise failures[0]
    return report


def _lay_out(folder: Path, files: Mutant) -> Path:
    """Write a mutant; a single file is loaded as such, two as a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / FILE if len(files) == 1 else folder


def show(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    outcomes = [*FINE, *sorted({violation.outcome for violation in report.violations})]
    table = Table(title=f"{report.n} mutants of {report.file}, seed {report.seed}")
    table.add_column("kind")
    for outcome in [*outcomes, "peak growth, MiB"]:
        table.add_column(outcome, justify="right", style="red" if outcome in outcomes[len(FINE) :] else None)
    for kind, counts in report.counts.items():
        cells = [str(counts[outcome] or "–") for outcome in outcomes]
        table.add_row(kind, *cells, f"{report.growth[kind] / 2**20:.1f}")
    sums = [str(sum(counts[outcome] for counts in report.counts.values())) for outcome in outcomes]
    table.add_section()
    table.add_row("all", *sums, f"{max(report.growth.values(), default=0) / 2**20:.1f}")
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for violation in sorted(report.violations, key=lambda v: v.index)[:50]:
        line = f"{violation.index} ({violation.kind}): {violation.outcome}: {violation.detail}"
        console.print(ascii(line)[1:-1], markup=False, highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000, help="mutants (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="index of the first mutant")
    parser.add_argument("--file", type=Path, help="a good vectors.safetensors (default: one made for this)")
    parser.add_argument("--keep", type=Path, help="folder for the mutants that break the rule")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.child:
        child(asked.child)
        return 0

    def progress(done: int) -> None:
        if sys.stderr.isatty() and done % 50 == 0:
            sys.stderr.write(f"\r{done} of {asked.n}")

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as scratch:
        file = asked.file or make_good(Path(scratch))
        report = run(file, n=asked.n, seed=asked.seed, first=asked.first, keep=asked.keep, progress=progress)
    if asked.json:
        sys.stdout.write(json.dumps(report.to_dict(), indent=2) + "\n")
    else:
        show(report)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
