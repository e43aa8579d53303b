"""What answering together saves: eight requests in eight tones in turn, at once, and as one batch of `generate`.

    python -m tests.benchmarks.serving --tokens 32

Rounds are interleaved, and the median of the process's CPU time counts, which other programs disturb less than the
clock. The answers have to be equal.
"""

from __future__ import annotations

import argparse
import queue
import statistics
import time

import emosteer
from emosteer.models.generation import left_padded
from emosteer.serving import Rules
from emosteer.serving.body import chat
from emosteer.serving.engine import Ended, Engine
from tests.benchmarks.report import show

QUESTIONS = ("What does the moon look like tonight?", "How do I repot a plant?", "Tell me about the sea.")
TONES = ("joy=1", "sadness=1", "anger=0.8", "calm=1", "fear=1", "disgust=1", "surprise=1", "")


def heard(events: queue.Queue) -> tuple[str, int]:
    """The text of an answer, and the number of its tokens."""
    text = ""
    while not isinstance(event := events.get(), Ended):
        text += event
    return text, event.tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    steered = emosteer.SteeredModel.from_pretrained("embedded", vectors="vectors/smollm2-135m-instruct-en")
    jobs = [
        chat(
            steered,
            {
                "messages": [{"role": "user", "content": QUESTIONS[i % len(QUESTIONS)]}],
                "vllm_xargs": {"emosteer": tone},
                "temperature": 0,
                "max_tokens": options.tokens,
            },
            Rules(),
            options.tokens,
        ).job
        for i, tone in enumerate(TONES)
    ]

    def ask(engine, job):
        events = queue.Queue()
        engine.submit(job, events.put)
        return events

    def in_turn(engine):
        return [heard(ask(engine, job)) for job in jobs]

    def at_once(engine):
        return [heard(events) for events in [ask(engine, job) for job in jobs]]

    def one_batch(engine):
        return engine.call(generated).result()

    def generated():
        import torch

        prompts = [{name: torch.tensor([ids]) for name, ids in (("input_ids", job.prompt),)} for job in jobs]
        prompts = [{**prompt, "attention_mask": torch.ones_like(prompt["input_ids"])} for prompt in prompts]
        batch = left_padded(steered.tokenizer, prompts)
        tones = [job.tone.tone for job in jobs]
        output = steered.generate(
            **batch, emotion=tones, recipe=jobs[0].recipe, do_sample=False, max_new_tokens=options.tokens
        )
        rows = output[:, batch["input_ids"].shape[1] :].tolist()
        ends = {steered.tokenizer.eos_token_id}
        rows = [row[: next((i for i, token in enumerate(row, 1) if token in ends), None)] for row in rows]
        return [(steered.tokenizer.decode(row, skip_special_tokens=True), len(row)) for row in rows]

    ways = {"in turn": in_turn, "at once": at_once, "one batch of generate": one_batch}
    taken = {name: [] for name in ways}
    with Engine(steered) as engine:
        answers = {name: way(engine) for name, way in ways.items()}  # also warms up
        for _ in range(options.rounds):
            for name, way in ways.items():
                begun = time.process_time()
                way(engine)
                taken[name].append(time.process_time() - begun)
    seconds = {name: statistics.median(times) for name, times in taken.items()}
    rows = [
        {
            "way": name,
            "tokens_a_cpu_second": sum(tokens for _, tokens in answers[name]) / seconds[name],
            "times_in_turn": seconds["in turn"] / seconds[name],
            "equal_answers": sum(one == other for one, other in zip(answers[name], answers["in turn"], strict=True)),
        }
        for name in ways
    ]
    show("Eight answers in eight tones", rows, tokens=options.tokens, rounds=options.rounds)


if __name__ == "__main__":
    main()
