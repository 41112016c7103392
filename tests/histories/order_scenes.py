"""What laboratory systems and analyzers do with orders, each with details drawn; and what goes wrong with them."""

from collections.abc import Callable
from dataclasses import replace

from tests.histories.history import PANEL, UNREAD, Ordering
from tests.histories.laboratory import Laboratory, Order, Person
from tests.histories.render import HERE
from tests.histories.scenes import STRANGERS

FIRST = ("GLU", "UREA", "NA")  # tests of the first analyzer
SECOND = ("GLU", "CREA")  # of the second
SENT_NOTHING_UNASKED = ("law-own", "genexpert")
LONG_AGO = -600  # minutes: measured before any order of the history

Scene = Callable[[Laboratory], None]


def _analyzers(lab: Laboratory, count: int = 1, *, asks: str = "query") -> list[int]:
    """Half of them speak ASTM, or most of those that are sent orders unasked."""
    found = []
    for tests in (FIRST, SECOND)[:count]:
        speaks = lab.rng.choice(("", "", "", "", "law", "mindray-bs", *SENT_NOTHING_UNASKED))
        speaks = "" if speaks in SENT_NOTHING_UNASKED and asks == "download" else speaks
        more = {"numbers": "lasting", "shared": True, "asks": asks, "speaks": speaks, "tests": tests}
        found.append(lab.channel("hl7" if speaks else "astm", control="counts", **more))
    return found


def _lis(lab: Laboratory, *serves: int) -> int:
    return lab.channel("lis", serves=serves)


def _person(lab: Laboratory) -> Person:
    """With a number that is no other's."""
    name, birth, sex = lab.rng.choice(STRANGERS)[lab.rng.randrange(2)]
    person = lab.person("", name, birth, sex)
    return replace(person, number=f"MR{HERE}{70 + person.who}")


def _unnamed(lab: Laboratory, person: Person) -> Person:
    """The same, as an analyzer may name them: with the number, or with nothing at all."""
    return replace(person, number="", name="", birth="", sex="") if lab.rng.random() < 0.3 else person


def _ask(lab: Laboratory, channel: int, *tubes: str) -> None:
    """And again, where the line broke; now and then once more, or for all."""
    if lab.rng.random() < 0.3:
        lab.ask(channel, *tubes, cut=lab.rng.randrange(5))
    lab.ask(channel, *(() if lab.rng.random() < 0.15 else tubes))
    if lab.rng.random() < 0.2:
        lab.ask(channel, *tubes)


def _measure(lab: Laboratory, channel: int, person: Person, order: Order, *tests: str) -> None:
    if lab.rng.random() < 0.3:
        lab.say(channel, person, order, *((test, "P") for test in tests))
    sent = lab.say(channel, person, order, *((test, "F") for test in tests))
    if lab.rng.random() < 0.2:
        lab.memory(sent)
    if lab.rng.random() < 0.5:
        lab.rest()


def _perhaps_next_round(lab: Laboratory) -> None:
    if lab.rng.random() < 0.4:
        lab.next_round()


def ordered_asked_measured(lab: Laboratory) -> None:
    (chem,) = _analyzers(lab)
    lis, person, order = _lis(lab, chem), _person(lab), lab.order()
    if lab.rng.random() < 0.3:
        tests: tuple[str, ...] = PANEL[1]
        lab.ask_for(lis, person, order.number, ("NW", "1", "PANEL"))
    else:
        tests = tuple(lab.rng.sample(FIRST, lab.rng.randrange(1, 4)))
        lab.ask_for(lis, person, order.number, *(("NW", f"{at}", test) for at, test in enumerate(tests)))
    _perhaps_next_round(lab)
    _ask(lab, chem, order.number)
    _perhaps_next_round(lab)
    _measure(lab, chem, _unnamed(lab, person), order, *tests[: lab.rng.randrange(1, len(tests) + 1)])
    lab.rest()
    _ask(lab, chem, order.number)


