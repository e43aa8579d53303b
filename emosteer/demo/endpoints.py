"""The named endpoints, for `gradio_client` and as tools of other models (MCP)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gradio.events import api

from emosteer.demo.controls import limited, mix_of, sampling_of
from emosteer.demo.events import MODEL, checked_text, with_errors
from emosteer.demo.replies import reply
from emosteer.demo.state import VOICES
from emosteer.demo.studio import Studio
from emosteer.demo.talk import LONGEST_MESSAGE
from emosteer.demo.tone import MOST, Point, Setting
from emosteer.errors import InputError

LONGEST_TEXT = 4000
TURNS = 20

__all__ = ["endpoints"]


def endpoints(studio: Studio) -> None:
    """Define the endpoints in the current block. The first model answers them."""

    def make_reply(
        prompt: str, emotion: str = "joy", strength: float = 1.0, seed: int = 0, max_new_tokens: int = 80
    ) -> str:
        """Answer a prompt in the tone of an emotion.

        Args:
            prompt: What is said to the model.
            emotion: One of those that list_emotions names.
            strength: In calibrated doses, from -2 to 2. 1 is the strongest that reads naturally, 0 is off.
            seed: The same seed gives the same answer.
            max_new_tokens: Longest answer.

        Returns:
            The answer.
        """
        setting = mix_of([(emotion, strength)])
        asked = {"toned": [{"role": "user", "content": checked_text(prompt, LONGEST_MESSAGE)}]}
        sampling = sampling_of(seed, 0.8, max_new_tokens)
        return (
            "".join(piece for _, piece in reply(studio.first_model(), asked, setting, sampling))
            .rstrip("\ufffd")
            .strip()
        )

    def two_voices(
        messages: list[dict[str, str]],
        emotion: dict[str, float],
        seed: int = 0,
        temperature: float = 0.8,
        max_new_tokens: int = 80,
    ) -> Iterator[dict[str, str]]:
        """Answer the last message of a conversation plainly and in a tone, piece by piece.

        Args:
            messages: Each with a role, "user" or "assistant", and its content.
            emotion: Emotion to strength in calibrated doses; or "valence" and "arousal", each from -1 to 1.
            seed: The same for both voices.
            temperature: 0 takes the most likely token each time.
            max_new_tokens: Longest answer.

        Returns:
            What both have said so far, as "plain" and "toned".
        """
        asked = dict.fromkeys(VOICES, _conversation(messages))
        answers = dict.fromkeys(VOICES, "")
        sampling = sampling_of(seed, temperature, max_new_tokens)
        for voice, piece in reply(studio.first_model(), asked, _setting(emotion), sampling):
            answers = {**answers, voice: answers[voice] + piece}
            yield answers

    def read_emotion(text: str) -> dict[str, Any]:
        """Read the emotion in a text.

        Args:
            text: What to read.

        Returns:
            Scores of the whole and of each token, emotions in standard deviations of neutral text.
        """
        return studio.first_model().read(checked_text(text, LONGEST_TEXT)).to_dict()

    def list_emotions() -> list[dict[str, Any]]:
        """List the emotions that can be asked for, with human valence and arousal from -1 to 1 where they are known.

        Returns:
            Each with its name, valence and arousal.
        """
        return [
            {"name": name, "valence": place and place[0], "arousal": place and place[1]}
            for name, place in studio.places().items()
        ]

    for function in (make_reply, two_voices, read_emotion):
        api(with_errors(function), **{**MODEL, "api_visibility": "public"})
    api(with_errors(list_emotions), queue=False)


def _setting(emotion: Any) -> Setting:
    if not isinstance(emotion, dict) or not all(isinstance(strength, (int, float)) for strength in emotion.values()):
        raise InputError(f"{str(emotion)[:80]} is no tone.", 'Give one such as {"joy": 0.8}.')
    if emotion and set(emotion) <= {"valence", "arousal"}:
        return Point(limited(emotion.get("valence"), 1), limited(emotion.get("arousal"), 1))
    if len(emotion) > MOST:
        raise InputError(f"{len(emotion)} emotions were asked for at once, at most {MOST} are taken.")
    return mix_of(emotion.items())


def _conversation(messages: Any) -> Sequence[dict[str, str]]:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise InputError("A conversation is a list of messages, each with a role and its content.")
    if len(messages) > TURNS:
        raise InputError(f"The conversation has {len(messages)} messages, at most {TURNS} are taken.")
    if not all(
        message.get("role") in ("user", "assistant") for message in messages
    ):  # a tuple, as it may be unhashable
        raise InputError('The role of a message is "user" or "assistant".')
    return [
        {"role": message["role"], "content": checked_text(message.get("content"), LONGEST_MESSAGE)}
        for message in messages
    ]
