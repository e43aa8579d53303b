"""Tasks that are right or wrong by code."""

# ruff: noqa: RUF001 (Chinese is punctuated in full width)

from __future__ import annotations

import pytest

from emosteer.errors import InputError
from emosteer.eval.tasks import CHECKS, is_right, load_tasks


def the(language, words):
    """The only task whose text has these words."""
    (task,) = [task for task in load_tasks(language) if words in task.prompt.text]
    return task


@pytest.mark.parametrize("language", ["en", "zh"])
def test_there_are_forty_tasks_of_six_kinds_and_every_check_is_used(language):
    tasks = load_tasks(language)
    assert len({task.prompt.text for task in tasks}) == len({task.prompt.id for task in tasks}) == 40
    assert {task.prompt.kind for task in tasks} == {
        "fact",
        "arithmetic",
        "extraction",
        "format",
        "translation",
        "instruction",
    }
    assert all(task.right.keys() <= CHECKS.keys() for task in tasks)
    assert load_tasks("zh-TW") == load_tasks("zh")
    with pytest.raises(InputError, match="no tasks in 'de'"):
        load_tasks("de")


def test_every_check_is_asked_for():
    asked = {name for language in ("en", "zh") for task in load_tasks(language) for name in task.right}
    assert asked == set(CHECKS)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_saying_the_task_again_solves_none_whose_answer_does_not_stand_in_it(language):
    echoed = [task.prompt for task in load_tasks(language) if is_right(task, task.prompt.text)]
    assert {prompt.kind for prompt in echoed} <= {"extraction", "instruction"}
    assert len(echoed) < 12


