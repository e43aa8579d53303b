"""A folder for Hugging Face Inference Endpoints: handler, requirements, vectors, and optionally the model."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer._util import layout, strict_json
from emosteer._util.atomic import new_folder
from emosteer._util.names import is_repo_id
from emosteer.errors import IncompatibleModelError, InputError
from emosteer.layers import decoder_layers, hidden_size
from emosteer.vectors import storage
from emosteer.vectors.emotion_vectors import EmotionVectors

if TYPE_CHECKING:
    from emosteer.models.fingerprint import BaseModel

MOST_TOKENS = 1024
"""Longest answer that a request may ask for, in tokens. It is written to `endpoint.json`, which may be edited."""

__all__ = ["write_endpoint"]


def write_endpoint(vectors: str | Path, folder: str | Path, *, model: str | Path | None = None) -> str | None:
    """Write a folder for an Inference Endpoint, where every request has a tone of its own.

        emosteer.export.write_endpoint("vectors/my-model-en", "my-endpoint")

    Args:
        vectors: A folder of vectors, a `.safetensors` file or `user/name` on the Hub. They are copied unchanged.
        folder: A new or empty folder.
        model: A Hub id, which the endpoint loads when it starts, or a folder with a model, which is copied. By default
            the Hub model that the vectors were made for.

    Returns:
        The Hub id of the model, or None if the folder holds it.

    Raises:
        FormatError: The vectors cannot be read.
        IncompatibleModelError: The model in the folder is of another shape than that of the vectors.
        InputError: There is no such model, or the folder cannot be written or is not empty.
    """
    source, folder = storage.located(vectors), Path(folder)
    loaded = EmotionVectors.from_pretrained(source)
    base = loaded.base_model
    local = Path(model) if model is not None and Path(model).is_dir() else None
    if local is not None:
        _check_shape(local, base)
    repo_id = None if local is not None else str(model or base.repo_id or "")
    if repo_id is not None and not is_repo_id(repo_id):
        problem = f"{repo_id!r} is neither a folder nor a Hub id." if repo_id else "These vectors name no Hub model."
        raise InputError(problem, "Name the model they were made for, such as HuggingFaceTB/SmolLM2-135M-Instruct.")
    settings = {
        "emosteer_version": version("emosteer"),
        "max_new_tokens": MOST_TOKENS,
        "model": repo_id,
        "revision": base.revision if repo_id == base.repo_id else None,
    }
    with new_folder(folder) as scratch:
        shutil.copyfile(Path(__file__).parent / "handler.py", scratch / "handler.py")
        (scratch / "endpoint.json").write_text(strict_json.pretty(settings), encoding="utf-8")
        (scratch / "requirements.txt").write_text(f"{_requirement()}\n", encoding="utf-8")
        (scratch / "README.md").write_text(_card(loaded, repo_id), encoding="utf-8")
        (scratch / "vectors").mkdir()
        if source.is_dir():
            for name in (layout.VECTORS_FILE, layout.CONFIG_FILE):  # the card refers to files that are not copied
                if (source / name).is_file():
                    shutil.copyfile(source / name, scratch / "vectors" / name)
        else:
            shutil.copyfile(source, scratch / "vectors" / layout.VECTORS_FILE)
        if local is not None:
            shutil.copytree(local, scratch / "model", ignore=shutil.ignore_patterns(".*"))
    return repo_id


def _check_shape(folder: Path, base: BaseModel) -> None:
    """Check that the model has the shape that the vectors are for."""
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):  # without weights
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, StrictDataclassError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"The folder {folder} holds no model that transformers reads: {reason}") from error
    layers, width = len(decoder_layers(model)), hidden_size(model)  # what a config counts may be something else
    if (layers, width) != (base.num_hidden_layers, base.hidden_size):
        raise IncompatibleModelError(
            f"These vectors are for {base.num_hidden_layers} layers of width {base.hidden_size}, "
            f"the model in {folder} has {layers} of {width}.",
            "Name the model they were made for.",
        )


def _requirement() -> str:
    """Return a requirement for this version of emosteer, or a later compatible one."""
    current = version("emosteer")
    major, minor = (int(part) for part in current.split(".")[:2])
    return f"emosteer>={current},<{f'0.{minor + 1}' if major == 0 else major + 1}"


def _card(vectors: EmotionVectors, repo_id: str | None) -> str:
    emotions = vectors.emotions
    front = f"base_model: {vectors.base_model.repo_id}\n" if vectors.base_model.repo_id else ""
    where = f"`{repo_id}`, loaded from the Hub when the endpoint starts" if repo_id else "the one in `model/`"
    return f"""---
library_name: emosteer
pipeline_tag: text-generation
{front}---
# A model with a tone for every request

For Inference Endpoints: put this folder into a model repository and create an endpoint from it. `handler.py` answers
requests, `requirements.txt` is installed before it starts. The model is {where}.

```python
import os, requests

answer = requests.post(
    os.environ["ENDPOINT_URL"],
    headers={{"Authorization": f"Bearer {{os.environ['HF_TOKEN']}}"}},
    json={{
        "inputs": [{{"role": "user", "content": "How was your morning?"}}],
        "parameters": {{"emotion": {{"{emotions[0]}": 0.8}}, "max_new_tokens": 60}},
    }},
).json()  # [{{"generated_text": "…"}}], or {{"error": "…"}} with status 400
```

`inputs` is a list of messages to answer, or a text to continue. `parameters`, all optional:

| name | |
|---|---|
| `emotion` | emotion → strength in calibrated doses: 1.0 is the strongest tone that reads naturally |
| `valence`, `arousal` | instead of emotions: −1 to 1 each |
| `recipe` | `"natural"`, `"asked"`, `"asked_and_steered"` or `"none"`; by default the best of them for messages |
| `chat_template_kwargs` | what the chat template takes besides messages, as `{{"enable_thinking": false}}` |
| `max_new_tokens` | up to {MOST_TOKENS}; the limit stands in `endpoint.json` |
| `do_sample`, `temperature`, `top_p`, `top_k`, `repetition_penalty` | as for `generate` |
| `seed` | the same one gives the same answer |

Emotions: {", ".join(emotions)}.

A model that sounds glad or hurt feels nothing; say that its tone was set.
"""
