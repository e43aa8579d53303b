"""Loading a causal language model and its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer import embedded
from emosteer._util.names import is_repo_id, misspelt_path
from emosteer.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = "embedded"

_HINT = "Give 'embedded', a Hub id such as HuggingFaceTB/SmolLM2-135M-Instruct, a folder, or a .gguf file."

__all__ = ["EMBEDDED", "load_model"]


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
        return embedded.load(options.pop("dtype", options.pop("torch_dtype", None)), **options)
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path, where = Path(source), str(source)
    revision = {key: options[key] for key in ("revision", "token") if key in options}
    gguf: dict[str, str] = {}
    if path.suffix == ".gguf":
        if not _is(Path.is_file, path):
            raise InputError(f"There is no GGUF file {path}.", misspelt_path(str(path)) or None)
        where, gguf = str(path.parent), {"gguf_file": path.name}
        embedded.require_gguf(path.name)
    elif _is(Path.is_dir, path) and not (path / "config.json").is_file():
        raise InputError(f"The folder {path} holds no model: it has no config.json.", "Name a folder that has one.")
    elif not is_repo_id(where) and not _is(Path.is_dir, path):
        raise InputError(
            f"There is no folder {where[:200]!r} here, and it cannot be the name of a Hub model.",
            misspelt_path(where) or _HINT,
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **gguf, **revision)
        model = AutoModelForCausalLM.from_pretrained(where, **gguf, **options)
    except MissingExtraError:
        raise
    except (
        OSError,
        ValueError,
        ImportError,
        RuntimeError,
        TypeError,
        AttributeError,
        LookupError,
        SafetensorError,
    ) as error:
        # transformers explains at length; the first line says what.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"The model {str(source)[:200]!r} could not be loaded: {reason[:300]}",
            misspelt_path(str(source)) or _HINT,
        ) from error
    return model.eval(), tokenizer


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    with suppress(OSError):  # of a name that is too long for the system
        return kind(path)
    return False
