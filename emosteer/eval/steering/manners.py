"""Manners that a judge mistakes for a tone: refusals, disclaimers, and feelings that are stated instead of expressed.

"I'm afraid I can't assist with that" is heard as fear, "I'm sorry, but …" as sadness. They are found by patterns, in
English and in Chinese whatever the language of the prompt. What somebody says in quotation marks is not the answer's
own voice, and is left out.
"""

from __future__ import annotations

import re

_QUOTED = re.compile(r"[\"“][^\"”]*[\"”]|「[^」]*」|『[^』]*』")
_END = re.compile(r"[.!?…。\uff01\uff1f\n]+")
_SENTENCES = 3
"""A refusal stands at the beginning."""

_COMMA = r"[,\uff0c、]?\s*"
_UNABLE = (
    r"(?:can't|can ?not|could(?: not|n't)|won't|will not|(?:am|'m) (?:unable to|not (?:able|allowed|permitted) to))"
)
_REQUEST = r"(?:that|this|it|such|these|those|any|your (?:request|question|prompt)|the (?:request|question|prompt)s?)\b"
_WORKS = (
    r"(?:an?|the|any|this|that|such|your) (?:\w+ ){0,2}?"
    r"(?:answer|response|information|advice|assistance|content|story|scene|poem|review|post|dialogue|text|opinion)s?\b"
)
_REFUSALS = [
    rf"\bI ?{_UNABLE} (?:\w+ly |even )?(?:"
    rf"assist\b|help(?: you)?(?: out)?(?: here)?(?=\s*(?:[.,!?;]|$))|help(?: you)? (?:with|in) {_REQUEST}"
    rf"|(?:do|answer|discuss|fulfill?|comply with|respond to|engage (?:in|with)|continue with|complete) {_REQUEST}"
    rf"|(?:provide|give|offer|generate|create|produce|write)(?: you)?(?: with)? "
    rf"(?:{_WORKS}|(?:that|this|such|any)(?=\s*[.,!?;]|$)|(?:personal|assistance|content|information|advice)\b)"
    r"|comply\b)",
    rf"\b(?:sorry|apologi[sz]e),? but I ?{_UNABLE} (?:tell|describe|explain|share|see|continue|go on)\b",
    r"\bI (?:must|have to|need to|will have to) (?:\w+ly )?(?:decline|refuse)\b(?! the invitation)",
    r"\bI(?:'m| am) not comfortable (?:with|answering|discussing|writing|sharing|providing)\b",
    r"\bI (?:don't|do not) feel comfortable (?:with|answering|discussing|writing|sharing|providing)\b",
    r"\b(?:not|isn't) something I can (?:help|assist|do|answer|discuss|provide)\b",
    r"\b(?:sorry|afraid|apologi[sz]e)\b[^.!?]{0,30}\b(?:that|this|your) (?:request|question|prompt|topic) "
    r"(?:is|goes|falls) (?:not|beyond|outside|inappropriate)",
    # Chinese
    r"我(?!们)(?:实在|暂时|目前|现在|真的|恐怕|也)?(?:无法|不能|没办法|没有办法|不便|不可以)"
    r"(?:继续|直接|具体)?(?:为您|为你|给您|给你|向您|向你|替您|替你)?"
    r"(?:回答(?:这|该|您|你|此|[。,\uff0c\uff01]|$)"
    r"|提供(?:这|该|此|任何|相关|您|你|帮助|具体的?(?:信息|建议)|信息|建议|协助)"
    r"|帮助(?:您|你)|协助|满足(?:这|该|您|你|此)|完成(?:这|该|您|你|此|任务)|讨论(?:这|该|此)|执行|帮(?:到)?(?:您|你)"
    r"(?:了|[。,\uff0c\uff01]|$)|写这|生成|参与(?:这|该|此|任何))",
    rf"(?:抱歉|对不起|不好意思|遗憾){_COMMA}(?:但是?|不过)?{_COMMA}(?:无法|不能)"
    r"(?:回答|满足|完成|处理|提供|协助|帮助)(?:这|该|您的|你的|此|相关|类似)",
    r"我(?!们)(?:只能|必须|不得不)拒绝(?:回答|这|该|您|你)",
]
_AI = r"(?:AI|artificial intelligence|(?:large )?language model|chat ?bot|(?:virtual|digital) assistant)\b"
_CHINESE_AI = (
    r"(?:大型|大规模|大)?(?:AI|人工智能|语言模型|虚拟助手|智能助手|数字助手|聊天机器人|计算机程序|对话模型)"
    r"(?!专业|工程|领域|研究|公司|产品|行业|老师|课)"
)
_DISCLAIMERS = [
    rf"\bas (?:just |only |merely )?an? (?:\w+ )?{_AI}(?! (?:researcher|engineer|company|expert|student))",
    r"\bas an? (?:computer program|machine learning model|text-based (?:AI|assistant|model))\b",
    rf"\bI(?:'m| am) (?:just |only |merely |simply |actually |but )?an? (?:\w+ )?{_AI}"
    r"(?! (?:researcher|engineer|company|expert|student))",
    r"\bI(?:'m| am) (?:just |only |merely |simply )?an? (?:computer program|machine learning model)\b",
    r"\bI(?:'m| am) (?:just )?(?:Qwen|SmolLM|ChatGPT)\b",
    r"\bI was (?:created|developed|trained|made) by (?:Alibaba|OpenAI|Hugging)",
    r"\bI (?:don't|do not|can't|cannot) (?:\w+ly )?(?:have|possess|experience|feel) "
    r"(?:the ability to (?:feel|experience) |any |human |personal |real |physical )*"
    r"(?:emotions|feelings(?! (?:for|about|either))|consciousness|physical (?:body|form|presence|sensations?)"
    r"|personal (?:experiences?|opinions?|preferences?|memories|life)|human experiences?)\b",
    r"\bI (?:don't|do not) have (?:a (?:physical )?body|a personal life|real-time|the ability to"
    r"|personal (?:experiences?|opinions?|preferences?)"
    r"|access to (?:real-time|current|live|your|the internet|personal))\b",
    # Chinese
    rf"作为(?:一个|一名|一款|一位|一种)?(?:由[^,\uff0c。]{{1,12}}的)?{_CHINESE_AI}",
    r"我(?:只是|仅仅是|仅是|其实是|是)(?:一个|一名|一款|一位|一种)?"
    rf"(?:由[^,\uff0c。]{{1,14}}的|来自[^,\uff0c。]{{1,8}}的)?{_CHINESE_AI}",
    r"我(?:并|也|本身)?(?:没有|不具备|不具有)(?:真正的?|真实的?|自己的?|任何|人类的?|个人的?|实际的?|物理的?)*"
    r"(?:情感|感情|情绪|感受|身体(?!不|上)|实体|意识(?!到)|个人经历|个人经验|亲身经历|主观)",
    r"我(?:无法|不能|不会)(?:真正|像人类一样|像人一样)(?:地)?(?:感受|体验|拥有|感到)",
    r"我(?:是|叫)(?:通义千问|千问|Qwen|SmolLM)",
]
_FEELINGS = (
    r"(?:happy|glad|joyful|delighted|thrilled|excited|overjoyed|sad|unhappy|heartbroken|miserable|sorrowful|down|angry"
    r"|furious|mad|enraged|annoyed|irritated|frustrated|afraid|frightened|scared|fearful|terrified|anxious|worried"
    r"|nervous|uneasy|disgusted|repulsed|revolted|sickened|surprised|amazed|astonished|shocked|stunned|startled|calm"
    r"|peaceful|relaxed|serene|proud|grateful|thankful|hopeful|lonely|ashamed|guilty|embarrassed|bored|jealous|envious"
    r"|content|relieved|confused|disappointed|upset)"
)
_VERY = r"(?:(?:so|very|really|truly|quite|extremely|incredibly|deeply|utterly|absolutely|just|a bit|a little|too) )*"
_SO = (
    r"(?: (?:right now|now|today|at the moment|inside|too"
    r"|about (?:this|that|it)|to (?:hear|see|say) (?:this|that|it)|by (?:this|that|it)))*"
)
_LIST = rf"{_VERY}{_FEELINGS}(?:(?:,| and|, and) {_VERY}{_FEELINGS})*"
_CHINESE_FEELINGS = (
    r"(?:高兴|开心|快乐|喜悦|兴奋|激动|欢喜|难过|悲伤|伤心|忧伤|沮丧|失落|痛苦|生气|愤怒|恼火|气愤|害怕|恐惧|恐慌|惊恐|担心"
    r"|焦虑|紧张|不安|恶心|厌恶|反感|惊讶|吃惊|震惊|意外|惊喜|平静|安心|自豪|骄傲|感激|感动|孤独|羞愧|内疚|尴尬|无聊|嫉妒|失望"
    r"|困惑|欣慰|幸福)"
)
_BARE = re.compile(
    rf"(?:(?:oh|wow|ah|ugh|well|yes|no)\b[,!]? ?)?(?:"
    rf"(?:I(?:'m| am| feel| felt)(?: feeling)?|(?:this|that|it) makes me(?: feel)?) {_LIST}{_SO}"
    rf"|I(?:'m| am| feel) (?:filled|overwhelmed) with (?:\w+ )?\w+|I feel an? (?:\w+ )?sense of \w+|how {_FEELINGS}"
    r"|I(?:'m| am| feel)(?: so| very| really)?"  # broken off
    r"|我(?:现在|今天|真的|此刻|也)*(?:感到|觉得|感觉)?(?:很|非常|十分|好|真|太|特别|有点|有些|无比|极其|真的|极度)*"
    rf"{_CHINESE_FEELINGS}(?:和{_CHINESE_FEELINGS})*(?:了|啊|呀|极了|得很|得不得了)?"
    rf"|(?:这|这让我|真|太|好|让我)(?:感到|觉得)?(?:很|非常|真|太|好)*{_CHINESE_FEELINGS}(?:了|啊)?)",
    re.IGNORECASE,
)
_REFUSED, _DISCLAIMED = (re.compile("|".join(patterns), re.IGNORECASE) for patterns in (_REFUSALS, _DISCLAIMERS))

__all__ = ["disclaimer", "refusal", "stated"]


def refusal(text: str) -> bool:
    """Return whether an answer declines to answer, in its first sentences."""
    sentences = [part for part in _END.split(_own(text)) if part.strip()]
    return _REFUSED.search(". ".join(sentences[:_SENTENCES])) is not None


def disclaimer(text: str) -> bool:
    """Return whether an answer says that it comes from a machine, without a body or feelings."""
    return _DISCLAIMED.search(_own(text)) is not None


def stated(text: str) -> bool:
    """Return whether an answer states a feeling, as "I feel very frightened.", and says nothing else."""
    sentences = [part.strip(" \t,;:-—*\"'“”\uff0c") for part in _END.split(text.replace("’", "'"))]
    sentences = [part for part in sentences if any(map(str.isalpha, part))]
    return bool(sentences) and all(map(_BARE.fullmatch, sentences))


def _own(text: str) -> str:
    """Return what an answer says in its own voice; all of it where everything stands in quotation marks."""
    text = text.replace("’", "'")
    left = _QUOTED.sub(" … ", text)
    return left if any(map(str.isalpha, left)) else text
