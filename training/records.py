"""Generated structured data: JSON objects, comma-separated tables and server logs with random but plausible values."""

import json
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

_CITIES = "Lisbon Oslo Quito Nairobi Hanoi Lyon Porto Graz Turin Malmo Perth Leeds Riga Accra Lima Kyoto".split()
_GOODS = "lamp chair kettle notebook bicycle tent rope drill mirror carpet shovel blanket clock violin basket".split()
_COLOURS = "red green blue black white yellow brown grey orange purple".split()
_PATHS = "/ /index.html /api/items /api/users /login /static/app.js /search /cart /health /images/logo.png".split()
_PARTS = "scheduler storage network parser cache worker session database".split()
_EVENTS = (
    "connection closed by peer",
    "retrying in {n} ms",
    "started with {n} workers",
    "request took {n} ms",
    "queue length is {n}",
    "disk usage at {n} percent",
    "no heartbeat for {n} seconds",
    "wrote {n} records",
    "token expired",
)
_RECORDS_A_PAGE = 14


def _moment(draw: random.Random) -> datetime:
    return datetime(2021, 1, 1) + timedelta(seconds=draw.randrange(4 * 365 * 86400))


def _objects(draw: random.Random) -> Iterator[str]:
    keys = draw.sample(["id", "name", "city", "price", "count", "colour", "active", "tags", "size", "created"], 6)
    while True:
        values = {
            "id": draw.randrange(10**5),
            "name": draw.choice(_GOODS),
            "city": draw.choice(_CITIES),
            "price": round(draw.uniform(1, 500), 2),
            "count": draw.randrange(200),
            "colour": draw.choice(_COLOURS),
            "active": draw.random() < 0.5,
            "tags": draw.sample(_COLOURS, 2),
            "size": {"width": draw.randrange(300), "height": draw.randrange(300)},
            "created": _moment(draw).isoformat(),
        }
        yield json.dumps({key: values[key] for key in keys})


def _table(draw: random.Random) -> Iterator[str]:
    sign = draw.choice(",;\t")
    yield sign.join(("date", "item", "city", "quantity", "unit_price", "total"))
    while True:
        quantity, price = draw.randint(1, 60), draw.randint(50, 9000) / 100
        total = f"{quantity * price:.2f}"
        date, item, city = _moment(draw).date().isoformat(), draw.choice(_GOODS), draw.choice(_CITIES)
        yield sign.join((date, item, city, str(quantity), f"{price:.2f}", total))


def _requests(draw: random.Random) -> Iterator[str]:
    moment = _moment(draw)
    while True:
        moment += timedelta(seconds=draw.randint(0, 40))
        address = ".".join(str(draw.randrange(1, 255)) for _ in range(4))
        verb, path, status = draw.choice(["GET", "GET", "POST"]), draw.choice(_PATHS), draw.choice([200, 200, 304, 404])
        stamp = moment.strftime("%d/%b/%Y:%H:%M:%S +0000")
        yield f'{address} - - [{stamp}] "{verb} {path} HTTP/1.1" {status} {draw.randrange(40, 90000)}'


def _events(draw: random.Random) -> Iterator[str]:
    moment = _moment(draw)
    while True:
        moment += timedelta(milliseconds=draw.randint(1, 9000))
        level, event = draw.choice(["INFO", "INFO", "DEBUG", "WARNING", "ERROR"]), draw.choice(_EVENTS)
        stamp = moment.isoformat(sep=" ", timespec="milliseconds")
        yield f"{stamp} {level:7s} {draw.choice(_PARTS)}: {event.format(n=draw.randrange(2, 5000))}"


_FORMS: dict[str, tuple[Callable[[random.Random], Iterator[str]], ...]] = {
    "json": (_objects,),
    "csv": (_table,),
    "log": (_requests, _events),
}


def pages(language: str, count: int = 300) -> Iterator[str]:
    """Yield `count` pages of 14 records of "json", "csv" or "log", the same ones at every call."""
    draw = random.Random(f"records {language}")
    for _ in range(count):
        rows = draw.choice(_FORMS[language])(draw)
        yield "\n".join(next(rows) for _ in range(_RECORDS_A_PAGE))
