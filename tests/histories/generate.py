"""Batches of histories from a seed; the same seed and number give the same histories, whatever was drawn before."""

import random
from collections.abc import Iterator
from dataclasses import replace

from tests.histories.history import Batch, History, Send, Weather
from tests.histories.laboratory import DAY, ROUNDS, Laboratory, Order, Person
from tests.histories.order_scenes import ORDER_SCENES
from tests.histories.render import HERE, PLACEHOLDERS
from tests.histories.scenes import PLAIN, SAME_SURNAME, SCENES, STRANGERS

BATCH = 400
SERVERS = ("well", "well", "down", "lost", "flaky")
WITHDRAWALS = ("D", "W")
ORDERS = 0.2  # share of the histories that are of orders


def batches(seed: int, count: int, *, orders: bool = True) -> Iterator[Batch]:
    """``count`` histories in batches. ``orders``: some of them are of orders."""
    for number, first in enumerate(range(0, count, BATCH)):
        yield batch(seed, number, min(BATCH, count - first), orders=orders)


def batch(seed: int, number: int, count: int, *, orders: bool = True) -> Batch:
    rng = random.Random(f"{seed}/{number}")
    return Batch(
        histories=tuple(history(f"{seed}/{number}/{place}", orders=orders) for place in range(count)),
        weather=weather(rng),
        seed=f"{seed}/{number}",
    )


def history(seed: str, *, orders: bool = True) -> History:
    """A scene of orders in one case of five; else of results alone, or in one of three of these everything at once."""
    chance = random.Random(f"{seed}/orders")  # of its own: histories of results stay as they were
    if orders and chance.random() < ORDERS:
        lab = Laboratory(chance)
        ordering = chance.choice(ORDER_SCENES)
        ordering(lab)
        return lab.history(ordering.__name__)
    rng = random.Random(seed)
    lab = Laboratory(rng)
    if rng.random() < 0.33:
        mixed(lab)
        return lab.history("mixed")
    scene = rng.choice(SCENES)
    scene(lab)
    return lab.history(scene.__name__, plain=scene in PLAIN)


def weather(rng: random.Random) -> tuple[Weather, ...]:
    """Of each round. In one batch of four all is well."""
    if rng.random() < 0.25:
        return (Weather(),) * ROUNDS
    drawn = [
        Weather(server=rng.choice(SERVERS), kill=round(rng.random(), 2) if rng.random() < 0.35 else None)
        for _ in range(ROUNDS)
    ]
    return tuple(replace(one, lis=rng.random() < 0.6) for one in drawn)


def mixed(lab: Laboratory) -> None:
    """A few people, orders and tests, and anything that may happen to them."""
    rng = lab.rng
    shared = rng.random() < 0.3
    numbers = "lasting" if shared else rng.choice(("", "lasting", "counter"))
    specimens = rng.choice(("", "", "unique"))
    channels = [lab.channel(numbers=numbers, shared=shared, specimens=specimens) for _ in range(rng.randrange(1, 3))]
    orders = _orders(lab, numbers, shared, own_orders=specimens == "unique" or rng.random() < 0.4)
    tests = rng.sample(("GLU", "UREA", "CREA", "NA"), rng.randrange(1, 4))
    said: list[tuple[Send, Person, Order]] = []
    for _ in range(rng.randrange(4, 13)):
        _something(lab, rng.choice(channels), *rng.choice(orders), tests, said)
        if rng.random() < 0.25:
            lab.next_round()
        lab.later(rng.choice((1, 5, 5, 60)))
    if rng.random() < 0.3:
        lab.act(rng.choice(("retry", "dismiss", "reject", "release", "answer", "replay")))


def _orders(lab: Laboratory, numbers: str, shared: bool, *, own_orders: bool) -> list[tuple[Person, Order]]:
    """Whose, and which. Where two people have one number, something tells them apart: a name, or their orders."""
    rng = lab.rng
    people = rng.sample([one for pair in (*STRANGERS, *SAME_SURNAME[:2]) for one in pair], rng.randrange(1, 4))
    found = []
    for place, (name, birth, sex) in enumerate(people):
        named = numbers == "lasting" or not own_orders or rng.random() < 0.7
        number = rng.choice(("1", "2", "1", "4711", "", rng.choice(PLACEHOLDERS), f"MR{HERE}8"))
        if shared:
            number = f"MR{HERE}{rng.randrange(1, 4)}"
        born = birth if rng.random() < 0.6 else ""
        person = lab.person(number, name if named else "", born, sex if named else "")
        found.append((person, lab.order(f"{HERE}{place if own_orders else rng.randrange(1, 3)}")))
    if rng.random() < 0.4:  # a second order of the first person
        found.append((found[0][0], lab.order(f"{HERE}9", code=rng.choice(("PANEL", "OTHER")))))
    return found


def _something(
    lab: Laboratory,
    channel: int,
    person: Person,
    order: Order,
    tests: list[str],
    said: list[tuple[Send, Person, Order]],
) -> None:
    rng = lab.rng
    happens = rng.choices(
        ("new", "correct", "withdraw", "memory", "again", "failed", "late"), (8, 3, 1, 3, 2, 1, 2)
    )[0]  # fmt: skip
    if happens == "new" or not said:
        some = rng.sample(tests, rng.randrange(1, len(tests) + 1))
        sent = lab.say(channel, person, order, *((test, rng.choice("FFFP")) for test in some))
        said.append((sent, person, order))
        return
    earlier, about, of = rng.choice(said)
    result = rng.choice(earlier.results)
    match happens:
        case "correct":
            said.append((lab.say(earlier.channel, about, of, (result.test, "C")), about, of))
        case "withdraw" if lab.channels[earlier.channel].protocol == "hl7":
            lab.say(earlier.channel, about, of, (result.test, rng.choice(WITHDRAWALS), result.value))
        case "memory":
            if rng.random() < 0.3:
                lab.later(DAY // 3)
            lab.memory(earlier)
        case "again":
            lab.again(earlier)
        case "failed":
            lab.say(earlier.channel, about, of, rng.choice(((result.test, "X"), (result.test, "F", "----"))))
        case _:
            lab.say(earlier.channel, about, of, (result.test, rng.choice("PPI")), late=True)
