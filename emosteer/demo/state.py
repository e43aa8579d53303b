"""What one visitor has: a conversation in two voices, each turn with the tone that was set for it."""

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
    """How both voices draw their words.

    Args:
        seed: The same for both, so that only the tone differs.
        temperature: 0 takes the most likely token each time.
        tokens: Longest answer.
    """

    seed: int = 0
    temperature: float = 0.8
    tokens: int = 80

    def options(self) -> dict[str, Any]:
        """For `SteeredModel.chat`."""
        drawn = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        return {"seed": self.seed, "max_new_tokens": self.tokens, **drawn}


@dataclass(frozen=True)
class Turn:
    """A message and its two answers.

    Args:
        message: What the visitor said.
        setting: The tone of the second voice.
        sampling: How both were drawn.
        answers: Voice → what it has said so far.
        whole: Whether that is all: nothing is to come, and nobody has stopped it.
    """

    message: str
    setting: Setting = field(default_factory=Mix)
    sampling: Sampling = field(default_factory=Sampling)
    answers: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(VOICES, ""))
    whole: bool = True

    def ended(self) -> Turn:
        """As it stays: without the half of a character that an answer may end in."""
        answers = {voice: said.rstrip("\ufffd") for voice, said in self.answers.items()}
        return replace(self, answers=answers, whole=True)

    def saying(self, voice: str, piece: str) -> Turn:
        """With one more piece of an answer."""
        return replace(self, answers={**self.answers, voice: self.answers[voice] + piece})


@dataclass(frozen=True)
class Conversation:
    """What has been said. The two voices share the visitor's messages, and each remembers its own answers."""

    turns: tuple[Turn, ...] = ()

    def messages(self, voice: str) -> list[dict[str, str]]:
        """As a chat template and a chat window take them."""
        found = []
        for turn in self.turns:
            found.append({"role": "user", "content": turn.message})
            if turn.answers[voice]:
                found.append({"role": "assistant", "content": turn.answers[voice]})
        return found

    def asking(self, voice: str) -> list[dict[str, str]]:
        """The conversation that a voice answers in the last turn.

        What it has never answered is left out: templates want the two who speak to take turns.
        """
        *earlier, last = self.turns
        answered = Conversation(tuple(turn for turn in earlier if turn.answers[voice]))
        return [*answered.messages(voice), {"role": "user", "content": last.message}]

    def turn_at(self, voice: str, index: Any) -> int:
        """Which turn a message of a voice belongs to.

        Args:
            voice: Whose messages are counted.
            index: As in `messages`.

        Raises:
            InputError: There is no such message.
        """
        owners = [i for i, turn in enumerate(self.turns) for _ in range(1 + bool(turn.answers.get(voice)))]
        if voice not in VOICES or not isinstance(index, int) or not 0 <= index < len(owners):
            raise InputError("There is no such message.")
        return owners[index]

    def before(self, turn: int) -> Conversation:
        """Up to a turn."""
        return Conversation(self.turns[:turn])

    def ending(self, turn: Turn) -> Conversation:
        """With one more turn."""
        return Conversation((*self.turns, turn))

    @property
    def last(self) -> Turn | None:
        """The turn that is, or was last, answered."""
        return self.turns[-1] if self.turns else None


@dataclass
class Scene:
    """What the page shows of a conversation while one answer comes, or since the last has come.

    Args:
        before: What was said until then.
        turn: What is being answered, or has been.
        status: What goes on, in words.
        due: Whether an answer is still to come.
        kept: What is said again if there is no answer to be had.
    """

    before: Conversation = field(default_factory=Conversation)
    turn: Turn | None = None
    status: str = "Ask something."
    due: bool = False
    kept: Conversation = field(default_factory=Conversation)

    @property
    def said(self) -> Conversation:
        """The whole conversation."""
        return self.before if self.turn is None else self.before.ending(self.turn)


@dataclass
class Visit:
    """One visitor of the page. Whatever answers him goes on only as long as its scene is his.

    A scene that is over is exchanged and not changed: what still comes for the old one is not seen by anybody.
    """

    scene: Scene = field(default_factory=Scene)

    def ask(self, before: Conversation, turn: Turn) -> None:
        """Want an answer; one that is on its way ends."""
        self.scene = Scene(before, turn, "Waiting for the model …", due=True, kept=self.scene.said)

    def halt(self, said: Conversation, status: str) -> None:
        """Want no more answer."""
        self.scene = Scene(said, None, status)
