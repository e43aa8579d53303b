"""Chat templates that behave as those that families of models publish, written anew and shortened.

What is kept is what matters here: who may speak, where the system message goes, how content is trimmed, what becomes of
thoughts, tools and documents, and how a generation prompt ends.
"""
# ruff: noqa: E501, RUF001 - Jinja would print line breaks; a family's control tokens have such bars

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Family:
    """A chat template, its control tokens, and what it does with them.

    Args:
        template: The Jinja template.
        tokens: Control tokens, the beginning of a text and the end of an answer first.
        system: `"own"` turn, `"merged"` into a user's turn, or `"refused"`.
        thoughts: Opening and closing mark, or None.
        tools: Whether it shows tools and takes tool calls and their results.
        default_system: Whether it speaks of itself where there is no system message.
    """

    template: str
    tokens: tuple[str, ...]
    system: str = "own"
    thoughts: tuple[str, str] | None = None
    tools: bool = False
    default_system: bool = False


LLAMA_2 = """{% if messages[0].role == 'system' %}{% set intro = '<<SYS>>\n' ~ messages[0].content ~ '\n<</SYS>>\n\n' %}
{%- set turns = messages[1:] %}{% else %}{% set intro = '' %}{% set turns = messages %}{% endif %}
{%- for turn in turns %}
{%- if (turn.role == 'user') != (loop.index0 is even) %}
{{- raise_exception('Roles have to alternate: user, assistant, user, assistant') }}{% endif %}
{%- if turn.role == 'user' %}{{ bos_token ~ '[INST] ' ~ (intro if loop.first else '') ~ turn.content.strip() ~ ' [/INST]' }}
{%- else %}{{ ' ' ~ turn.content.strip() ~ ' ' ~ eos_token }}{% endif %}{% endfor %}"""

