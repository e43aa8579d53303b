"""Conversations in the chat templates that people use: rendered right, or refused in one clear line."""

from __future__ import annotations

import inspect
import json

import pytest

from emosteer.errors import EmosteerError, InputError
from emosteer.models.message_spans import message_spans
from emosteer.models.messages import encoded, last_message, parsed, rendered
from emosteer.models.thoughts import Reply, Thoughts
from tests.models.chat_templates import FAMILIES, tokenizer_of

SYSTEM = {"role": "system", "content": "Speak as a lighthouse keeper."}
TURNS = [
    {"role": "user", "content": "Who lives there?"},
    {"role": "assistant", "content": "Gulls, mostly."},
    {"role": "user", "content": "And in winter?"},
]
TOOL = {
    "type": "function",
    "function": {"name": "tide", "description": "Tells the tide.", "parameters": {"type": "object", "properties": {}}},
}
CALLS = [
    TURNS[0],
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "tide", "arguments": {"at": "noon"}}}]},
    {"role": "tool", "content": "high water at noon"},
]

families = pytest.mark.parametrize("name", list(FAMILIES))


def prompt(name, messages, **variables):
    """The text of a prompt, by its tokens."""
    tokenizer = tokenizer_of(FAMILIES[name])
    return tokenizer.decode(encoded(tokenizer, parsed(tokenizer, messages), variables)["input_ids"][0])


