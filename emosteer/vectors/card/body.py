"""The text of the card; every number in it comes from the file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from emosteer._util.names import is_repo_id
from emosteer.vectors.card.markdown import MISSING, bullets, interval, number, plain, share, table, text
from emosteer.vectors.measured import AlignmentSummary, Ceiling, Geometry, SteeringSummary, ToneResult, known

if TYPE_CHECKING:
    from emosteer.vectors.config import Config

FIGURES = {
    "dose_response.png": "How probable judges find each emotion, over strength",
    "tone_and_cost.png": "How often the emotion is heard against what it costs, with controls",
    "confusion.png": "The emotion asked for against the emotion heard",
    "alignment_circumplex.png": "Valence and arousal of the emotions: as people rate them, and in the model",
    "alignment_similarity.png": "Which emotions are alike, in the model and to people",
    "alignment_layers.png": "Agreement with human ratings, layer by layer",
    "alignment_scree.png": "Share of variance of each component of the emotions",
    "alignment_words.png": "Ratings of words, predicted against given by people",
    "alignment_languages.png": "The emotions of two languages, one mapped onto the other",
    "alignment_shared.png": "What one language tells of another",
}
"""File beside the vectors → its caption."""

FOLDER = "path/to/this/folder"
JUDGES = 6
"""Judges that have a column."""

_READS = {
    "cost_asked": "cost beside asking",
    "topic": "topic",
    "refusals": "refusals",
    "disclaimers": "disclaimers",
    "coarse": "coarse",
}

_CONTROLS = {
    "unsteered": "nothing: the plain model",
    "random": "a random direction of the same norm",
    "shuffled": "the direction of another emotion",
    "flipped": "the direction with its sign flipped",
    "prompt_only": "words in the system message, no vectors",
}

__all__ = ["FIGURES", "figures_of", "render", "title"]


def title(config: Config) -> str:
    """Return the title of the card as plain text."""
    return f"Emotion vectors for {_model(config)}"


def render(config: Config, figures: Collection[str] = (), repo_id: str | None = None) -> str:
    """Return the card below its front matter, in Markdown.

    Args:
        config: What the card describes.
        figures: Names of files that stand beside it; those that are known and of what the file holds are shown.
        repo_id: Of the vectors on the Hub, where it is known.
    """
    steering = known(SteeringSummary, config.measured.get("steering"))
    alignment = known(AlignmentSummary, config.measured.get("alignment"))
    lines = [
        *_first(config, repo_id),
        *_emotions(config, steering),
        *(_steering(steering) if steering else []),
        *(_pictures(steering, figures) if steering else []),
        *(_alignment(alignment) if alignment else []),
        *(_pictures(alignment, figures) if alignment else []),
        *_made(config),
        *_last(config),
    ]
    return "\n".join([*lines, ""])


def _first(config: Config, repo_id: str | None) -> list[str]:
    """What it is and how to use it, for a newcomer."""
    base = config.base_model
    name, model = text(_model(config)), base.repo_id if base.repo_id and is_repo_id(base.repo_id) else "path/to/model"
    source = repo_id if repo_id and is_repo_id(repo_id) else FOLDER
    emotion = next(iter(config.emotions))
    return [
        f"# {text(title(config))}",
        "",
        f"They give the answers of {name} an emotional tone while it writes them: {len(config.emotions)} emotions, "
        "one by one or mixed, each as strong as you like. An emotion is a direction in the model's residual stream "
        "(a *steering vector*), and the Python library emosteer adds it as the model runs. The model is not trained "
        "and none of its weights is changed.",
        "",
        "```python",
        "# pip install emosteer",
        "import emosteer",
        "",
        f'vectors = emosteer.EmotionVectors.from_pretrained("{source}")',
        "print(vectors.emotions)",
        "",
        f'steered = emosteer.SteeredModel.from_pretrained("{model}", vectors="{source}")',
        f'print(steered.chat("How was your morning?", emotion={{"{emotion}": 1.0}}))',
        f'print(steered.chat("How was your morning?", emotion={{"{emotion}": -0.5}}, do_sample=True))',
        "```",
        "",
        f"Strength one is {_strength_one(config)}, zero is off, and a negative strength steers away.",
    ]


def _strength_one(config: Config) -> str:
    """What strength 1.0 is, in words."""
    fallback = "emosteer's fallback dose, which has not been measured on this model"
    if not config.doses:
        return fallback
    lacking = config.emotions.keys() - config.doses.keys()
    return "the dose that the table gives" + (f", or where it names none, {fallback}" if lacking else "")


def _emotions(config: Config, steering: SteeringSummary | None) -> list[str]:
    stability = config.extraction.get("stability", {})
    way = steering.ways[0] if steering and steering.ways else None
    judges = steering.judges[:JUDGES] if steering and way else ()
    measured = ["measured cost", *(f"hit rate / p, {text(judge)}" for judge in judges), "n"] if way else ["hit rate"]
    rows = []
    for emotion in config.emotions:
        info, dose = config.emotions[emotion], config.doses.get(emotion)
        row = [text(emotion), number(info.valence), number(info.arousal)]
        row += [number(dose.dose), _span(dose.layers)] if dose else ["fallback", MISSING]
        row.append(number(dose.cost if dose else None))
        if way:
            result = way.emotions.get(emotion)
            row.append(number(result.cost if result else None))
            for judge in judges:
                scores = (result.hit_rate.get(judge), result.probability.get(judge)) if result else (None, None)
                row.append(MISSING if scores == (None, None) else " / ".join(map(number, scores)))
            row.append(str(result.n) if result else MISSING)
        else:
            row.append(number(dose.hit_rate if dose else None))
        rows.append([*row, number(stability.get(emotion) if isinstance(stability, dict) else None)])
    sources = sorted({info.source for info in config.emotions.values() if info.source})
    budgets = sorted({dose.budget for dose in config.doses.values() if dose.budget is not None})
    head = ["emotion", "valence", "arousal", "dose", "layers", "cost", *measured, "stability"]
    legend = [
        "Valence (unpleasant to pleasant) and arousal (still to stirred up): human ratings from minus one to one"
        + (f", from {'; '.join(map(text, sources))}." if sources else ", where they are known."),
        "Dose: what strength one adds, in units of the mean residual norm, shared by the layers named"
        + (f"; it may cost up to {' or '.join(f'{budget:g}' for budget in budgets)} nats a token" if budgets else "")
        + f". {_calibrated(config)}",
        "Cost: how much more surprising the answers are to the plain model, in nats a token, by the curve that was "
        "fitted when the dose was chosen.",
        "Hit rate: share of answers in which a judge finds the emotion.",
        "Stability: mean cosine between directions from two halves of the texts.",
    ]
    if steering and way:
        legend[3] = f"Measured cost: of n answers at strength {steering.strength:g}, {text(way.way)}."
    if steering and way and judges:
        legend[3] = (
            f"Measured cost, hit rate and p: of n answers at strength {steering.strength:g}, {text(way.way)}. Hit "
            "rate: share of answers in which the judge finds the emotion before the other basic ones. p: mean "
            "probability that it gives the emotion among all that it knows. A dash: the judge does not know the "
            "emotion, or it is not a basic one."
        )
    return ["", "## The emotions", *table(head, rows), "", " ".join(legend)]


def _calibrated(config: Config) -> str:
    """How the doses were found, as sentences."""
    found: dict[str, list[str]] = {}
    for name in config.emotions:
        found.setdefault(config.doses[name].calibration if name in config.doses else "fallback", []).append(name)
    moved = [dose.divergence for dose in config.doses.values() if dose.divergence is not None]
    reach = " to ".join(dict.fromkeys(number(value) for value in (min(moved), max(moved)))) if moved else ""
    said = {
        "answers": "were measured by generated answers",
        "quick": f"were measured quickly: each moves the model by {reach} nats a token (KL divergence)",
        "given": "were given and not measured",
        "fallback": "are the fallback, which was not measured on this model",
    }
    if len(found) == 1:
        return f"The doses {said[next(iter(found))]}."
    return " ".join(f"Those of {_listed(names)} {said[kind]}." for kind, names in found.items())


def _steering(summary: SteeringSummary) -> list[str]:
    judges, tones, kept = summary.judges[:JUDGES], (*summary.ways, *summary.controls), summary.tasks_kept or {}
    shown = [score for score in _READS if any(score in (tone.reads or {}) for tone in tones)]
    rows = [
        [
            _asked(tone),
            *(interval(tone.hit_rate.get(judge)) for judge in judges),
            interval(tone.cost),
            *(share((tone.reads or {}).get(score)) for score in shown),
            *([interval(None if tone.control else kept.get(tone.way))] if kept else []),
            str(tone.n),
        ]
        for tone in tones
    ]
    heads = [*(f"hit rate, {text(judge)}" for judge in judges), "cost", *(_READS[score] for score in shown)]
    legend = (
        "A refusal or a disclaimer is no hit. Cost beside asking: nats a token under the model that is asked for the "
        "tone, above its own answers. Topic: likeness to plain answers, as a share of theirs to each other. Coarse: "
        "share of answers that swear, insult, threaten or speak of self-harm. "
        if shown
        else ""
    )
    return [
        "",
        f"## What strength {summary.strength:g} does, and what it costs",
        "",
        f"{summary.n_answers} answers of up to {summary.max_new_tokens} tokens at temperature {summary.temperature:g} "
        f"{_judged(summary)}. Means over "
        f"{_listed(summary.basic)}, on up to {summary.n_prompts} held-out prompts"
        f"{f' in {text(summary.language)}' if summary.language else ''}; in brackets "
        f"the {summary.confidence_percent} % interval over prompts. "
        + (
            "A tone is worth having where its hit rate is above that of the controls below it, and its cost is low."
            if judges
            else "Nothing here tells how well the tone is heard."
        ),
        *table(["tone by", *heads, *(["tasks kept"] if kept else []), "n"], rows),
        "",
        f"{legend}The full report is in `steering.json`.",
    ]


def _judged(summary: SteeringSummary) -> str:
    """Who judged the answers, and who did not, as a sentence goes on."""
    judges, others = summary.judges[:JUDGES], (summary.judges_left_out or ())[:JUDGES]
    judged = f"were judged by {_listed(judges)}, which never saw the vectors" if judges else "were judged by nobody"
    return f"{judged}; left out, since their language is another: {_listed(others)}" if others else judged


def _asked(tone: ToneResult) -> str:
    if tone.control is None:
        return f"**{text(tone.way)}**"
    named = _CONTROLS.get(tone.control) or text(tone.control)
    return f"control: {named}" + (f", {text(tone.way)}" if tone.way else "")


def _alignment(summary: AlignmentSummary) -> list[str]:
    lines = ["", "## Do the emotions lie where people place them?"]
    if summary.geometry:
        lines += [
            "",
            "RSA asks whether emotions that people rate alike lie close to each other in the model; the next columns, "
            "whether the direction in which emotions differ most goes with valence and the second with what of arousal "
            "valence does not explain. One is full agreement and zero is none. Input embeddings know words but not "
            "what they do in a sentence; people with people is how two sets of human ratings agree, which is the most "
            f"that can be asked for. In brackets the {summary.confidence_percent} % interval; p by "
            f"{summary.permutations} permutations of the names.",
            *table(
                [
                    *("language, ratings", "n", "RSA", "p", "first component, valence", "p"),
                    *("second, arousal given valence", "p", "input embeddings, RSA", "people with people, RSA"),
                ],
                (_shape(shape, summary.ceilings) for shape in summary.geometry),
            ),
        ]
    if summary.words:
        rows = [
            [
                f"{text(entry.language)}, {text(entry.norms)}",
                str(entry.n),
                axis,
                *(
                    interval(values.get(axis))
                    for values in (entry.full, entry.directions, entry.gain_over_random, entry.input_embeddings)
                ),
            ]
            for entry in summary.words
            for axis in ("valence", "arousal")
        ]
        lines += [
            "",
            "Ratings of single words, each predicted by a regression that never saw it (r): from the model's full "
            "states, from the emotion directions alone, how far those are ahead of as many random directions, and from "
            "input embeddings.",
            *table(
                [
                    *("language, ratings", "words", "axis", "full states", "directions alone"),
                    *("gain over random", "input embeddings"),
                ],
                rows,
            ),
        ]
    return [*lines, "", "The full report is in `alignment.json`."]


def _shape(shape: Geometry, ceilings: Collection[Ceiling]) -> list[str]:
    cells = [f"{text(shape.language)}, {text(shape.ratings)}", str(shape.n)]
    for name in ("rsa", "pc1_valence", "pc2_arousal_given_valence"):
        measured = shape.measures.get(name)
        cells += [interval(measured), number(measured.p if measured else None, 4)]
    beside = sorted(ceiling.rsa.value for ceiling in ceilings if shape.ratings in ceiling.between)
    ends = [number(value) for value in dict.fromkeys([*beside[:1], *beside[-1:]])]
    return [*cells, share(shape.input_embeddings.get("rsa")), " to ".join(ends) or MISSING]


def figures_of(summary: SteeringSummary | AlignmentSummary) -> tuple[str, ...]:
    """Return the file names of the figures that a summary can have; others are left over from an earlier one."""
    if isinstance(summary, SteeringSummary):
        return tuple(name for name in FIGURES if summary.judges and not name.startswith("alignment_"))
    shape, languages = bool(summary.geometry), len(summary.languages) > 1
    drawn = {"circumplex": shape, "similarity": shape, "layers": shape or bool(summary.words), "scree": shape}
    drawn |= {"words": bool(summary.words), "languages": languages, "shared": languages}
    return tuple(f"alignment_{name}.png" for name, exists in drawn.items() if exists)


def _pictures(summary: SteeringSummary | AlignmentSummary, figures: Collection[str]) -> list[str]:
    return [line for name in figures_of(summary) if name in figures for line in ("", f"![{FIGURES[name]}]({name})")]


def _made(config: Config) -> list[str]:
    base, made = config.base_model, config.extraction
    counts, templates = sorted(_object(made.get("counts")).items()), sorted(_object(made.get("templates")).items())
    concepts = text(made["concepts"]) if made.get("concepts") else ""
    digest = made.get("concepts_digest")
    items = {
        "Base model": f"{text(_model(config))}, {text(base.model_type)}, {base.num_hidden_layers} layers, width "
        f"{base.hidden_size}; directions at {len(config.layers)} layers, {_span(config.layers)}",
        "Its weights": text(base.weights_variant) if base.weights_variant else "",
        "Its revision": text(base.revision) if base.revision else "",
        "Its fingerprint": text(base.fingerprint) if base.fingerprint else "",
        "Method": text(made["method"]) if made.get("method") else "",
        "Moved from": _moved(made),
        "Read from": _imported(made),
        "Pooling": text(made["pooling"]) if made.get("pooling") else "",
        "Concept set": concepts + (f", sha256 {text(digest)}" if concepts and digest else ""),
        "Texts": ", ".join(f"{number(n, 0)} {text(name)}" for name, n in counts if isinstance(n, int | float)),
        "Templates": ", ".join(f"{text(name)} sha256 {text(sha)}" for name, sha in templates),
        "Written by": f"emosteer {version('emosteer')}",
    }
    return ["", "## How they were made", *bullets(items)]


def _moved(made: Mapping[str, Any]) -> str:
    """The model that vectors were moved from and what the move lost; empty if they were not moved."""
    lost = _object(made.get("held_out"))
    came, ceiling = (_object(lost.get(name)).get("value") for name in ("halves", "ceiling"))
    if not isinstance(came, float) or not isinstance(ceiling, float):
        return ""
    source = _object(made.get("source"))
    return (
        f"{text(source.get('repo_id') or source.get('model_type') or 'another model')}: emotions that the map had not "
        f"seen agree with this model's own to a cosine of {number(came)} across halves of the texts, its own with each "
        f"other to {number(ceiling)}"
    )


def _imported(made: Mapping[str, Any]) -> str:
    """Formats and producers of vectors of other libraries; empty if there are none."""
    files = [_object(file) for file in _object(made.get("sources")).values()]
    sources = {" of ".join(text(file[key]) for key in ("format", "producer") if file.get(key)) for file in files}
    return ", ".join(sorted(sources)) + (
        "; doses are the producer's, and what they cost is not known" if sources else ""
    )


def _last(config: Config) -> list[str]:
    terms = f"The vectors are under {text(config.license)}." if config.license else "No license is given."
    return [
        "",
        "## Limits and responsible use",
        "",
        "Vectors shift how a text sounds, not what is true, and a strong tone costs fluency. They carry what the model "
        "and the writers of the concept set associate with an emotion, which is not everyone's. A model that sounds "
        "glad or hurt feels nothing: say so where people might think otherwise, and do not use tone to press or "
        "deceive them.",
        "",
        "## License",
        "",
        f"{terms} They are of use only with {text(_model(config))}, whose own license and terms of use hold for it "
        "and for what it writes.",
        "",
        "## References",
        "",
        "After Wu et al. 2025, *AI shares emotion with humans across languages and cultures*, arXiv:2506.13978.",
    ]


def _model(config: Config) -> str:
    base = config.base_model
    return plain(base.repo_id or f"a local {base.model_type} model")


def _span(layers: Collection[int]) -> str:
    first, *others = layers
    if list(layers) != list(range(first, first + len(layers))):
        return ", ".join(map(str, layers))
    return f"{first} to {others[-1]}" if others else str(first)


def _listed(names: Collection[str]) -> str:
    *most, last = map(text, names) if names else ("nobody",)
    return f"{', '.join(most)} and {last}" if most else last


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
