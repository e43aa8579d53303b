"""Norms: files of every known form with made-up words and ratings, files that are described, and what is refused."""

from __future__ import annotations

import csv
import unicodedata
from itertools import product

import numpy as np
import pytest

from emosteer.errors import InputError
from emosteer.eval.norms import Norms, load_category_norms, load_norms, parse_norms

ENGLISH = [
    f"{first}{last}" for first, last in product(("bor", "dal", "fen", "gim", "lut"), ("ab", "eck", "im", "op", "us"))
]
CHINESE = [f"{first}{last}" for first, last in product("山水火木石", "人心手口目")]
NFD = "cafe\u0301"
NFC = "caf\u00e9"


def ratings(low, high, words=ENGLISH):
    """A word a row; valence climbs from the lowest to the highest rating, arousal the other way in every second row."""
    steps = np.linspace(low, high, len(words))
    return [(word, f"{steps[i]:.4f}", f"{steps[i if i % 2 else -1 - i]:.4f}") for i, word in enumerate(words)]


def write(folder, rows, delimiter=",", encoding="utf-8", name="norms.csv"):
    path = folder / name
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def described(path, **options):
    return load_norms(
        path, **{"language": "en", "word": "w", "valence": "v", "arousal": "a", "scale": (1, 9)} | options
    )


def mine(folder, rows, **options):
    return described(write(folder, [("w", "v", "a"), *rows]), **options)


def refused(read, *args, **options):
    with pytest.raises(InputError) as caught:
        read(*args, **options)
    return str(caught.value)


GLASGOW = ["Word", "Length", "Arousal", "ArousalSD", "Valence", "ValenceSD", "Dominance", "Concreteness"]
WARRINER = ["", "Word", "V.Mean.Sum", "V.SD.Sum", "A.Mean.Sum", "A.SD.Sum"]
ANEW = ["Description", "Word No.", "Valence Mean", "Valence SD", "Arousal Mean", "Arousal SD", "Word Frequency"]
ANEW_2010 = ["Word", "Wdnum", "ValMn", "ValSD", "AroMn", "AroSD", "DomMn", "DomSD"]
CVAW = ["No.", "Word", "Valence_Mean", "Valence_SD", "Arousal_Mean", "Arousal_SD"]
NRC_1, NRC_2 = ["Word", "Valence", "Arousal", "Dominance"], ["term", "valence", "arousal", "dominance"]
SPANISH = ["CONCEPTICON_ID", "SPANISH", "SPANISH_VALENCE_MEAN", "SPANISH_AROUSAL_MEAN", "LINE_IN_SOURCE"]
YI = ["CONCEPTICON_ID", "CHINESE", "CHINESE_VALENCE_MEAN", "CHINESE_AROUSAL_MEAN"]


@pytest.mark.parametrize(
    ("header", "columns", "low", "high", "delimiter", "words", "name", "language", "terms"),
    [
        (GLASGOW, (0, 4, 2), 1, 9, ",", ENGLISH, "Glasgow Norms", "en", "CC BY 4.0"),
        (WARRINER, (1, 2, 4), 1, 9, ",", ENGLISH, "Warriner et al. 2013", "en", "CC BY-NC-ND 3.0"),
        (NRC_1, (0, 1, 2), 0, 1, "\t", ENGLISH, "NRC-VAD 1", "en", "research"),
        (NRC_2, (0, 1, 2), -1, 1, "\t", ENGLISH, "NRC-VAD 2", "en", "research"),
        (ANEW, (0, 2, 4), 1, 9, ",", ENGLISH, "ANEW", "en", "research only"),
        (ANEW_2010, (0, 2, 4), 1, 9, ";", ENGLISH, "ANEW", "en", "research only"),
        (CVAW, (1, 2, 4), 1, 9, ",", CHINESE, "CVAW", "zh", "research only"),
        (SPANISH, (1, 2, 3), 1, 9, "\t", ENGLISH, "NoRaRe, Spanish", "es", "CC BY-NC 4.0"),
        (YI, (1, 2, 3), 1, 9, "\t", CHINESE, "NoRaRe, Chinese", "zh", "CC BY-NC 4.0"),
    ],
)
def test_published_forms_are_known_by_their_columns(
    tmp_path, header, columns, low, high, delimiter, words, name, language, terms
):
    rows = [["0.5"] * len(header) for _ in words]
    for row, rated in zip(rows, ratings(low, high, words), strict=True):
        for column, cell in zip(columns, rated, strict=True):
            row[column] = cell
    found = load_norms(write(tmp_path, [header, *rows], delimiter))
    assert (found.name, found.language, found.words) == (name, language, tuple(words))
    assert terms in found.license
    assert len(found) == 25
    # 25 equal steps from −1 to 1, whatever the scale was: by twelfths.
    valence = [(i - 12) / 12 for i in range(25)]
    arousal = [valence[i] if i % 2 else -valence[i] for i in range(25)]
    np.testing.assert_allclose(found.axes(), np.column_stack([valence, arousal]), atol=1e-4)
    assert found.valence == tuple(found.axes()[:, 0])
    assert found.arousal == tuple(found.axes()[:, 1])