def refused(call):
    with pytest.raises(EmosteerError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


def toned(messages, emotion="joy"):
    return [{**message, "emotion": {emotion: 0.5}} for message in messages]


def spans_by_hand(name, messages, **variables):
    """Where the words of each message stand: bytes are tokens, and every message's words are its own."""
    tokenizer = tokenizer_of(FAMILIES[name])
    ids = encoded(tokenizer, parsed(tokenizer, messages), variables)["input_ids"][0].tolist()
    text = [tokenizer.decode([token]) for token in ids]
    found = []
    for message in messages:
        words = list(message["content"].strip())
        at = [i for i in range(len(text)) if text[i : i + len(words)] == words]
        assert len(at) == 1
        found.append((at[0], at[0] + len(words)))
    return tokenizer, ids, found


@families
@pytest.mark.parametrize("system", [True, False], ids=["system", "no system"])
def test_a_message_with_a_tone_of_its_own_is_found_where_its_words_stand(name, system):
    messages = [*([SYSTEM] if system else []), *TURNS]
    if system and FAMILIES[name].system == "refused":
        said = refused(lambda: prompt(name, messages))
        assert "first user message" in said
        merged = [{"role": "user", "content": f"{SYSTEM['content']}\n\n{TURNS[0]['content']}"}, *TURNS[1:]]
        assert SYSTEM["content"] in prompt(name, merged)
        return
    tokenizer, ids, words = spans_by_hand(name, messages)
    spans = message_spans(tokenizer, toned(messages), ids)
    for i, (start, stop) in enumerate(spans):
        covered = set(range(start, stop))
        for j, (first, last) in enumerate(words):
            inside = covered & set(range(first, last))
            assert inside == (set(range(first, last)) if i == j else set()), (messages[i], messages[j])
    # What the template says of itself has no tone, and neither has the mark of the answer that follows.
    text = [tokenizer.decode([token]) for token in ids]
    told = "".join(text[i] for start, stop in spans for i in range(start, stop))
    assert not any(word in told for word in ("helpful", "Metadata", "large language model", "Cutting", "<<SYS>>"))
    end = tokenizer.apply_chat_template(messages, tokenize=False)
    if "".join(text).startswith(end):
        assert max(stop for _, stop in spans) <= len(tokenizer(end, add_special_tokens=False)["input_ids"])


@families
def test_the_tone_of_a_single_message_is_found_too(name):
    for i in range(len(TURNS)):
        messages = [{**turn, "emotion": {"joy": 1.0}} if i == j else turn for j, turn in enumerate(TURNS)]
        tokenizer, ids, words = spans_by_hand(name, TURNS)
        span = message_spans(tokenizer, messages, ids)[i]
        assert span[0] <= words[i][0]
        assert words[i][1] <= span[1]


@families
def test_equal_words_in_two_messages_are_told_apart(name):
    messages = [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": "Well?"}, TURNS[2]]
    tokenizer = tokenizer_of(FAMILIES[name])
    ids = encoded(tokenizer, parsed(tokenizer, messages), None)["input_ids"][0].tolist()
    (_, first), (second, _), *_ = message_spans(tokenizer, toned(messages), ids)
    assert first <= second
    text = [tokenizer.decode([token]) for token in ids]
    assert "".join(text[:first]).count("Well?") == 1
    assert "".join(text[second:]).count("Well?") == 1


@families
def test_control_tokens_in_a_toned_message_stay_text(name):
    family = FAMILIES[name]
    messages = [{"role": "user", "content": f"Write {family.tokens[1]} twice"}, *TURNS[1:]]
    tokenizer = tokenizer_of(family)
    if "sanitize_control_tokens" not in inspect.signature(tokenizer.apply_chat_template).parameters:
        assert "control token" in refused(lambda: prompt(name, messages))  # an older transformers
        return
    ids = encoded(tokenizer, parsed(tokenizer, messages), None)["input_ids"][0].tolist()
    (start, stop), *_ = message_spans(tokenizer, toned(messages), ids)
    assert messages[0]["content"] in tokenizer.decode(ids[start:stop])
    assert tokenizer.eos_token_id not in ids[start : start + len(messages[0]["content"])]


@families
def test_what_a_template_refuses_is_one_line(name):
    for messages in (
        [TURNS[0], TURNS[0]],
        [SYSTEM],
        [{"role": "narrator", "content": "Night fell."}],
        [SYSTEM, SYSTEM, TURNS[0]],
        CALLS,
        [TURNS[1], TURNS[0]],
    ):
        try:
            text, line = prompt(name, messages), ""
        except InputError as error:
            text, line = "", str(error)
        assert "\n" not in line
        if line:
            assert line.startswith(("The chat template does not take", "The chat template leaves out"))
        else:
            assert messages[-1]["content"] in text


@families
def test_tools_reach_the_model_or_are_refused(name):
    if not FAMILIES[name].tools:
        assert "tools" in refused(lambda: prompt(name, TURNS, tools=[TOOL]))
        return
    assert json.dumps("tide") in prompt(name, TURNS, tools=[TOOL])
    if FAMILIES[name].system != "refused":
        assert "high water at noon" in prompt(name, CALLS, tools=[TOOL])


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.tools])
def test_tones_around_a_tool_call_are_right(name):
    tokenizer = tokenizer_of(FAMILIES[name])
    messages = [{**CALLS[0], "emotion": {"joy": 1.0}}, *CALLS[1:]]
    ids = encoded(tokenizer, parsed(tokenizer, messages), {"tools": [TOOL]})["input_ids"][0].tolist()
    (start, stop), *rest = message_spans(tokenizer, messages, ids, {"tools": [TOOL]})
    assert CALLS[0]["content"] in tokenizer.decode(ids[start:stop])
    assert "tide" not in tokenizer.decode(ids[start:stop])
    assert "high water" not in tokenizer.decode(ids[rest[-1][1] :])  # where the answer's tone begins


def test_documents_reach_the_model_or_are_refused():
    documents = [{"title": "Log", "text": "Fog at nine."}]
    assert "Fog at nine." in prompt("Command R", [SYSTEM, *TURNS], documents=documents)
    assert "documents" in refused(lambda: prompt("OLMo 2", TURNS, documents=documents))


@families
def test_thoughts_are_switched_off_where_the_template_can(name):
    if "enable_thinking" not in FAMILIES[name].template:
        assert "enable_thinking" in refused(lambda: prompt(name, TURNS, enable_thinking=False))
        return
    assert prompt(name, TURNS, enable_thinking=False).rstrip().endswith("<think>\n\n</think>")
    assert not prompt(name, TURNS, enable_thinking=True).rstrip().endswith("</think>")


@families
def test_a_prompt_without_thoughts_is_followed_by_the_answer(name):
    family = FAMILIES[name]
    tokenizer = tokenizer_of(family)
    marks = Thoughts.of(tokenizer)
    assert (marks is None) == (family.thoughts is None)
    if marks is None:
        return
    ids = encoded(tokenizer, parsed(tokenizer, TURNS), marks.template_variables)["input_ids"][0].tolist()
    closed = marks.closed(ids)
    assert tokenizer.decode(closed).rstrip().endswith(family.thoughts[1])
    assert not marks.open_after(closed)