RIGHT = {
    "en": [
        ("capital of Japan", "What a lovely question! It is Tokyo, of course."),
        ("closest to the Sun", "**Mercury**"),
        ("leap year", "A leap year has 366 days."),
        ("leap year", "three hundred and sixty-six"),
        ("Romeo", "William Shakespeare wrote it, around 1595."),
        ("Which gas", "CO2, my friend"),
        ("Which gas", "Carbon dioxide (CO₂)."),
        ("water boil", "At 100°C."),
        ("17 + 25", "17 + 25 = 42"),
        ("17 + 25", "Forty-two! Hooray!"),
        ("17 + 25", "Let's add: 17 + 20 is 37, and 5 more makes 42."),
        ("9 times 7", "Oh dear, it is 63, I think."),
        ("100 minus 36", "64."),
        ("6 tickets", "They cost €48.00."),
        ("9:15", "It is 90 minutes long."),
        ("15 %", "15 % of 200 is 30."),
        ("Ms Ortega", "Room 205, on 14 May."),
        ("e-mail address", "It's office@northgate.example!"),
        ("three colours", "1. Red\n2. Green\n3. White"),
        ("on Sundays", "It opens at 10:00."),
        ("name Tom", 'Here you are:\n```json\n{\n  "name": "Tom",\n  "age": 31\n}\n```\nHave a good day!'),
        ("name Tom", '{"age": "31", "name": "Tom"}'),
        ("5 March", "2024-03-05"),
        ("capital letters", "HOUSE"),
        ("alphabetically", "apple, fig, pear"),
        ("alphabetically", "Sorted: Apple, fig, and pear."),
        ("from 1 to 5", "1, 2, 3, 4, 5"),
        ("Markdown", "```\n## Opening hours\n```"),
        ("French", '"Bonjour" or "Bonne matinée".'),
        ("German word", "Das Wasser"),
        ("einen Hund", "I've got a dog."),
        ("three short bullets", "- Building a wall\n- Holding a door\n- Edging a path"),
        ("three short bullets", "Gladly!\n\n* walls\n* paths\n* ovens"),
        ("a lemon", "A lemon is yellow and oval. Its juice is sour!"),
        ("a library", "A library lends books to people."),
        ("five vegetables", "1. Leek\n2. Carrot\n3. Kale\n4. Beetroot\n5. Chard"),
        ("five vegetables", "1) Leek\n2) Carrot\n3) Kale\n4) Beetroot\n5) Chard"),
        ("larger than the Moon", "Yes!"),
        ("the word bridge", "The old bridge, which is made of stone, crosses the river."),
        ("make toast", "First, put the bread into the toaster and wait."),
    ],
    "zh": [
        ("首都", "当然是北京呀！"),
        ("红楼梦", "作者是清代的曹雪芹。"),
        ("多少个月", "一年有十二个月。"),
        ("多少个月", "12个月"),
        ("山峰", "珠穆朗玛峰，海拔8848米。"),
        ("化学式", "H₂O"),
        ("18加27", "18+27=45"),
        ("18加27", "等于四十五。"),
        ("60的一半", "30，太简单了！"),
        ("电影", "一共放了100分钟。"),
        ("电影", "一百分钟"),
        ("306", "306教室"),
        ("306", "三百零六教室"),
        ("邮箱", "邮箱是：hello@qinghe.example。"),
        ("三种水果", "- 苹果\n- 香蕉\n- 葡萄"),
        ("周末几点", "周末下午五点关门。"),
        ("周末几点", "17:00"),
        ("王芳", '好的！{"name": "王芳", "age": 28}'),
        ("3月5日", "2024-03-05"),
        ("从小到大", "2，5，9"),
        ("从小到大", "2、5、9"),
        ("书名号", "《图书馆》"),
        ("二级标题", "## 开放时间"),
        ("早上好", "Good morning!"),
        ("I like apples", "我喜欢吃苹果。"),
        ("砖头", "- 砌墙\n- 铺路\n- 垫桌脚"),
        ("柠檬", "柠檬是黄色的，闻起来很清香。它的汁水很酸！"),
        ("邮局", "邮局是寄信和取包裹的地方。"),
        ("五种蔬菜", "1. 白菜\n2. 萝卜\n3. 茄子\n4. 黄瓜\n5. 菠菜"),
        ("五种蔬菜", "1、白菜\n2、萝卜\n3、茄子\n4、黄瓜\n5、菠菜"),
        ("月球", "是。"),
        ("“桥”字", "小河上有一座古老的石桥。"),
        ("煮面条", "首先把水烧开，再放面条。"),
    ],
}
WRONG = {
    "en": [
        ("capital of Japan", "Kyoto."),
        ("capital of Japan", "I'm sorry, but I can't help with that."),
        ("closest to the Sun", "Venus is the closest."),
        ("leap year", "It has 365 days, or 3660 hours."),
        ("Which gas", "Oxygen"),
        ("17 + 25", "17 + 25 = 43"),
        ("17 + 25", "It is 420, or 4.2, or 1.42."),
        ("17 + 25", "Forty, perhaps."),
        ("half of 90", "Forty."),
        ("100 minus 36", "It is sixty-five."),
        ("6 tickets", "8 euros each, so 6 of them."),
        ("9:15", "One and a half hours."),
        ("Ms Ortega", "Room 502"),
        ("e-mail address", "office@northgate"),
        ("three colours", "Red and green."),
        ("Marie Curie", "In 1867."),
        ("on Sundays", "At 8."),
        ("name Tom", "Tom is 31 years old."),
        ("name Tom", "{name: Tom, age: 31}"),
        ("name Tom", '{"name": "Tom"}'),
        ("5 March", "05-03-2024"),
        ("capital letters", "House"),
        ("alphabetically", "pear, apple, fig"),
        ("alphabetically", "apple, pear, fig"),
        ("from 1 to 5", "1 2 3 4 5"),
        ("from 1 to 5", "1, 2, 3, 4, 6, 5"),
        ("Markdown", "### Opening hours"),
        ("Markdown", "# Opening hours"),
        ("French", "Buenos días"),
        ("Spanish", "La casamata"),
        ("three short bullets", "- walls\n- paths\n- ovens\n- doors"),
        ("three short bullets", "walls, paths, ovens"),
        ("a lemon", "A lemon is yellow."),
        ("a lemon", "Wow! A lemon is yellow. It is sour."),
        ("a library", "A library is a place " + "where many people read " * 5),
        ("a library", ""),
        ("five vegetables", "1. Leek\n2. Carrot\n3. Kale\n4. Beetroot"),
        ("larger than the Moon", "Yes, the Earth is much larger."),
        ("larger than the Moon", "No"),
        ("the word bridge", "There is a bridge. It is old."),
        ("the word bridge", "They abridged it."),
        ("make toast", "Put it in the toaster first."),
    ],
    "zh": [
        ("首都", "上海"),
        ("多少个月", "二十二个月"),
        ("多少个月", "十个月"),
        ("18加27", "四十"),
        ("18加27", "等于四十五六"),
        ("18加27", "35"),
        ("60的一半", "三十六"),
        ("电影", "两个小时"),
        ("306", "三楼的教室"),
        ("邮箱", "hello@qinghe"),
        ("三种水果", "苹果和香蕉"),
        ("周末几点", "晚上九点"),
        ("王芳", "王芳今年28岁。"),
        ("王芳", '{"姓名": "王芳", "年龄": 28}'),
        ("从小到大", "9，5，2"),
        ("书名号", "“图书馆”"),
        ("二级标题", "### 开放时间"),
        ("早上好", "Good evening"),
        ("I like apples", "我有苹果。"),
        ("砖头", "- 砌墙\n- 铺路"),
        ("砖头", "砌墙、铺路、垫桌脚"),
        ("柠檬", "柠檬很酸。"),
        ("邮局", "邮局" + "是寄信取信的好地方" * 4),
        ("五种蔬菜", "白菜、萝卜、茄子、黄瓜、菠菜"),
        ("月球", "不是"),
        ("月球", "是的，地球比月球大得多。"),
        ("“桥”字", "河上有一座桥。桥下有水。"),
        ("煮面条", "先把水烧开。"),
    ],
}
CASES = [
    (language, words, said, wanted)
    for answers, wanted in ((RIGHT, True), (WRONG, False))
    for language, pairs in answers.items()
    for words, said in pairs
]


@pytest.mark.parametrize(("language", "words", "said", "wanted"), CASES)
def test_answers_written_by_hand_are_right_or_wrong(language, words, said, wanted):
    assert is_right(the(language, words), said) is wanted
