"""Generated arithmetic word problems in eight languages: the same mathematics in every language of the corpus."""

import random
from collections.abc import Iterator

_NAMES = {
    "ar": ["سارة", "يوسف", "ليلى", "عمر"],
    "de": ["Anna", "Jonas", "Lena", "Paul"],
    "en": ["Alice", "Tom", "Mary", "Jack"],
    "es": ["Lucía", "Pablo", "Sofía", "Juan"],
    "fr": ["Camille", "Hugo", "Léa", "Louis"],
    "ja": ["さくら", "太郎", "花子", "健"],
    "ru": ["Анна", "Иван", "Мария", "Пётр"],
    "zh": ["小明", "小红", "丽丽", "王强"],
}
_TEMPLATES = {
    "ar": [
        "لدى {n} {a} تفاحة، ثم اشترى له صديقه {b} أخرى. كم تفاحة لديه الآن؟ {a} + {b} = {s}. الجواب هو {s}.",
        "كان مع {n} {s} كتابا وأعطى {b} منها. كم بقي؟ {s} - {b} = {a}. بقي {a}.",
        "في كل صندوق {a} قلما وهناك {c} صناديق. المجموع {a} × {c} = {p}.",
    ],
    "de": [
        "{n} hat {a} Äpfel und kauft noch {b} dazu. Wie viele Äpfel sind es jetzt? "
        "{a} + {b} = {s}. Die Antwort ist {s}.",
        "{n} besitzt {s} Bücher und verschenkt {b}. Wie viele bleiben übrig? {s} - {b} = {a}. Es bleiben {a}.",
        "In jeder Kiste liegen {a} Stifte, und es gibt {c} Kisten. Zusammen sind es {a} × {c} = {p} Stifte.",
    ],
    "en": [
        "{n} has {a} apples and buys {b} more. How many apples are there now? {a} + {b} = {s}. The answer is {s}.",
        "{n} owns {s} books and gives {b} away. How many are left? {s} - {b} = {a}. There are {a} left.",
        "Every box holds {a} pens and there are {c} boxes. Together that makes {a} × {c} = {p} pens.",
    ],
    "es": [
        "{n} tiene {a} manzanas y compra {b} más. ¿Cuántas manzanas hay ahora? {a} + {b} = {s}. La respuesta es {s}.",
        "{n} posee {s} libros y regala {b}. ¿Cuántos quedan? {s} - {b} = {a}. Quedan {a}.",
        "En cada caja hay {a} lápices y hay {c} cajas. En total son {a} × {c} = {p} lápices.",
    ],
    "fr": [
        "{n} a {a} pommes et en achète encore {b}. Combien de pommes y a-t-il maintenant ? "
        "{a} + {b} = {s}. La réponse est {s}.",
        "{n} possède {s} livres et en donne {b}. Combien en reste-t-il ? {s} - {b} = {a}. Il en reste {a}.",
        "Chaque boîte contient {a} stylos et il y a {c} boîtes. Cela fait en tout {a} × {c} = {p} stylos.",
    ],
    "ja": [
        "{n}さんはりんごを{a}個持っていて、さらに{b}個買いました。全部で何個ですか。{a} + {b} = {s}。答えは{s}個です。",
        "{n}さんは本を{s}冊持っていて、{b}冊あげました。残りは何冊ですか。{s} - {b} = {a}。残りは{a}冊です。",
        "一つの箱にペンが{a}本入っていて、箱は{c}個あります。合計は{a} × {c} = {p}本です。",
    ],
    "ru": [
        "У {n} было {a} яблок, потом куплено ещё {b}. Сколько яблок стало? {a} + {b} = {s}. Ответ: {s}.",
        "{n} имеет {s} книг и отдаёт {b}. Сколько осталось? {s} - {b} = {a}. Осталось {a}.",
        "В каждой коробке {a} ручек, а коробок {c}. Всего получается {a} × {c} = {p} ручек.",
    ],
    "zh": [
        "{n}有{a}个苹果，又买了{b}个。现在一共有多少个苹果？{a} + {b} = {s}。答案是{s}个。",
        "{n}有{s}本书，送出了{b}本。还剩多少本？{s} - {b} = {a}。还剩{a}本。",
        "每个盒子里有{a}支笔，一共有{c}个盒子。总共是{a} × {c} = {p}支笔。",
    ],
}
_PROBLEMS_A_PAGE = 8


def problem(language: str, draw: random.Random) -> str:
    """Return one solved word problem in `language`, a key of the eight natural languages of the corpus."""
    first, second, few = draw.randint(2, 99), draw.randint(2, 99), draw.randint(2, 9)
    template, name = draw.choice(_TEMPLATES[language]), draw.choice(_NAMES[language])
    return template.format(n=name, a=first, b=second, c=few, s=first + second, p=first * few)


def pages(language: str, count: int = 150) -> Iterator[str]:
    """Yield `count` pages of eight problems each, the same ones at every call."""
    draw = random.Random(f"arithmetic {language}")
    for _ in range(count):
        yield "\n".join(problem(language, draw) for _ in range(_PROBLEMS_A_PAGE))
