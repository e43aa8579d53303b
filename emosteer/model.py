"""SteeredModel: a model, its tokenizer and its emotion vectors in one object that generates and chats in a tone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from emosteer.errors import ToneError
from emosteer.models.answers import Answer, Asked, Stream
from emosteer.models.generation import answer_options, left_padded, sequences
from emosteer.models.messages import Messages, parsed, tones_of
from emosteer.models.thoughts import Thoughts
from emosteer.reading.explain import Explanation, answer_ids, choices
from emosteer.schedules import Schedule
from emosteer.steering.affect import Affect
from emosteer.steering.asking import with_request
from emosteer.steering.hooks import unsteered
from emosteer.steering.recipes import DEFAULT, Recipe, with_recipe
from emosteer.steering.speaker import AnswerTone, Speaker
from emosteer.steering.thermostat import Thermostat
from emosteer.steering.tones import Keyframes, Tone
from emosteer.steering.turns import tone_of_turns

if TYPE_CHECKING:
    from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["AnswerTone", "Messages", "SteeredModel"]


class SteeredModel(Speaker):
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
        recipe: str | Recipe | None = DEFAULT,
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
            recipe: `"natural"` gives more tone for the same cost in fluency. `"asked"` asks for the tone in a system
                message and steers nothing, `"asked_and_steered"` does both. None is the bare dose, as is `"default"`
                for a tone that changes along the answer or holds in a part of it; for any other it is the best of these
                ways.
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
        (asked,), recipe = with_request(
            recipe, self.tokenizer, self.vectors, message, [emotion], schedule, operation, scope, chat_template_kwargs
        )
        inputs = self.prompt(asked, chat_template_kwargs)
        tone = tone_of_turns(self.tokenizer, asked, emotion, inputs["input_ids"][0].tolist(), chat_template_kwargs)
        where: dict[str, Any] = {"layers": layers, "scope": scope, "schedule": schedule, "operation": operation}
        how: dict[str, Any] = {"recipe": recipe, "stream": stream, "details": details, "seed": seed}
        answer: str | Answer | Stream = self._answer(inputs, tone, **where, **how, **options)
        return answer

    def chat_each(
        self,
        message: str | Messages,
        emotions: Sequence[Tone | Affect | Keyframes | None],
        *,
        recipe: str | Recipe | None = DEFAULT,
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
            recipe: As for `chat`; the default is one for all.
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
        parsed(self.tokenizer, message)
        if any(tones_of(message)):
            raise ToneError(
                "A message has a tone of its own, which cannot stand beside several tones of the answer.",
                "Give it to chat(), once for each answer, or leave it out.",
            )
        where = (options.get("schedule"), options.get("operation", "add"), options.get("scope"))
        asked, recipe = with_request(
            recipe, self.tokenizer, self.vectors, message, emotions, *where, chat_template_kwargs
        )
        prompts = [self.prompt(one, chat_template_kwargs) for one in asked]
        batch: dict[str, Any] = left_padded(self.tokenizer, prompts)
        length = batch["input_ids"].shape[1]
        options = answer_options(self.model, self.tokenizer, length, options)
        rows = sequences(self.generate(**batch, emotion=emotions, recipe=recipe, seed=seed, **options))
        answers = []
        for prompt, row in zip(prompts, rows, strict=True):
            ids = prompt["input_ids"][0].tolist()
            answers += Asked(self.model, self.tokenizer, ids, options).answers(row[None, length - len(ids) :])
        return answers if details else [answer.text for answer in answers]

    def explain(
        self,
        message: str | Messages,
        answer: str,
        *,
        emotion: Tone | Affect | Keyframes | None = None,
        schedule: Schedule | None = None,
        operation: str = "add",
        recipe: str | Recipe | None = DEFAULT,
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
            recipe: As for `chat`. Only the toned model is asked for the tone. What is ruled out has probability 0.
            temperature: Of sampling, for both models.
            chat_template_kwargs: As for `chat`.
            **where: `layers` and `scope`, as for `steer`.

        Raises:
            ToneError: The tone cannot be given.
            InputError: Message, answer or temperature cannot be used, or the first two exceed the model's context.
        """
        if isinstance(emotion, Thermostat):
            raise ToneError("A thermostat steers an answer while it is written.", "Give a tone, or Keyframes.")
        (asked,), recipe = with_request(
            recipe,
            self.tokenizer,
            self.vectors,
            message,
            [emotion],
            schedule,
            operation,
            where.get("scope"),
            chat_template_kwargs,
        )
        plain, prompt = (self.prompt(one, chat_template_kwargs)["input_ids"][0].tolist() for one in (message, asked))
        ids = answer_ids(self.model, self.tokenizer, answer, max(len(plain), len(prompt)))
        tone = tone_of_turns(self.tokenizer, asked, emotion, prompt, chat_template_kwargs)
        tone, options = with_recipe(
            recipe, self.model, self.tokenizer, self.vectors, tone, schedule, operation, len(prompt), {}
        )
        marks = Thoughts.of(self.tokenizer)
        closing = marks.closed(prompt)[len(prompt) :] if marks else []  # thoughts that the prompt opens
        reply = [*closing, *ids]
        with self.steer(tone, schedule=schedule, operation=operation, **where):
            processors = options.get("logits_processor", ())
            toned = choices(self.model, self.tokenizer, prompt, reply, processors=processors, temperature=temperature)
        with unsteered():
            untoned = choices(self.model, self.tokenizer, plain, reply, temperature=temperature)
        return Explanation.of(self.tokenizer, ids, untoned[len(closing) :], toned[len(closing) :])
