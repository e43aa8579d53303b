"""Half a character, as a decoding with `surrogatepass` leaves it, and the mark of a file: at every door of Python."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

import emosteer
from emosteer.concepts import ConceptSet
from emosteer.demo.events import checked_text
from emosteer.errors import EmosteerError, InputError
from emosteer.eval.alignment.states import embedded_words, word_shapes
from emosteer.eval.encoder import SentenceEncoder
from emosteer.eval.fluency import nats_per_token
from emosteer.eval.judges import ClassifierJudge
from emosteer.export.handler import EndpointHandler
from emosteer.hub import Repository, push, search
from emosteer.models.activations import Passage, collect
from tests.conftest import small_concepts, tiny_tokenizer

HALVES = ["\ud83d", "caf\udce9 in two halves \ud83d\ude42"]
MARK = "\ufeff"
SHORT = {"max_new_tokens": 3, "do_sample": False}


@pytest.fixture(scope="module")
def steered(model, tokenizer, reading_vectors):
    return emosteer.SteeredModel(model, tokenizer, reading_vectors)


@pytest.fixture(scope="module")
def base(steered):
    """The same without a chat template."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    return emosteer.SteeredModel(steered.model, tokenizer, steered.vectors)


@pytest.fixture(scope="module")
def endpoint(steered):
    handler = EndpointHandler.__new__(EndpointHandler)
    handler.steered, handler.most_tokens = steered, 8
    return handler


