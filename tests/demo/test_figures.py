"""The demo's figures: what they draw, that nothing in them runs, and that their colours can be read."""

import itertools
import json
import math
import random
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from emosteer.demo import figures
from emosteer.demo.figures import circumplex, doses, labels, reasons, text, tokens

NAN, INF = math.nan, math.inf
HOSTILE = "<img src=x onerror=alert(1)>\"'`${1}{{1}}</style>\x00\x1b\ud800"
HERE = Path(figures.__file__).parent
TITLES = ("People", "This model")
STYLE = (HERE.parent / "style.css").read_text(encoding="utf-8")


def maps(first, second):
    return circumplex.maps(first, second, titles=TITLES)


def trace(plain, toned, emotions):
    return circumplex.trace({"plain": plain, "toned": toned}, emotions)


def parse(html):
    """Also the check that a figure is well-formed, down to what it may not hold."""
    html.encode("utf-8")
    return ElementTree.fromstring(f"<root>{html}</root>")


def all_with(root, name):
    return [element for element in root.iter() if name in element.get("class", "").split()]


def words(element):
    return "".join(element.itertext())


FIGURES = {
    "maps": lambda t: maps({t: (0.5, 0.2), "b": (NAN, 0)}, {t: (9, -INF), "c": (9, -9)}),
    "maps of many": lambda t: maps({f"{t}{i}": (0.1, 0.1) for i in range(40)}, {t: (0, 0)}),
    "trace": lambda t: trace([(0, 0), (NAN, 1), (5, 5)], [(0.1, -7)], {t: (0.0, 0.7)}),
    "glyph": lambda _: circumplex.glyph(-3.0, 0.2),
    "strip": lambda t: tokens.strip([t, "", "\n", t], [1.0, 1.0, -INF, NAN], label=t, scale=2.0, details=[t, "", t, t]),
    "table": lambda t: tokens.table([t, t], [[t, 0.5], [t, NAN], [1.0, t]], t),
    "why": lambda t: reasons.why([t, "\n"], [0.1, 0.0], [0.9, 1.0], [[(t, 0.2)], []], [[(t, NAN)], []]),
    "row": lambda t: doses.row([(0.0, t, NAN, 0.0), (1.0, t, -2.0, INF)]),
    "grid": lambda t: doses.grid([(t, t, 0.1, 9.0), (t, "", None, 0.0), (t, t, NAN, 0.0)]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_becomes_markup(name):
    harmless, hostile = parse(FIGURES[name]("x")), parse(FIGURES[name](HOSTILE))
    # the same elements with the same attributes, whatever the words
    assert [e.tag for e in hostile.iter()] == [e.tag for e in harmless.iter()]
    assert [sorted(e.attrib) for e in hostile.iter()] == [sorted(e.attrib) for e in harmless.iter()]
    said = words(hostile) + " ".join(value for e in hostile.iter() for value in e.attrib.values())
    assert name == "glyph" or HOSTILE[:-3] in said
    assert not re.search("[\x00\x1b\ud800]", said)
    for style in hostile.iter("style"):  # no name gets into a rule
        assert "alert" not in style.text


EMPTY = {
    "maps": maps({}, {}),
    "maps of nothing finite": maps({"joy": (NAN, 0.0)}, {}),
    "trace": trace([], [], {}),
    "strip": tokens.strip([], [], label="joy", scale=1.0),
    "strip of nothing": tokens.strip(["", ""], [1.0, NAN], label="joy", scale=1.0),
    "why": reasons.why([], [], [], [], []),
    "row": doses.row([]),
    "grid": doses.grid([]),
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_to_show_is_said(name):
    assert words(parse(EMPTY[name])).strip()
    assert all_with(parse(EMPTY[name]), "em-empty")


def test_table_without_rows_keeps_its_heads():
    table = parse(tokens.table(["token", "joy"], [], "Scores"))
    assert [words(head) for head in table.iter("th")] == ["token", "joy"]


# The circumplex


def test_maps_put_each_emotion_where_it_is():
    human = {"joy": (0.75, 0.5), "calm": (0.5, -0.25), "grief": (-0.5, -0.5)}
    model = {"joy": (1.0, 0.0), "calm": (7.0, -3.0)}
    root = parse(maps(human, model))
    planes = all_with(root, "em-plane")
    assert [words(plane.find("figcaption")) for plane in planes] == ["People", "This model"]
    marks = {}
    for plane, points in zip(planes, (human, model), strict=True):
        (rim,) = all_with(plane, "em-rim")
        cx, cy, r = (float(rim.get(name)) for name in ("cx", "cy", "r"))
        groups = all_with(plane, "em-at")
        assert len(groups) == len(points)
        for group, (name, (x, y)) in zip(groups, points.items(), strict=True):
            (dot,) = all_with(group, "em-dot")
            assert float(dot.get("cx")) == pytest.approx(cx + r * min(1, x), abs=0.11)
            assert float(dot.get("cy")) == pytest.approx(cy - r * max(-1, y), abs=0.11)
            assert group.findtext("text") == name
            assert group.findtext("title").startswith(f"{name}: valence ")
            marks.setdefault(name, set()).add(group.get("class"))
    # the same class in both, with a rule of its own, is what pairs them
    assert all(len(classes) == 1 for classes in marks.values())
    assert len(set.union(*marks.values())) == 3
    rules = root.find(".//style").text
    for i, name in enumerate(human):
        assert marks[name] == {f"em-at em-at-{i}"}
        assert rules.count(f".em-at-{i}:hover") == 1
        assert rules.count(f".em-pick-{i}:checked") == 1
    picks = root.findall(".//fieldset/label")
    assert [words(pick) for pick in picks] == list(human)
    assert len({pick.find("input").get("name") for pick in picks}) == 1
    rows = [[words(cell) for cell in row] for row in root.findall(".//tbody/tr")]
    assert rows[1] == ["calm", "0.50", "−0.25", "7.00", "−3.00"]
    assert rows[2] == ["grief", "−0.50", "−0.50", "–", "–"]


def test_two_maps_on_a_page_do_not_share_their_choice():
    one = parse(maps({"joy": (0, 0)}, {}))
    other = parse(maps({"joy": (0, 0.1)}, {}))
    assert one.find(".//input").get("name") != other.find(".//input").get("name")


def test_names_cover_neither_each_other_nor_a_dot():
    draw = random.Random(7)
    dots = {f"emotion{i:02d}": (draw.uniform(60, 320), draw.uniform(60, 320)) for i in range(34)}
    placed = labels.place(dots, 380, [(150, 4, 230, 26)])
    width = 9 * labels.LETTER
    boxes = [(150, 4, 230, 26)]
    for label in placed.values():
        if label.free:
            left = {"start": label.x, "middle": label.x - width / 2, "end": label.x - width}[label.anchor]
            boxes.append((left, label.y - 9, left + width, label.y + 2))
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for (x, y), box in itertools.product(dots.values(), boxes[1:]):
        assert not (box[0] < x < box[2] and box[1] < y < box[3])
    assert 20 <= len(boxes) - 1 <= 34  # most find room
    crowd = labels.place({str(i): (190, 190) for i in range(30)}, 380, [])
    assert not all(label.free for label in crowd.values())


def test_trace_draws_a_way_from_a_dot_to_an_arrow_head():
    root = parse(trace([(0.0, 0.0), (0.0, -0.5)], [(0.0, 0.0), (0.25, 0.0), (0.5, 0.0)], {"joy": (0.8, 0.5)}))
    (plain,), (toned,) = all_with(root, "em-plain"), all_with(root, "em-toned")
    assert [words(name) for way in (plain, toned) for name in all_with(way, "em-way-name")] == ["plain", "toned"]
    assert all_with(toned, "em-head")[0].get("transform").endswith("rotate(0.0)")  # to the right
    assert all_with(plain, "em-head")[0].get("transform").endswith("rotate(90.0)")  # down, in SVG
    assert len(re.findall("[ML]", all_with(toned, "em-way")[0].get("d"))) == 3
    assert re.search(r"\.em-plain \.em-way \{[^}]*stroke-dasharray", STYLE)
    assert root.find(".//svg").get("aria-label") == (
        "plain ends at valence 0.00, arousal −0.50; toned ends at valence 0.50, arousal 0.00"
    )
    assert [words(name) for name in all_with(root, "em-faint")] == ["joy"]


def test_trace_of_one_point_has_no_arrow():
    root = parse(trace([], [(3.0, 0.25)], {}))
    assert not all_with(root, "em-head")
    assert not all_with(root, "em-plain")
    (rim,), (start,) = all_with(root, "em-rim"), all_with(root, "em-start")
    assert float(start.get("cx")) == pytest.approx(float(rim.get("cx")) + float(rim.get("r")), abs=0.11)
    still = parse(trace([(0.1, 0.1)] * 5, [], {}))
    assert not all_with(still, "em-head")


def test_trace_of_many_points():
    way = [(math.sin(i / 9), math.cos(i / 7)) for i in range(500)]
    assert len(re.findall("[ML]", all_with(parse(trace(way, way, {})), "em-way")[0].get("d"))) == 500


# Tokens


def said(strip):
    """The text of a strip without its notes and marks of line ends."""
    for parent in list(strip.iter()):
        for child in list(parent):
            if child.get("class") in ("em-note", "em-return"):
                before = list(parent)[: list(parent).index(child)]
                if before:
                    before[-1].tail = (before[-1].tail or "") + (child.tail or "")
                else:
                    parent.text = (parent.text or "") + (child.tail or "")
                parent.remove(child)
    return "".join(words(element) for element in all_with(strip, "em-strip"))


def test_strip_keeps_the_text_and_marks_what_was_scored():
    pieces = ["Once", " upon", "", "\n\n", "  a", " time", " é", "."]
    scores = [NAN, 2.0, 5.0, 0.5, -1.0, -9.0, 0.05, INF]
    root = parse(tokens.strip(pieces, scores, label="joy", scale=2.0, details=[f"most: {i}" for i in range(8)]))
    marks = all_with(root.find(".//*[@role='listbox']"), "em-token")
    kinds = ["".join(k for k in m.get("class").split() if k != "em-token") for m in marks]
    assert kinds == ["", "em-more", "em-more", "em-less", "em-less", "", ""]  # without the empty piece
    amounts = [
        re.search(r"--em-amount:([\d.]+)", mark.get("style", ""))[1] if mark.get("style") else None for mark in marks
    ]
    assert amounts == [None, "1.00", "0.25", "0.50", "1.00", "0.03", None]
    assert [mark.get("tabindex") for mark in marks] == [None, "0", "-1", "-1", "-1", "-1", None]  # one tab stop
    assert marks[1].get("aria-label") == "upon. joy +2.00. most: 1"
    assert marks[4].get("aria-label") == "time. joy −9.00. most: 5"
    assert [words(line) for line in marks[1].find("span[@class='em-note']")] == ["upon", "joy +2.00", "most: 1"]
    assert said(root) == "".join(pieces)


def test_signs_are_told_without_colour():
    more = re.search(r"\.em-token\.em-more \{([^}]*)\}", STYLE)[1]
    less = re.search(r"\.em-token\.em-less \{([^}]*)\}", STYLE)[1]
    assert "text-decoration-style: solid" in more
    assert "text-decoration-style: dotted" in less
    assert re.search(r"text-decoration-thickness: calc\([^;]*--em-amount", STYLE)


def test_strip_wants_a_score_for_each_token():
    with pytest.raises(ValueError, match=r"zip\(\)"):
        tokens.strip(["a"], [], label="joy", scale=1.0)


def test_table_writes_numbers_for_reading():
    root = parse(tokens.table(["token", "joy", "note"], [["a", -0.5, "x"], ["b", NAN, "y"]], "Scores"))
    assert words(root.find(".//caption")) == "Scores"
    assert [[words(cell) for cell in row] for row in root.findall(".//tbody/tr")] == [
        ["a", "−0.50", "x"],
        ["b", "–", "y"],
    ]
    region = root.find("div")
    assert (region.get("role"), region.get("tabindex"), region.get("aria-label")) == ("region", "0", "Scores")
    assert all(row[0].tag == "th" and row[0].get("scope") == "row" for row in root.findall(".//tbody/tr"))


# Reasons


def test_why_says_what_the_tone_changed_most():
    pieces = ["A", " good", "", " day", "\n", " again"]
    plain = [NAN, 0.003, 0.1, 0.5, 0.2, 0.9]
    toned = [0.5, 0.12, 0.9, 0.05, 0.2, 0.0]
    favourites = [[(" bad", 0.31), (" long", 0.0421)]] * 6
    root = parse(reasons.why(pieces, plain, toned, favourites, [[(" fine", 0.6)]] * 6))
    rows = [[words(cell) for cell in row] for row in root.findall(".//tbody/tr")]
    assert rows == [
        ["again", "90 %", "0 %", "↓ over 1000 times less likely", "bad 31 %, long 4.2 %", "fine 60 %"],
        ["good", "0.3 %", "12 %", "↑ 40 times likelier", "bad 31 %, long 4.2 %", "fine 60 %"],
        ["day", "50 %", "5.0 %", "↓ 10 times less likely", "bad 31 %, long 4.2 %", "fine 60 %"],
        ["↵", "20 %", "20 %", "as likely as before", "bad 31 %, long 4.2 %", "fine 60 %"],
    ]
    kinds = {m.get("aria-label", "").split(".")[0]: m.get("class") for m in all_with(root, "em-token")}
    assert kinds["good"] == "em-token em-more"
    assert kinds["day"] == "em-token em-less"
    assert kinds["blank"] == "em-token"
    assert "good. plain 0.3 %, toned 12 %. 40 times likelier" in {
        m.get("aria-label") for m in all_with(root, "em-token")
    }


def test_why_names_part_of_a_character():
    favourites = [[("\ufffd\ufffd", 0.5), (" caf\ufffd", 0.25)]]
    text = reasons.why([" tea"], [0.1], [0.9], favourites, favourites)
    assert "\ufffd" not in text
    (row,) = parse(text).findall(".//tbody/tr")
    assert words(row[-1]) == "(part of a character) 50 %, caf(part of a character) 25 %"


def test_why_lists_twelve_tokens():
    root = parse(reasons.why(["a"] * 40, [0.5] * 40, [0.5 - i / 100 for i in range(40)], [[]] * 40, [[]] * 40))
    rows = root.findall(".//tbody/tr")
    assert len(rows) == 12
    assert words(rows[0][2]) == "11 %"  # 0.5 - 0.39, the farthest from 0.5


# Doses


def test_row_compares_strengths():
    root = parse(doses.row([(0.0, "plain\ntext", -0.5, 0.0), (0.5, "b", 1.0, 0.1), (1.0, "", 2.0, 0.4)]))
    cards = all_with(root, "em-card")
    assert [words(card[0]) for card in cards] == ["plain", "strength 0.5", "strength 1"]
    assert [words(card[1]) for card in cards] == ["plain\ntext", "b", "…"]
    assert [[words(value) for value in card.iter("dd")] for card in cards] == [
        ["−0.50", "0.00"],
        ["+1.00", "0.10"],
        ["+2.00", "0.40"],
    ]
    bars = [[(bar.get("class"), bar.get("style")) for bar in card.iter("i")] for card in cards]
    assert [[style for _, style in card] for card in bars] == [
        ["width:25.0%", "width:0.0%"],
        ["width:50.0%", "width:25.0%"],
        ["width:100.0%", "width:100.0%"],
    ]
    assert "em-below" in bars[0][0][0]
    assert "em-below" not in bars[1][0][0]


def test_grid_heads_each_card_and_shows_its_place():
    root = parse(doses.grid([("joy", "a", 1.0, -0.5), ("relief", "b", None, None)]))
    joy, relief = all_with(root, "em-card")
    assert words(joy.find("header")) == "joy"
    assert joy.find(".//svg").get("aria-label") == "valence 1.00, arousal −0.50"
    (dot,) = all_with(joy, "em-dot")
    x, y = float(dot.get("cx")), float(dot.get("cy"))
    assert (x > 0, y > 0, y == x / 2) == (True, True, True)  # down, in SVG
    assert relief.find(".//svg") is None


# Numbers


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0, "0.00"), (-0.001, "0.00"), (-0.25, "−0.25"), (1e9, "1000000000.00"), (NAN, "–"), (-INF, "–")],
)
def test_number(value, written):
    assert text.number(value) == written


