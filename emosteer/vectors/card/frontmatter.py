"""The front matter of a card: emosteer's fields, and setting them in a card that people have edited."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emosteer._util.names import is_repo_id
from emosteer.errors import InputError
from emosteer.vectors.card.body import title
from emosteer.vectors.card.markdown import plain
from emosteer.vectors.measured import AlignmentSummary, Measurement, SteeringSummary, known

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from emosteer.vectors.config import Config

TASKS = ("emotion-alignment", "emotion-steering")
"""Tasks of results that are emosteer's; those of others are left alone."""

DEEPEST = 32
"""Nesting of front matter; a model index has seven levels."""

TAGS = ("emosteer", "steering-vectors", "emotion")

# Licenses that the Hub knows by their SPDX name in lower case; any other has to be called "other".
_LICENSES = (
    "apache-2.0 mit afl-3.0 artistic-2.0 bsl-1.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc0-1.0 cc-by-2.0 "
    "cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 "
    "cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 "
    "gpl-2.0 gpl-3.0 lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by osl-3.0 postgresql ofl-1.1 ncsa unlicense "
    "zlib pddl openrail gemma llama2 llama3 llama3.1 llama3.2 llama3.3 llama4"
)

# Measures of a geometry that go into the model index: kind of metric and its name.
_INDEXED = {
    "rsa": ("spearmanr", "RSA"),
    "pc1_valence": ("pearsonr", "PC1–valence, |r|"),
    "pc2_arousal_given_valence": ("pearsonr", "PC2–arousal given valence, |partial r|"),
}

_ONLY_WHERE_KNOWN = ("base_model", "base_model_relation", "license_name", "language_bcp47")

__all__ = ["fields", "front_matter", "metadata", "with_fields", "with_metadata"]


def fields(config: Config) -> dict[str, Any]:
    """Return emosteer's fields of the front matter as plain data."""
    base, languages = config.base_model, [plain(language) for language in config.extraction.get("languages", [])]
    front: dict[str, Any] = {"library_name": "emosteer", "tags": list(TAGS)}
    if base.repo_id and is_repo_id(base.repo_id):
        front |= {"base_model": base.repo_id, "base_model_relation": "adapter"}
    if languages:  # the Hub takes codes of ISO 639 there, and what says more, as zh-Hant, in a field of its own
        front["language"] = list(dict.fromkeys(language.partition("-")[0] for language in languages))
        if fuller := [language for language in languages if "-" in language]:
            front["language_bcp47"] = fuller
    if config.license:
        name = plain(config.license).lower().removesuffix("-only").removesuffix("-or-later")
        known_there = name in _LICENSES.split()
        front["license"] = name if known_there else "other"
        if not known_there:
            front["license_name"] = _slug(name, "[^a-z0-9.]+")
    if index := _index(config):
        front["model-index"] = index
    return front


def front_matter(items: Mapping[str, Any]) -> str:
    """Return fields as the head of a card."""
    return f"---\n{''.join(_yaml(name, value) for name, value in items.items())}---\n\n"


def with_fields(text: str, ours: Mapping[str, Any]) -> str:
    """Return a card in which emosteer's fields are set one by one and every other byte stays.

    Tags are united, and results of other people stay beside ours.

    Args:
        text: The card.
        ours: From `fields`.

    Raises:
        InputError: Its front matter cannot be read, or is written so that a field cannot be set alone.
    """
    current = metadata(text)
    if not current:
        return front_matter(ours) + text
    merged: dict[str, Any] = {
        **ours,
        "model-index": _merged(current.get("model-index") or [], ours.get("model-index") or []),
    }
    tags = current.get("tags")
    theirs = tags if isinstance(tags, list) else [] if tags is None else [tags]
    merged["tags"] = [*theirs, *(tag for tag in ours.get("tags", []) if tag not in theirs)]
    if current.get("library_name") == ours.get("library_name"):  # of former vectors, where these have none
        merged |= {name: None for name in _ONLY_WHERE_KNOWN if name in current and name not in ours}
    for name, value in merged.items():
        if current.get(name) != (value or None):
            text = with_metadata(text, name, value or None)
    return text


def metadata(text: str) -> dict[str, Any]:
    """Return the front matter of a card, as the Hub reads it; empty if there is none.

    Args:
        text: The card.

    Raises:
        InputError: It is not YAML, or its model index is invalid.
    """
    import yaml  # type: ignore[import-untyped]
    from huggingface_hub import ModelCardData
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    try:
        block = match[2] if (match := REGEX_YAML_BLOCK.search(text)) else ""
        _check(yaml.parse(block, yaml.SafeLoader))
        front = yaml.safe_load(block) or {}
        ModelCardData(**front)
    except (yaml.YAMLError, AttributeError, RecursionError, TypeError, ValueError) as error:
        raise InputError(
            f"The front matter of the card cannot be read ({' '.join(str(error).split())[:300]}).",
            "Mend what stands between its two lines of ---.",
        ) from error
    return dict(front)


