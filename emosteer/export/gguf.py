"""Control vectors for llama.cpp: a tone as a GGUF file that `llama-server --control-vector` adds to the model.

llama.cpp adds `direction.i` to the output of block i, counted from 0 as here, at every token. Its loader takes
one-dimensional float32 tensors of equal width, with i ≥ 1, and reads no other key. Layers without a tensor are not
steered.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer._util import strict_json
from emosteer._util.atomic import write_folder
from emosteer._util.own_files import require_own
from emosteer.errors import ToneError, require
from emosteer.export.constant import constant
from emosteer.steering.affect import Affect
from emosteer.steering.tones import Tone, named

if TYPE_CHECKING:
    from emosteer.vectors.emotion_vectors import EmotionVectors

ARCHITECTURE = "controlvector"

__all__ = ["write_gguf"]


def write_gguf(
    vectors: EmotionVectors, tone: Tone | Affect, path: str | Path, *, layers: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Write a tone as a control vector for llama.cpp.

        emosteer.export.write_gguf(vectors, {"joy": 0.8, "calm": 0.3}, "glad.gguf")
        # llama-server -m model.gguf --control-vector glad.gguf

    llama.cpp steers every token of prompt and answer, also the first, the attention sink, which emosteer leaves out.
    The same tone gives the same bytes. The key `emosteer` of the file describes the tone as JSON.

    Args:
        vectors: Vectors made for the model, in any quantisation.
        tone: Emotion → strength in calibrated doses, or an `Affect`.
        path: The file to write. A control vector of emosteer that is there is replaced, any other file is not.
        layers: Steer after these layers instead of those of the dose.

    Returns:
        The layers that are steered.

    Raises:
        ToneError: The tone is empty, differs by row or token, or steers layer 0, which a control vector cannot. Or an
            emotion or a layer does not exist, or a strength is not a finite number up to ±10.
        InputError: The file cannot be written, or is there and is no control vector of emosteer.
        MissingExtraError: The package `gguf` is not installed.
    """
    require("gguf", "gguf")
    path = Path(path)
    require_own(path.parent, [path.name])
    from gguf import GGUFWriter

    deltas = constant(vectors, tone, layers=layers, done="put into a control vector")
    deltas = {layer: delta for layer, delta in deltas.items() if bool(delta.any())}
    if not deltas:
        raise ToneError("The tone is empty, and llama.cpp refuses an empty control vector.", "Name an emotion.")
    if 0 in deltas:
        raise ToneError(
            f"The tone steers the layers {', '.join(map(str, deltas))}, and a control vector of llama.cpp begins at 1.",
            "Steer after other layers: layers=[…], or --layers on the command line.",
        )
    about = {
        "base_model": vectors.base_model.repo_id,
        "emosteer_version": version("emosteer"),
        "layers": list(deltas),
        "tone": {name: float(strength) for name, strength in named(vectors, tone).items()},
    }
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "vector.gguf"
        writer = GGUFWriter(file, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", vectors.base_model.model_type)
        writer.add_int32(f"{ARCHITECTURE}.layer_count", len(deltas))
        writer.add_string("emosteer", strict_json.canonical(about))
        for layer, delta in deltas.items():
            writer.add_tensor(f"direction.{layer}", delta.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        write_folder(path.parent, {path.name: file.read_bytes()})
    return tuple(deltas)