def test_the_published_glasgow_table_has_two_header_rows(tmp_path):
    header = [["Words", "Length", "AROU", "", "", "VAL", "", ""], ["", "", "M", "SD", "N", "M", "SD", "N"]]
    rows = [[word, "5", arousal, "1", "30", valence, "1", "30"] for word, valence, arousal in ratings(1, 9)]
    found = load_norms(write(tmp_path, [*header, *rows], encoding="utf-8-sig"))
    assert (found.name, len(found), found.dropped["unrated"]) == ("Glasgow Norms", 25, 0)
    assert found.valence[:2] == pytest.approx((-1, -11 / 12), abs=1e-4)
    assert found.arousal[:2] == pytest.approx((1, -11 / 12), abs=1e-4)


def test_nrc_vad_1_may_come_without_a_header(tmp_path):
    found = load_norms(write(tmp_path, [(*row, "0.5") for row in ratings(0, 1)], "\t"))
    assert (found.name, found.words[0], len(found)) == ("NRC-VAD 1", ENGLISH[0], 25)
    assert (found.valence[0], found.arousal[0]) == (-1, 1)


def test_german_valence_and_arousal_of_norare_have_a_scale_each(tmp_path):
    header = ["GERMAN", "GERMAN_VALENCE_MEAN", "GERMAN_AROUSAL_MEAN_ANEW", "GERMAN_AROUSAL_MEAN_BAWL"]
    rows = [["Kuh", "1.5", "3", "2"], ["gut", "-3", "9", "5"], ["Öl", "3", "1", "1"], ["Straße", "0", "5", "3"]]
    rows += [[f"Wort{word}", "0.3", "7", "4"] for word in ENGLISH]
    path = write(tmp_path, [header, *rows], "\t")
    found = load_norms(path)
    assert (found.language, found.words[:4]) == ("de", ("Kuh", "gut", "Öl", "Straße"))
    assert found.axes()[:5] == pytest.approx(np.array([[0.5, -0.5], [-1, 1], [1, -1], [0, 0], [0.1, 0.5]]))
    other = parse_norms(f"{path},arousal=GERMAN_AROUSAL_MEAN_BAWL,scale=-3:3/1:5")
    assert other.axes()[:5] == pytest.approx(np.array([[0.5, -0.5], [-1, 1], [1, -1], [0, 0], [0.1, 0.5]]))
    assert (other.name, other.language) == (found.name, "de")


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_any_table_is_read_as_it_is_described(tmp_path, delimiter, encoding):
    rows = [("address, postal", "1", "7"), ("bore", "4", "4"), ("calm", "7", "1"), *ratings(1, 7)]
    path = write(tmp_path, [("Term", "V", "A"), *rows], delimiter, encoding, "mine.csv")
    options = {"language": "en-GB", "word": "Term", "valence": "V", "arousal": "a", "scale": (1, 7)}
    found = load_norms(path, **options)
    assert (found.name, found.language, found.license) == ("mine", "en-GB", None)
    assert found.words[:3] == ("address, postal", "bore", "calm")
    assert found.axes()[:3].tolist() == [[-1, 1], [0, 0], [1, -1]]
    assert parse_norms(f"{path},word=Term,valence=V,arousal=a,scale=1:7,language=en-GB") == found
    assert parse_norms(f"{path},word=Term,valence=V,arousal=a,scale=1:7,language=en,name=X, Y").name == "X, Y"


