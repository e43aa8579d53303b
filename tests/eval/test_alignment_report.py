"""The report of the alignment battery: tables, figures, the page, and its way into the card."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
import sys
from dataclasses import asdict, replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

import emosteer
from emosteer._util import strict_json
from emosteer.errors import InputError, MissingExtraError
from emosteer.eval.alignment.figures import CAPTIONS, draw_figures
from emosteer.eval.alignment.labels import place
from emosteer.eval.alignment.ratings import Prediction
from emosteer.eval.alignment.report import write_report
from emosteer.eval.alignment.results import AlignmentReport, Ceiling, Geometry, LanguagePair, Transfer, WordRatings
from emosteer.eval.alignment.statistics import Measure
from emosteer.eval.alignment.tables import method, notes, sheets, tables
from emosteer.vectors import card
from emosteer.vectors.measured import AlignmentSummary
from emosteer.vectors.records import Record, put
from tests.conftest import tiny_config, tiny_model

HOSTILE = '<script>alert("$\\x$ & [red]|")</script>'
HUMAN = {
    "joy": (0.77, 0.48),
    "sadness": (-0.79, -0.31),
    "anger": (-0.62, 0.16),
    "fear": (-0.61, 0.04),
    "calm": (0.59, -0.31),
    "boredom": (-0.64, -0.64),
    "hope": (0.75, 0.46),
    "pride": (0.24, 0.21),
}
NAMES, N = tuple(HUMAN), len(HUMAN)
LAYERS = (10, 13, 16)
PICTURES = set(CAPTIONS)


def prediction(valence, arousal, n):
    def one(r):
        return Measure(r, r - 0.1, r + 0.1, 1 / 1001, n)

    return Prediction({"valence": one(valence), "arousal": one(arousal)}, {"valence": valence**2, "arousal": 0.25})


def geometry(language, ratings, rsa):
    rng = np.random.default_rng(len(language + ratings))
    human = np.array(list(HUMAN.values()))
    points = human + rng.normal(0, 0.1, human.shape)
    return Geometry(
        language=language,
        ratings=ratings,
        layer=13,
        emotions=NAMES,
        measures={
            "rsa": rsa,
            "rsa_plane": Measure(0.61, 0.41, 0.71, 0.0002, N),
            "pc1_valence": Measure(0.91, 0.81, 0.95, 0.0002, N),
            "pc2_arousal_given_valence": Measure(0.31, 0.02, 0.55, 0.2, N),
            "axis_valence": Measure(None, n=N),
            "rsa_other_half": Measure(0.5, 0.3, 0.6, None, N),
        },
        control={"rsa": Measure(0.21, -0.05, 0.4, 0.104, N), "pc1_valence": Measure(0.88, 0.7, 0.9, 0.001, N)},
        scree=(0.5, 0.3, 0.2),
        profile={
            layer: {"rsa": 0.5, "pc1_valence": 0.9, "pc2_arousal_given_valence": float("nan")} for layer in LAYERS
        },
        points=tuple(map(tuple, points.tolist())),
        human=tuple(HUMAN.values()),
        similarity=tuple(map(tuple, np.corrcoef(rng.normal(size=(N, 12))).tolist())),
    )


def words(norms, language, n):
    rated = np.random.default_rng(n).uniform(-1, 1, (n, 2)).round(4)
    return WordRatings(
        norms=norms,
        language=language,
        license=None,
        full=prediction(0.83, 0.7, n),
        directions=prediction(0.73, 0.6, n),
        directions_layers=(10, 13, 13, 13, 13),
        controls={"random_directions": prediction(0.6, 0.55, n), "spelling": prediction(0.3, 0.2, n)},
        advantage={"valence": Measure(0.13, 0.08, 0.18, None, n), "arousal": Measure(0.05, -0.01, 0.1, None, n)},
        profile={layer: {"valence": 0.8, "arousal": 0.6} for layer in LAYERS},
        words=tuple(f"word, {i}" for i in range(n)),
        rated=tuple(map(tuple, rated.tolist())),
        predicted=tuple(map(tuple, (0.5 * rated).round(4).tolist())),
    )


def pair(one, other):
    return LanguagePair(
        languages=(one, other),
        layers=(13, 13),
        procrustes=Measure(0.42, 0.2, 0.6, 0.003, N),
        identified=Measure(0.5, 0.25, 0.75, None, N),
        rsa=Measure(0.66, 0.5, 0.8, 0.0002, N),
        shared=Measure(0.71, 0.5, 0.9, None, N),
        specific=0.29,
        unreliable=0.17,
        differences={name: 1.5 - i / 8 for i, name in enumerate(NAMES)},
    )


@pytest.fixture(scope="module")
def report():
    return AlignmentReport(
        about={
            "model": "someone/model",
            "languages": ["en", "zh"],
            "layers": {"en": {"layer": 13, "rule": "by half of the words"}},
            "layer_grid": list(LAYERS),
            "permutations": 5_000,
            "frames": {"en": {"words": ["The word {}", "The word {} makes me feel"]}},
            "seed": 7,
        },
        geometry=(
            geometry("en", "Glasgow Norms", Measure(0.73, 0.55, 0.84, 0.0002, N)),
            geometry("en", HOSTILE, Measure(0.7, 0.5, 0.8, 0.0002, N)),
            geometry("zh", "Glasgow Norms", Measure(0.05, -0.2, 0.3, 0.41, N)),
            geometry("zh", HOSTILE, Measure(0.4, 0.1, 0.6, 0.02, N)),
        ),
        ceilings=(
            Ceiling(("Glasgow Norms", HOSTILE), {"rsa": Measure(0.78, 0.6, 0.9, 0.0002, N)}, "categories"),
            Ceiling(("Glasgow Norms", HOSTILE), {"valence": Measure(0.92, 0.91, 0.93, 0.001, 2000)}, "words"),
        ),
        words=(words("Glasgow Norms", "en", 60), words(HOSTILE, "zh", 41)),
        transfers=(
            Transfer(
                source="Glasgow Norms",
                target=HOSTILE,
                languages=("en", "zh"),
                prediction=prediction(0.77, 0.36, 41),
                arousal_given_valence=Measure(0.31, 0.1, 0.5, 0.03, 41),
                arousal_beyond_valence=Measure(0.34, 0.1, 0.5, 0.02, 41),
                coupling=(0.05, -0.32),
                control=prediction(0.3, 0.1, 41),
            ),
        ),
        pairs=(pair("en", "zh"), pair("zh", "en")),
        notes=(f"{HOSTILE}: only 41 words, so intervals are wide.",),
    )


@pytest.fixture(scope="module")
def folder(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new"
    files = write_report(report, folder)
    assert set(files) == {"json", "page", "words-1", "words-2", *PICTURES}
    assert {file.name for file in folder.iterdir()} == {file.name for file in files.values()}
    return folder


class Page(HTMLParser):
    """What stands in a page; tags must close in the order in which they were opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.rows, self.shown, self.style = [], [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag not in {"meta", "img"}:  # which never close
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in {"td", "th"}:
            self.rows[-1][-1] += data
        if self.open and self.open[-1] == "style":
            self.style += data
        self.shown.append(data)


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "alignment.html").read_text(encoding="utf-8"))


