"""SteeredModel: a model, its tokenizer and its emotion vectors in one object that generates and chats in a tone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from emosteer.errors import InputError, ToneError
from emosteer.layers import check_blocks
from emosteer.models.answers import Answer, Asked, Stream
from emosteer.models.generation import answer_options, prompt_of, text_prompt
from emosteer.models.messages import Messages, tones_of
from emosteer.models.seeded_sampling import drawing
from emosteer.models.side_pass import evaluating, side_pass
from emosteer.models.thoughts import Thoughts
from emosteer.reading.explain import Explanation, answer_ids, choices
from emosteer.reading.reader import Reader
from emosteer.schedules import Schedule
from emosteer.steering.affect import Affect
from emosteer.steering.hooks import Steering, unsteered
from emosteer.steering.plan import plan
from emosteer.steering.recipes import Recipe, with_recipe
from emosteer.steering.thermostat import Control, Thermostat
from emosteer.steering.thought_scope import PARTS, ThoughtScope
from emosteer.steering.tones import Keyframes, Tone, ToneLike, Turns
from emosteer.steering.turns import tone_of_turns

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.vectors.emotion_vectors import EmotionVectors

AnswerTone = Tone | Affect | Keyframes | Thermostat | None
"""What the answer of `chat` may be given as a tone."""

__all__ = ["AnswerTone", "Messages", "SteeredModel"]


class SteeredModel(Reader):
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
        super().__init__(model, tokenizer, vectors)
        with side_pass(model):
            check_blocks(model)
        self._streams: set[Callable[[], None]] = set()  # what ends each answer that is being streamed

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_streams": set()}  # those of a copy are its own

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
            scope: `"all"`, `"prompt"` or `"generated"` tokens; of those that a reasoning model generates, `"thoughts"`
                or `"answer"` alone.
            schedule: Factor on the strengths along the answer.
            operation: `"add"`, `"norm_preserving"`, `"ablate"` or `"project"`.

        Raises:
            ToneError: The tone cannot be given.
        """
        part = ThoughtScope.of(self.tokenizer, scope, emotion) if scope in PARTS else None
        scope = "generated" if part else scope
        steps = plan(self.vectors, emotion, layers=layers, scope=scope, schedule=schedule, operation=operation)
        control: Control | ThoughtScope | None = part
        if isinstance(emotion, Thermostat):
            control = Control(emotion, self.readout, self.model, self.tokenizer)
        return Steering(self.model, steps, control)

    def generate(
        self,
        inputs: Tensor | Sequence[int] | Sequence[Sequence[int]] | None = None,
        *,
        emotion: ToneLike | Thermostat = None,
        layers: Sequence[int] | None = None,
        scope: str | None = None,
        schedule: Schedule | None = None,
        operation: str = "add",
        recipe: str | Recipe | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Any:
        """Run `model.generate` in a tone.

        Args:
            inputs: Token ids of the prompt, `[rows, tokens]`; or as `input_ids` or `inputs_embeds` among the options.
            emotion: One tone for all rows, or a list with a tone or None for each row of the batch. Beams and returned
                sequences have the tone of the row they come from.
            layers: As for `steer`, like the three that follow.
            scope: See there.
            schedule: See there.
            operation: See there.
            recipe: `"natural"` gives more tone for the same cost in fluency, for a steady tone.
            seed: Makes sampling repeatable without touching the global random state.
            **options: As for the model's own `generate`: `attention_mask`, `max_new_tokens`, … What is not given is as
                in the model's generation config.

        Returns:
            What the model's own `generate` returns.

        Raises:
            ToneError: The tone cannot be given, or there is not one for each row.
            InputError: The prompt is none, or longer than the model's context.
        """
        ids = prompt_of(self.model, options, inputs)
        rows = None if ids is None else ids.shape[0]
        if rows and isinstance(emotion, Sequence) and not isinstance(emotion, str) and len(emotion) != rows:
            raise ToneError(f"There are {len(emotion)} tones for a batch of {rows} rows.", "Give one for each row.")
        if recipe is not None:
            seen = 0 if ids is None or ids.ndim == 3 else ids.shape[1]
            emotion, options = with_recipe(
                recipe, self.model, self.vectors, emotion, schedule, operation, seen, options
            )
        with (
            self.steer(emotion, layers=layers, scope=scope, schedule=schedule, operation=operation),
            evaluating(self.model),
            drawing(seed, self.model, options) as drawn,
        ):
            return self.model.generate(**drawn)  # type: ignore[operator]  # typed as a Tensor or Module by torch

    @overload
    def chat(
        self,
        message: str | Messages,
        *,
        stream: Literal[False] = ...,
        details: Literal[False] = ...,
        **options: Any,
    ) -> str: ...

    @overload
    def chat(self, message: str | Messages, *, details: Literal[True], **options: Any) -> Answer: ...

    @overload
    def chat(self, message: str | Messages, *, stream: Literal[True], **options: Any) -> Stream: ...

    def chat(
        self,
        message: str | Messages,
        *,
        emotion: AnswerTone = None,
        layers: Sequence[int] | None = None,
        scope: str | None = None,
        schedule: Schedule | None = None,
        operation: str = "add",
        recipe: str | Recipe | None = None,
        stream: bool = False,
        details: bool = False,
        seed: int | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> str | Answer | Stream:
        """Return an answer to a message, or to the last one of a conversation, in a tone.

        Of a reasoning model's reply, what follows its thoughts.

        Args:
            message: What the user says, or messages `{"role": …, "content": …}` as for a chat template. A message may
                have a tone of its own as `"emotion"`, in which it is read again; then `emotion` holds in the answer
                only. A last message of the assistant is continued.
            emotion: Emotion → strength in calibrated doses, `Affect`, `Keyframes`, `Thermostat`, or None.
            layers: As for `steer`, like the three that follow.
            scope: See there.
            schedule: See there.
            operation: See there.
            recipe: As for `generate`.
            stream: Return an iterator over the pieces of the answer instead; closing it stops the model. Its `answer`
                has the details, once it has ended.
            details: Return an `Answer` instead, which tells why the answer ended, its thoughts and its tokens.
            seed: Makes sampling repeatable without touching the global random state.
            chat_template_kwargs: What the chat template takes besides the messages: `tools`, `documents`,
                `enable_thinking`, …
            **options: For the model's `generate`: `max_new_tokens`, `do_sample`, `temperature`, … What is not given is
                as in the model's generation config; where that has no length either, answers end after 256 tokens.

        Raises:
            ToneError: The tone cannot be given.
            InputError: The message is empty or longer than the model's context, the tokenizer has no chat template, the
                template does not take the messages, or an option cannot be used for one answer.
        """
        inputs = self.prompt(message, chat_template_kwargs)
        tone = tone_of_turns(self.tokenizer, message, emotion, inputs["input_ids"][0].tolist(), chat_template_kwargs)
        where: dict[str, Any] = {"layers": layers, "scope": scope, "schedule": schedule, "operation": operation}
        how: dict[str, Any] = {"recipe": recipe, "stream": stream, "details": details, "seed": seed}
        answer: str | Answer | Stream = self._answer(inputs, tone, **where, **how, **options)
        return answer

    def complete(self, text: str, *, emotion: AnswerTone = None, **options: Any) -> Any:
        """Return the continuation of a text in a tone, without a chat template, as for a base model.

        Args:
            text: The beginning.
            emotion: As for `chat`.
            **options: As for `chat`, such as `recipe`, `stream`, `details` and `seed`, without `chat_template_kwargs`.

        Returns:
            What follows the text: a string, an `Answer` with `details`, a `Stream` with `stream`.

        Raises:
            ToneError: The tone cannot be given.
            InputError: The text is empty or longer than the model's context, or an option cannot be used for one
                answer.
        """
        return self._answer(text_prompt(self.model, self.tokenizer, text), emotion, **options)

    def _answer(
        self,
        prompt: BatchEncoding,
        tone: Any,
        /,
        *,
        layers: Sequence[int] | None = None,
        scope: str | None = None,
        schedule: Schedule | None = None,
        operation: str = "add",
        recipe: str | Recipe | None = None,
        stream: bool = False,
        details: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> Any:
        """Answer one prompt."""
        ids = prompt["input_ids"][0].tolist()
        if recipe is not None:
            tone, options = with_recipe(recipe, self.model, self.vectors, tone, schedule, operation, len(ids), options)
        # Before anything is streamed, so that a wrong tone or option is an error here.
        steering = self.steer(tone, layers=layers, scope=scope, schedule=schedule, operation=operation)
        options = answer_options(self.model, self.tokenizer, len(ids), options, stream=stream)
        asked = Asked(self.model, self.tokenizer, ids, options)

        def generate(options: dict[str, Any]) -> Any:
            with steering, evaluating(self.model), drawing(seed, self.model, options) as drawn:
                return self.model.generate(**prompt, **drawn)  # type: ignore[operator]

        if stream:
            if details:
                raise InputError("A stream has its details at its end.", "Leave out details, and read stream.answer.")
            return Stream(asked, generate, self._streams)
        (answer,) = asked.answers(generate(options))
        return answer if details else answer.text

    def chat_each(
        self,
        message: str | Messages,
        emotions: Sequence[Tone | Affect | Keyframes | None],
        *,
        recipe: str | Recipe | None = None,
        details: bool = False,
        seed: int | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[Any]:
        """Return an answer to one message in each of several tones, made as one batch.

            joyful, angry, plain = steered.chat_each("How was your morning?", [{"joy": 1.0}, {"anger": 1.0}, None])

        Args:
            message: As for `chat`; its messages have no tones of their own.
            emotions: A tone for each answer; None for the plain model. Memory grows with their number.
            recipe: As for `generate`.
            details: Return an `Answer` each instead of its text.
            seed: Makes sampling repeatable: the same answers for the same list of tones.
            chat_template_kwargs: As for `chat`.
            **options: As for `chat`, `layers`, `scope`, `schedule` and `operation` included. `stopping_criteria` see
                every step of all answers, and can end them.

        Raises:
            ToneError: A tone cannot be given.
            InputError: As for `chat`.
        """
        if isinstance(emotions, (str, Mapping)) or not isinstance(emotions, Sequence) or not emotions:
            raise ToneError(f"{emotions!r} is no list of tones.", "Give one such as [{'joy': 0.8}, None].")
        inputs = self.prompt(message, chat_template_kwargs)
        if any(tones_of(message)):
            raise ToneError(
                "A message has a tone of its own, which cannot stand beside several tones of the answer.",
                "Give it to chat(), once for each answer, or leave it out.",
            )
        prompt = inputs["input_ids"][0].tolist()
        batch = {name: tensor.repeat_interleave(len(emotions), 0) for name, tensor in inputs.items()}
        options = answer_options(self.model, self.tokenizer, len(prompt), options)
        output = self.generate(**batch, emotion=emotions, recipe=recipe, seed=seed, **options)
        answers = Asked(self.model, self.tokenizer, prompt, options).answers(output)
        return answers if details else [answer.text for answer in answers]

    def explain(
        self,
        message: str | Messages,
        answer: str,
        *,
        emotion: Tone | Affect | Keyframes | None = None,
        schedule: Schedule | None = None,
        operation: str = "add",
        recipe: str | Recipe | None = None,
        temperature: float = 1.0,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **where: Any,
    ) -> Explanation:
        """Explain an answer: the probability of each token under the plain and under the toned model.

        The tone is what `chat` gives with the same arguments. Takes two forward passes.

        Args:
            message: What was answered, as for `chat`.
            answer: Any answer to it, the model's own or another; of a reasoning model, without its thoughts.
            emotion: As for `chat`, but no `Thermostat`.
            schedule: As for `steer`.
            operation: As for `steer`.
            recipe: As for `generate`. What it rules out has probability 0.
            temperature: Of sampling, for both models.
            chat_template_kwargs: As for `chat`.
            **where: `layers` and `scope`, as for `steer`.

        Raises:
            ToneError: The tone cannot be given.
            InputError: Message, answer or temperature cannot be used, or the first two exceed the model's context.
        """
        if isinstance(emotion, Thermostat):
            raise ToneError("A thermostat steers an answer while it is written.", "Give a tone, or Keyframes.")
        prompt: list[int] = self.prompt(message, chat_template_kwargs)["input_ids"][0].tolist()
        ids = answer_ids(self.model, self.tokenizer, answer, len(prompt))
        tone = tone_of_turns(self.tokenizer, message, emotion, prompt, chat_template_kwargs)
        options: dict[str, Any] = {}
        if recipe is not None:
            tone, options = with_recipe(
                recipe, self.model, self.vectors, tone, schedule, operation, len(prompt), options
            )
        marks = Thoughts.of(self.tokenizer)
        closing = marks.closed(prompt)[len(prompt) :] if marks else []  # thoughts that the prompt opens
        passage = self.model, self.tokenizer, prompt, [*closing, *ids]
        with self.steer(tone, schedule=schedule, operation=operation, **where):
            toned = choices(*passage, processors=options.get("logits_processor", ()), temperature=temperature)
        with unsteered():
            plain = choices(*passage, temperature=temperature)
        return Explanation.of(self.tokenizer, ids, plain[len(closing) :], toned[len(closing) :])

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