LLAMA_3 = """{{ bos_token }}{% if messages[0].role == 'system' %}{% set about = messages[0].content | trim %}
{%- set turns = messages[1:] %}{% else %}{% set about = '' %}{% set turns = messages %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n\n' ~ about ~ '<|eot_id|>' }}
{%- for turn in turns %}
{%- if turn.tool_calls is defined %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' ~ (turn.tool_calls[0].function | tojson) ~ '<|eot_id|>' }}
{%- elif turn.role == 'tool' %}
{{- '<|start_header_id|>ipython<|end_header_id|>\n\n' ~ (turn.content | tojson) ~ '<|eot_id|>' }}
{%- else %}
{%- if tools is defined and tools and loop.first %}{% set before = (tools | tojson) ~ '\n\n' %}{% else %}{% set before = '' %}{% endif %}
{{- '<|start_header_id|>' ~ turn.role ~ '<|end_header_id|>\n\n' ~ before ~ (turn.content | trim) ~ '<|eot_id|>' }}
{%- endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""

GEMMA_2 = """{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for turn in messages %}
{%- if (turn.role == 'user') != (loop.index0 is even) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}
{{- '<start_of_turn>' ~ ('model' if turn.role == 'assistant' else turn.role) ~ '\n' ~ (turn.content | trim) ~ '<end_of_turn>\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""

GEMMA_3 = """{{ bos_token }}{% if messages[0].role == 'system' %}
{%- set ahead = (messages[0].content if messages[0].content is string else messages[0].content[0].text) ~ '\n\n' %}
{%- set turns = messages[1:] %}{% else %}{% set ahead = '' %}{% set turns = messages %}{% endif %}
{%- for turn in turns %}
{%- if (turn.role == 'user') != (loop.index0 is even) %}{{ raise_exception('Roles must alternate') }}{% endif %}
{{- '<start_of_turn>' ~ ('model' if turn.role == 'assistant' else turn.role) ~ '\n' ~ (ahead if loop.first else '') }}
{%- if turn.content is string %}{{ turn.content | trim }}
{%- else %}{% for part in turn.content %}{% if part.type == 'text' %}{{ part.text | trim }}{% endif %}{% endfor %}{% endif %}
{{- '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""

MISTRAL = """{% if messages[0].role == 'system' %}{% set about = messages[0].content ~ '\n\n' %}{% set turns = messages[1:] %}
{%- else %}{% set about = '' %}{% set turns = messages %}{% endif %}{{ bos_token }}
{%- set seen = namespace(users=0) %}
{%- for turn in turns %}{% if turn.role in ('user', 'assistant') and turn.tool_calls is not defined %}
{%- if (turn.role == 'user') != (seen.users is even) %}
{{- raise_exception('After the optional system message, roles must alternate') }}{% endif %}
{%- set seen.users = seen.users + 1 %}{% endif %}{% endfor %}
{%- for turn in turns %}
{%- if turn.role == 'user' %}
{%- if tools is defined and tools and loop.last %}{{ '[AVAILABLE_TOOLS] ' ~ (tools | tojson) ~ '[/AVAILABLE_TOOLS]' }}{% endif %}
{{- '[INST] ' ~ (about if loop.last else '') ~ turn.content ~ '[/INST]' }}
{%- elif turn.tool_calls is defined %}{{ '[TOOL_CALLS] ' ~ (turn.tool_calls | tojson) ~ eos_token }}
{%- elif turn.role == 'tool' %}{{ '[TOOL_RESULTS] ' ~ turn.content ~ '[/TOOL_RESULTS]' }}
{%- else %}{{ ' ' ~ turn.content ~ eos_token }}{% endif %}{% endfor %}"""

QWEN_2_5 = """{% if messages[0].role == 'system' %}{% set about = messages[0].content %}
{%- else %}{% set about = 'You are a helpful assistant of the Qwen family.' %}{% endif %}
{{- '<|im_start|>system\n' ~ about }}{% if tools %}{{ '\n\n# Tools\n' ~ (tools | tojson) }}{% endif %}{{ '<|im_end|>\n' }}
{%- for turn in messages %}{% if not (loop.first and turn.role == 'system') %}
{%- if turn.role == 'tool' %}{{ '<|im_start|>user\n<tool_response>\n' ~ turn.content ~ '\n</tool_response><|im_end|>\n' }}
{%- else %}{{ '<|im_start|>' ~ turn.role ~ '\n' ~ (turn.content or '') }}
{%- for call in turn.tool_calls or [] %}{{ '<tool_call>\n' ~ (call.function | tojson) ~ '\n</tool_call>' }}{% endfor %}
{{- '<|im_end|>\n' }}{% endif %}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

QWEN_3 = """{% if tools %}{{ '<|im_start|>system\n' ~ (messages[0].content ~ '\n\n' if messages[0].role == 'system' else '') }}
{{- '# Tools\n' ~ (tools | tojson) ~ '<|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}{{ '<|im_start|>system\n' ~ messages[0].content ~ '<|im_end|>\n' }}{% endif %}
{%- set last = namespace(user=-1) %}{% for turn in messages %}{% if turn.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}{% endfor %}
{%- if last.user < 0 %}{{ raise_exception('No user query found in messages.') }}{% endif %}
{%- for turn in messages %}{% set content = turn.content if turn.content is string else '' %}
{%- if turn.role == 'user' %}{{ '<|im_start|>user\n' ~ content ~ '<|im_end|>\n' }}
{%- elif turn.role == 'assistant' %}
{%- if '</think>' in content %}{% set thought = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\n') %}{% else %}{% set thought = '' %}{% endif %}
{{- '<|im_start|>assistant\n' }}{% if loop.index0 > last.user %}{{ '<think>\n' ~ thought ~ '\n</think>\n\n' }}{% endif %}{{ content }}
{%- for call in turn.tool_calls or [] %}{{ '\n<tool_call>\n' ~ (call.function | tojson) ~ '\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}
{%- elif turn.role == 'tool' %}{{ '<|im_start|>user\n<tool_response>\n' ~ content ~ '\n</tool_response><|im_end|>\n' }}{% endif %}
{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"""

PHI_3 = """{% for turn in messages %}{% if turn.role in ('system', 'user', 'assistant') and turn.content %}
{{- '<|' ~ turn.role ~ '|>\n' ~ turn.content ~ '<|end|>\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"""

DEEPSEEK_R1 = """{{ bos_token }}{% for turn in messages %}{% if turn.role == 'system' %}{{ turn.content }}{% endif %}{% endfor %}
{%- for turn in messages %}
{%- if turn.role == 'user' %}{{ '<｜User｜>' ~ turn.content }}
{%- elif turn.role == 'assistant' and turn.content is not none %}
{{- '<｜Assistant｜>' ~ turn.content.split('</think>')[-1] ~ eos_token }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"""

SMOLLM_3 = """{% set think = enable_thinking if enable_thinking is defined else true %}
{%- if messages[0].role == 'system' %}{% set about = messages[0].content.rstrip() %}{% set turns = messages[1:] %}
{%- else %}{% set about = 'You are a helpful AI assistant, trained by a friendly company.' %}{% set turns = messages %}{% endif %}
{{- '<|im_start|>system\n## Metadata\n\nReasoning Mode: ' ~ ('/think' if think else '/no_think') }}
{{- '\n\n## Custom Instructions\n\n' ~ about ~ '\n\n' }}
{%- if xml_tools %}{{ '### Tools\n\n' ~ (xml_tools | tojson) ~ '\n' }}{% elif tools %}{{ '### Tools\n\n' ~ (tools | tojson) ~ '\n' }}{% endif %}
{{- '<|im_end|>\n' }}
{%- for turn in turns %}{% set content = turn.content if turn.content is string else '' %}
{%- if turn.role == 'user' %}{{ '<|im_start|>user\n' ~ content ~ '<|im_end|>\n' }}
{%- elif turn.role == 'assistant' %}
{{- '<|im_start|>assistant\n' ~ (content.lstrip('\n') if think else '<think>\n\n</think>\n' ~ content.lstrip('\n')) ~ '<|im_end|>\n' }}
{%- elif turn.role == 'tool' %}{{ '<|im_start|>user\n' ~ content ~ '<|im_end|>\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' ~ ('' if think else '<think>\n\n</think>\n') }}{% endif %}"""

GPT_OSS = """{{ '<|start|>system<|message|>You are a large language model.\nReasoning: ' ~ (reasoning_effort or 'medium') ~ '<|end|>' }}
{%- if messages[0].role in ('system', 'developer') %}{% set about = messages[0].content %}{% set turns = messages[1:] %}
{%- else %}{% set about = '' %}{% set turns = messages %}{% endif %}
{%- if about or tools %}{{ '<|start|>developer<|message|>' }}{% if about %}{{ '# Instructions\n\n' ~ about }}{% endif %}
{%- if tools %}{{ '\n\n# Tools\n\n' ~ (tools | tojson) }}{% endif %}{{ '<|end|>' }}{% endif %}
{%- for turn in turns %}
{%- if turn.role == 'assistant' and turn.tool_calls %}
{{- '<|start|>assistant<|channel|>commentary to=functions.' ~ turn.tool_calls[0].function.name ~ '<|message|>' }}
{{- (turn.tool_calls[0].function.arguments | tojson) ~ '<|call|>' }}
{%- elif turn.role == 'assistant' %}{% if '<|channel|>' in turn.content %}
{{- raise_exception('You have passed a message containing <|channel|> tags in the content field.') }}{% endif %}
{%- if turn.thinking and loop.last %}{{ '<|start|>assistant<|channel|>analysis<|message|>' ~ turn.thinking ~ '<|end|>' }}{% endif %}
{{- '<|start|>assistant<|channel|>final<|message|>' ~ turn.content ~ '<|end|>' }}
{%- elif turn.role == 'tool' %}{{ '<|start|>functions to=assistant<|channel|>commentary<|message|>' ~ (turn.content | tojson) ~ '<|end|>' }}
{%- else %}{{ '<|start|>user<|message|>' ~ turn.content ~ '<|end|>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"""

COMMAND_R = """{{ bos_token }}{% if messages[0].role == 'system' %}{% set about = messages[0].content %}{% set turns = messages[1:] %}
{%- else %}{% set about = false %}{% set turns = messages %}{% endif %}
{%- if about %}{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' ~ about }}
{%- if documents %}{{ '\n\n# Documents\n' ~ (documents | tojson) }}{% endif %}{{ '<|END_OF_TURN_TOKEN|>' }}{% endif %}
{%- for turn in turns %}
{%- if (turn.role == 'user') != (loop.index0 is even) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}
{{- '<|START_OF_TURN_TOKEN|>' ~ ('<|USER_TOKEN|>' if turn.role == 'user' else '<|CHATBOT_TOKEN|>') }}
{{- turn.content.strip() ~ '<|END_OF_TURN_TOKEN|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"""

OLMO_2 = """{{ bos_token }}{% for turn in messages %}
{%- if turn.role == 'system' %}{{ '<|system|>\n' ~ turn.content ~ '\n' }}
{%- elif turn.role == 'user' %}{{ '<|user|>\n' ~ turn.content ~ '\n' }}
{%- elif turn.role == 'assistant' %}{{ '<|assistant|>\n' ~ turn.content ~ eos_token ~ ('' if loop.last else '\n') }}{% endif %}
{%- if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"""

_IM = ("<|endoftext|>", "<|im_end|>", "<|im_start|>")
_THINK = ("<think>", "</think>")
_HARMONY = ("<|start|>", "<|return|>", "<|message|>", "<|channel|>", "<|end|>", "<|call|>")

FAMILIES = {
    "Llama 2": Family(LLAMA_2, ("<s>", "</s>"), system="merged"),
    "Llama 3": Family(
        LLAMA_3,
        ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
        tools=True,
        default_system=True,
    ),
    "Gemma 2": Family(GEMMA_2, ("<bos>", "<end_of_turn>", "<start_of_turn>"), system="refused"),
    "Gemma 3": Family(GEMMA_3, ("<bos>", "<end_of_turn>", "<start_of_turn>"), system="merged"),
    "Mistral": Family(
        MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]"), system="merged", tools=True
    ),
    "Qwen 2.5": Family(QWEN_2_5, _IM, tools=True, default_system=True),
    "Qwen 3": Family(QWEN_3, (*_IM, *_THINK), thoughts=_THINK, tools=True),
    "Phi 3": Family(PHI_3, ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")),
    "DeepSeek R1": Family(
        DEEPSEEK_R1,
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", *_THINK),
        thoughts=_THINK,
    ),
    "SmolLM 3": Family(SMOLLM_3, (*_IM, *_THINK), thoughts=_THINK, tools=True, default_system=True),
    "gpt-oss": Family(
        GPT_OSS,
        _HARMONY,
        thoughts=("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
        tools=True,
        default_system=True,
    ),
    "Command R": Family(
        COMMAND_R,
        (
            "<BOS>",
            "<|END_OF_TURN_TOKEN|>",
            "<|START_OF_TURN_TOKEN|>",
            "<|SYSTEM_TOKEN|>",
            "<|USER_TOKEN|>",
            "<|CHATBOT_TOKEN|>",
        ),
    ),
    "OLMo 2": Family(OLMO_2, ("<|endoftext|>", "<|end_of_text|>", "<|system|>", "<|user|>", "<|assistant|>")),
}
"""Family → its template. `<think>` and its kind are no special tokens, as in the published tokenizers."""


def tokenizer_of(family: Family) -> PreTrainedTokenizerFast:
    """Bytes as tokens beside the family's control tokens, with its template."""
    specials = ["<pad>", "<unk>", *family.tokens]
    vocabulary = {token: i for i, token in enumerate([*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    thinking = [token for token in family.tokens if token in _THINK]
    backend.add_tokens(thinking)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token=family.tokens[0],
        eos_token=family.tokens[1],
        extra_special_tokens=[token for token in family.tokens[2:] if token not in thinking],
        chat_template=family.template,
        padding_side="left",
    )
