"""Format version 1 written without emosteer: the golden file, and the means to make any other file, good or bad.

Only the standard library is used, so that what the reader is tested with does not come from the writer beside it.
`python tests/golden/make_v1.py` writes the three files of `tests/golden/v1` again, to the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

PACKED = {"F32": "f", "F16": "e", "F64": "d"}
SIZES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "U8": 1, "F8_E4M3": 1}

Tensor = tuple[str, list[int], bytes]  # dtype, shape, bytes


def tensor(values: Any, dtype: str = "F32") -> Tensor:
    """Nested lists of numbers as a tensor."""
    shape, flat = [], values
    while isinstance(flat, list):
        shape.append(len(flat))
        flat = flat[0] if flat else None
    for _ in shape[1:]:
        values = [value for row in values for value in row]
    return dtype, shape, struct.pack(f"<{len(values)}{PACKED[dtype]}", *values)


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def sealed(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the digest of its own fields, whatever they are."""
    fields = {key: value for key, value in config.items() if key != "config_digest"}
    return {**fields, "config_digest": hashlib.sha256(canonical(fields).encode()).hexdigest()}


def digested(config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The config with the digests of these tensors, sealed."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, (_, _, data) in tensors.items()}
    return sealed({**config, "digests": digests})


def entries(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The header entries of tensors that stand one after the other, the wider dtypes first, then by name."""
    found, at = {}, 0
    for name, (dtype, shape, data) in in_order(tensors):
        found[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    return found


def in_order(tensors: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    return sorted(tensors.items(), key=lambda item: (-SIZES[item[1][0]], item[0]))


def file_bytes(header: dict[str, Any] | bytes, data: bytes, *, length: int | None = None) -> bytes:
    """Length, header, data. A header in bytes is taken as it is; a length that is given is written, true or not."""
    raw = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    if not isinstance(header, bytes):
        raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def build(tensors: dict[str, Tensor], config: dict[str, Any] | str) -> bytes:
    """A whole file. The config is written as it stands: seal and digest it before."""
    text = config if isinstance(config, str) else canonical(config)
    data = b"".join(data for _, (_, _, data) in in_order(tensors))
    return file_bytes({"__metadata__": {"emosteer": text}, **entries(tensors)}, data)


# The golden file. Every number of it stands again in tests/test_format.py.

THIRD = 1 / math.sqrt(3)

GOLDEN_TENSORS = {
    "direction.joy": tensor([[0.6, 0.8, 0.0, 0.0], [0.5, -0.5, 0.5, -0.5]]),
    "direction.quiet-fear": tensor([[0.0, 0.0, 0.0, -1.0], [THIRD, THIRD, 0.0, -THIRD]]),
    "residual_norm": tensor([12.25, 310.5]),
    "center": tensor([[1.5, -2.25, 0.0, 1024.0], [-0.125, 3.0, 65536.0, 1e-3]]),
    "neutral_basis": tensor([[[0.0, 0.0, 1.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]),
}

GOLDEN_CONFIG = {
    "format_version": 1,
    "emosteer_version": "0.1.0",
    "critical": [],
    "base_model": {
        "repo_id": "someone/tiny-model",
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "weights_variant": "Q4_1 dequantised",
        "model_type": "llama",
        "num_hidden_layers": 6,
        "hidden_size": 4,
        "fingerprint": "5e" * 32,
    },
    "layers": [2, 4],
    "site": "block_output",
    "emotions": [
        {
            "name": "quiet-fear",
            "labels": {"en": "quiet fear", "zh": "恐惧"},
            "valence": -0.75,
            "arousal": 0.5,
            "source": "Ratings of 2019, scaled",
        },
        {"name": "joy", "labels": {"en": "joy"}, "valence": None, "arousal": None, "source": None},
    ],
    "extraction": {
        "method": "mean_difference",
        "pooling": "mean",
        "concepts": "small",
        "languages": ["en"],
        "concepts_digest": "c0" * 32,
        "counts": {"emotional": 24, "neutral": 48},
        "seed": 0,
        "stability": {"joy": 0.875, "quiet-fear": 0.5},
    },
    "doses": {
        "joy": {
            "dose": 0.375,
            "layers": [4],
            "weights": [0.5],
            "scope": "generated",
            "budget": 0.25,
            "cost": 0.1875,
            "hit_rate": 0.9,
            "stopped": "budget spent",
        }
    },
    "measured": {"alignment": {"rsa": 0.5, "n": 28}},
    "license": "Apache-2.0",
}

GOLDEN_CARD = """\
# A golden file of format version 1

Written once by `tests/golden/make_v1.py`, with nothing of emosteer in it, and never changed: every emosteer from 0.1.0
on loads it, and `tests/test_format.py` checks every value.
"""


def golden() -> dict[str, bytes]:
    """The three files: name → content."""
    config = digested(GOLDEN_CONFIG, GOLDEN_TENSORS)
    pretty = json.dumps(config, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    return {
        "vectors.safetensors": build(GOLDEN_TENSORS, config),
        "config.json": pretty.encode(),
        "README.md": GOLDEN_CARD.encode(),
    }


if __name__ == "__main__":
    folder = Path(__file__).parent / "v1"
    folder.mkdir(exist_ok=True)
    for name, content in golden().items():
        (folder / name).write_bytes(content)
