"""SteeredModel: a model, its tokenizer and its emotion vectors in one object that generates and chats in a tone."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from emosteer._util.numbers import is_finite_number
from emosteer.errors import InputError, ToneError
from emosteer.layers import check_blocks, input_device
from emosteer.models.activations import Passage
from emosteer.models.fingerprint import base_model_of
from emosteer.models.messages import Messages, last_message, message_spans, parsed, template_options, tones_of
from emosteer.models.seeded_sampling import drawing
from emosteer.models.streaming import streamed
from emosteer.reading.emotion_reading import EmotionReading, read
from emosteer.reading.explain import Explanation, choices
from emosteer.reading.fit import fit_readout
from emosteer.reading.trace import Trace
from emosteer.schedules import Schedule
from emosteer.steering.affect import Affect
from emosteer.steering.hooks import Steering, unsteered
from emosteer.steering.plan import plan
from emosteer.steering.recipes import STEADY, STEADY_HINT, Recipe, with_recipe
from emosteer.steering.thermostat import Control, Thermostat
from emosteer.steering.tones import Keyframes, Tone, Turns, Wanted

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.vectors.emotion_vectors import EmotionVectors
    from emosteer.vectors.types import Readout

MAX_NEW_TOKENS = 256
"""How long an answer of `chat` gets unless the caller says otherwise."""

__all__ = ["Messages", "SteeredModel"]


class SteeredModel:
    """A model that can be asked to speak in a tone.

        steered = emosteer.SteeredModel(model, tokenizer, vectors)
        steered.chat("How was your morning?", emotion={"joy": 0.8})

    The model is checked once, by a tiny forward pass. Nothing is installed on it between calls.

    Args:
        model: Any causal language model of transformers.
        tokenizer: Its tokenizer.
        vectors: Made for it.

    Raises:
        IncompatibleModelError: The vectors are for another shape of model, or the model's blocks do not give a residual
            stream that can be steered.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, vectors: EmotionVectors) -> None:
        vectors.check_model(model)
        check_blocks(model)
        self.model = model
        self.tokenizer = tokenizer
        self.vectors = vectors
        self._readout: Readout | None = None
        self._fitting = threading.Lock()
        self._streams: set[Callable[[], None]] = set()  # what ends each answer that is being streamed

    @classmethod
    def from_pretrained(
        cls, model: str | Path, *, vectors: str | Path | EmotionVectors, **options: Any
    ) -> SteeredModel:
        """Load a model and its vectors.

        Args:
            model: `"embedded"`, a Hub id, a folder or a GGUF file.
            vectors: A folder, a `.safetensors` file, `user/name` on the Hub, or vectors.
            **options: For `AutoModelForCausalLM.from_pretrained`: `dtype`, `device_map`, `revision`, …

        Raises:
            InputError: The model is not there.
            FormatError: The vectors cannot be read.
            HubError: The Hub does not give them.
            IncompatibleModelError: They do not belong together.
        """
        from emosteer.models.loading import load_model
        from emosteer.vectors.emotion_vectors import EmotionVectors

        loaded = vectors if isinstance(vectors, EmotionVectors) else EmotionVectors.from_pretrained(vectors)
        return cls(*load_model(model, **options), loaded)

    def steer(
        self,
        emotion: Wanted | Thermostat | Turns,
        *,
        layers: Sequence[int] | None = None,
        scope: str | None = None,
        schedule: Schedule | None = None,
        operation: str = "add",
    ) -> Steering:
        """A context manager that gives the model a tone, for whatever is run inside: see `emosteer.steer`.

        Args:
            emotion: Emotion → strength in calibrated doses, `Keyframes`, or one of them for each row of a batch.
            layers: Steer after these layers instead of those of the dose.
            scope: Steer `"all"` tokens, those of the `"prompt"` or those that are `"generated"`.
            schedule: Factor on the strengths along the answer, from `emosteer.schedules`.
            operation: `"add"`, `"norm_preserving"`, `"ablate"` or `"project"`.

        Raises:
            ToneError: An emotion, a layer, a scope or an operation is not there, or a strength is not a finite number
                up to ±10.
        """
        wanted = plan(self.vectors, emotion, layers=layers, scope=scope, schedule=schedule, operation=operation)
        if isinstance(emotion, Thermostat):
            return Steering(self.model, wanted, Control(emotion, self.readout, self.model, self.tokenizer))
        return Steering(self.model, wanted)

    @property
    def readout(self) -> Readout:
        """What emotion is read with: that of the vectors, or one fitted when it is first needed, on 300 texts.

        One that was fitted to other weights, those before a fine-tune for example, is not used.
        """
        with self._fitting:
            made_for = self.vectors.base_model.fingerprint
            if self._readout is None and made_for is not None and made_for == base_model_of(self.model).fingerprint:
                self._readout = self.vectors.readout
            if self._readout is None:
                with unsteered():
                    self._readout = fit_readout(self.model, self.tokenizer, self.vectors)
            return self._readout

    def read(self, text: str | Messages) -> EmotionReading:
        """Read the emotion in a text, or in the last message of a conversation, with the plain model.

        Args:
            text: What to read.

        Raises:
            InputError: It is empty, a single token, or longer than the model's context.
        """
        if isinstance(text, str):
            passage: str | Passage = text
        else:
            passage = last_message(self.tokenizer, text)
        readout = self.readout
        with unsteered():
            return read(readout, self.model, self.tokenizer, passage)

    def monitor(self) -> Trace:
        """Scores of every token that the model reads in a `with` block, while it generates.

            with steered.monitor() as live:
                steered.chat("How was your morning?", emotion={"joy": 0.8})
            live.scores  # [rows, tokens, emotions and axes], prompt and answer

        Where a tone is in force, what is read has the tone in it; `read` tells what the finished words carry.
        """
        return Trace(self.readout, self.model)

    def generate(
        self,
        *,
        emotion: Wanted | Thermostat = None,
        scope: str | None = None,
        schedule: Schedule | None = None,
        operation: str = "add",
        recipe: str | Recipe | None = None,
        seed: int | None = None,
        **inputs: Any,
    ) -> Any:
        """`model.generate` in a tone.

        Args:
            emotion: One tone for all rows, or a list with a tone or None for each row of the batch. Beams and returned
                sequences have the tone of the row they come from.
            scope: As for `steer`.
            schedule: As for `steer`.
            operation: As for `steer`.
            recipe: `"natural"` makes more of the dose than adding it does, for a steady tone: see `emosteer.recipes`.
            seed: Makes sampling repeatable without touching the global random state.
            **inputs: As for the model's own `generate`: `input_ids`, `attention_mask`, `max_new_tokens`, …

        Returns:
            What the model's own `generate` returns.

        Raises:
            ToneError: The tone cannot be given, or there is not one for each row.
            InputError: A prompt is longer than the model's context.
        """
        names = ("input_ids", "inputs", "inputs_embeds")
        ids = next((inputs[name] for name in names if inputs.get(name) is not None), None)
        if ids is not None:
            rows, length = ids.shape[0], ids.shape[1]
            if isinstance(emotion, Sequence) and not isinstance(emotion, str) and len(emotion) != rows:
                raise ToneError(f"There are {len(emotion)} tones for a batch of {rows} rows.", "Give one for each row.")
            self._check_length(length)
        if recipe is not None:
            length = 0 if ids is None or inputs.get("inputs_embeds") is ids else length
            emotion, inputs = self._with_recipe(recipe, emotion, schedule, operation, length, inputs)
        with (
            self.steer(emotion, scope=scope, schedule=schedule, operation=operation),
            drawing(seed, self.model, inputs) as drawn,
        ):
            return self.model.generate(**drawn)  # type: ignore[operator]  # typed as a Tensor or Module by torch

    @overload
    def chat(
        self,
        message: str | Messages,
        *,
        emotion: Tone | Affect | Keyframes | Thermostat | None = ...,
        scope: str | None = ...,
        schedule: Schedule | None = ...,
        operation: str = ...,
        recipe: str | Recipe | None = ...,
        stream: Literal[False] = ...,
        seed: int | None = ...,
        **options: Any,
    ) -> str: ...

    @overload
    def chat(
        self,
        message: str | Messages,
        *,
        emotion: Tone | Affect | Keyframes | Thermostat | None = ...,
        scope: str | None = ...,
        schedule: Schedule | None = ...,
        operation: str = ...,
        recipe: str | Recipe | None = ...,
        stream: Literal[True],
        seed: int | None = ...,
        **options: Any,
    ) -> Iterator[str]: ...

    def chat(
        self,
        message: str | Messages,
        *,
        emotion: Tone | Affect | Keyframes | Thermostat | None = None,
        scope: str | None = None,
        schedule: Schedule | None = None,
        operation: str = "add",
        recipe: str | Recipe | None = None,
        stream: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> str | Iterator[str]:
        """Answer a message, or the last of a conversation, in a tone.

        Args:
            message: What the user says, or messages `{"role": …, "content": …}` as for a chat template. A message may
                have a tone of its own as `"emotion"`, in which it is read again; then no other tone but its own holds
                in any message, and `emotion` only in the answer.
            emotion: Emotion → strength in calibrated doses, an `Affect`, `Keyframes` or a `Thermostat`; None for the
                plain model.
            scope: As for `steer`.
            schedule: As for `steer`.
            operation: As for `steer`.
            recipe: As for `generate`.
            stream: Return the answer piece by piece, as it is made. Closing the iterator stops the model.
            seed: Makes sampling repeatable without touching the global random state.
            **options: For the model's `generate`: `max_new_tokens` (256 by default), `do_sample`, `temperature`, …

        Returns:
            The answer, or an iterator over its pieces.

        Raises:
            ToneError: The tone cannot be given.
            InputError: The message is empty or longer than the model's context, or the tokenizer has no chat template.
        """
        inputs = self.prompt(message)
        tone: Any = self._turns(message, emotion, inputs["input_ids"][0].tolist())
        if recipe is not None:
            length = inputs["input_ids"].shape[1]
            tone, options = self._with_recipe(recipe, tone, schedule, operation, length, options)
        # Before anything is streamed, so that a wrong tone is an error here.
        steering = self.steer(tone, scope=scope, schedule=schedule, operation=operation)
        options = self._answering(inputs["input_ids"].shape[1], options)

        def generate(options: dict[str, Any]) -> Any:
            with steering, drawing(seed, self.model, options) as drawn:
                return self.model.generate(**inputs, **drawn)  # type: ignore[operator]

        if stream:
            return streamed(self.tokenizer, generate, options, self._streams)
        answer = generate(options)[0, inputs["input_ids"].shape[1] :]
        return str(self.tokenizer.decode(answer, skip_special_tokens=True))

    def chat_each(
        self,
        message: str | Messages,
        emotions: Sequence[Tone | Affect | Keyframes | None],
        *,
        recipe: str | Recipe | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> list[str]:
        """Answer one message in several tones at once, as one batch.

            joyful, angry, plain = steered.chat_each("How was your morning?", [{"joy": 1.0}, {"anger": 1.0}, None])

        Args:
            message: As for `chat`; its messages have no tones of their own.
            emotions: A tone for each answer; None for the plain model. Memory grows with their number.
            recipe: As for `generate`.
            seed: Makes sampling repeatable: the same answers for the same list of tones.
            **options: As for `chat`: `scope`, `schedule`, `operation`, and what the model's `generate` takes. What is
                given as `stopping_criteria` sees every step of all answers, and can end them.

        Returns:
            An answer for each tone.

        Raises:
            ToneError: A tone cannot be given.
            InputError: As for `chat`.
        """
        if isinstance(emotions, (str, Mapping)) or not isinstance(emotions, Sequence) or not emotions:
            raise ToneError(
                f"{emotions!r} is no list of tones.", "Give one such as [{'joy': 0.8}, {'fear': 1.0}, None]."
            )
        prompt = self.prompt(message)
        if any(tones_of(message)):
            raise ToneError(
                "A message has a tone of its own, which cannot stand beside several tones of the answer.",
                "Give it to chat(), once for each answer, or leave it out.",
            )
        length = prompt["input_ids"].shape[1]
        batch = {name: tensor.repeat_interleave(len(emotions), 0) for name, tensor in prompt.items()}
        options = self._answering(length, options)
        output = self.generate(**batch, emotion=emotions, recipe=recipe, seed=seed, **options)
        copies = len(output) // len(emotions)  # of returned sequences the first, as chat gives it
        answers = (self._ended(row, options) for row in output[::copies, length:].tolist())
        return [str(self.tokenizer.decode(answer, skip_special_tokens=True)) for answer in answers]

    def explain(
        self,
        message: str | Messages,
        answer: str,
        *,
        emotion: Tone | Affect | Keyframes | None = None,
        scope: str | None = None,
        schedule: Schedule | None = None,
        operation: str = "add",
        recipe: str | Recipe | None = None,
        temperature: float = 1.0,
    ) -> Explanation:
        """Why these words: how probable the plain model finds every token of an answer, and how probable the toned one.

        The tone is what `chat` gives with the same arguments. Two forward passes.

        Args:
            message: What was answered, as for `chat`.
            answer: Any answer to it, the model's own or another.
            emotion: As for `chat`, but no `Thermostat`.
            scope: As for `steer`.
            schedule: As for `steer`.
            operation: As for `steer`.
            recipe: As for `generate`. What it rules out has probability 0.
            temperature: Of sampling, for both models; 1 leaves probabilities as they are.

        Raises:
            ToneError: The tone cannot be given.
            InputError: The message cannot be used, the answer is empty, the two are longer than the model's context, or
                the temperature is not a positive number.
        """
        if isinstance(emotion, Thermostat):
            raise ToneError(
                "A thermostat reads an answer while it is written, so a finished one cannot be explained by it.",
                "Give a tone, or Keyframes.",
            )
        if not is_finite_number(temperature) or temperature <= 0:
            raise InputError(f"The temperature is {temperature!r}, expected a positive number.")
        ids: list[int] = self.tokenizer(answer, add_special_tokens=False)["input_ids"]
        if not ids:
            raise InputError("The answer is empty.")
        prompt: list[int] = self.prompt(message)["input_ids"][0].tolist()
        if len(prompt) + len(ids) > self._context():
            raise InputError(
                f"Prompt and answer have {len(prompt)} and {len(ids)} tokens, the model's context ends at "
                f"{self._context()}.",
                "Shorten the answer.",
            )
        tone: Any = self._turns(message, emotion, prompt)
        options: dict[str, Any] = {}
        if recipe is not None:
            tone, options = self._with_recipe(recipe, tone, schedule, operation, len(prompt), options)
        passage = self.model, self.tokenizer, prompt, ids
        with self.steer(tone, scope=scope, schedule=schedule, operation=operation):
            toned = choices(*passage, processors=options.get("logits_processor", ()), temperature=temperature)
        with unsteered():
            plain = choices(*passage, temperature=temperature)
        return Explanation.of(self.tokenizer, ids, plain, toned)

    def prompt(self, message: str | Messages) -> BatchEncoding:
        """A conversation as the model reads it: token ids `[1, tokens]` up to where its answer begins.

        Args:
            message: What the user says, or a list of messages.

        Raises:
            InputError: It is empty or longer than the model's context, or the tokenizer has no chat template.
        """
        messages = parsed(self.tokenizer, message)
        encoding: Any = self.tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
            **template_options(self.tokenizer, messages),
        )
        self._check_length(encoding["input_ids"].shape[1])
        on_device: BatchEncoding = encoding.to(input_device(self.model))
        return on_device

    def close(self) -> None:
        """End what is still streaming. The model is as it was before it was wrapped."""
        for halt in tuple(self._streams):
            halt()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _turns(
        self, given: str | Messages, answer: Tone | Affect | Keyframes | Thermostat | None, ids: list[int]
    ) -> Tone | Affect | Keyframes | Thermostat | Turns | None:
        """The tone of the answer, or of every turn where messages have tones of their own."""
        if isinstance(given, str) or not any(tones_of(given)):
            return answer
        if isinstance(answer, Thermostat):
            raise ToneError("A thermostat cannot stand beside tones of single messages.", "Give the answer a tone.")
        spans = message_spans(self.tokenizer, given, ids)
        turns: list[tuple[Any, float, float]] = [
            (tone, start - len(ids), end - len(ids)) for tone, (start, end) in zip(tones_of(given), spans, strict=True)
        ]
        return Turns((*turns, (answer, spans[-1][1] - len(ids), math.inf)))

    def _with_recipe(
        self, recipe: str | Recipe, tone: Any, schedule: Schedule | None, operation: str, length: int, options: Any
    ) -> tuple[Any, dict[str, Any]]:
        """The tone that is added and the options for the model's `generate`, by a recipe."""
        plan(self.vectors, tone)  # an invalid tone or an unknown emotion is an error of its own
        if schedule is not None or operation != "add":
            raise ToneError(STEADY, STEADY_HINT)
        tone, processor = with_recipe(recipe, self.model, self.vectors, tone, length)
        if processor is not None:
            options = {**options, "logits_processor": [*(options.get("logits_processor") or ()), processor]}
        return tone, dict(options)

    def _check_length(self, tokens: int) -> None:
        if tokens >= self._context():
            raise InputError(
                f"The prompt has {tokens} tokens, the model's context ends at {self._context()}.", "Shorten it."
            )

    def _context(self) -> int:
        """How many tokens the model reads at most; recurrent ones know no limit."""
        return getattr(self.model.config.get_text_config(decoder=True), "max_position_embeddings", None) or sys.maxsize

    def _answering(self, length: int, options: dict[str, Any]) -> dict[str, Any]:
        """Options of an answer to a prompt of so many tokens."""
        room = self._context() - length
        return {"max_new_tokens": min(MAX_NEW_TOKENS, room), "pad_token_id": self._padding(), **options}

    def _ended(self, answer: list[int], options: Mapping[str, Any]) -> list[int]:
        """A row of a batch up to the token that ended it: what follows is padding."""
        config = options.get("generation_config") or self.model.generation_config
        ends = options.get("eos_token_id", getattr(config, "eos_token_id", None))
        known = set(ends) if isinstance(ends, (list, tuple)) else {ends}
        return answer[: next((i for i, token in enumerate(answer, 1) if token in known), None)]

    def _padding(self) -> int | None:
        """What to pad with, so that generate does not warn for models that name no padding token."""
        if self.tokenizer.pad_token_id is not None:
            return int(self.tokenizer.pad_token_id)
        eos = self.model.generation_config.eos_token_id if self.model.generation_config else None
        return eos[0] if isinstance(eos, list) else eos