@pytest.fixture(scope="module")
def doors(steered, base, endpoint, model, tokenizer):
    """Name → a function of a text."""
    user = {"role": "user", "content": "Hello there."}
    encoder = SentenceEncoder.__new__(SentenceEncoder)
    encoder._known, encoder._tokenizer, encoder._model, encoder._prefix = {}, tokenizer, model, ""
    judge = ClassifierJudge.__new__(ClassifierJudge)
    judge._tokenizer, judge._batch_size, judge.labels = tokenizer, 8, ("joy", "fear")
    judge._model = BertForSequenceClassification(
        BertConfig(vocab_size=400, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    ).eval()
    concepts = small_concepts()
    joy = concepts.concepts["joy"]
    return {
        "chat": lambda text: steered.chat(text, **SHORT),
        "stream": lambda text: list(steered.chat(text, stream=True, **SHORT)),
        "messages": lambda text: steered.chat([{"role": "system", "content": text}, user], **SHORT),
        "role": lambda text: steered.chat([{**user, "role": text}], **SHORT),
        "tones of messages": lambda text: steered.chat([{**user, "content": text, "emotion": {"joy": 1}}], **SHORT),
        "chat_each": lambda text: steered.chat_each(text, [{"joy": 1.0}, None], recipe=None, **SHORT),
        "prompt": steered.prompt,
        "read": steered.read,
        "read messages": lambda text: steered.read([user, {"role": "assistant", "content": text}]),
        "explain": lambda text: steered.explain("Hello there.", text),
        "explain message": lambda text: steered.explain(text, "Hello there."),
        "nats": lambda text: nats_per_token(steered, "Hello there.", text),
        "nats of a prompt": lambda text: nats_per_token(base, text, "Hello there."),
        "collect": lambda text: collect(model, tokenizer, ["Hello there.", text], progress=False),
        "passage": lambda text: collect(model, tokenizer, [Passage(f"Hello {text}", 0, 5)], progress=False),
        "extract": lambda text: emosteer.extract(
            model,
            tokenizer,
            replace(
                concepts,
                concepts={
                    **concepts.concepts,
                    "joy": replace(joy, texts={"en": replace(joy.texts["en"], situations=(text, "We danced."))}),
                },
            ),
            progress=False,
        ),
        "judge": lambda text: judge.probabilities([text]),
        "encoder": lambda text: encoder.encode([text]),
        "words": lambda text: word_shapes(tokenizer, [text]),
        "embedded words": lambda text: embedded_words(model, tokenizer, [text]),
        "endpoint": lambda text: endpoint({"inputs": text, "parameters": {"max_new_tokens": 2}}),
        "endpoint messages": lambda text: endpoint({"inputs": [{**user, "content": text}]}),
        "demo": lambda text: checked_text(text, 100),
        "concepts": lambda text: ConceptSet.from_dict({**small_concepts().to_dict(), "license": text}),
        "calibrate": lambda text: emosteer.calibrate(steered, prompts=[text, "Hello there."], progress=False),
        "search": lambda text: search(text=text),
        "search of a model": lambda text: search(base_model=text),
        "revision": lambda text: Repository.at("user/name", revision=text),
        "commit": lambda text: push(
            {}, "user/name", base_model=None, licence=None, merge_card=lambda *_: b"", commit_message=text
        ),
    }


NAMES = [
    *("chat", "stream", "messages", "role", "tones of messages", "chat_each", "prompt", "read", "read messages"),
    *("explain", "explain message", "nats", "nats of a prompt", "collect", "passage", "extract", "judge", "encoder"),
    *("words", "embedded words", "endpoint", "endpoint messages", "demo", "concepts", "calibrate"),
    *("search", "search of a model", "revision", "commit"),
]


@pytest.mark.parametrize("name", NAMES)
def test_half_a_character_is_one_line_that_anything_can_print(doors, name):
    assert set(doors) == set(NAMES)
    for text in HALVES:
        with pytest.raises(EmosteerError) as caught:
            doors[name](text)
        message = str(caught.value)
        assert message.isascii()
        assert "\n" not in message
        assert "not text" in message or name == "concepts"


@pytest.mark.parametrize("name", ["prompt", "messages", "chat_each", "explain", "nats", "endpoint", "demo", "collect"])
def test_the_mark_of_a_file_changes_nothing(doors, name):
    plain, marked = (doors[name](f"{mark}How was your morning?") for mark in ("", MARK))
    if name == "prompt":
        assert marked["input_ids"].tolist() == plain["input_ids"].tolist()
    elif name == "collect":
        assert torch.equal(marked.states, plain.states)
    else:
        assert marked == plain


def test_a_reading_is_that_of_the_text_without_its_mark(steered):
    plain, marked = (steered.read(f"{mark}How was your morning?").to_dict() for mark in ("", MARK))
    assert marked == plain


def test_a_concept_file_may_begin_with_a_mark(tmp_path):
    text = json.dumps(small_concepts().to_dict())
    (tmp_path / "mine.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert ConceptSet.load(tmp_path / "mine.json").digest == small_concepts().digest


def test_files_of_vectors_may_begin_with_a_mark(vectors, tmp_path):
    vectors.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    for name in ("config.json", "README.md"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + (tmp_path / name).read_bytes())
    loaded = emosteer.EmotionVectors.from_pretrained(tmp_path)
    assert loaded.summary() == vectors.summary()
    loaded.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == card  # one front matter, not two
    data = (tmp_path / "vectors.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little") + 3
    (tmp_path / "one.safetensors").write_bytes(length.to_bytes(8, "little") + b"\xef\xbb\xbf" + data[8:])
    with pytest.raises(EmosteerError, match="header is not a JSON object"):  # as for safetensors itself
        emosteer.EmotionVectors.from_pretrained(tmp_path / "one.safetensors")


def test_a_misspelt_emotion_of_a_reading_names_those_near(steered):
    reading = steered.read("How was your morning?")
    for part in (reading.scores, reading.token_scores, reading.uncertainty, steered.vectors.directions):
        with pytest.raises(KeyError, match=re.escape("There is no 'joi' here. Did you mean joy?")):
            part["joi"]
        assert part.get("joi") is None
        assert dict(part) == part


def test_the_errors_are_input_errors(steered):
    with pytest.raises(InputError):
        steered.chat(HALVES[0])
