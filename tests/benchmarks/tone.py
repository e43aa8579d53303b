"""Is the tone real, and what does it cost?

For each basic emotion, 20 held-out everyday prompts × 3 seeds are answered plainly and at strength 1.0. A judge that
has never seen the vectors (MiniLM with a head trained on GoEmotions) says how likely the emotion is in either; the
share of pairs in which the toned one carries more of it is reported, with the share of answers in which the judge finds
that emotion before the other five, and the cost under the plain model. Controls: random directions of equal norm, and
the sign flipped.

    python -m tests.benchmarks.tone [--prompts 20] [--seeds 3] [--split held_out]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from tqdm.auto import tqdm

import emosteer
from emosteer import embedded
from emosteer.eval import EmbeddingJudge, load_prompts, nats_per_token
from emosteer.vectors.shipped import shipped_folder
from tests.benchmarks.report import bootstrap, show

BASIC = ("joy", "sadness", "anger", "fear", "disgust", "surprise")
SAMPLING = {"do_sample": True, "temperature": 0.8, "max_new_tokens": 32}


def answers(steered, prompts, tone, seed, sampling):
    """One sampled answer to each prompt, in one batch."""
    texts = [
        steered.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
        for prompt in prompts
    ]
    batch = steered.tokenizer(texts, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt")
    torch.manual_seed(seed)
    output = steered.generate(**batch, emotion=tone, **sampling)
    return steered.tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def answer(steered, prompts, tone, seed):
    """One sampled answer to each prompt, and what each costs in nats a token under the plain model."""
    replies = answers(steered, prompts, tone, seed, SAMPLING)
    nats = [nats_per_token(steered, prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]
    return replies, np.array(nats)


def compare(steered, judge, emotion, strength, plain, prompts, seeds):
    """Judge toned answers against the plain ones of the same prompt and seed."""
    wins, hits, costs = [], [], []
    for seed in seeds:
        replies, nats = answer(steered, prompts, {emotion: strength}, seed)
        found = judge.probabilities(replies, BASIC)
        before, nats_before = plain[seed]
        wins.extend(found[emotion] > before[emotion])
        hits.extend(np.stack([found[name] for name in BASIC]).argmax(0) == BASIC.index(emotion))
        costs.extend(nats - nats_before)
    costs = np.array(costs)[~np.isnan(costs)]
    return {
        "n": len(wins),
        "more_than_plain": float(np.mean(wins)),
        "more_interval": bootstrap(wins),
        "hit_rate": float(np.mean(hits)),
        "cost_nats": float(costs.mean()),
        "cost_interval": bootstrap(costs),
    }


def measure(n_prompts: int, n_seeds: int, split: str, *, controls: bool = True) -> list[dict]:
    """The whole table."""
    model, tokenizer = embedded.load()
    vectors = emosteer.EmotionVectors.from_pretrained(shipped_folder())
    judge = EmbeddingJudge()
    prompts, seeds = load_prompts(split)[:n_prompts], range(n_seeds)
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    random = emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.random_like(vectors, seed=0))
    plain = {}
    for seed in seeds:
        replies, nats = answer(steered, prompts, None, seed)
        plain[seed] = judge.probabilities(replies, BASIC), nats
    rows = []
    arms = [("tone", steered, 1.0)] + ([("random", random, 1.0), ("flipped", steered, -1.0)] if controls else [])
    for arm, speaker, strength in arms:
        for emotion in tqdm(BASIC, desc=f"Answering: {arm}", disable=None, leave=False):
            figures = compare(speaker, judge, emotion, strength, plain, prompts, seeds)
            rows.append({"arm": arm, "emotion": emotion, **figures})
        mine = [row for row in rows if row["arm"] == arm]
        means = {key: float(np.mean([r[key] for r in mine])) for key in ("more_than_plain", "hit_rate", "cost_nats")}
        total = {"n": sum(row["n"] for row in mine), "more_interval": (), "cost_interval": (), **means}
        rows.append({"arm": arm, "emotion": "mean", **{key: total[key] for key in figures}})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", choices=["development", "held_out"], default="held_out")
    options = parser.parse_args()
    show("Tone", measure(options.prompts, options.seeds, options.split), **vars(options))