def test_lines_may_end_in_any_way_and_be_blank_or_short(tmp_path):
    path = tmp_path / "mine.csv"
    lines = ["w,v,a,note", *(",".join(row) for row in ratings(1, 9)), "", ",,,", "short,5"]
    for end in ("\n", "\r\n", "\r"):
        path.write_bytes(end.join(lines).encode())
        found = described(path)
        assert found.words == tuple(ENGLISH)
        assert found.dropped == {"duplicates": 0, "unrated": 1}


def test_what_is_given_stands_above_the_known_format(tmp_path):
    header = ["Word", "Valence", "Arousal", "Dominance", "Concreteness"]
    rows = [[word, "5", arousal, valence, "5"] for word, valence, arousal in ratings(0, 10)]
    path = write(tmp_path, [header, *rows])
    found = load_norms(path, valence="Dominance", scale=(0, 10), name="Dominance of Glasgow", language="en-GB")
    assert (found.name, found.language) == ("Dominance of Glasgow", "en-GB")
    assert found.valence == pytest.approx([(i - 12) / 12 for i in range(25)], abs=1e-4)
    assert "CC BY 4.0" in found.license


def test_a_word_counts_once_with_its_first_rating(tmp_path):
    twice = [(NFD, "9", "1"), (f" {NFC} ", "1", "9"), (NFC, "NA", ""), (ENGLISH[0], "8", "8")]
    empty = [(f"{word}s", cell, "5") for word, cell in zip(ENGLISH, ("", "NA", ".", "NaN", "  "), strict=False)]
    found = mine(tmp_path, [*twice, *ratings(1, 9), *empty, ("", "5", "5"), ("last", "5", ".")])
    assert not unicodedata.is_normalized("NFC", NFD)
    assert found.words == (NFC, *ENGLISH)
    assert found.axes()[:2].tolist() == [[1, -1], [0.75, 0.75]]
    assert found.dropped == {"duplicates": 2, "unrated": 8}


def test_norms_can_be_made_without_a_file():
    made = Norms("mine", "en", ("calm", "rage"), (0.5, -1.0), (-0.5, 1.0))
    assert made.axes().tolist() == [[0.5, -0.5], [-1, 1]]
    assert len(made) == 2


# What is refused


@pytest.mark.parametrize("read", [load_norms, parse_norms, load_category_norms])
def test_files_that_cannot_be_read_are_named(tmp_path, read):
    assert "No such file" in refused(read, str(tmp_path / "gone.csv"))
    assert "directory" in refused(read, str(tmp_path))
    assert "too long" in refused(read, str(tmp_path / ("x" * 400)))
    assert "null byte" in refused(read, "a\0b.csv")
    for data, line in [
        (b"PK\x03\x04\n\x14\0\0", 2),
        ("Word,V\nKäse,3\n".encode("latin-1"), 2),
        ("Word,V\n".encode("utf-16"), 1),
    ]:
        (tmp_path / "norms.csv").write_bytes(data)
        message = refused(read, str(tmp_path / "norms.csv"))
        assert f"norms.csv, line {line}: this is not text in UTF-8" in message
        assert "Save a spreadsheet" in message


@pytest.mark.parametrize("read", [load_norms, load_category_norms])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n \n,,\n", "is empty"),
        ("Word,Valence,Arousal\n\n", "a header and nothing more"),
        ("w,v,a\nfine,1,2\naddress, postal,5,4\n", "line 3: there are 4 cells, the header has 3"),
        ('w,v,a\n"open,1,2\nnext,3,4\n', "line 3: this is not a table"),
        ("w,v,a\n" + "x" * 200_000 + ",1,2\n", "field larger"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, read, text, said):
    (tmp_path / "norms.csv").write_text(text)
    assert said in refused(read, tmp_path / "norms.csv")


