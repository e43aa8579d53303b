"""The bodies of requests, as OpenAI's clients write them, and what is asked for by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emosteer._util.fields import number, value_of
from emosteer.errors import InputError
from emosteer.models.generation import MAX_NEW_TOKENS, context_length, option, text_prompt
from emosteer.serving.request import FIELDS, XARGS, Rules, ToneRequest, of_body
from emosteer.serving.rows import Job, Sampling
from emosteer.steering.asking import with_request
from emosteer.steering.recipes import DEFAULT, recipe_of

if TYPE_CHECKING:
    from emosteer.model import SteeredModel

LIMITS = ("max_completion_tokens", "max_tokens")
CONTINUED = 16
"""Tokens of a completion where the request names no number, as OpenAI has it."""
COLDEST = 0.01
"""Temperature below which the most likely token is taken."""
MOST_STOPS, LONGEST_STOP = 16, 256

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed")
_COMMON = ("model", "stream", "stream_options", "stop", "repetition_penalty", *LIMITS, *_SAMPLING, *FIELDS, XARGS)

_IGNORED = (
    *("metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
    *("service_tier", "store", "user"),
)
"""Fields that say nothing about the answer."""

_UNSERVED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "each request has one answer"),
    "best_of": ((1,), "each request has one answer"),
    "logprobs": ((False,), "no probabilities are returned"),
    "top_logprobs": ((0,), "no probabilities are returned"),
    "echo": ((False,), "only what is written is returned"),
    "suffix": (("",), "nothing is filled in"),
    "frequency_penalty": ((0,), "repetition_penalty is there instead"),
    "presence_penalty": ((0,), "repetition_penalty is there instead"),
    "logit_bias": (({},), "single tokens are not weighted"),
    "response_format": (({"type": "text"},), "answers are free text"),
    "tools": (([],), "no tools are called"),
    "tool_choice": (("none", "auto"), "no tools are called"),
    "functions": (([],), "no functions are called"),
    "function_call": (("none", "auto"), "no functions are called"),
    "modalities": ((["text"],), "answers are text"),
    "audio": ((), "answers are text"),
    "prediction": ((), "nothing is predicted"),
    "reasoning_effort": ((), "chat_template_kwargs are there for models that can be asked for it"),
    "verbosity": ((), "max_tokens is there instead"),
    "web_search_options": ((), "nothing is searched"),
}
"""Fields of OpenAI that would change the answer: values that do not, and why others are refused."""

__all__ = ["Asked", "chat", "completion"]


@dataclass(frozen=True)
class Asked:
    """A request that has been understood.

    Args:
        job: What the model is asked for.
        stream: Whether the answer is sent piece by piece.
        usage: Whether a stream ends with the number of tokens.
    """

    job: Job
    stream: bool
    usage: bool


def chat(steered: SteeredModel, body: Mapping[str, Any], rules: Rules, most: int) -> Asked:
    """Return what the body of a request for `/v1/chat/completions` asks for.

    Args:
        steered: The model.
        body: The body.
        rules: What the operator allows.
        most: Most tokens of an answer.

    Raises:
        EmosteerError: It cannot be given.
    """
    _check_fields(body, ("messages", "chat_template_kwargs"))
    messages = _messages(body, str(steered.tokenizer.chat_template))
    variables = value_of(body, "chat_template_kwargs", dict)
    tone = _tone(steered, body, rules)
    (told,), recipe = with_request(
        tone.recipe,
        steered.tokenizer,
        steered.vectors,
        messages,
        [tone.tone],
        tone.schedule,
        "add",
        tone.scope,
        variables,
    )
    prompt = steered.prompt(told, variables)["input_ids"][0].tolist()
    return _asked(steered, body, prompt, tone, recipe, most, MAX_NEW_TOKENS)


def completion(steered: SteeredModel, body: Mapping[str, Any], rules: Rules, most: int) -> Asked:
    """Return what the body of a request for `/v1/completions` asks for.

    Args:
        steered: The model.
        body: The body.
        rules: What the operator allows.
        most: Most tokens of an answer.

    Raises:
        EmosteerError: It cannot be given.
    """
    _check_fields(body, ("prompt",))
    text = body.get("prompt")
    if isinstance(text, list) and len(text) == 1:
        (text,) = text
    if not isinstance(text, str):
        raise InputError(f"prompt is {text!r:.60}, expected one text.", "Send several prompts as several requests.")
    tone = _tone(steered, body, rules)
    recipe = recipe_of(None if tone.recipe == DEFAULT else tone.recipe, carried=False)
    if recipe is not None and recipe.asks:
        raise InputError(f"The recipe {tone.recipe} needs messages.", "Use /v1/chat/completions, or natural.")
    prompt = text_prompt(steered.model, steered.tokenizer, text)["input_ids"][0].tolist()
    return _asked(steered, body, prompt, tone, recipe, most, CONTINUED)


def _asked(
    steered: SteeredModel,
    body: Mapping[str, Any],
    prompt: Sequence[int],
    tone: ToneRequest,
    recipe: Any,
    most: int,
    usual: int,
) -> Asked:
    room = context_length(steered.model) - len(prompt)
    wanted = next((limit for name in LIMITS if (limit := number(body, name, 1, 2**63)) is not None), usual)
    stream = bool(value_of(body, "stream", bool))
    options = value_of(body, "stream_options", dict) or {}
    usage = bool(value_of(options, "include_usage", bool))
    job = Job(prompt, tone, recipe, min(wanted, room, most), _sampling(steered, body), _stops(body))
    return Asked(job, stream, usage)


def _check_fields(body: Mapping[str, Any], own: Sequence[str]) -> None:
    for name, value in body.items():
        if name in _UNSERVED and value is not None:
            harmless, why = _UNSERVED[name]
            if not any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in harmless):
                raise InputError(f"{name} is {value!r:.60}, and {why}.", "Leave it out.")
        elif name not in (*own, *_COMMON, *_IGNORED, *_UNSERVED):
            raise InputError(f"There is no field {name!r:.60} here.", f"Known are: {', '.join((*own, *_COMMON))}.")


def _tone(steered: SteeredModel, body: Mapping[str, Any], rules: Rules) -> ToneRequest:
    tone = of_body(body)
    if tone is None:
        return rules.default
    rules.check(tone, steered.vectors.emotions)
    return tone


def _messages(body: Mapping[str, Any], template: str) -> list[dict[str, Any]]:
    """Return the messages with what a chat template knows; a client's copies of answers hold empty fields, too."""
    messages = value_of(body, "messages", list)
    if not messages:
        raise InputError("There are no messages.", 'As [{"role": "user", "content": "Hello"}].')
    told = []
    for message in messages:
        if not isinstance(message, dict):
            raise InputError(f"A message is {message!r:.60}, expected an object.", 'As {"role": "user", "content": …}.')
        given = {name: value for name, value in message.items() if value not in (None, [], {})}
        if "emotion" in given:
            raise InputError("A message has a tone of its own, which is not served.", "Give it for the answer.")
        if rest := given.keys() - {"role", "content", "name"}:
            raise InputError(f"A message has {min(rest)!r:.60}, expected role and content alone.", "Leave it out.")
        if (role := given.get("role")) not in ("system", "developer", "user", "assistant"):
            raise InputError(f"The role of a message is {role!r:.60}.", "Expected system, user or assistant.")
        if role == "developer" and "developer" not in template:
            given["role"] = "system"  # which is what it is to other models
        told.append(given)
    return told


