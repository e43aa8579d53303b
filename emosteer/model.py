"""SteeredModel: a model, its tokenizer and its emotion vectors in one object that generates and chats in a tone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from emosteer.errors import ToneError
from emosteer.layers import check_blocks, input_device
from emosteer.models.activations import Passage
from emosteer.models.fingerprint import base_model_of
from emosteer.models.generation import answer_options, check_length, until_end
from emosteer.models.messages import Messages, last_message, message_spans, parsed, template_options, tones_of
from emosteer.models.seeded_sampling import drawing
from emosteer.models.side_pass import evaluating, side_pass
from emosteer.models.streaming import streamed
from emosteer.reading.emotion_reading import EmotionReading, read
from emosteer.reading.explain import Explanation, answer_ids, choices
from emosteer.reading.fit import fit_readout
from emosteer.reading.trace import Trace
from emosteer.schedules import Schedule
from emosteer.steering.affect import Affect
from emosteer.steering.hooks import Steering, unsteered
from emosteer.steering.plan import plan
from emosteer.steering.recipes import Recipe, with_recipe
from emosteer.steering.thermostat import Control, Thermostat
from emosteer.steering.tones import Keyframes, Tone, ToneLike, Turns

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.vectors.emotion_vectors import EmotionVectors
    from emosteer.vectors.types import Readout

AnswerTone = Tone | Affect | Keyframes | Thermostat | None
"""What the answer of `chat` may be given as a tone."""

__all__ = ["AnswerTone", "Messages", "SteeredModel"]


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
        with side_pass(model):
            check_blocks(model)
        self.model = model
        self.tokenizer = tokenizer
        self.vectors = vectors
        self._readout: Readout | None = None
        self._fitting = threading.Lock()
        self._streams: set[Callable[[], None]] = set()  # what ends each answer that is being streamed

    def __getstate__(self) -> dict[str, Any]:
        # A copy, also one by pickle, has a lock and streams of its own.
        return {name: value for name, value in vars(self).items() if name not in ("_fitting", "_streams")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._fitting = threading.Lock()
        self._streams = set()

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
        emotion: ToneLike | Thermostat | Turns,
        *,
        layers: Sequence[int] | None = None,
        scope: str | None = None,
        schedule: Schedule | None = None,
        operation: str = "add",
    ) -> Steering:
        """Return a context manager that gives the model a tone, for whatever runs inside.

        Args:
            emotion: As for `emosteer.steer`, or a `Thermostat`.
            layers: As for `emosteer.steer`, like all that follow.
            scope: `"all"`, `"prompt"` or `"generated"` tokens.
            schedule: Factor on the strengths along the answer.
            operation: `"add"`, `"norm_preserving"`, `"ablate"` or `"project"`.

        Raises:
            ToneError: The tone cannot be given.
        """
        steps = plan(self.vectors, emotion, layers=layers, scope=scope, schedule=schedule, operation=operation)
        control = None
        if isinstance(emotion, Thermostat):
            control = Control(emotion, self.readout, self.model, self.tokenizer)
        return Steering(self.model, steps, control)

    @property
    def readout(self) -> Readout:
        """The readout that emotion is read with: that of the vectors, or one fitted on 300 texts when first needed.

        A readout of other weights, such as those before a fine-tune, is not used.
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
            text: A text, or messages.

        Raises:
            InputError: The text is empty, a single token, or longer than the model's context.
        """
        passage: str | Passage = text if isinstance(text, str) else last_message(self.tokenizer, text)
        readout = self.readout
        with unsteered():
            return read(readout, self.model, self.tokenizer, passage)

    def monitor(self) -> Trace:
        """Return a context manager that records the scores of every token the model reads, while it generates.

            with steered.monitor() as live:
                steered.chat("How was your morning?", emotion={"joy": 0.8})
            live.scores  # [rows, tokens, emotions and axes], prompt and answer

        A steered stream is read with its tone in it; `read` tells what the finished words carry.
        """
        return Trace(self.readout, self.model)

    def generate(
        self,
        *,
        emotion: ToneLike | Thermostat = None,
        scope: str | None = None,
        schedule: Schedule | None = None,
        operation: str = "add",
        recipe: str | Recipe | None = None,
        seed: int | None = None,
        **inputs: Any,
    ) -> Any:
        """Run `model.generate` in a tone.

        Args:
            emotion: One tone for all rows, or a list with a tone or None for each row of the batch. Beams and returned
                sequences have the tone of the row they come from.
            scope: As for `steer`.
            schedule: As for `steer`.
            operation: As for `steer`.
            recipe: `"natural"` gives more tone for the same cost in fluency, for a steady tone.
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
            check_length(self.model, length)
        if recipe is not None:
            length = 0 if ids is None or inputs.get("inputs_embeds") is ids else length
            emotion, inputs = with_recipe(
                recipe, self.model, self.vectors, emotion, schedule, operation, length, inputs
            )
        with (
            self.steer(emotion, scope=scope, schedule=schedule, operation=operation),
            evaluating(self.model),
            drawing(seed, self.model, inputs) as drawn,
        ):
            return self.model.generate(**drawn)  # type: ignore[operator]  # typed as a Tensor or Module by torch

    @overload
    def chat(
        self, message: str | Messages, *, emotion: AnswerTone = ..., stream: Literal[False] = ..., **options: Any
    ) -> str: ...

    @overload
    def chat(
        self, message: str | Messages, *, emotion: AnswerTone = ..., stream: Literal[True], **options: Any
    ) -> Iterator[str]: ...

    def chat(
        self,
        message: str | Messages,
        *,
        emotion: AnswerTone = None,
        scope: str | None = None,
        schedule: Schedule | None = None,
        operation: str = "add",
        recipe: str | Recipe | None = None,
        stream: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> str | Iterator[str]:
        """Return an answer to a message, or to the last one of a conversation, in a tone.

        Args:
            message: What the user says, or messages `{"role": …, "content": …}` as for a chat template. A message may
                have a tone of its own as `"emotion"`, in which it is read again; then `emotion` holds in the answer
                only.
            emotion: Emotion → strength in calibrated doses, `Affect`, `Keyframes`, `Thermostat`, or None.
            scope: As for `steer`.
            schedule: As for `steer`.
            operation: As for `steer`.
            recipe: As for `generate`.
            stream: Return an iterator over the pieces of the answer instead; closing it stops the model.
            seed: Makes sampling repeatable without touching the global random state.
            **options: For the model's `generate`: `max_new_tokens` (256 by default), `do_sample`, `temperature`, …

        Raises:
            ToneError: The tone cannot be given.
            InputError: The message is empty or longer than the model's context, or the tokenizer has no chat template.
        """
        inputs = self.prompt(message)
        length = inputs["input_ids"].shape[1]
        tone: Any = self._turns(message, emotion, inputs["input_ids"][0].tolist())
        if recipe is not None:
            tone, options = with_recipe(recipe, self.model, self.vectors, tone, schedule, operation, length, options)
        # Before anything is streamed, so that a wrong tone is an error here.
        steering = self.steer(tone, scope=scope, schedule=schedule, operation=operation)
        options = answer_options(self.model, self.tokenizer, length, options)

        def generate(options: dict[str, Any]) -> Any:
            with steering, evaluating(self.model), drawing(seed, self.model, options) as drawn:
                return self.model.generate(**inputs, **drawn)  # type: ignore[operator]

        if stream:
            return streamed(self.tokenizer, generate, options, self._streams)
        answer = generate(options)[0, length:]
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
        """Return an answer to one message in each of several tones, made as one batch.

            joyful, angry, plain = steered.chat_each("How was your morning?", [{"joy": 1.0}, {"anger": 1.0}, None])

        Args:
            message: As for `chat`; its messages have no tones of their own.
            emotions: A tone for each answer; None for the plain model. Memory grows with their number.
            recipe: As for `generate`.
            seed: Makes sampling repeatable: the same answers for the same list of tones.
            **options: As for `chat`, `scope`, `schedule` and `operation` included. `stopping_criteria` see every step
                of all answers, and can end them.

        Raises:
            ToneError: A tone cannot be given.
            InputError: As for `chat`.
        """
        if isinstance(emotions, (str, Mapping)) or not isinstance(emotions, Sequence) or not emotions:
            raise ToneError(f"{emotions!r} is no list of tones.", "Give one such as [{'joy': 0.8}, None].")
        prompt = self.prompt(message)
        if any(tones_of(message)):
            raise ToneError(
                "A message has a tone of its own, which cannot stand beside several tones of the answer.",
                "Give it to chat(), once for each answer, or leave it out.",
            )
        length = prompt["input_ids"].shape[1]
        batch = {name: tensor.repeat_interleave(len(emotions), 0) for name, tensor in prompt.items()}
        options = answer_options(self.model, self.tokenizer, length, options)
        output = self.generate(**batch, emotion=emotions, recipe=recipe, seed=seed, **options)
        copies = len(output) // len(emotions)  # of returned sequences the first, as chat gives it
        answers = (until_end(self.model, row, options) for row in output[::copies, length:].tolist())
        return [str(self.tokenizer.decode(list(answer), skip_special_tokens=True)) for answer in answers]

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
        """Explain an answer: the probability of each token under the plain and under the toned model.

        The tone is what `chat` gives with the same arguments. Takes two forward passes.

        Args:
            message: What was answered, as for `chat`.
            answer: Any answer to it, the model's own or another.
            emotion: As for `chat`, but no `Thermostat`.
            scope: As for `steer`.
            schedule: As for `steer`.
            operation: As for `steer`.
            recipe: As for `generate`. What it rules out has probability 0.
            temperature: Of sampling, for both models.

        Raises:
            ToneError: The tone cannot be given.
            InputError: Message, answer or temperature cannot be used, or the first two exceed the model's context.
        """
        if isinstance(emotion, Thermostat):
            raise ToneError("A thermostat steers an answer while it is written.", "Give a tone, or Keyframes.")
        prompt: list[int] = self.prompt(message)["input_ids"][0].tolist()
        ids = answer_ids(self.model, self.tokenizer, answer, len(prompt))
        tone: Any = self._turns(message, emotion, prompt)
        options: dict[str, Any] = {}
        if recipe is not None:
            tone, options = with_recipe(
                recipe, self.model, self.vectors, tone, schedule, operation, len(prompt), options
            )
        passage = self.model, self.tokenizer, prompt, ids
        with self.steer(tone, scope=scope, schedule=schedule, operation=operation):
            toned = choices(*passage, processors=options.get("logits_processor", ()), temperature=temperature)
        with unsteered():
            plain = choices(*passage, temperature=temperature)
        return Explanation.of(self.tokenizer, ids, plain, toned)

    def prompt(self, message: str | Messages) -> BatchEncoding:
        """Return a conversation as the model reads it: token ids `[1, tokens]` up to where its answer begins.

        Args:
            message: What the user says, or a list of messages.

        Raises:
            InputError: It is empty or longer than the model's context, or the tokenizer has no chat template.
        """
        import torch

        messages = parsed(self.tokenizer, message)
        with torch.device("cpu"):  # the caller may have set another default
            encoding: Any = self.tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=True,
                return_tensors="pt",
                return_dict=True,
                **template_options(self.tokenizer, messages),
            )
        check_length(self.model, encoding["input_ids"].shape[1])
        on_device: BatchEncoding = encoding.to(input_device(self.model))
        return on_device

    def close(self) -> None:
        """Stop every answer that is still streaming. The model is as it was before it was wrapped."""
        for halt in tuple(self._streams):
            halt()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _turns(
        self, conversation: str | Messages, answer: AnswerTone, ids: list[int]
    ) -> Tone | Affect | Keyframes | Thermostat | Turns | None:
        """The tone of the answer, or of every turn where messages have tones of their own."""
        tones = tones_of(conversation)
        if isinstance(conversation, str) or not any(tones):
            return answer
        if isinstance(answer, Thermostat):
            raise ToneError("A thermostat cannot stand beside tones of single messages.", "Give the answer a tone.")
        return Turns.of(tones, message_spans(self.tokenizer, conversation, ids), answer, len(ids))