def test_an_unknown_table_must_be_described(tmp_path):
    path = write(tmp_path, [("Term", "V", "A"), *ratings(1, 9)])
    message = refused(load_norms, path, word="Term", arousal="A")
    assert "'Term', 'V', 'A'" in message
    assert "Not given: language, valence, scale." in message
    assert "language=en, word=Word" in message
    assert "Not given: language." in refused(parse_norms, f"{path},word=Term,valence=V,arousal=A,scale=1:9")
    # Only one column: neither commas, tabs nor semicolons stand in the header.
    assert "'Term|V|A'" in refused(load_norms, write(tmp_path, [("Term|V|A",), ("a|1|1",)]))


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    message = refused(mine, tmp_path, ratings(1, 9), valence="Pleasure")
    assert "no column 'Pleasure'" in message
    assert "'w', 'v', 'a'" in message
    path = write(tmp_path, [("w", "v", "a", "V"), *((*row, "1") for row in ratings(1, 9))])
    assert "two columns 'v'" in refused(described, path)


@pytest.mark.parametrize("cell", ["high", "5,5", "1e", "--"])
def test_text_in_place_of_a_rating_is_named_by_line(tmp_path, cell):
    message = refused(mine, tmp_path, [*ratings(1, 9), ("quiet", "5", cell)])
    assert "norms.csv, line 27: the arousal of 'quiet'" in message
    assert f"{cell!r}, not a number" in message


@pytest.mark.parametrize("cell", ["0.99", "9.01", "-5", "55", "inf", "-inf"])
def test_a_rating_outside_its_scale_is_named_by_line(tmp_path, cell):
    message = refused(mine, tmp_path, [("quiet", cell, "5"), *ratings(1, 9)])
    assert f"norms.csv, line 2: the valence of 'quiet' is {cell}, which is not on the scale from 1 to 9" in message


def test_each_axis_is_held_against_its_own_scale(tmp_path):
    rows = [(word, f"{float(valence) - 5}", arousal) for word, valence, arousal in ratings(1, 9)]
    assert mine(tmp_path, rows, scale=((-4, 4), (1, 9))).axes().min() == -1
    assert "arousal" in refused(mine, tmp_path, rows, scale=(-4, 4))
    assert "valence" in refused(mine, tmp_path, rows, scale=(1, 9))


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        (0, 1, (1, 9)),
        (-1, 1, (1, 9)),
        (1, 9, (0, 100)),
        (0, 1, (-3, 3)),
        (-1, 1, (-5, 5)),
        (1, 5, (1, 9)),
        (0, 1, (-1, 1)),
        (5, 9, (1, 9)),
    ],
)
def test_ratings_from_another_scale_are_refused(tmp_path, low, high, scale):
    message = refused(mine, tmp_path, ratings(low, high), scale=scale)
    assert "norms.csv" in message
    assert f"{scale[0]} to {scale[1]}" in message
    assert "scale" in message


def test_a_list_with_one_half_of_valence_alone_is_not(tmp_path):
    rows = [(word, f"{1 + i / 8}", arousal) for i, (word, _, arousal) in enumerate(ratings(1, 9))]
    assert max(mine(tmp_path, rows).valence) == -0.25


@pytest.mark.parametrize("axis", [1, 2])
def test_ratings_that_do_not_vary_are_refused(tmp_path, axis):
    rows = [(*row[:axis], "5", *row[axis + 1 :]) for row in ratings(1, 9)]
    assert f"all ratings in {'wva'[axis]!r} lie from 5 to 5" in refused(mine, tmp_path, rows)


def test_fewer_than_20_words_are_refused(tmp_path):
    words = ENGLISH[:20]
    assert len(mine(tmp_path, ratings(1, 9, words))) == 20
    rows = ratings(1, 9, words[:19])
    message = refused(mine, tmp_path, [*rows, rows[0], rows[1], ("none", "", "")])
    assert "has 19 rated words, at least 20 are needed" in message
    assert "1 rows without a rating and 2 duplicates" in message


