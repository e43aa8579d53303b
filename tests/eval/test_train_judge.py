"""Training the judges' heads, on rows that were written here in the form of the data sets, and the heads that ship."""

from __future__ import annotations

import csv
import json
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from emosteer.errors import InputError
from emosteer.eval import EmbeddingJudge
from tests.tools import train_judge

SAID = {
    "joy": ["So happy and glad today!", "What joy, I could sing.", "We laughed and were merry."],
    "sadness": ["I cried all night.", "She died and I am grieving.", "I feel sad and alone."],
    "anger": ["I am furious with you.", "How dare he, that makes me so angry!", "I hate this, damn it."],
    "fear": ["I was terrified of the dark.", "Help, I am so scared.", "It frightened me to death."],
    "surprise": ["Wow, I did not expect that!", "What a surprise.", "I was astonished, out of nowhere!"],
}
COLUMNS = ("anger", "fear", "joy", "sadness", "surprise")  # as published: not the order of the head's labels


def write_brighter(folder, rows):
    folder.mkdir(exist_ok=True)
    for split in ("train", "dev"):
        with (folder / f"track_b_eng_{split}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["id", "text", *COLUMNS])
            table.writerows([f"id{i}", text, *(grades.get(name, 0) for name in COLUMNS)] for i, (text, grades) in rows)


def write_goemotions(folder, rows):
    folder.mkdir(exist_ok=True)
    labels = sorted({label for _, label in rows})
    for split in ("train", "dev"):
        lines = [f"{text}\t{labels.index(label)}\tid" for text, label in rows]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    (folder / "labels.txt").write_text("\n".join(labels))


def test_brighter_texts_count_for_their_strongest_emotion_if_they_have_one(tmp_path, capsys):
    clear = [(f"{text}\nTruly.", {name: 2, "fear": 3 if name == "fear" else 1}) for name in SAID for text in SAID[name]]
    unclear = [("Nothing at all.", {}), ("Torn between two.", {"joy": 2, "anger": 2, "fear": 1})]
    write_brighter(tmp_path, list(enumerate([*clear, *unclear])))
    train_judge.main(tmp_path, tmp_path / "head.json")
    head = json.loads((tmp_path / "head.json").read_text())
    assert head["labels"] == list(SAID)
    assert np.shape(head["weights"]) == (5, 384)
    assert head["trained_on"] == "BRIGHTER English track B train (CC BY 4.0), 15 texts with one strongest emotion"
    assert "5 labels: accuracy 1.000, macro F1 1.000, n = 15" in capsys.readouterr().out


def test_another_data_set_is_tried_on_the_labels_that_both_have(tmp_path, capsys):
    write_brighter(tmp_path / "brighter", list(enumerate((text, {name: 3}) for name in SAID for text in SAID[name])))
    right = [("I am so happy.", "joy"), ("I am so scared.", "fear"), ("I cried, so sad.", "sadness")]
    wrong = [("I cried all night.", "joy")]
    write_goemotions(tmp_path / "goemotions", [*right, *wrong, ("Rotten vomit", "disgust"), ("Noon", "neutral")])
    train_judge.main(tmp_path / "brighter", tmp_path / "head.json", tmp_path / "goemotions")
    # F1: joy, found once of twice, and sadness, right once of twice, have 2/3; fear has 1.
    expected = "GoEmotions dev, 3 labels: accuracy 0.750, macro F1 0.778, n = 4"
    assert capsys.readouterr().out.splitlines()[-1] == expected


def test_a_folder_that_holds_no_data_set_is_named(tmp_path):
    with pytest.raises(InputError, match="BRIGHTER") as caught:
        train_judge.main(tmp_path, tmp_path / "head.json")
    assert str(tmp_path) in str(caught.value)
    (tmp_path / "track_b_eng_train.csv").write_text("id,text,joy\n1,Good,3\n")
    with pytest.raises(InputError, match="sadness"):
        train_judge.main(tmp_path, tmp_path / "head.json")


def test_the_brighter_head_that_ships_knows_five_emotions():
    file = resources.files("emosteer.eval") / "data" / "judge-brighter-minilm.json"
    assert "BRIGHTER" in json.loads(file.read_text())["trained_on"]
    assert "CC BY 4.0" in json.loads(file.read_text())["trained_on"]
    judge = EmbeddingJudge(file)
    texts = [text for said in SAID.values() for text in said]
    truth = [name for name, said in SAID.items() for _ in said]
    found = judge.probabilities(texts)
    assert set(found) == set(SAID)
    best = [max(found, key=lambda name, i=i: found[name][i]) for i in range(len(texts))]
    assert np.mean([a == b for a, b in zip(best, truth, strict=True)]) >= 0.8


def test_heads_are_made_for_a_language_and_an_encoder_from_some_texts_of_each_label(tmp_path, capsys):
    said = json.loads((Path(__file__).parent / "said-zh.json").read_text())
    for split in ("train", "dev"):
        with (tmp_path / f"track_b_chn_{split}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["id", "text", *said])
            table.writerows(["id", text, *(2 * (name == one) for one in said)] for name in said for text in said[name])
    train_judge.main(tmp_path, tmp_path / "head.json", encoder="ngrams", part="chn", most=4)
    head = json.loads((tmp_path / "head.json").read_text())
    assert (head["encoder"], head["languages"], head["labels"]) == ("ngrams", ["zh"], list(said))
    assert head["trained_on"].startswith("BRIGHTER Chinese track B train (CC BY 4.0), 24 texts")
    accuracy, n = re.search(r"6 labels: accuracy (\S+), .*n = (\d+)", capsys.readouterr().out).groups()
    assert (float(accuracy) >= 0.4, n) == (True, "60")  # 24 of the 60 were learned