def one_more_test(lab: Laboratory) -> None:
    (chem,) = _analyzers(lab, asks=lab.rng.choice(("query", "download")))
    lis, person, order = _lis(lab, chem), _person(lab), lab.order()
    lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"))
    _ask(lab, chem, order.number)
    _perhaps_next_round(lab)
    lab.ask_for(lis, person, order.number, ("NW", "2", "UREA"))
    _ask(lab, chem, order.number)
    _measure(lab, chem, person, order, *lab.rng.choice((("GLU",), ("UREA",), ("UREA", "GLU"))))
    if lab.rng.random() < 0.5:  # and once more, under another number
        lab.rest()
        lab.ask_for(lis, person, order.number, ("NW", "3", "UREA"))
        _ask(lab, chem, order.number)
        if lab.rng.random() < 0.5:
            _measure(lab, chem, person, order, "UREA")


def changed(lab: Laboratory) -> None:
    (chem,) = _analyzers(lab)
    lis, person, order = _lis(lab, chem), _person(lab), lab.order()
    lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"), ("NW", "2", "NA"))
    if lab.rng.random() < 0.6:
        _ask(lab, chem, order.number)
    _perhaps_next_round(lab)
    lab.ask_for(lis, person, order.number, ("XO", "1", "GLU"), stat=True)
    if lab.rng.random() < 0.3:
        lab.ask_for(lis, person, order.number, ("XO", "1", "GLU"), stat=True)
    _ask(lab, chem, order.number)
    _measure(lab, chem, person, order, *lab.rng.choice((("GLU",), ("NA",))))
    _ask(lab, chem, order.number)


def cancelled(lab: Laboratory) -> None:
    (chem,) = _analyzers(lab, asks=lab.rng.choice(("query", "query", "download")))
    lis, person, order = _lis(lab, chem), _person(lab), lab.order()
    lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"), ("NW", "2", "NA"))
    if lab.rng.random() < 0.6:
        _ask(lab, chem, order.number)
    _perhaps_next_round(lab)
    for _ in range(lab.rng.choice((1, 1, 2))):
        lab.ask_for(lis, person, order.number, ("CA", "1", "GLU"))
    _ask(lab, chem, order.number)
    if lab.rng.random() < 0.5:
        _measure(lab, chem, person, order, *lab.rng.choice((("GLU",), ("NA",), ("GLU", "NA"))))
    if lab.rng.random() < 0.3:  # ordered again
        lab.rest()
        lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"))
    _ask(lab, chem, order.number)


def held_and_released(lab: Laboratory) -> None:
    (chem,) = _analyzers(lab)
    lis, person, order = _lis(lab, chem), _person(lab), lab.order()
    if lab.rng.random() < 0.5:
        lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"), ("NW", "2", "UREA"))
    lab.ask_for(lis, person, order.number, ("HD", "1", "GLU"))
    _ask(lab, chem, order.number)
    _perhaps_next_round(lab)
    if lab.rng.random() < 0.7:
        lab.ask_for(lis, person, order.number, ("RL", "1", "GLU"))
        _ask(lab, chem, order.number)
    _measure(lab, chem, person, order, *lab.rng.choice((("GLU",), ("UREA",))))


def same_number_other_content(lab: Laboratory) -> None:
    (chem,) = _analyzers(lab)
    lis, person, order = _lis(lab, chem), _person(lab), lab.order()
    lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"))
    lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"))
    if lab.rng.random() < 0.5:
        _ask(lab, chem, order.number)
    lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"), stat=True)
    _ask(lab, chem, order.number)
    _measure(lab, chem, person, order, "GLU")


def two_systems_one_number(lab: Laboratory) -> None:
    (chem,) = _analyzers(lab)
    systems = [_lis(lab, chem) for _ in range(2)]
    people = [_person(lab) for _ in systems]
    tubes = [lab.order() for _ in systems]
    for lis, person, order in zip(systems, people, tubes, strict=True):
        lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"))
    _perhaps_next_round(lab)
    if lab.rng.random() < 0.5:
        lab.ask_for(systems[0], people[0], tubes[0].number, ("CA", "1", "GLU"))
    for order in tubes:
        _ask(lab, chem, order.number)
    which = lab.rng.randrange(2)
    _measure(lab, chem, people[which], tubes[which], "GLU")