@pytest.mark.parametrize(
    "scale",
    [
        (9, 1),
        (1, 1),
        (1,),
        (1, 2, 3),
        9,
        "1:9",
        (1, float("inf")),
        ((1, 9),),
        ((1, 9), (9, 1)),
        ((9, 1), (1, 9)),
        (),
        (None, 1),
    ],
)
def test_a_scale_is_two_numbers_or_twice_two(tmp_path, scale):
    message = refused(mine, tmp_path, ratings(1, 9), scale=scale)
    assert f"{scale!r} is not a scale" in message
    assert "(1, 9)" in message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("lang=en", "option lang= of 'norms.csv' is not known"),
        ("word=w,word=v", "option word= of 'norms.csv' stands twice"),
        ("word=", "option word= of 'norms.csv' has no value"),
        ("scale=1-9", "'1-9' is not a scale"),
        ("scale=1:9/", "'1:9/' is not a scale"),
        ("scale=1:9/1:9/1:9", "is not a scale"),
        ("scale=9", "is not a scale"),
        ("language=English", "'English' is not the code of a language"),
    ],
)
def test_options_that_cannot_be_read_are_named(tmp_path, monkeypatch, options, said):
    write(tmp_path, [("w", "v", "a"), *ratings(1, 9)])
    monkeypatch.chdir(tmp_path)
    assert said in refused(parse_norms, f"norms.csv,{options}")


# Languages


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("zh", CHINESE),
        ("zh-TW", CHINESE),
        ("ja", [f"{word}る" for word in CHINESE[:15]] + [f"カ{kana}ー" for kana in "アイウエオタチツテト"]),
        ("hi", [f"{first}{last}" for first, last in product("कखगघच", ("ा", "ि", "ी", "ु", "े"))]),
        ("ar", [f"{first}{last}" for first, last in product("بتثجح", "ادرسش")]),
        ("ru", [f"{first}{last}" for first, last in product("абвгд", "еёжзи")]),
        ("fr", [f"{word}é" for word in ENGLISH]),
    ],
)
def test_words_must_be_in_the_script_of_their_language(tmp_path, language, words):
    assert mine(tmp_path, ratings(1, 9, words), language=language).language == language
    for other in {"zh", "hi", "ar", "ru", "en"} - {"en" if language == "fr" else language[:2]}:
        message = refused(mine, tmp_path, ratings(1, 9, words), language=other)
        assert f"not in the script of '{other}', such as {words[0]!r}" in message


def test_a_fifth_of_the_words_may_be_in_other_scripts(tmp_path):
    words = [*ENGLISH[:5], *CHINESE[:20]]
    assert len(mine(tmp_path, ratings(1, 9, words), language="zh")) == 25
    for word in ("T恤", "42"):
        words[5] = word
        assert "6 of 25 words" in refused(mine, tmp_path, ratings(1, 9, words), language="zh")


def test_languages_of_other_scripts_are_not_checked(tmp_path):
    assert mine(tmp_path, ratings(1, 9), language="ko").language == "ko"


def test_a_language_that_contradicts_a_known_format_is_refused(tmp_path):
    path = write(tmp_path, [("Word", "V.Mean.Sum", "A.Mean.Sum"), *ratings(1, 9)])
    message = refused(load_norms, path, language="es")
    assert "Warriner et al. 2013, whose language is 'en', not 'es'" in message
    assert load_norms(path, language="en-US").language == "en-US"
    told = parse_norms(f"{path},word=Word,valence=V.Mean.Sum,arousal=A.Mean.Sum,scale=1:9,language=es")
    assert (told.name, told.language, told.license) == ("norms", "es", None)


# Categories


