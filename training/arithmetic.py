"""Generated arithmetic word problems: the same mathematics in every language of the corpus."""

import random
from collections.abc import Iterator

_NAMES = {
    "ar": ["سارة", "يوسف", "ليلى", "عمر"],
    "de": ["Anna", "Jonas", "Lena", "Paul"],
    "el": ["Μαρία", "Νίκος", "Ελένη", "Γιώργος"],
    "en": ["Alice", "Tom", "Mary", "Jack"],
    "es": ["Lucía", "Pablo", "Sofía", "Juan"],
    "fr": ["Camille", "Hugo", "Léa", "Louis"],
    "he": ["נועה", "יוסי", "מיכל", "דוד"],
    "hi": ["राधा", "मोहन", "सीता", "अमित"],
    "ja": ["さくら", "太郎", "花子", "健"],
    "ko": ["민수", "지영", "하늘", "서준"],
    "ru": ["Анна", "Иван", "Мария", "Пётр"],
    "th": ["สมชาย", "มาลี", "วิชัย", "นิดา"],
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
    "el": [
        "Έχουμε {a} μήλα και αγοράζουμε άλλα {b}. Πόσα μήλα έχουμε τώρα; {a} + {b} = {s}. Η απάντηση είναι {s}.",
        "{n}: υπήρχαν {s} βιβλία και δόθηκαν {b}. Πόσα έμειναν; {s} - {b} = {a}. Έμειναν {a}.",
        "Κάθε κουτί έχει {a} στυλό και υπάρχουν {c} κουτιά. Όλα μαζί είναι {a} × {c} = {p} στυλό.",
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
    "he": [
        "אצל {n} יש {a} תפוחים ועוד {b} תפוחים בסל. כמה תפוחים יש עכשיו? {a} + {b} = {s}. התשובה היא {s}.",
        "על המדף של {n} היו {s} ספרים ו-{b} מהם נמסרו. כמה נשארו? {s} - {b} = {a}. נשארו {a}.",
        "בכל קופסה יש {a} עטים, ויש {c} קופסאות. ביחד {a} × {c} = {p} עטים.",
    ],
    "hi": [
        "{n} के पास {a} सेब हैं और {b} सेब और आ गए। अब कुल कितने सेब हैं? {a} + {b} = {s}। उत्तर {s} है।",
        "{n} के पास {s} किताबें थीं और {b} किताबें दे दी गईं। कितनी बचीं? {s} - {b} = {a}। {a} बचीं।",
        "हर डिब्बे में {a} कलम हैं और {c} डिब्बे हैं। कुल मिलाकर {a} × {c} = {p} कलम हैं।",
    ],
    "ja": [
        "{n}さんはりんごを{a}個持っていて、さらに{b}個買いました。全部で何個ですか。{a} + {b} = {s}。答えは{s}個です。",
        "{n}さんは本を{s}冊持っていて、{b}冊あげました。残りは何冊ですか。{s} - {b} = {a}。残りは{a}冊です。",
        "一つの箱にペンが{a}本入っていて、箱は{c}個あります。合計は{a} × {c} = {p}本です。",
    ],
    "ko": [
        "{n}에게 사과가 {a}개 있는데 {b}개를 더 샀습니다. 사과는 모두 몇 개입니까? {a} + {b} = {s}. 답은 {s}개입니다.",
        "{n}에게 책이 {s}권 있었는데 {b}권을 주었습니다. 몇 권이 남았습니까? {s} - {b} = {a}. {a}권이 남았습니다.",
        "상자마다 펜이 {a}자루씩 들어 있고 상자는 {c}개입니다. 모두 {a} × {c} = {p}자루입니다.",
    ],
    "ru": [
        "У {n} было {a} яблок, потом куплено ещё {b}. Сколько яблок стало? {a} + {b} = {s}. Ответ: {s}.",
        "{n} имеет {s} книг и отдаёт {b}. Сколько осталось? {s} - {b} = {a}. Осталось {a}.",
        "В каждой коробке {a} ручек, а коробок {c}. Всего получается {a} × {c} = {p} ручек.",
    ],
    "th": [
        "{n}มีแอปเปิล {a} ผล แล้วซื้อเพิ่มอีก {b} ผล ตอนนี้มีแอปเปิลกี่ผล {a} + {b} = {s} คำตอบคือ {s}",
        "{n}มีหนังสือ {s} เล่ม แล้วให้เพื่อนไป {b} เล่ม เหลือกี่เล่ม {s} - {b} = {a} เหลือ {a} เล่ม",
        "แต่ละกล่องมีปากกา {a} ด้าม และมี {c} กล่อง รวมทั้งหมด {a} × {c} = {p} ด้าม",
    ],
    "zh": [
        "{n}有{a}个苹果，又买了{b}个。现在一共有多少个苹果？{a} + {b} = {s}。答案是{s}个。",
        "{n}有{s}本书，送出了{b}本。还剩多少本？{s} - {b} = {a}。还剩{a}本。",
        "每个盒子里有{a}支笔，一共有{c}个盒子。总共是{a} × {c} = {p}支笔。",
    ],
}
_PROBLEMS_A_PAGE = 8


def problem(language: str, draw: random.Random) -> str:
    """Return one solved word problem in `language`, one of the natural languages of the corpus."""
    first, second, few = draw.randint(2, 99), draw.randint(2, 99), draw.randint(2, 9)
    template, name = draw.choice(_TEMPLATES[language]), draw.choice(_NAMES[language])
    return template.format(n=name, a=first, b=second, c=few, s=first + second, p=first * few)


def pages(language: str, count: int = 150) -> Iterator[str]:
    """Yield `count` pages of eight problems each, the same ones at every call."""
    draw = random.Random(f"arithmetic {language}")
    for _ in range(count):
        yield "\n".join(problem(language, draw) for _ in range(_PROBLEMS_A_PAGE))
