"""The state of one visitor: a conversation in two voices, with the tone of each turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from emosteer.demo.tone import Mix, Setting
from emosteer.errors import InputError

VOICES = ("plain", "toned")

__all__ = ["VOICES", "Conversation", "Sampling", "Scene", "Turn", "Visit"]


@dataclass(frozen=True)
class Sampling:
    """How both voices are sampled.

    Args:
        seed: The same for both, so that only the tone differs.
        temperature: 0 takes the most likely token each time.
        tokens: Longest answer.
    """

    seed: int = 0
    temperature: float = 0.8
    tokens: int = 80

    def options(self) -> dict[str, Any]:
        """Return the arguments for `SteeredModel.chat`."""
        sampling = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        return {"seed": self.seed, "max_new_tokens": self.tokens, **sampling}


@dataclass(frozen=True)
class Turn:
    """A message and its two answers.

    Args:
        message: The visitor's message.
        setting: The tone of the second voice.
        sampling: How both answers were sampled.
        answers: Voice → its answer so far.
        whole: Whether the answers are complete: they have ended, and were not stopped.
    """

    message: str
    setting: Setting = field(default_factory=Mix)
    sampling: Sampling = field(default_factory=Sampling)
    answers: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(VOICES, ""))
    whole: bool = True

    def ended(self) -> Turn:
        """Return the turn when it is complete, without an incomplete character at the end of an answer."""
        answers = {voice: text.rstrip("\ufffd") for voice, text in self.answers.items()}
        return replace(self, answers=answers, whole=True)

    def saying(self, voice: str, piece: str) -> Turn:
        """Return the turn with one more piece of an answer."""
        return replace(self, answers={**self.answers, voice: self.answers[voice] + piece})


@dataclass(frozen=True)
class Conversation:
    """A conversation. The two voices share the visitor's messages, and each remembers its own answers."""

    turns: tuple[Turn, ...] = ()

    def messages(self, voice: str) -> list[dict[str, str]]:
        """Return the messages for a chat template or a chat window."""
        messages = []
        for turn in self.turns:
            messages.append({"role": "user", "content": turn.message})
            if turn.answers[voice]:
                messages.append({"role": "assistant", "content": turn.answers[voice]})
        return messages

    def asking(self, voice: str) -> list[dict[str, str]]:
        """Return the conversation that a voice answers in the last turn.

        Messages that the voice has not answered are left out, since chat templates require alternating roles.
        """
        *earlier, last = self.turns
        answered = Conversation(tuple(turn for turn in earlier if turn.answers[voice]))
        return [*answered.messages(voice), {"role": "user", "content": last.message}]

    def turn_at(self, voice: str, index: Any) -> int:
        """Return the number of the turn that a message belongs to.

        Args:
            voice: The voice whose messages are counted.
            index: Index of the message in `messages`.

        Raises:
            InputError: There is no such message.
        """
        owners = [i for i, turn in enumerate(self.turns) for _ in range(1 + bool(turn.answers.get(voice)))]
        if voice not in VOICES or not isinstance(index, int) or not 0 <= index < len(owners):
            raise InputError("There is no such message.")
        return owners[index]

    def before(self, turn: int) -> Conversation:
        """Return the conversation before a turn."""
        return Conversation(self.turns[:turn])

    def ending(self, turn: Turn) -> Conversation:
        """Return the conversation with one more turn."""
        return Conversation((*self.turns, turn))

    @property
    def last(self) -> Turn | None:
        """The last turn, or None."""
        return self.turns[-1] if self.turns else None


@dataclass
class Scene:
    """A conversation as the page shows it, during one answer or after it.

    Args:
        before: The conversation before the turn.
        turn: The turn that is being answered, or was answered last.
        status: What is going on, in words.
        due: Whether the answer is still to come.
        kept: The conversation that is restored if the answer fails.
    """

    before: Conversation = field(default_factory=Conversation)
    turn: Turn | None = None
    status: str = "Ask something."
    due: bool = False
    kept: Conversation = field(default_factory=Conversation)

    @property
    def conversation(self) -> Conversation:
        """The whole conversation, with the turn."""
        return self.before if self.turn is None else self.before.ending(self.turn)


@dataclass
class Visit:
    """One visitor of the page.

    A new request replaces the scene. What still arrives for the old scene is not shown.
    """

    scene: Scene = field(default_factory=Scene)

    def ask(self, before: Conversation, turn: Turn) -> None:
        """Ask for an answer, which ends one that is on its way."""
        self.scene = Scene(before, turn, "Waiting for the model …", due=True, kept=self.scene.conversation)

    def halt(self, conversation: Conversation, status: str) -> None:
        """End an answer that is on its way."""
        self.scene = Scene(conversation, None, status)