def cells(report, title, row):
    """Of the named row, in the first sheet whose title begins so."""
    sheet = next(sheet for sheet in sheets(report) if sheet.title.startswith(title))
    return next(cells[1:] for cells in sheet.rows if cells[0] == row)


# ----------------------------------------------------------------------------------------------------------------------
# Tables.


def test_a_figure_stands_with_interval_p_n_control_and_ceiling(report):
    found = cells(report, "Shape of the emotions in en against Glasgow Norms, layer 13", "RSA")
    assert found == ("0.73 [0.55, 0.84]", "<0.001", "8", "0.21 [−0.05, 0.40]", "0.104", "0.78")
    found = cells(report, "Ratings of held-out words, Glasgow Norms (en)", "emotion directions")
    assert found == ("0.73 [0.63, 0.83]", "<0.001", "0.53", "0.60 [0.50, 0.70]", "<0.001", "0.25", "60")
    found = cells(report, "Ratings of held-out words, Glasgow Norms (en)", f"ceiling: {HOSTILE}")
    assert found == ("0.92 [0.91, 0.93]", "0.001", "–", "–", "–", "–", "2000")
    found = cells(report, "Fitted to Glasgow Norms (en)", "valence")
    assert found == ("0.77 [0.67, 0.87]", "<0.001", "0.59", "41", "0.30 [0.20, 0.40]", "<0.001")
    found = cells(report, "What the emotions", "en → zh")
    assert found[0] == "0.42\n[0.20, 0.60]\np = 0.003"
    assert found[-3:] == ("0.29", "0.17", "8")


def test_a_control_stands_right_after_what_it_controls(report):
    sheet = next(sheet for sheet in sheets(report) if sheet.title.startswith("Ratings of held-out"))
    assert [row[0] for row in sheet.rows[:5]] == [
        *("full states", "spelling", "emotion directions", "random directions", "gain over random")
    ]


def test_what_was_not_found_is_a_dash(report):
    assert cells(report, "Shape of the emotions in en", "held-out valence axis, r")[:3] == ("–", "–", "8")
    assert cells(report, "Shape of the emotions in en", "RSA, layer from other half")[1] == "–"