@pytest.mark.parametrize(
    ("value", "written"), [(0.004, "0.00"), (0.25, "+0.25"), (-0.25, "−0.25"), (0.0, "0.00"), (NAN, "–")]
)
def test_signed(value, written):
    assert text.signed(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1.0, "100 %"),
        (0.12, "12 %"),
        (0.0994, "9.9 %"),
        (0.003, "0.3 %"),
        (0.0004, "0.04 %"),
        (1e-6, "under 0.01 %"),
        (0.0, "0 %"),
        (NAN, "–"),
    ],
)
def test_percent(value, written):
    assert text.percent(value) == written


# Colours


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def mix(colour, share, ground):
    parts = [(int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(share * c + (1 - share) * g):02x}" for c, g in parts)


@pytest.mark.parametrize("selector", [":root", ".dark"])
def test_text_can_be_read(selector):
    block = re.search(rf"^{re.escape(selector)} \{{(.*?)^\}}", STYLE, re.DOTALL | re.MULTILINE)[1]
    colours = dict(re.findall(r"--em-([\w-]+): (#[0-9a-f]{6});", block))
    paper = colours["paper"]
    share = {int(found) for found in re.findall(r"tint\) calc\((\d+)% \* var\(--em-amount\)\)", STYLE)}
    assert len(share) == 1
    tints = [mix(colours[f"{kind}-tint"], share.copy().pop() / 100, paper) for kind in ("more", "less")]
    wheel = [colours[name] for name in ("gold", "mint", "blue", "rose")]
    # neighbours on the wheel run into each other, and all of them into the paper at the centre
    wheel += [mix(a, 0.5, b) for a, b in zip(wheel, wheel[1:] + wheel[:1], strict=True)]
    wheel += [mix(colour, share / 4, paper) for colour in wheel for share in (1, 2, 3)]
    pairs = [("ink", ground) for ground in (paper, colours["raised"], *tints, *wheel)]
    pairs += [("soft", ground) for ground in (paper, *wheel)]
    pairs += [(name, paper) for name in ("more", "less", "bad")]
    pairs += [("more", ground) for ground in wheel]
    pairs += [("paper", colours["ink"])]
    for name, ground in pairs:
        assert contrast(colours[name], ground) >= 4.5, (name, ground)
    assert contrast(colours["focus"], paper) >= 3
    assert contrast(colours["line-strong"], paper) >= 2.5  # bars and rings, whose numbers are written beside them


@pytest.mark.parametrize("name", ["dose", "dose-up", "failed", "waiting", "talk", "controls", "voices", "views"])
def test_what_the_page_marks_has_a_look(name):
    assert re.search(rf"\.em-{name}(?![\w-])[^{{}}]*\{{", STYLE)
    page = "".join(file.read_text(encoding="utf-8") for file in HERE.parent.glob("*.py"))
    assert re.search(rf"""["']em-{name}["']""", page)


def test_style_rests_when_asked_to():
    outside = re.sub(r"@media \(prefers-reduced-motion: no-preference\) \{.*?\n\}", "", STYLE, flags=re.DOTALL)
    assert not re.search(r"transition|animation", outside + (HERE / "pad.css").read_text(encoding="utf-8"))


def test_no_selector_has_a_comma_within_parentheses():
    # gradio writes its prefix after every comma of a selector
    rules = re.sub(r"/\*.*?\*/", "", STYLE, flags=re.DOTALL)
    for selector in re.findall(r"([^{}]+)\{", rules):
        assert "@media" in selector or not re.search(r"\([^)]*,", selector), selector


# The pad


@pytest.fixture(scope="module")
def pad():
    from emosteer.demo.figures import pad

    return pad


def test_what_is_filled_in_by_gradio_holds_nothing_to_fill_in(pad):
    # gradio runs templates through Handlebars and then as a JavaScript template string
    for template in (pad.TEMPLATE, (HERE / "pad.css").read_text(encoding="utf-8")):
        assert not re.search(r"\$\{|\{\{|`|\\", template)
    parse(pad.TEMPLATE)
    script = (HERE / "pad.js").read_text(encoding="utf-8")
    assert "innerHTML" not in script
    assert "outerHTML" not in script


@pytest.mark.parametrize(
    ("given", "point"),
    [
        ({"valence": 0.4, "arousal": -0.2}, (0.4, -0.2)),
        ({"valence": 0.123, "arousal": 0.456, "more": 1}, (0.12, 0.46)),
        ({"valence": 1, "arousal": 0}, (1.0, 0.0)),
        ({"valence": 1e9, "arousal": 0}, (1.0, 0.0)),
        ({"valence": 3, "arousal": 4}, (0.6, 0.8)),
        ({"valence": -1e308, "arousal": 1e308}, (-0.7, 0.7)),
        ({"valence": 10**400 // 10**395, "arousal": -0.0}, (1.0, 0.0)),
        (None, (0.0, 0.0)),
    ],
)
def test_pad_takes_a_point(pad, given, point):
    taken = pad.Pad().preprocess(given)
    assert taken == {"valence": point[0], "arousal": point[1]}
    assert "-0.0" not in json.dumps(taken)
    assert pad.Pad().postprocess(given) == taken


@pytest.mark.parametrize(
    "given",
    [
        {"valence": NAN, "arousal": 0},
        {"valence": 0, "arousal": INF},
        {"valence": 10**400, "arousal": 0},
        {"valence": "0.5", "arousal": 0},
        {"valence": True, "arousal": 0},
        {"valence": None, "arousal": 0},
        {"valence": [0.5], "arousal": 0},
        {"valence": 0.5},
        {},
        [],
        [0.5, 0.5],
        "neutral",
        "<p>",
        7,
    ],
)
def test_pad_refuses_what_is_no_point(pad, given):
    import gradio as gr

    with pytest.raises(gr.Error, match=r"^.The pad takes a point such as") as refused:
        pad.Pad().preprocess(given)
    assert "\n" not in refused.value.message
    assert not refused.value.print_exception


def test_every_point_of_the_pad_is_in_the_disc(pad):
    draw = random.Random(1)
    for _ in range(2000):
        given = (draw.gauss(0, 1), draw.gauss(0, 1))
        point = pad.clip(*given)
        x, y = point["valence"], point["arousal"]
        assert math.hypot(x, y) <= 1.006  # a point within the disc may be rounded out of it, by half of 0.01
        assert (round(x, 2), round(y, 2)) == (x, y)
        if math.hypot(*given) > 1:
            assert math.hypot(x, y) <= 1
            assert math.hypot(x - given[0] / math.hypot(*given), y - given[1] / math.hypot(*given)) < 0.015


def test_emotions_of_a_pad_can_be_changed(pad):
    from gradio.blocks import postprocess_update_dict

    emotions = [{"name": "joy", "valence": 0.8, "arousal": 0.5}]
    shown = pad.Pad(emotions=emotions, value={"valence": 0.3, "arousal": 0.1})
    assert shown.get_config()["props"] == {"emotions": emotions}
    assert shown.get_config()["value"] == {"valence": 0.3, "arousal": 0.1}
    update = json.loads(json.dumps(postprocess_update_dict(shown, {"emotions": [], "value": None})))
    assert update["props"] == {"emotions": []}
    assert update["value"] == {"valence": 0.0, "arousal": 0.0}


def test_pad_has_the_events_of_its_script(pad):
    script = (HERE / "pad.js").read_text(encoding="utf-8")
    assert set(re.findall(r'trigger\("(\w+)"\)', script)) == {"input", "release"}
    assert all(callable(getattr(pad.Pad, event)) for event in ("input", "release"))


def test_pad_rounds_and_clips_as_its_script_does(pad):
    script = (HERE / "pad.js").read_text(encoding="utf-8")
    assert "distance > 1 ? (x) => Math.trunc((100 * x) / distance) / 100 : (x) => Math.round(100 * x) / 100" in script
    assert f"EXTENT = {circumplex.EXTENT}" in script