def _sampling(steered: SteeredModel, body: Mapping[str, Any]) -> Sampling:
    """Return how tokens are chosen: as the request says, and else as the model's generation config does."""
    model = steered.model
    given = {
        "temperature": number(body, "temperature", 0.0, 2.0),
        "top_p": number(body, "top_p", 0.0, 1.0),
        "top_k": number(body, "top_k", -1, 1_000_000),
        "min_p": number(body, "min_p", 0.0, 1.0),
        "repetition_penalty": number(body, "repetition_penalty", 0.5, 2.0),
    }
    seed = number(body, "seed", -(2**63), 2**63 - 1)
    values = {name: option(model, {}, name) if value is None else value for name, value in given.items()}
    drawn = any(body.get(name) is not None for name in _SAMPLING) or bool(option(model, {}, "do_sample"))
    temperature = 1.0 if values["temperature"] is None else float(values["temperature"])
    values |= {
        "temperature": temperature if drawn and temperature >= COLDEST else None,
        "top_k": values["top_k"] if (values["top_k"] or 0) > 0 else None,
    }
    return Sampling(**values, seed=seed)


def _stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    stops = body.get("stop")
    stops = [] if stops is None else [stops] if isinstance(stops, str) else stops
    fit = isinstance(stops, list) and len(stops) <= MOST_STOPS
    if not fit or not all(isinstance(stop, str) and 0 < len(stop) <= LONGEST_STOP for stop in stops):
        raise InputError(
            f"stop is {stops!r:.60}.", f"Expected up to {MOST_STOPS} texts of up to {LONGEST_STOP} characters."
        )
    return tuple(stops)