def test_several_ceilings_are_a_range(report):
    lower = Ceiling(
        ("Other", "Glasgow Norms"), {"rsa": Measure(-0.1, n=N), "valence": Measure(None, n=N)}, "categories"
    )
    found = replace(report, ceilings=(*report.ceilings, lower))
    assert cells(found, "Shape of the emotions in en", "RSA")[-1] == "−0.10 to 0.78"
    assert cells(found, "Shape of the emotions in en", "PC1–valence, |r|")[-1] == "–"


def test_tables_fit_a_terminal_of_100_columns_and_take_no_name_for_markup(report):
    console = Console(width=100, file=io.StringIO())
    ceiling = Ceiling(
        ("Glasgow Norms", "[red]"), {"arousal_given_valence": Measure(0.7, 0.6, 0.8, 0.01, 2000)}, "words"
    )
    short = replace(report, words=report.words[:1], ceilings=(ceiling,))
    for table in tables(short):
        console.print(table)
    shown = console.file.getvalue()
    for sheet in sheets(short):
        for row in sheet.rows:
            for line in "\n".join(row).split("\n"):
                assert line in shown  # whole, not cut or folded


def test_notes_say_how_norms_differ_and_what_lies_furthest(report):
    found = notes(report)
    assert found[0] == report.notes[0]
    assert "r = 0.05 in Glasgow Norms and −0.32 in" in found[1]
    assert found[2].startswith("en → zh:")
    assert found[2].endswith("joy (1.5), sadness (1.4), anger (1.2).")


def test_the_method_is_told_leaf_by_leaf(report):
    rows = dict(method(report).rows)
    assert rows["layers, en, rule"] == "by half of the words"
    assert rows["frames, en, words"] == "The word {} · The word {} makes me feel"
    assert rows["norms, Glasgow Norms"] == "60 words, en; –"
    assert rows["seed"] == "7"


# ----------------------------------------------------------------------------------------------------------------------
# Files.


def test_json_is_the_report_with_null_for_what_is_no_number(report, folder):
    found = strict_json.loads((folder / "alignment.json").read_text(encoding="utf-8"))
    assert found["schema"] == 1
    assert found["geometry"][0]["measures"]["rsa"] == {"value": 0.73, "low": 0.55, "high": 0.84, "p": 0.0002, "n": 8}
    assert found["geometry"][0]["profile"]["13"]["pc2_arousal_given_valence"] is None
    del found["geometry"], found["words"]  # what has no number in it is as it was
    assert found == {name: value for name, value in json.loads(json.dumps(report.to_dict())).items() if name in found}


def test_the_page_stands_alone(folder, page):
    links = [attrs[name] for _, attrs in page.tags for name in ("src", "href") if name in attrs]
    assert links
    assert not [link for link in links if not link.startswith(("data:image/png;base64,", "#"))]
    assert {link[1:] for link in links if link[0] == "#"} <= {attrs.get("id") for _, attrs in page.tags}
    text = (folder / "alignment.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import", text)
    assert "prefers-color-scheme: dark" in page.style
    assert "@media print" in page.style


def test_names_from_files_are_text_on_the_page(page):
    assert not [tag for tag, _ in page.tags if tag in {"script", "red"}]
    assert any(HOSTILE in shown for shown in page.shown)


def test_the_page_can_be_read_without_seeing_it(report, page):
    counts = {tag: sum(found == tag for found, _ in page.tags) for tag in ("table", "caption", "img", "h1")}
    assert counts == {
        "table": len(sheets(report)) + 1,
        "caption": len(sheets(report)) + 1,
        "img": len(PICTURES),
        "h1": 1,
    }
    assert all(attrs["scope"] in {"row", "col"} for tag, attrs in page.tags if tag == "th")
    assert all(len(attrs["alt"]) > 20 for tag, attrs in page.tags if tag == "img")
    assert ["RSA", "0.73 [0.55, 0.84]", "<0.001", "8", "0.21 [−0.05, 0.40]", "0.104", "0.78"] in page.rows
    for note in notes(report):
        assert note in page.shown


def test_words_are_a_table_of_their_own(report, folder):
    with (folder / "words-2.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["word", "rated_valence", "rated_arousal", "predicted_valence", "predicted_arousal"]
    assert len(rows) == 1 + 41
    expected = ("word, 3", *report.words[1].rated[3], *report.words[1].predicted[3])
    assert rows[4] == [str(value) for value in expected]


@pytest.mark.slow
def test_figures_are_png_of_a_size_to_look_at_and_the_same_twice(report, folder):
    again = draw_figures(report)
    assert set(again) == PICTURES
    for name, content in again.items():
        assert content == (folder / f"alignment_{name}.png").read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", content[16:24])
        assert 400 <= width <= 3000
        assert 200 <= height <= 3000


def test_only_what_the_report_has_is_drawn(report):
    assert set(draw_figures(replace(report, pairs=(), words=()))) == PICTURES - {
        "words",
        "languages",
        "shared",
    }


def test_names_in_a_figure_do_not_cover_each_other():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=150)
    plot = figure.subplots()
    plot.set(xlim=(-1, 1), ylim=(-1, 1))
    points = [(0.02 * i, 0.01 * i) for i in range(8)] + [(0.99, 0.99)]  # a crowd, and one in a corner
    figure.draw_without_rendering()
    place(plot, points, [f"disappointment {i}" for i in range(9)], [(0.0, 0.02)])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in plot.texts]
    assert not [(i, j) for i, one in enumerate(boxes) for j, other in enumerate(boxes[:i]) if one.overlaps(other)]
    frame = plot.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)