def with_metadata(text: str, name: str, value: object) -> str:
    """Return a card with one field of its front matter set; every other byte stays.

    Args:
        text: The card.
        name: Of the field.
        value: Plain data; None removes the field.

    Raises:
        InputError: The front matter cannot be read, or is written so that one field cannot be set alone.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    current = metadata(text)
    expected = {key: item for key, item in {**current, name: value}.items() if key != name or value is not None}
    field = "" if value is None else _yaml(name, value)
    if not (match := REGEX_YAML_BLOCK.search(text)):
        return f"---\n{field}---\n\n{text}"
    lines = match[2].splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if line.startswith(f"{name}:")), len(lines))
    # A field goes on over lines that are indented, list items, empty or comments; the last two may be the next one's.
    inside = [i for i, line in enumerate(lines) if i > start and line[0] in " \t-"]
    stop = next((i for i, line in enumerate(lines) if i > start and line[0] not in " \t-#\r\n"), len(lines))
    stop = 1 + max((i for i in inside if i < stop), default=start)
    before, after = "".join(lines[:start]), "".join(lines[stop:])
    if field and before and not before.endswith(("\n", "\r")):
        before += "\r\n" if match[1].endswith("\r\n") else "\n"
    if not after:  # the line break before the closing --- is not of the block
        field, before = (field.removesuffix("\n"), before) if field else ("", before.rstrip("\r\n"))
    edited = f"{text[: match.start(2)]}{before}{field}{after}{text[match.end(2) :]}"
    twice = name in current and start == len(lines)
    if twice or metadata(edited) != expected:
        raise InputError(
            f"{name} cannot be set in the front matter of the card without touching the rest.",
            f"Take {name} out of it and run this again.",
        )
    return edited


def _check(events: Any) -> None:
    """Refuse YAML that a few bytes can make endless; events come as they are parsed."""
    from yaml import AliasEvent, CollectionEndEvent, CollectionStartEvent

    depth = 0
    for event in events:
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST or isinstance(event, AliasEvent):
            raise ValueError("it has aliases, or is nested too deeply")


def _yaml(name: str, value: object) -> str:
    """One field; lines are not folded, so that no text from a file can begin one."""
    import yaml

    return str(yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, width=1_000_000))


def _index(config: Config) -> list[dict[str, Any]]:
    """The measurements as results of the Hub's `model-index`; empty if there are none."""
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results = [*_alignment(config), *_steering(config)]
    return eval_results_to_model_index(title(config), results) if results else []


def _alignment(config: Config) -> Iterator[EvalResult]:
    summary = known(AlignmentSummary, config.measured.get("alignment"))
    for shape in summary.geometry if summary else ():
        for name, (kind, label) in _INDEXED.items():
            if name in shape.measures:
                yield _aligned(shape.ratings, shape.language, "categories", kind, label, shape.measures[name])
    for words in summary.words if summary else ():
        for axis in ("valence", "arousal"):
            if axis in words.full:
                label = f"{axis} of held-out words, r"
                yield _aligned(words.norms, words.language, "words", "pearsonr", label, words.full[axis])


def _aligned(ratings: str, language: str, split: str, kind: str, label: str, measured: Measurement) -> EvalResult:
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type=TASKS[0],
        task_name="Emotion alignment",
        dataset_name=plain(ratings) or "ratings",
        dataset_type=_slug(ratings) or "ratings",
        dataset_config=plain(language),
        dataset_split=split,
        metric_type=kind,
        metric_name=label if measured.n is None else f"{label}, n = {measured.n}",
        metric_value=measured.value,
        metric_args=_args(measured, n=measured.n, p=measured.p),
    )


def _steering(config: Config) -> Iterator[EvalResult]:
    from huggingface_hub import EvalResult

    summary = known(SteeringSummary, config.measured.get("steering"))
    if summary is None:
        return
    for way in summary.ways:
        costs = {("nats_per_token", "cost, nats a token"): way.cost}
        hits = {("hit_rate", f"hit rate, {plain(judge)}"): way.hit_rate.get(judge) for judge in summary.judges}
        for (kind, label), figure in {**hits, **costs}.items():
            if figure:
                yield EvalResult(
                    task_type=TASKS[1],
                    task_name="Emotional tone",
                    dataset_name="emosteer, held-out prompts",
                    dataset_type="emosteer-held-out-prompts",
                    dataset_config=plain(way.way),
                    metric_type=kind,
                    metric_name=f"{label}, n = {way.n}",
                    metric_value=figure.value,
                    metric_args=_args(figure, n=way.n, strength=summary.strength),
                )


def _args(measured: Measurement, **more: float | None) -> dict[str, float]:
    arguments = {**more, "low": measured.low, "high": measured.high}
    return {name: value for name, value in arguments.items() if value is not None}


def _slug(name: str, other: str = "[^a-z0-9]+") -> str:
    return re.sub(other, "-", plain(name).lower()).strip("-.")


def _merged(theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A model index with our results in place of those of an earlier run."""
    others = [
        {**entry, "results": [result for result in entry["results"] if result["task"]["type"] not in TASKS]}
        for entry in theirs
    ]
    kept = [entry for entry, before in zip(others, theirs, strict=True) if entry["results"] or not before["results"]]
    if not kept or not ours:
        return kept or ours
    first = {
        **kept[0],
        "results": [*kept[0]["results"], *ours[0]["results"]],
    }  # entry name a card: the Hub reads no more
    return [first, *kept[1:]]