def test_category_norms_are_pairs_of_columns(tmp_path):
    rows = [
        ("category", "basic6", "zh", "glasgow_v", "glasgow_a", "cvaw_zh_v", "cvaw_zh_a"),
        ("joy", "1", "喜悦", "0.765", "0.485", "0.55", "0.35"),
        ("awe", "0", "敬畏", "", "", "-1", "1"),
        ("calm", "0", "平静", "0.5", "NA", "", "0.1"),
    ]
    assert load_category_norms(write(tmp_path, rows)) == {
        "glasgow": {"joy": (0.765, 0.485)},
        "cvaw_zh": {"joy": (0.55, 0.35), "awe": (-1.0, 1.0)},
    }


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("emotion", "g_v", "g_a"), ("joy", "1", "0")], "no column 'category'. Its columns: 'emotion', 'g_v', 'g_a'"),
        ([("category", "g_v", "g_b"), ("joy", "1", "0")], "no column 'g_a'"),
        ([("category", "v", "a"), ("joy", "1", "0")], "rates no category. Its columns: 'category', 'v', 'a'"),
        ([("category", "g_v", "g_a"), ("joy", "", "0")], "rates no category"),
        ([("category", "g_v", "g_a"), ("joy", "1", "0"), ("fear", "0", "x")], "line 3: g_a of 'fear' is 'x', not a"),
        ([("category", "g_v", "g_a"), ("joy", "8.2", "0")], "line 2: g_v of 'joy' is 8.2, which is not on the scale"),
        ([("category", "g_v", "g_a"), ("joy", "1", "0"), ("joy", "1", "0")], "line 3: the category 'joy' stands twice"),
        ([("category", "g_v", "g_a"), ("", "1", "0")], "line 2: the category '' has no name"),
    ],
)
def test_what_is_no_table_of_categories_is_refused(tmp_path, rows, said):
    assert said in refused(load_category_norms, write(tmp_path, rows))


# Tables as spreadsheets write them


@pytest.mark.parametrize(
    ("head", "separator"),
    [
        ("sep=;\n", ";"),
        ("sep=;\r\n", ";"),
        ('"sep=;"\n', ";"),
        ("SEP=,\r\n", ","),
        ("sep=\t\n", "\t"),
        ("sep=|\n", "|"),
        ("\n", ";"),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_first_line_may_name_the_separator(tmp_path, head, separator, mark):
    lines = [("w", "v", "a"), *ratings(1, 9)]
    text = "".join(separator.join(row) + "\r\n" for row in lines)
    (tmp_path / "mine.csv").write_bytes(f"{mark}{head}{text}".encode())
    assert described(tmp_path / "mine.csv").words == tuple(ENGLISH)
    (tmp_path / "mine.csv").write_bytes(f"{mark}{head}{text}bad{separator}x{separator}1\r\n".encode())
    assert f"line {len(lines) + 2}" in refused(described, tmp_path / "mine.csv")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_commas_in_the_header_of_other_tables_separate_nothing(tmp_path, separator):
    header = ("w", "Valence (mean, of all, 1 to 9)", "Arousal (mean, of all, 1 to 9)", "note, if any")
    rows = [(*row, "seen, heard, read") for row in ratings(1, 9)]
    path = tmp_path / "mine.csv"
    path.write_text("".join(separator.join(row) + "\n" for row in [header, *rows]))
    found = load_norms(path, language="en", word="w", valence=header[1], arousal=header[2], scale=(1, 9))
    assert found.words == tuple(ENGLISH)


def test_decimal_commas_are_told_as_such(tmp_path):
    rows = [(word, valence.replace(".", ","), arousal.replace(".", ",")) for word, valence, arousal in ratings(1, 9)]
    path = tmp_path / "mine.csv"
    path.write_text("".join(";".join(row) + "\n" for row in [("w", "Valence, mean", "Arousal, mean"), *rows]))
    message = refused(
        load_norms, path, language="en", word="w", valence="Valence, mean", arousal="Arousal, mean", scale=(1, 9)
    )
    assert "Numbers have a point" in message


@pytest.mark.parametrize("first", ["", "sep=;\n"])
def test_ratings_of_categories_may_begin_with_a_mark_and_a_separator(tmp_path, first):
    (tmp_path / "mine.csv").write_text(f"\ufeff{first}category;mine_v;mine_a\njoy;0.5;0.2\nfear;-0.5;0.8\n")
    assert load_category_norms(tmp_path / "mine.csv") == {"mine": {"joy": (0.5, 0.2), "fear": (-0.5, 0.8)}}