def unknown_and_unmapped(lab: Laboratory) -> None:
    one, two = _analyzers(lab, 2)
    lis, person, order = _lis(lab, one, two), _person(lab), lab.order()
    lab.ask_for(lis, person, order.number, ("NW", "1", "CREA"), ("NW", "2", "LACT"), ("NW", "3", "NA"))
    for tube in lab.rng.sample((order.number, f"{HERE}77", UNREAD, order.number[:-1], f"{order.number}0"), 4):
        lab.ask(lab.rng.choice((one, two)), tube)
    lab.ask(one, order.number)
    _perhaps_next_round(lab)
    lab.ask(two, order.number)
    _measure(lab, two, person, order, "CREA")


def on_another_analyzer(lab: Laboratory) -> None:
    one, two = _analyzers(lab, 2)
    lis, person, order = _lis(lab, one, two), _person(lab), lab.order()
    lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"), ("NW", "2", "CREA"))
    _ask(lab, one, order.number)
    _perhaps_next_round(lab)
    _ask(lab, two, order.number)
    _measure(lab, lab.rng.choice((one, two)), person, order, "GLU")
    _ask(lab, two, order.number)


def goes_out_unasked(lab: Laboratory) -> None:
    (chem,) = _analyzers(lab, asks="download")
    lis, person = _lis(lab, chem), _person(lab)
    tubes = [lab.order() for _ in range(lab.rng.randrange(1, 3))]
    for at, order in enumerate(tubes):
        lab.ask_for(lis, person, order.number, ("NW", f"{at}", "GLU"), ("NW", f"{at}9", "UREA"))
        _perhaps_next_round(lab)
    if lab.rng.random() < 0.4:
        lab.ask_for(lis, person, tubes[0].number, ("CA", "0", "GLU"))
    if lab.rng.random() < 0.4:
        _ask(lab, chem, tubes[0].number)
    _measure(lab, chem, person, tubes[-1], *lab.rng.choice((("GLU",), ("UREA",), ("GLU", "UREA"))))


def result_before_its_order(lab: Laboratory) -> None:
    (chem,) = _analyzers(lab)
    lis, person, order = _lis(lab, chem), _person(lab), lab.order()
    if lab.rng.random() < 0.5:  # the analyzer sends it late
        lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"))
        lab.say(chem, _unnamed(lab, person), order, ("GLU", "F"), at=LONG_AGO)
        lab.rest()
        _ask(lab, chem, order.number)
        return
    first = lab.say(chem, person, order, ("GLU", "F"), at=LONG_AGO)
    lab.rest()
    lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"))
    if lab.rng.random() < 0.7:
        lab.memory(first)
        lab.rest()
    _perhaps_next_round(lab)
    _ask(lab, chem, order.number)
    if lab.rng.random() < 0.6:
        _measure(lab, chem, person, order, "GLU")


def tube_of_another_patient(lab: Laboratory) -> None:
    (chem,) = _analyzers(lab)
    lis, first, second, order = _lis(lab, chem), _person(lab), _person(lab), lab.order()
    lab.ask_for(lis, first, order.number, ("NW", "1", "GLU"))
    if lab.rng.random() < 0.7:
        _ask(lab, chem, order.number)
    sent = lab.say(chem, first, order, ("GLU", "F")) if lab.rng.random() < 0.6 else None
    if sent is not None:
        lab.rest()
    lab.ask_for(lis, second, order.number, ("NW", "2", "UREA"))
    _perhaps_next_round(lab)
    _ask(lab, chem, order.number)
    if sent is not None and lab.rng.random() < 0.5:
        lab.memory(sent)
    if lab.rng.random() < 0.4:
        lab.ask_for(lis, second, order.number, ("CA", "2", "UREA"))
        _ask(lab, chem, order.number)


def memory_after_a_second_order(lab: Laboratory) -> None:
    (chem,) = _analyzers(lab)
    lis, person, order = _lis(lab, chem), _person(lab), lab.order()
    lab.ask_for(lis, person, order.number, ("NW", "1", "GLU"))
    _ask(lab, chem, order.number)
    sent = lab.say(chem, person, order, ("GLU", "F"))
    lab.rest()
    lab.ask_for(lis, person, order.number, ("NW", "2", "GLU"))
    _perhaps_next_round(lab)
    lab.memory(sent)
    lab.rest()
    _ask(lab, chem, order.number)