def test_a_folder_that_cannot_be_written_is_an_error(report, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(report, tmp_path / "file")


def test_without_matplotlib_the_extra_is_named(report, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"emosteer\[eval\]"):
        write_report(report, tmp_path)


# ----------------------------------------------------------------------------------------------------------------------
# The card.


def test_what_the_file_holds_of_a_report_is_what_the_report_says(report, folder, tmp_path):
    record = Record.load(folder / "alignment.json")
    assert set(record.files) == {"alignment.json", *(f"alignment_{name}.png" for name in PICTURES)}
    held, shape = record.summary, report.geometry[0]
    assert [(one.language, one.ratings, one.n, one.layer) for one in held.geometry] == [
        (one.language, one.ratings, N, 13) for one in report.geometry
    ]
    assert asdict(held.geometry[0].measures["rsa"]) == asdict(shape.measures["rsa"])
    assert asdict(held.geometry[0].input_embeddings["pc1_valence"]) == asdict(shape.control["pc1_valence"])
    assert [one.n for one in held.words] == [60, 41]
    assert asdict(held.words[1].gain_over_random["arousal"]) == asdict(report.words[1].advantage["arousal"])
    assert held.words[0].directions["valence"].value == 0.73
    (ceiling,) = held.ceilings  # of the emotions; that of words is another thing
    assert ceiling.rsa.value == 0.78
    emosteer.EmotionVectors.random(tiny_model(tiny_config(num_hidden_layers=14)), ["joy"]).save_pretrained(tmp_path)
    put(tmp_path, [record])
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| 8 | 0.73 (0.55 to 0.84) | 0.0002 | 0.91 (0.81 to 0.95) | 0.0002 |" in text
    assert "](alignment_languages.png)" in text
    found = card.metadata(text)["model-index"][0]["results"]
    assert len(found) == 2 * 2 + 2  # two languages, two ratings each, two norms
    assert HOSTILE not in text.split("\n---\n", 1)[1]


def changed(report, **measures):
    """The report with other measures in its first geometry."""
    first = report.geometry[0]
    return replace(report, geometry=(replace(first, measures={**first.measures, **measures}), *report.geometry[1:]))


def test_a_figure_that_was_not_found_is_not_in_the_file(report):
    none = changed(replace(report, words=()), rsa=Measure(None, n=N))
    held = AlignmentSummary.of(json.loads(json.dumps(none.to_dict())))
    assert set(held.geometry[0].measures) == {"pc1_valence", "pc2_arousal_given_valence"}
    assert held.words == ()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "front",
    [
        "license: mit # as agreed|tags: [a,   b]",
        "x: old|license: mit",
        "license: mit|x:|  - old|  # theirs|  - older|# of y|y: 1",
        "license: mit|x:|- old|",
        "license: mit|xy: kept|x: {a: 1}",
    ],
)
def test_one_field_is_set_and_all_else_kept_to_the_byte(front, ending):
    text = f"---|{front}|---|# Mine  ||---|x: in the body|".replace("|", ending)
    found = card.with_metadata(text, "x", {"new": [1, "ü"]})
    assert card.metadata(found) == {**card.metadata(text), "x": {"new": [1, "ü"]}}
    kept = [line for line in text.split(ending) if not re.match(r"x:|  -|  #|- old", line)]
    assert [line for line in re.split(r"\r?\n", found) if line in kept and line] == [line for line in kept if line]
    assert found.endswith("---|# Mine  ||---|x: in the body|".replace("|", ending))


def test_a_card_without_front_matter_gets_some():
    assert card.with_metadata("# Mine\n", "x", 1) == "---\nx: 1\n---\n\n# Mine\n"


@pytest.mark.parametrize("front", ["a: [", "- a", "model-index: 3", '"x": 1', "model-index:\n- name: a"])
def test_front_matter_that_cannot_be_set_is_an_error_and_the_card_stays(front):
    with pytest.raises(InputError, match="front matter of the card"):
        card.with_metadata(f"---\n{front}\n---\n", "x", 1)
