"""Whatever a user calls a model → the model and its tokenizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer import embedded
from emosteer._util.names import is_repo_id
from emosteer.errors import InputError, MissingExtraError
from emosteer.hub.client import AwayError, client, hub_errors

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = "embedded"

EMBEDDED_BYTES = 98_362_432
"""What its package holds of weights."""

_PARTS = r"-\d+-of-\d+"
_WEIGHTS = (
    r"model\.safetensors",
    rf"model{_PARTS}\.safetensors",
    r"pytorch_model\.bin",
    rf"pytorch_model{_PARTS}\.bin",
)
"""The files that transformers looks for, in its order; it takes the first kind that is there."""

_HINT = "Give 'embedded', a Hub id such as HuggingFaceTB/SmolLM2-135M-Instruct, a folder, or a .gguf file."

__all__ = ["EMBEDDED", "fetched", "load_model", "size_of"]


def load_model(source: str | Path, **options: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model for inference.

    Args:
        source: `"embedded"` for the small model that comes as a package, a Hub id, a folder, or a `.gguf` file.
        **options: For `AutoModelForCausalLM.from_pretrained`: `dtype`, `device_map`, `revision`, …

    Returns:
        The model in evaluation mode, and its tokenizer.

    Raises:
        InputError: There is no such model, or it cannot be loaded.
        MissingExtraError: A GGUF file, and not what reads it.
    """
    if str(source) == EMBEDDED:
        return embedded.load(options.get("dtype"))
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path, where = Path(source), str(source)
    revision = {key: options[key] for key in ("revision", "token") if key in options}
    gguf: dict[str, str] = {}
    if path.suffix == ".gguf":
        if not _is(Path.is_file, path):
            raise InputError(f"There is no GGUF file {path}.")
        where, gguf = str(path.parent), {"gguf_file": path.name}
        embedded.require_gguf(path.name)
    elif _is(Path.is_dir, path) and not (path / "config.json").is_file():
        raise InputError(f"The folder {path} holds no model: it has no config.json.", "Name a folder that has one.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **gguf, **revision)
        model = AutoModelForCausalLM.from_pretrained(where, **gguf, **options)
    except MissingExtraError:
        raise
    except (OSError, ValueError, ImportError, RuntimeError, TypeError, LookupError, SafetensorError) as error:
        # transformers explains at length; the first line says what.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"The model {str(source)[:200]!r} could not be loaded: {reason[:300]}",
            _HINT,
        ) from error
    return model.eval(), tokenizer


def size_of(source: str | Path) -> int | None:
    """Bytes of the weights that loading a model takes: from the Hub if it is a Hub id, whether cached or not.

    Args:
        source: As for `load_model`.

    Returns:
        None where it cannot be told: offline, or for a repository or a folder without weights that transformers loads.

    Raises:
        InputError: This can be no model.
        HubError: There is no such repository on the Hub, or it may not be seen.
    """
    name, path = str(source), Path(source)
    if name == EMBEDDED:
        return EMBEDDED_BYTES
    if _is(Path.is_file, path):
        return path.stat().st_size
    if _is(Path.is_dir, path):
        return _weights({file.name: file.stat().st_size for file in path.iterdir() if file.is_file()})
    if path.suffix == ".gguf" or not is_repo_id(name):
        raise InputError(f"{name[:200]!r} is neither a file or folder here nor the name of a repository.", _HINT)
    try:
        with hub_errors(name):
            files = client(None).model_info(name, files_metadata=True).siblings or []
            return _weights({file.rfilename: file.size for file in files})
    except AwayError:
        return None


def fetched(repo_id: str) -> int:
    """Bytes of a model of the Hub that are on this machine, among them the part of a file that is on its way.

    Args:
        repo_id: Its name on the Hub.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    found = 0
    for file in Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo_id, repo_type="model"), "blobs").glob("*"):
        with suppress(OSError):  # it has been given its name meanwhile
            found += file.stat().st_size
    return found


def _weights(sizes: Mapping[str, int | None]) -> int | None:
    """Bytes of the files that would be loaded, of all with their sizes."""
    kinds = ([size for name, size in sizes.items() if re.fullmatch(kind, name)] for kind in _WEIGHTS)
    taken = next(filter(None, kinds), [None])
    return sum(size for size in taken if size is not None) if None not in taken else None


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    with suppress(OSError):  # of a name that is too long for the system
        return kind(path)
    return False