def result_that_is_held(lab: Laboratory) -> None:
    """Another person has the number on this analyzer already: whose the result is a person says."""
    (chem,) = _analyzers(lab)
    lis, number = _lis(lab, chem), f"MR{HERE}66"
    pair = lab.rng.choice(STRANGERS)
    first, second = (lab.person(number, *who) for who in pair)
    lab.say(chem, first, lab.order(), ("GLU", "F"))
    lab.rest()
    order = lab.order()
    lab.ask_for(lis, second, order.number, ("NW", "1", "GLU"))
    _ask(lab, chem, order.number)
    lab.say(chem, second, order, ("GLU", "F"))
    if lab.rng.random() < 0.4:
        lab.act(lab.rng.choice(("answer", "reject")))
    else:
        lab.rest()
    _ask(lab, chem, order.number)


def mixed_orders(lab: Laboratory) -> None:
    """A few tubes, people, systems and analyzers, and anything that may happen to them."""
    rng = lab.rng
    analyzers = _analyzers(lab, rng.randrange(1, 3), asks=rng.choice(("query", "query", "download")))
    systems = [_lis(lab, *analyzers) for _ in range(rng.randrange(1, 3))]
    tubes = [(_person(lab), lab.order()) for _ in range(rng.randrange(1, 4))]
    ordered: list[Ordering] = []
    said = []
    for _ in range(rng.randrange(6, 16)):
        person, order = rng.choice(tubes)
        channel = rng.choice(analyzers)
        happens = rng.choices(
            ("order", "again", "change", "cancel", "hold", "release", "ask", "measure", "memory", "rest"),
            (6, 1, 1, 2, 1, 1, 6, 4, 1, 1),
        )[0]
        if happens == "order" or (happens in ("again", "change", "cancel", "hold", "release") and not ordered):
            at = tubes.index((person, order))
            tests = rng.sample(("GLU", "UREA", "NA", "CREA"), rng.randrange(1, 3))
            lis = rng.choice(systems)
            lines = [
                ("NW", f"{lis}{at}{rng.randrange(3)}", test) for test in tests
            ]  # no number of two tubes or systems
            lab.ask_for(lis, person, order.number, *lines)
            ordered.append(_last(lab))
        elif happens in ("again", "change", "cancel", "hold", "release"):
            earlier = rng.choice(ordered)
            line = rng.choice(earlier.lines)
            control = {"again": "NW", "change": "XO", "cancel": "CA", "hold": "HD", "release": "RL"}[happens]
            whose = next(one for one, tube in tubes if tube.number == earlier.tube)
            lab.ask_for(
                earlier.channel, whose, earlier.tube, (control, line.placer, line.test.removeprefix("L-")),
                stat=happens == "change",
            )  # fmt: skip
        elif happens == "ask":
            _ask(lab, channel, order.number)
        elif happens == "measure":
            tests = rng.sample(lab.channels[channel].tests, 1)
            said.append(lab.say(channel, person, order, *((test, rng.choice("FFFP")) for test in tests)))
        elif happens == "memory" and said:
            lab.memory(rng.choice(said))
        elif happens == "rest":
            lab.rest()
        if rng.random() < 0.2:
            lab.next_round()


def _last(lab: Laboratory) -> Ordering:
    step = next(steps[-1] for steps, _ in reversed(lab.rounds) if steps)
    assert isinstance(step, Ordering)
    return step


ORDER_SCENES: tuple[Scene, ...] = (
    ordered_asked_measured, one_more_test, changed, cancelled, held_and_released, same_number_other_content,
    two_systems_one_number, unknown_and_unmapped, on_another_analyzer, goes_out_unasked, result_before_its_order,
    tube_of_another_patient, memory_after_a_second_order, result_that_is_held, mixed_orders, mixed_orders, mixed_orders,
)  # fmt: skip
