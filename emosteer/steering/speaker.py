"""A model with its vectors, as a speaker: it generates and completes text in a tone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from emosteer.errors import InputError, ToneError
from emosteer.layers import check_blocks
from emosteer.models.answers import Asked, Stream
from emosteer.models.generation import answer_options, prompt_of, several, text_prompt
from emosteer.models.seeded_sampling import drawing
from emosteer.models.side_pass import evaluating, side_pass
from emosteer.reading.reader import Reader
from emosteer.schedules import Schedule
from emosteer.steering.affect import Affect
from emosteer.steering.drafts import best_rows, drafts_of, most_in_tone, tones_in
from emosteer.steering.hooks import Steering
from emosteer.steering.plan import plan
from emosteer.steering.recipes import Recipe, with_recipe
from emosteer.steering.thermostat import Control, Thermostat
from emosteer.steering.thought_scope import PARTS, ThoughtScope
from emosteer.steering.tones import Keyframes, Tone, ToneLike, Turns

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.vectors.emotion_vectors import EmotionVectors

AnswerTone = Tone | Affect | Keyframes | Thermostat | None
"""What an answer may be given as a tone."""

__all__ = ["AnswerTone", "Speaker"]


class Speaker(Reader):
    """A model with its tokenizer and vectors, which speaks in a tone.

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
            recipe: `"natural"` gives more tone for the same cost in fluency, for a steady tone. Those that ask for the
                tone need messages, and are for `chat`.
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
        seen = 0 if ids is None or ids.ndim == 3 else ids.shape[1]
        tones = tones_in(self.vectors, emotion)
        emotion, options = with_recipe(
            recipe, self.model, self.tokenizer, self.vectors, emotion, schedule, operation, seen, options
        )
        if (drafts := drafts_of(recipe, self.model, tones, options)) > 1:
            options["num_return_sequences"] = drafts
        with (
            self.steer(emotion, layers=layers, scope=scope, schedule=schedule, operation=operation),
            evaluating(self.model),
            drawing(seed, self.model, options) as drawn,
        ):
            output = self.model.generate(**drawn)  # type: ignore[operator]  # typed as a Tensor or Module by torch
        before = 0 if self.model.config.is_encoder_decoder else seen
        return best_rows(self, output, tones, drafts, before) if drafts > 1 else output

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
        tones = tones_in(self.vectors, tone)
        tone, options = with_recipe(
            recipe, self.model, self.tokenizer, self.vectors, tone, schedule, operation, len(ids), options
        )
        # Before anything is streamed, so that a wrong tone or option is an error here.
        steering = self.steer(tone, layers=layers, scope=scope, schedule=schedule, operation=operation)
        options = answer_options(self.model, self.tokenizer, len(ids), options, stream=stream)
        asked = Asked(self.model, self.tokenizer, ids, options)
        drafts = drafts_of(recipe, self.model, tones, options)

        def generate(options: dict[str, Any]) -> Any:
            with steering, evaluating(self.model), drawing(seed, self.model, options) as drawn:
                return self.model.generate(**prompt, **drawn)  # type: ignore[operator]

        if stream:
            if details:
                raise InputError("A stream has its details at its end.", "Leave out details, and read stream.answer.")
            if drafts > 1:
                raise InputError(
                    f"Of {drafts} drafts one is chosen at the end, so none can be streamed.",
                    "Leave out stream, or take a recipe of one draft, such as natural.",
                )
            return Stream(asked, generate, self._streams)
        answers = asked.answers(generate(several(options, drafts)))
        answer = answers[most_in_tone(self, [draft.text for draft in answers], tones[0])]
        return answer if details else answer.text

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