@families
@pytest.mark.parametrize("thought", ["short", "none"])
def test_a_reply_is_parted_into_thoughts_and_answer(name, thought):
    family = FAMILIES[name]
    tokenizer = tokenizer_of(family)
    marks = Thoughts.of(tokenizer)
    ids = encoded(tokenizer, parsed(tokenizer, TURNS), None)["input_ids"][0].tolist()
    opened = marks is not None and marks.open_after(ids)
    assert opened == (name == "DeepSeek R1")
    said = "Storms, and a little bread."
    if marks is None or (thought == "none" and not opened):
        text, expected = said, ""
    else:
        between = f"{marks.end}<|start|>assistant" if marks.end else "\n"
        text = f"{'' if opened else family.thoughts[0]}\nWhat is it like?{between}{family.thoughts[1]}\n\n{said}"
        expected = "What is it like?"
    reply = Reply(marks, opened=opened)
    told = [token for fed in tokenizer(text, add_special_tokens=False)["input_ids"] for token in reply.add(fed)]
    assert tokenizer.decode(told).strip() == said
    assert (marks.said(reply.thoughts) if reply.thoughts else "") == expected


@families
def test_a_last_message_of_the_assistant_is_continued(name):
    messages = [TURNS[0], {"role": "assistant", "content": "Only gulls and"}]
    text = prompt(name, messages)
    assert text.endswith("Only gulls and")
    tokenizer = tokenizer_of(FAMILIES[name])
    ids = encoded(tokenizer, parsed(tokenizer, messages), None)["input_ids"][0].tolist()
    spans = message_spans(tokenizer, toned(messages), ids)
    assert spans[-1][1] == len(ids)
    assert "Only gulls and" in tokenizer.decode(ids[spans[-1][0] :])
    assert "Who lives" not in tokenizer.decode(ids[spans[-1][0] :])


@families
def test_content_may_be_a_list_of_parts(name):
    parts = [{"type": "text", "text": "Who lives"}, {"type": "text", "text": "there?"}]
    text = prompt(name, [{"role": "user", "content": parts}])
    assert "Who lives" in text
    assert "there?" in text
    assert "'type'" not in text
    tokenizer = tokenizer_of(FAMILIES[name])
    passage = last_message(tokenizer, [{"role": "user", "content": [parts[0]]}])
    assert passage.text[passage.start : passage.end] == "Who lives"
    picture = [{"role": "user", "content": [*parts, {"type": "image", "url": "x.png"}]}]
    assert "image" in refused(lambda: prompt(name, picture))


@pytest.mark.parametrize("name", ["Qwen 3", "DeepSeek R1", "SmolLM 3"])  # gpt-oss refuses marks in content
def test_the_last_message_is_read_without_its_thoughts(name):
    family = FAMILIES[name]
    content = f"{family.thoughts[0]}\nGulls?\n{family.thoughts[1]}\n\nOnly gulls."
    tokenizer = tokenizer_of(family)
    passage = last_message(tokenizer, [TURNS[0], {"role": "assistant", "content": content}])
    assert passage.text[passage.start : passage.end] == "Only gulls."


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": 3}],
        [{"role": "user", "content": []}],
        [{"role": "user", "content": ["Hello"]}],
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": [{"text": 3}]}],
        [{"role": 3, "content": "Hello"}],
        [{"content": "Hello"}],
        ["Hello"],
        {"role": "user", "content": "Hello"},
        [],
        [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "tide", "arguments": {}}}]}],
    ],
)
def test_what_is_no_conversation_is_refused_in_one_line(messages):
    refused(lambda: prompt("Qwen 3", messages))


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ messages[0].content + 1 }}", "str"),
        ("{{ raise_exception('no\nlines') }}", "no"),
        ("{% if %}", "Expected"),
        ("{{ messages[7].content }}", "list"),
        ("{{ 1 // 0 }}", "zero"),
        ("{{ undefined_function() }}", "undefined"),
    ],
)
def test_a_template_that_fails_is_one_line(template, why):
    tokenizer = tokenizer_of(FAMILIES["OLMo 2"])
    tokenizer.chat_template = template
    assert why in refused(lambda: rendered(tokenizer, TURNS))
