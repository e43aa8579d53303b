"""The handler of an Inference Endpoint: it answers each request in a tone of its own.

The server of the endpoint imports this file from the folder that it is in, makes one `EndpointHandler` and calls it
with the JSON of every request. It answers an exception with its message, as `{"error": …}`, and status 400.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from emosteer import Affect, SteeredModel
from emosteer._util import strict_json
from emosteer._util.fields import number, value_of
from emosteer.errors import InputError
from emosteer.models.generation import MAX_NEW_TOKENS, context_length, option, text_prompt
from emosteer.steering.asking import with_request
from emosteer.steering.recipes import DEFAULT

# Name → smallest and largest value.
NUMBERS = {"temperature": (0.01, 5.0), "top_p": (0.01, 1.0), "repetition_penalty": (0.5, 2.0)}
WHOLE_NUMBERS = {"top_k": (1, 1000), "seed": (0, 2**32 - 1)}
SAMPLING = ("temperature", "top_p", "top_k", "seed")
TONE = ("emotion", "valence", "arousal", "recipe")
PARAMETERS = (*TONE, "chat_template_kwargs", "max_new_tokens", "do_sample", *NUMBERS, *WHOLE_NUMBERS)


class EndpointHandler:
    """One model with its vectors, for all requests.

    Args:
        path: The folder with `endpoint.json`, `vectors/` and, unless the model comes from the Hub, `model/`.
    """

    def __init__(self, path: str = "") -> None:
        folder = Path(path) if path else Path(__file__).parent
        settings = strict_json.loads((folder / "endpoint.json").read_bytes())
        model, self.most_tokens = settings["model"], settings["max_new_tokens"]
        options = {"revision": settings["revision"]} if model else {}
        vectors = folder / "vectors" / "vectors.safetensors"
        self.steered = SteeredModel.from_pretrained(model or folder / "model", vectors=vectors, **options)
        if torch.cuda.is_available():
            self.steered.model.to("cuda")  # type: ignore[arg-type]  # torch and transformers type it differently

    def __call__(self, data: Mapping[str, Any]) -> list[dict[str, str]]:
        """Answer one request.

        Args:
            data: `{"inputs": …, "parameters": {…}}`: a text to continue, or a list of messages to answer.

        Returns:
            `[{"generated_text": …}]`, the generated text without the inputs.

        Raises:
            EmosteerError: A parameter is unknown, malformed or out of bounds.
        """
        parameters = data.get("parameters") or {}
        if not isinstance(parameters, Mapping):
            raise InputError(
                f"The parameters are {parameters!r:.60}, expected an object.", 'As {"emotion": {"joy": 0.8}}.'
            )
        if unknown := [name for name in parameters if name not in PARAMETERS]:
            raise InputError(f"There is no parameter {unknown[0]!r:.60}.", f"There are: {', '.join(PARAMETERS)}.")
        asked = {name: value for name, value in parameters.items() if value is not None}
        inputs = data.get("inputs")
        if not isinstance(inputs, (str, list)) or not inputs:
            raise InputError("The inputs are neither a text nor messages.", 'As "Once" or [{"role": …, "content": …}].')
        emotion, recipe = _tone(asked), value_of(asked, "recipe", str)
        seed = number(asked, "seed", *WHOLE_NUMBERS["seed"])
        variables = value_of(asked, "chat_template_kwargs", dict)
        model, tokenizer, vectors = self.steered.model, self.steered.tokenizer, self.steered.vectors
        named = None if recipe == "none" else recipe or (DEFAULT if isinstance(inputs, list) else None)
        if isinstance(inputs, list):
            (messages,), left = with_request(named, tokenizer, vectors, inputs, [emotion], None, "add", None, variables)
            tone: dict[str, Any] = {"emotion": emotion, "recipe": left, "seed": seed}
            tokens = self.steered.prompt(messages, variables)["input_ids"].shape[1]
            options = self._options(asked, tokens)
            text = self.steered.chat(messages, **tone, chat_template_kwargs=variables, **options)
        else:
            tone = {"emotion": emotion, "recipe": named, "seed": seed}
            tokens = text_prompt(model, tokenizer, inputs)["input_ids"].shape[1]
            text = self.steered.complete(inputs, **tone, **self._options(asked, tokens))
        return [{"generated_text": text}]

    def _options(self, asked: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """Return the options for `generate`. The answer is limited to the rest of the context."""
        room = context_length(self.steered.model) - tokens
        limit = number(asked, "max_new_tokens", 1, self.most_tokens)
        if limit is None:
            limit = min(option(self.steered.model, {}, "max_new_tokens") or MAX_NEW_TOKENS, self.most_tokens)
        numbers = {name: number(asked, name, *bounds) for name, bounds in (NUMBERS | WHOLE_NUMBERS).items()}
        del numbers["seed"]
        options = {name: value for name, value in numbers.items() if value is not None}
        sampled = value_of(asked, "do_sample", bool)
        if sampled is None and any(name in asked for name in SAMPLING):
            sampled = True
        if sampled is not None:
            options["do_sample"] = sampled
        if sampled is False:
            options = {name: value for name, value in options.items() if name not in SAMPLING}
        return {**options, "max_new_tokens": min(limit, room)}


def _tone(asked: Mapping[str, Any]) -> Any:
    """Return emotions with strengths, or a point of valence and arousal. Steering checks them."""
    emotion, point = asked.get("emotion"), {name: asked[name] for name in ("valence", "arousal") if name in asked}
    if point and emotion:
        raise InputError("A tone is either emotions or valence and arousal.", "Leave out one of them.")
    if not (emotion is None or isinstance(emotion, Mapping)):
        raise InputError(f"The emotion is {emotion!r:.60}, expected an object.", 'As {"joy": 0.8}.')
    return Affect(point.get("valence", 0.0), point.get("arousal", 0.0)) if point else emotion
