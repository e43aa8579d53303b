"""How many bytes a model's weights take, and how many of them have been downloaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from emosteer._util.names import is_repo_id
from emosteer.errors import InputError
from emosteer.hub.client import AwayError, client, hub_errors
from emosteer.models.loading import EMBEDDED

EMBEDDED_BYTES = 98_362_432
"""Size of the weights in the package of the embedded model."""

_PARTS = r"-\d+-of-\d+"
# The files that transformers looks for, in its order; it takes the first kind that is there.
_WEIGHTS = (
    r"model\.safetensors",
    rf"model{_PARTS}\.safetensors",
    r"pytorch_model\.bin",
    rf"pytorch_model{_PARTS}\.bin",
)

__all__ = ["downloaded_bytes", "weight_bytes"]


def weight_bytes(source: str | Path) -> int | None:
    """Return how many bytes of weights loading a model takes, whether they have been downloaded or not.

    Args:
        source: As for `emosteer.models.loading.load_model`.

    Returns:
        None if it is unknown: offline, or for a repository or folder without weights that transformers loads.

    Raises:
        InputError: The source is neither a path nor the name of a repository.
        HubError: There is no such repository on the Hub, or it may not be seen.
    """
    name, path = str(source), Path(source)
    if name == EMBEDDED:
        return EMBEDDED_BYTES
    with suppress(OSError):  # a name that is too long for a path
        if path.is_file():
            return path.stat().st_size
        if path.is_dir():
            return _weights({file.name: file.stat().st_size for file in path.iterdir() if file.is_file()})
    if path.suffix == ".gguf" or not is_repo_id(name):
        raise InputError(
            f"{name[:200]!r} is neither a file or folder here nor the name of a repository.",
            "Give 'embedded', a Hub id such as HuggingFaceTB/SmolLM2-135M-Instruct, a folder, or a .gguf file.",
        )
    try:
        with hub_errors(name):
            files = client(None).model_info(name, files_metadata=True).siblings or []
            return _weights({file.rfilename: file.size for file in files})
    except AwayError:
        return None


def downloaded_bytes(repo_id: str) -> int:
    """Return how many bytes of a model are in the Hub's cache, including files that are still being downloaded.

    Args:
        repo_id: Name of the model on the Hub.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    total = 0
    for file in Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo_id, repo_type="model"), "blobs").glob("*"):
        with suppress(OSError):  # a finished download has just been renamed
            total += file.stat().st_size
    return total


def _weights(sizes: Mapping[str, int | None]) -> int | None:
    """Sum the sizes of the files that transformers would load."""
    kinds = ([size for name, size in sizes.items() if re.fullmatch(kind, name)] for kind in _WEIGHTS)
    chosen = next(filter(None, kinds), [None])
    return sum(size for size in chosen if size is not None) if None not in chosen else None
