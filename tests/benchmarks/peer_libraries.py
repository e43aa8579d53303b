"""Two peers, trained on contrast prompts as their own documentation teaches.

- repeng: "Act as if you're extremely {persona}." against the opposite persona, followed by the beginning of an answer
  that is cut off after every few words; directions are principal components of the differences.
- steering-vectors: pairs of texts that differ in one word; directions are mean differences at the last token.
"""

from __future__ import annotations

from contextlib import contextmanager

CONTRASTS = {
    "joy": (["joyful", "happy", "delighted"], ["miserable", "sad", "gloomy"]),
    "sadness": (["sad", "depressed", "heartbroken"], ["happy", "ecstatic", "delighted"]),
    "anger": (["angry", "furious", "enraged"], ["calm", "peaceful", "content"]),
    "fear": (["afraid", "terrified", "frightened"], ["fearless", "brave", "confident"]),
    "disgust": (["disgusted", "revolted", "repulsed"], ["pleased", "delighted", "charmed"]),
    "surprise": (["surprised", "astonished", "amazed"], ["bored", "unimpressed", "indifferent"]),
}
BEGINNINGS = (
    "Well, the first thing that I would say about that is",
    "I went to the shop this morning and on the way there",
    "The room has a table and two chairs, and from here",
    "My day began at seven, and then I had to",
    "There are several ways to do this, and one of them",
    "When I think about the work that lies ahead of me",
    "It is Tuesday, the bus is on its way, and",
    "Let me tell you what I saw when I came home",
)
QUESTIONS = (
    "How are you today?",
    "What do you think of it?",
    "How was the meeting?",
    "What was it like?",
    "How do you feel about tomorrow?",
    "What happened then?",
    "How did you find the place?",
    "What would you say to them?",
)
STATEMENTS = ("I am feeling very", "To be honest, it makes me", "Right now I am extremely", "All of it left me")
EVERY = 2  # words, between the places where a beginning is cut


def turns(tokenizer, user: str, assistant: str) -> str:
    """A conversation that breaks off within the assistant's answer."""
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True)


class Repeng:
    """Unit directions, added after several layers at once."""

    name = "repeng"
    total = 100.0  # strength to begin with, over all layers: directions have length 1

    def train(self, model, tokenizer, emotion: str):
        from repeng import ControlVector, DatasetEntry

        cuts = [words[:end] for words in map(str.split, BEGINNINGS) for end in range(1, len(words) + 1, EVERY)]
        dataset = [
            DatasetEntry(
                *(
                    turns(tokenizer, f"Act as if you're extremely {persona}.", " ".join(cut))
                    for persona in (positive, negative)
                )
            )
            for cut in cuts
            for positive, negative in zip(*CONTRASTS[emotion], strict=True)
        ]
        return ControlVector.train(model, tokenizer, dataset)

    @contextmanager
    def applied(self, model, vector, layers, strength: float):
        from repeng import ControlModel

        controlled = ControlModel(model, layers)
        try:
            controlled.set_control(vector, strength)
            yield
        finally:
            controlled.unwrap()


class SteeringVectors:
    """Mean differences as long as they are, added after one layer or several."""

    name = "steering-vectors"
    total = 2.0

    def train(self, model, tokenizer, emotion: str):
        from steering_vectors import train_steering_vector

        pairs = [
            tuple(turns(tokenizer, question, f"{statement} {word}.") for word in words)
            for question in QUESTIONS
            for statement in STATEMENTS
            for words in zip(*CONTRASTS[emotion], strict=True)
        ]
        return train_steering_vector(model, tokenizer, pairs, batch_size=16)

    @contextmanager
    def applied(self, model, vector, layers, strength: float):
        from steering_vectors import SteeringVector

        chosen = SteeringVector({i: vector.layer_activations[i] for i in layers}, vector.layer_type)
        with chosen.apply(model, multiplier=strength):
            yield


LIBRARIES = (Repeng, SteeringVectors)
