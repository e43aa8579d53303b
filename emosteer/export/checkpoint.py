"""A baked model on disk: a checkpoint that transformers reads without emosteer, and a note on the tone in it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer._util.atomic import new_folder
from emosteer.export.baked import bake
from emosteer.steering.affect import Affect
from emosteer.steering.tones import Tone, named

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["save_baked"]


def save_baked(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    vectors: EmotionVectors,
    tone: Tone | Affect,
    folder: str | Path,
    *,
    layers: Sequence[int] | None = None,
) -> PreTrainedModel:
    """Write a plain model that always speaks in a tone, as `emosteer.bake` makes it, with its tokenizer and a note.

        AutoModelForCausalLM.from_pretrained("glad-model")  # without emosteer

    Args:
        model: A causal language model of transformers. It is not changed.
        tokenizer: Its tokenizer.
        vectors: Vectors made for the model.
        tone: Emotion → strength in calibrated doses, or an `Affect`.
        folder: A new or empty folder.
        layers: Steer after these layers instead of those of the dose.

    Returns:
        The baked model.

    Raises:
        ToneError: As for `bake`.
        IncompatibleModelError: As for `bake`.
        InputError: The folder is not empty, or cannot be written.
    """
    baked = bake(model, vectors, tone, layers=layers)
    with new_folder(Path(folder)) as scratch:
        baked.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        (scratch / "README.md").write_text(_note(baked, vectors, named(vectors, tone), layers), encoding="utf-8")
    return baked


def _note(baked: PreTrainedModel, vectors: EmotionVectors, tone: Tone, layers: Sequence[int] | None) -> str:
    base = vectors.base_model
    front = f"base_model: {base.repo_id}\n" if base.repo_id else ""
    source = base.repo_id or f"a local {base.model_type} model"
    blocks = ", ".join(map(str, baked.config.emosteer_baked[-1]["layers"])) or "(none)"
    rows = []
    for emotion, strength in tone.items():
        dose = vectors.dose(emotion)
        kind = "calibrated" if emotion in vectors.doses else "fallback, not calibrated"
        steered = ", ".join(map(str, layers or dose.layers))
        rows.append(f"| {emotion} | {strength:g} | {dose.dose:.4g} ({kind}) | {steered} |")
    extraction = vectors.extraction
    return f"""---
library_name: transformers
pipeline_tag: text-generation
{front}---
# {source.rpartition("/")[2]} with a tone baked in

{source}, made to speak in a tone by emosteer {version("emosteer")}: what steering adds to the residual stream stands in
the biases of the blocks {blocks}. All other weights are those of the base model, whose
license holds.

| emotion | strength, in doses | dose, in mean residual norms | layers |
|---|---|---|---|
{chr(10).join(rows)}

The vectors: {len(vectors.emotions)} emotions, made by {extraction.get("method", "hand")} from the concept set
{extraction.get("concepts", "(none)")}; license {vectors.license or "not stated"}.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")  # this folder; emosteer is not needed
tokenizer = AutoTokenizer.from_pretrained(".")
```

The tone acts at every token of prompt and answer, also at the first, which steering leaves out, and cannot be turned
off. A model that sounds glad or hurt feels nothing; say that its tone was set.
"""
