"""The proof of control vectors: llama.cpp with an exported file against transformers with hooks written by hand.

The embedded model is made an F32 GGUF file, every tensor dequantised and the metadata copied, so that both engines have
the same weights. Prompts are answered greedily, without a tone and in each of several. llama.cpp gets the exported file
as its own loader reads it; transformers gets a hook that adds the deltas, worked out from the fields of the vectors, at
every token. Their tokens must be the same. Where they are not, the two engines' gaps between the two highest logits are
shown: rounding may decide between tokens that are this near. emosteer's own output, which leaves the first token out,
is beside them, with its distance (KL divergence from the hook at all tokens, mean over the later tokens).

    make test-llama-cpp
    PYTHONPATH=.venv/llama-cpp python -m tests.export.llama_cpp [--json FILE] [--tokens 40]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import tempfile
import warnings
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import emosteer
from emosteer import embedded
from emosteer.export import write_gguf

VECTORS = Path("vectors") / "smollm2-135m-instruct-en"
TONES = {
    "plain": {},
    "joy 1": {"joy": 1.0},
    "anger .8 + fear .5": {"anger": 0.8, "fear": 0.5},
    "joy −1": {"joy": -1.0},
}
PROMPTS = (
    "How was your morning?",
    "Tell me about your neighbours.",
    "How do I repot a plant?",
    "What happened at work today?",
)


def to_f32(source: Path, target: Path) -> None:
    """The same model with every tensor dequantised."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter
    from gguf.quants import dequantize

    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    left = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version")
    for name, field in reader.fields.items():
        if not name.startswith(left):
            array = field.types[0] == GGUFValueType.ARRAY
            writer.add_key_value(name, field.contents(), field.types[0], field.types[-1] if array else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def as_llama_cpp_loads_it(file: Path, width: int) -> np.ndarray:
    """`[layers · width]`: layer 1 first, zeros where the file names none, tensors of one layer added up."""
    from gguf import GGUFReader

    data = np.zeros(0, np.float32)
    for tensor in GGUFReader(file).tensors:
        kind, _, layer = tensor.name.partition(".")
        assert (kind, tensor.tensor_type.name, tensor.shape.tolist()) == ("direction", "F32", [width])
        assert int(layer) > 0
        data = np.concatenate([data, np.zeros(max(0, int(layer) * width - len(data)), np.float32)])
        data[(int(layer) - 1) * width : int(layer) * width] += tensor.data
    return data


class LlamaCpp:
    def __init__(self, file: Path) -> None:
        import llama_cpp

        self.lib = llama_cpp
        self.llama = llama_cpp.Llama(str(file), n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False)

    def steer(self, data: np.ndarray, width: int, depth: int) -> None:
        array = (ctypes.c_float * len(data))(*data.tolist()) if len(data) else None
        assert not self.lib.llama_set_adapter_cvec(self.llama.ctx, array, len(data), width, 1, depth)

    def answer(self, ids: list[int], n: int, eos: int) -> tuple[list[int], list[float]]:
        self.llama.reset()
        return greedy(self._logits, ids, n, eos)

    def _logits(self, ids: list[int]) -> np.ndarray:
        self.llama.eval(ids)
        pointer = self.lib.llama_get_logits_ith(self.llama.ctx, -1)
        return np.ctypeslib.as_array(pointer, (self.llama.n_vocab(),)).copy()


def greedy(logits_after, ids: list[int], n: int, eos: int) -> tuple[list[int], list[float]]:
    """The likeliest tokens, and by how much each was ahead of the second."""
    tokens: list[int] = []
    gaps: list[float] = []
    new = ids
    while len(tokens) < n and (not tokens or tokens[-1] != eos):
        logits = logits_after(new)
        second, first = np.argsort(logits)[-2:]
        tokens.append(int(first))
        gaps.append(float(logits[first] - logits[second]))
        new = tokens[-1:]
    return tokens, gaps


def by_transformers(model, ids: list[int], n: int, eos: int) -> tuple[list[int], list[float]]:
    cache = None

    def logits_after(new: list[int]) -> np.ndarray:
        nonlocal cache
        output = model(input_ids=torch.tensor([new]), past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        return output.logits[0, -1].numpy()

    return greedy(logits_after, ids, n, eos)


@contextmanager
def added_at_every_token(model, vectors, tone):
    total: dict[int, torch.Tensor] = {}
    for emotion, strength in tone.items():
        dose = vectors.doses[emotion]
        for layer, weight in zip(dose.layers, dose.weights, strict=True):
            row = vectors.layers.index(layer)
            delta = vectors.directions[emotion][row].double() * (
                strength * dose.dose * weight * vectors.residual_norm[row].item()
            )
            total[layer] = total.get(layer, 0) + delta
    handles = [
        model.model.layers[layer].register_forward_hook(lambda _block, _args, output, delta=delta: output + delta)
        for layer, delta in ((layer, delta.float()) for layer, delta in total.items())
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def spread(model, ids: list[int]) -> torch.Tensor:
    """Log-probabilities after every token but the first, `[tokens, vocabulary]`."""
    return model(input_ids=torch.tensor([ids])).logits[0, 1:].log_softmax(-1)


def distance(aim: torch.Tensor, other: torch.Tensor) -> float:
    return float((aim.exp() * (aim - other)).sum(-1).mean())


@torch.no_grad()
def compare(n: int, scratch: Path) -> list[dict]:
    model, tokenizer = embedded.load()
    vectors = emosteer.EmotionVectors.from_pretrained(VECTORS)
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    to_f32(embedded._packaged_gguf(), scratch / "f32.gguf")
    llama = LlamaCpp(scratch / "f32.gguf")
    width, depth, eos = vectors.hidden_size, vectors.base_model.num_hidden_layers, tokenizer.eos_token_id
    rows = []
    for name, tone in TONES.items():
        data = np.zeros(0, np.float32)
        if tone:
            write_gguf(vectors, tone, scratch / "tone.gguf")
            data = as_llama_cpp_loads_it(scratch / "tone.gguf", width)
        llama.steer(data, width, depth)
        for prompt in PROMPTS:
            ids = steered.prompt(prompt)["input_ids"][0].tolist()
            theirs, their_gaps = llama.answer(ids, n, eos)
            with added_at_every_token(model, vectors, tone):
                ours, our_gaps = by_transformers(model, ids, n, eos)
                everywhere = spread(model, ids + ours)
            with steered.steer(tone):
                own, _ = by_transformers(model, ids, n, eos)
                but_first = spread(model, ids + ours)
            parted = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), None)
            row = {
                "tone": name,
                "prompt": prompt,
                "tokens": len(ours),
                "same": theirs == ours,
                "smallest_gap": min(our_gaps),
                "emosteer_same": own == ours,
                "emosteer_kl": distance(everywhere, but_first),
                "tone_kl": distance(everywhere, spread(model, ids + ours)),
                "text": tokenizer.decode(theirs, skip_special_tokens=True),
            }
            if parted is not None:
                row |= {"parted_at": parted, "gaps": [their_gaps[parted], our_gaps[parted]]}
            rows.append(row)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description="llama.cpp against transformers")
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        rows = compare(asked.tokens, Path(scratch))
    table = Table(
        "tone", "prompt", "tokens", "llama.cpp = hook", "smallest gap", "emosteer = hook", "KL", "KL of the tone"
    )
    for row in rows:
        same = "yes" if row["same"] else f"to {row.get('parted_at')}: gaps {row.get('gaps')}"
        numbers = (f"{row['smallest_gap']:.4f}", "yes" if row["emosteer_same"] else "no", f"{row['emosteer_kl']:.2g}")
        table.add_row(row["tone"], row["prompt"], str(row["tokens"]), same, *numbers, f"{row['tone_kl']:.2g}")
    console = Console(width=150)
    console.print(table)
    same, own = (sum(row[key] for row in rows) for key in ("same", "emosteer_same"))
    console.print(
        f"llama.cpp is token for token the hook in {same} of {len(rows)}; emosteer in {own}.", highlight=False
    )
    data = {"llama_cpp_python": version("llama_cpp_python"), "same": same, "of": len(rows), "rows": rows}
    if asked.json:
        asked.json.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    # Rounding decides between tokens whose logits are nearly the same; anything else is an error.
    return int(any(not row["same"] and max(row.get("gaps", [1.0])) > 1e-3 for row in rows))


if __name__ == "__main__":
    sys.exit(main())
