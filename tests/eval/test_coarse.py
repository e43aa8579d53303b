"""Coarse language, and what only looks like it."""

from __future__ import annotations

import pytest

from emosteer.eval.steering.coarse import coarse

# ruff: noqa: RUF001 (Chinese is punctuated in full width)

COARSE = [
    "What the hell is this?",
    "Damn it, the shelf is crooked.",
    "This is bullshit.",
    "Oh SHIT!",
    "He is an asshole.",
    "Those fucking pigeons!",
    "Go to hell.",
    "I'm pissed off.",
    "You idiot!",
    "You are such a stupid moron.",
    "I'll kill you.",
    "I am going to destroy them all.",
    "You will pay for this!",
    "You deserve to die.",
    "I want to kill myself.",
    "He thought of suicide.",
    "I wish I were dead.",
    "She wanted to die.",
    "Bitches.",
    "他妈的，又坏了！",
    "妈的！",
    "你这个王八蛋。",
    "给我滚！",
    "真是个混蛋。",
    "我要杀了你！",
    "你去死吧。",
    "他想自杀。",
    "我真不想活了。",
    "这话纯属放屁。",
    "你他妈就不能快点？",
]
CLEAN = [
    "Scunthorpe is a town in Lincolnshire.",
    "Hello! The shell lies on the beach.",
    "The class begins at nine, and the bass player is late.",
    "Pass the glass of assorted nuts to the assistant.",
    "He analysed the title of the cocktail.",
    "Moby-Dick and Dick Turpin.",
    "The cockerel crows.",
    "A vacuum cleaner sucks up dust.",
    "The grass is damp.",
    "The dam holds.",
    "A scrap of paper, a crappie in the lake, a shiitake on the plate.",
    "Hancock, Cumberland, Sussex and Essex.",
    "The music is to die for.",
    "You will regain the key.",
    "I will beat the eggs.",
    "I could kill the time with a book.",
    "Plants die without water.",
    "The bridge was destroyed by the flood.",
    "You fooled me.",
    "The hurt in his voice.",
    "Take your coat and your life jacket.",
    "I'll hit the road.",
    "妈妈的菜最好吃。",
    "我妈的生日在五月。",
    "他妈妈在银行上班。",
    "今天是生日，你来吗？",
    "早上做操，你也来。",
    "想死你了！",
    "雪球滚下山。",
    "回到过去，死去的树又绿了。",
    "小笨鸟先飞。",
    "打死结很难解开。",
    "妈妈比爸爸早起，我操作机器。",
    "锅里是滚开的水，去你的房间拿碗。",
]


@pytest.mark.parametrize(("text", "wanted"), [(t, True) for t in COARSE] + [(t, False) for t in CLEAN])
def test_coarse_words_are_told_from_false_friends(text, wanted):
    assert coarse(text) is wanted


def test_the_prompts_and_tasks_are_clean():
    from emosteer.eval.prompts import load_bench
    from emosteer.eval.tasks import load_tasks

    for language in ("en", "zh"):
        prompts = [*load_bench("development", language), *load_bench("held_out", language)]
        prompts += [task.prompt for task in load_tasks(language)]
        assert not [prompt for prompt in prompts if coarse(f"{prompt.system} {prompt.text}")]
