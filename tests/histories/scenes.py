"""Known traps, each with details drawn: what laboratories do, and what a program takes for something else.

A scene is a function that lets it happen in a `Laboratory`. In those of `PLAIN` nothing is doubtful, so that nothing
may be held back: what an analyzer sends again out of its memory is no step back.
"""

from collections.abc import Callable
from dataclasses import replace

from tests.histories.history import Send
from tests.histories.laboratory import DAY, Laboratory, Order, Person
from tests.histories.render import GONE, HERE, ISOLATE, PLACEHOLDERS

TESTS = ("GLU", "UREA", "CREA", "NA", "K", "ALT")
STRANGERS = (
    (("SHARMA^ANITA", "19600203", "F"), ("VERMA^ROHIT", "19840117", "M")),
    (("IYER^LEELA", "19551111", "F"), ("KHAN^IMRAN", "20010522", "M")),
    (("DAS^MAYA", "19720909", "F"), ("PAUL^GEORGE", "19480606", "M")),
)
SAME_SURNAME = (
    (("KUMAR^ANIL", "19600203", "M"), ("KUMAR^SUNITA", "19950817", "F")),
    (("SINGH^RAM", "19700101", "M"), ("SINGH^RAMA", "19850413", "F")),
    (("PATEL^ANIL", "19780214", "M"), ("PATEL^SUNIL", "19810730", "M")),
    (("RAO^VIJAY", "19660606", "M"), ("RAO^AJAY", "19660607", "M")),
)
CUT_AT_12 = (
    (("VENKATARAMAN^LAKSHMI", "19610304", "F"), ("VENKATARAMAN^LALITHA", "19880512", "F")),
    (("CHATTOPADHYAY^A", "19590304", "M"), ("CHATTOPADHYAY^A", "19910512", "M")),
)

Scene = Callable[[Laboratory], None]


def _number(lab: Laboratory) -> str:
    return lab.rng.choice(("1", "2", "7", "12", "4711", "0815"))


def _lasting(lab: Laboratory) -> Person:
    """With a number that is no other's."""
    name, birth, sex = lab.rng.choice(STRANGERS)[lab.rng.randrange(2)]
    return lab.person(f"MR{HERE}{lab.rng.randrange(10, 99)}{len(lab.sends)}", name, birth, sex)


def _either_kind(lab: Laboratory, **more: str) -> int:
    """A channel whose numbers last, or about which the site has not said anything."""
    return lab.channel(numbers=lab.rng.choice(("lasting", "", "counter")), **more)


def _named(lab: Laboratory, number: str, who: tuple[str, str, str]) -> Person:
    """With all of a person's details, or with the name alone."""
    name, birth, sex = who
    return lab.person(number, name, birth if lab.rng.random() < 0.4 else "", sex if lab.rng.random() < 0.5 else "")


def _same_number(lab: Laboratory, pair: tuple[tuple[str, str, str], tuple[str, str, str]]) -> None:
    channel, number = _either_kind(lab), _number(lab)
    first, second = (_named(lab, number, who) for who in pair)
    lab.say(channel, first, lab.order(), (TESTS[0], "F"))
    if lab.rng.random() < 0.5:
        lab.next_round()
    lab.later(lab.rng.choice((30, 240, DAY, 90 * DAY)))
    lab.say(channel, second, lab.order(), (lab.rng.choice(TESTS[:2]), "F"))
    if lab.rng.random() < 0.3:
        lab.act(lab.rng.choice(("answer", "retry", "dismiss")))
        lab.say(channel, second, lab.order(), (TESTS[2], "F"))


# -- 1: people -------------------------------------------------------------------------------------------------------


def counter_begins_anew(lab: Laboratory) -> None:
    _same_number(lab, lab.rng.choice(STRANGERS))


def same_surname(lab: Laboratory) -> None:
    _same_number(lab, lab.rng.choice(SAME_SURNAME))


def name_cut_short(lab: Laboratory) -> None:
    pair = lab.rng.choice(CUT_AT_12)
    channel, number = lab.channel(numbers=lab.rng.choice(("", "counter"))), _number(lab)
    for name, birth, sex in pair:
        lab.say(
            channel,
            lab.person(number, name[:12], birth if lab.rng.random() < 0.5 else "", sex),
            lab.order(),
            ("NA", "F"),
        )
        lab.later(lab.rng.choice((30, DAY)))


def cut_name_of_one_person(lab: Laboratory) -> None:
    channel = lab.channel(numbers="lasting")
    (name, birth, sex), _ = lab.rng.choice(CUT_AT_12)
    person = lab.person(f"MR{HERE}12", name, birth, sex)
    lab.say(channel, person, lab.order(), ("NA", "F"))
    lab.say(channel, replace(person, name=name[:12], birth=""), lab.order(), ("K", "F"))


def placeholder(lab: Laboratory) -> None:
    channel, number = _either_kind(lab), lab.rng.choice(PLACEHOLDERS)
    for name in lab.rng.choice((("ALPHA^ANU", "BETA^RAVI"), ("", ""), ("ALPHA^ANU", ""))):
        lab.say(channel, lab.person(number, name), lab.order(), ("HIV", "F", lab.rng.choice(("NEG", "POS"))))
        lab.later(lab.rng.choice((3, 60, DAY)))


def counter_restarts_at_noon(lab: Laboratory) -> None:
    channel = lab.channel(numbers=lab.rng.choice(("", "counter")))
    names = lab.rng.sample([one for pair in STRANGERS for one in pair], 6)
    orders_too = lab.rng.random() < 0.5  # without a name and with the same order number nothing tells them apart
    for half in range(2):
        for number in range(1, lab.rng.randrange(2, 4)):
            who = names.pop() if orders_too or lab.rng.random() < 0.5 else ("", "", "")
            order = lab.order(f"{HERE}{number}" if orders_too else f"{HERE}{half}{number}")
            lab.say(channel, lab.person(str(number), *who), order, (TESTS[0], "F"))
        lab.next_round()
        lab.later(240)


def child_under_the_mother(lab: Laboratory) -> None:
    channel, number = _either_kind(lab), f"MR{HERE}55"
    mother = lab.person(number, "JOSHI^REKHA", "19920310", "F")
    children = lab.rng.choice((("B/O REKHA", "BABY OF REKHA"), ("TWIN 1 REKHA", "TWIN 2 REKHA")))
    babies = [lab.person(number, f"JOSHI^{name}", "20240304", sex) for name, sex in zip(children, "FM", strict=True)]
    for who in lab.rng.sample([mother, *babies], lab.rng.randrange(2, 4)):
        lab.say(channel, who, lab.order(), ("BILI", "F"))
    if lab.rng.random() < 0.3:
        lab.act("answer")


def stranger_gets_a_name(lab: Laboratory) -> None:
    channel, number = _either_kind(lab), f"MR{HERE}77"
    person = lab.person(number, lab.rng.choice(("UNKNOWN^MALE", "UNIDENTIFIED", "")), "", "M")
    lab.say(channel, person, lab.order(), ("NA", "F"))
    lab.later(90)
    name, birth, sex = lab.rng.choice(STRANGERS)[1]
    lab.say(channel, replace(person, name=name, birth=birth, sex=sex), lab.order(), ("NA", "F"))
    if lab.rng.random() < 0.5:  # and another, who gets the same number later
        name, birth, sex = STRANGERS[0][0]
        lab.later(90)
        lab.say(channel, lab.person(number, name, birth, sex), lab.order(), ("K", "F"))


def nameless_second_patient(lab: Laboratory) -> None:
    """ASTM: `P|2` without a number after `P|1|4711`."""
    channel = lab.channel("astm", numbers=lab.rng.choice(("lasting", "", "counter")))
    first = lab.person("4711", "IYER^LEELA" if lab.rng.random() < 0.7 else "")
    second = lab.person("", "KHAN^IMRAN" if lab.rng.random() < 0.3 else "")
    groups = [lab.group(channel, who, lab.order(), ("GLU", "F")) for who in (first, second)]
    lab.message(channel, *groups)
    lab.later(5)
    if lab.rng.random() < 0.5:
        lab.say(channel, first, lab.order(), ("UREA", "F"))


def number_again_next_january(lab: Laboratory) -> None:
    channel = lab.channel(
        specimens=lab.rng.choice(("", "", "unique")), numbers=lab.rng.choice(("lasting", "", "counter"))
    )
    number = f"{HERE}77"
    first, second = ((*one,) for one in lab.rng.choice(STRANGERS))
    lab.say(channel, lab.person(f"MR{HERE}1", *first), lab.order(number), ("GLU", "F"))
    lab.next_round()
    lab.later(300 * DAY)
    lab.say(channel, lab.person(f"MR{HERE}2", *second), lab.order(number), ("GLU", "F"))


def two_analyzers_one_tube(lab: Laboratory) -> None:
    person, order = _lasting(lab), lab.order()
    one, two = lab.channel(numbers="lasting", shared=True), lab.channel(numbers="lasting", shared=True)
    lab.say(one, person, order, ("K", "F"))
    lab.say(two, person, order, ("K", "F"))
    if lab.rng.random() < 0.6:
        lab.next_round()
        lab.later(20)
        lab.say(lab.rng.choice((one, two)), person, order, ("K", "C"))


# -- 2: what goes back -------------------------------------------------------------------------------------------------


def _patient(lab: Laboratory) -> tuple[int, Person, Order]:
    """A channel, a person who cannot be mistaken, an order."""
    return lab.channel(numbers=lab.rng.choice(("lasting", "lasting", "")), shared=True), _lasting(lab), lab.order()


def late_preliminary(lab: Laboratory) -> None:
    channel, person, order = _patient(lab)
    began = lab.minutes
    lab.say(channel, person, order, ("TSH", "F"))
    if lab.rng.random() < 0.5:
        lab.next_round()
    lab.later(2)
    lab.say(channel, person, order, ("TSH", "P"), at=lab.rng.choice((began, lab.minutes)), late=True)
    if lab.rng.random() < 0.3:
        lab.act(lab.rng.choice(("reject", "dismiss")))


def memory_undoes_correction(lab: Laboratory) -> None:
    channel, person, order = _patient(lab)
    first = lab.say(channel, person, order, ("GLU", "F"))
    lab.next_round()  # an outage may begin: F delivered, C and the memory's F wait behind each other
    lab.say(channel, person, order, ("GLU", "C"))
    if lab.rng.random() < 0.4:
        lab.next_round()
    lab.memory(first)
    if lab.rng.random() < 0.3:
        lab.next_round()
        lab.memory(first)


def evening_sends_all(lab: Laboratory) -> None:
    channel = lab.channel(numbers=lab.rng.choice(("lasting", "")), shared=True)
    day: list[Send] = []
    for _ in range(lab.rng.randrange(2, 4)):
        person, order = _lasting(lab), lab.order()
        day.append(lab.say(channel, person, order, ("ALT", "P" if lab.rng.random() < 0.3 else "F"), ("UREA", "F")))
        if lab.rng.random() < 0.4:
            day.append(lab.say(channel, person, order, ("ALT", "F")))
        if lab.rng.random() < 0.4:
            day.append(lab.say(channel, person, order, ("UREA", "C")))
    lab.next_round()
    lab.later(480)
    for send in day:
        lab.memory(send)


def withdrawn_and_back(lab: Laboratory) -> None:
    person, order = _lasting(lab), lab.order()
    channel = lab.channel("hl7", numbers="lasting", shared=True)
    first = lab.say(channel, person, order, ("CRP", "F"))
    lab.later(30)
    lab.say(channel, person, order, ("CRP", lab.rng.choice(("D", "W")), first.results[0].value))
    if lab.rng.random() < 0.5:
        lab.next_round()
    if lab.rng.random() < 0.4:
        lab.memory(first)
    else:
        lab.say(channel, person, order, ("CRP", lab.rng.choice(("P", "F"))), late=True)


def final_over_final(lab: Laboratory) -> None:
    channel, person, order = _patient(lab)
    first = lab.say(channel, person, order, ("WBC", "F"))
    if lab.rng.random() < 0.5:
        lab.next_round()
    lab.later(15)
    lab.say(channel, person, order, ("WBC", "F"))
    if lab.rng.random() < 0.3:  # and back to the first value, measured again
        lab.later(15)
        lab.say(channel, person, order, ("WBC", "F", first.results[0].value))
    if lab.rng.random() < 0.3:
        lab.memory(first)


def failed_rerun(lab: Laboratory) -> None:
    channel, person, order = _patient(lab)
    lab.say(channel, person, order, ("PT", "F"))
    if lab.rng.random() < 0.5:
        lab.next_round()
    lab.later(10)
    lab.say(channel, person, order, lab.rng.choice((("PT", "X"), ("PT", "F", "----"), ("PT", "F", ""))))
    if lab.rng.random() < 0.5:
        lab.later(10)
        lab.say(channel, person, order, ("PT", "F"))


def final_without_sending_again(lab: Laboratory) -> None:
    """OBX-11 U: the preliminary result is final now; or nothing is known that it could be about."""
    channel, person, order = lab.channel("hl7", numbers="lasting", shared=True), _lasting(lab), lab.order()
    value = lab.value()
    if lab.rng.random() < 0.7:
        lab.say(channel, person, order, ("FER", "P", value))
        lab.later(30)
    lab.say(channel, person, order, ("FER", "U", value))


def finished_without_sending_again(lab: Laboratory) -> None:
    """OBX-11 U for results of ours, of which the analyzer may send its memory later."""
    channel, person, order = lab.channel("hl7", numbers="lasting", shared=True), _lasting(lab), lab.order()
    value = lab.value()
    first = lab.say(channel, person, order, ("FER", "P", value), ("TSH", "P"))
    if lab.rng.random() < 0.5:
        lab.next_round()
    lab.later(30)
    lab.say(channel, person, order, ("FER", "U", value))
    if lab.rng.random() < 0.4:
        lab.memory(first)
    elif lab.rng.random() < 0.5:
        lab.say(channel, person, order, ("FER", "C"))


def culture_is_told_again(lab: Laboratory) -> None:
    """Each report tells all isolates and numbers them anew; some are gone, some come back."""
    channel = lab.channel(numbers="lasting", control="counts", shared=True, cultures=True)
    person, order = _lasting(lab), lab.order(code="CULTURE")
    pool, before, reports = ("ECO", "SAU", "KPN", "CAL"), [], []
    for _ in range(lab.rng.randrange(2, 5)):
        now = lab.rng.sample(pool, lab.rng.randrange(1, 4))
        status = "P" if not reports and lab.rng.random() < 0.4 else "F"
        isolates = [(f"{ISOLATE}:{name}", status, name) for name in now]
        gone = [(f"{ISOLATE}:{name}", GONE, name) for name in before if name not in now]
        reports.append(lab.say(channel, person, order, *isolates, *gone))
        before = now
        if lab.rng.random() < 0.4:
            lab.next_round()
        lab.later(DAY // 4)
        if lab.rng.random() < 0.3:
            lab.memory(lab.rng.choice(reports))


def mapping_repaired(lab: Laboratory) -> None:
    """A decimal comma that the channel did not know of, until a person mends that and has it mapped again."""
    channel, person, order = lab.channel(numbers="lasting", shared=True), _lasting(lab), lab.order()
    lab.say(channel, person, order, ("GLU", "F", lab.value().replace(".", ",")))
    if lab.rng.random() < 0.4:
        lab.say(channel, person, order, ("GLU", "C", lab.value().replace(".", ",")))
    lab.act("reprocess")


def failed_then_measured(lab: Laboratory) -> None:
    channel, person, order = _patient(lab)
    lab.say(channel, person, order, ("PT", "X"))
    lab.later(10)
    lab.say(channel, person, order, ("PT", "F"))


def correction_without_patient(lab: Laboratory) -> None:
    channel, nobody, order = lab.channel(specimens=lab.rng.choice(("", "day", "unique"))), lab.person(""), lab.order()
    lab.say(channel, nobody, order, ("LACT", "F"))
    if lab.rng.random() < 0.3:
        lab.say(channel, nobody, order, ("LACT", "F"))
    lab.next_round()
    lab.later(30)
    lab.say(channel, nobody, order, ("LACT", "C"))


def correction_of_another_set(lab: Laboratory) -> None:
    """One order in three messages with OBR-1 1, 2, 3, and a correction with OBR-1 1."""
    channel, person, order = lab.channel("hl7", numbers="lasting", shared=True), _lasting(lab), lab.order()
    tests = lab.rng.sample(TESTS, 3)
    for number, test in enumerate(tests, 1):
        lab.say(channel, person, replace(order, set=number), (test, "F"))
    lab.next_round()
    lab.later(45)
    lab.say(channel, person, order, (lab.rng.choice(tests[1:]), "C"))


def corrected_next_day(lab: Laboratory) -> None:
    channel, person, order = _patient(lab)
    lab.say(channel, person, order, ("PSA", "F"))
    lab.next_round()
    lab.later(DAY - 60)
    lab.say(channel, person, order if lab.rng.random() < 0.5 else replace(order, minutes=lab.minutes), ("PSA", "C"))


# -- 3: acknowledged ---------------------------------------------------------------------------------------------------


def equal_texts(lab: Laboratory) -> None:
    """A qualitative analyzer whose counter restarts: two people's messages are the same bytes."""
    channel = lab.channel(control=lab.rng.choice(("constant", "absent", "restarts")))
    order = f"{HERE}1"
    for _ in range(lab.rng.randrange(2, 4)):
        lab.say(channel, lab.person(""), lab.order(order), ("HBSAG", "F", "NEG"), timed=False)
        lab.later(20)


def same_bytes_again(lab: Laboratory) -> None:
    channel, person, order = _patient(lab)
    first = lab.say(channel, person, order, ("FT4", "F"))
    if lab.rng.random() < 0.5:
        lab.say(channel, person, order, ("FT4", "C"))
    if lab.rng.random() < 0.5:
        lab.next_round()
    lab.again(first)


def decided_and_again(lab: Laboratory) -> None:
    """What a person has closed comes again with the same bytes."""
    channel = lab.channel(numbers="lasting")
    number, pair = f"MR{HERE}31", lab.rng.choice(STRANGERS)
    lab.say(channel, lab.person(number, *pair[0]), lab.order(), ("GLU", "F"))
    second = lab.say(channel, lab.person(number, *pair[1]), lab.order(), ("GLU", "F"))
    lab.act(lab.rng.choice(("dismiss", "reject")))
    lab.again(second)


# -- 4: lists --------------------------------------------------------------------------------------------------------


def one_test_a_message(lab: Laboratory) -> None:
    channel, person, order = _patient(lab)
    tests = lab.rng.sample(TESTS, lab.rng.randrange(2, 4))
    for test in tests:
        lab.say(channel, person, order, (test, "F"))
        if lab.rng.random() < 0.3:
            lab.next_round()
    if lab.rng.random() < 0.4:
        lab.next_round()
        lab.say(channel, person, order, (lab.rng.choice(tests), "C"))


def one_of_a_panel_corrected(lab: Laboratory) -> None:
    channel, person, order = _patient(lab)
    tests = lab.rng.sample(TESTS, 3)
    panel = lab.say(channel, person, order, *((test, "F") for test in tests))
    lab.next_round()
    lab.later(30)
    lab.say(channel, person, order, (tests[0], "C"))
    if lab.rng.random() < 0.5:
        lab.act("replay", panel)


def replay_of_the_older(lab: Laboratory) -> None:
    channel, person, order = _patient(lab)
    first = lab.say(channel, person, order, ("HB", "F"), ("MCV", "F"))
    lab.say(channel, person, order, ("HB", "C"), ("MCV", "F", first.results[1].value), ("PLT", "F"))
    lab.act("replay", first)


# -- plain -----------------------------------------------------------------------------------------------------------


def usual_day(lab: Laboratory) -> None:
    channel = lab.channel(numbers="lasting", control="counts", shared=True)
    for _ in range(lab.rng.randrange(1, 4)):
        person, order = _lasting(lab), lab.order()
        if lab.rng.random() < 0.3:
            lab.say(channel, person, order, ("GLU", "P"))
            lab.later(20)
        final = lab.say(channel, person, order, ("GLU", "F"), ("UREA", "F"))
        if lab.rng.random() < 0.3:
            lab.later(20)
            lab.say(channel, person, order, ("GLU", "C"))
        elif lab.rng.random() < 0.3:
            lab.memory(final)
        if lab.rng.random() < 0.3:
            lab.next_round()


SCENES: tuple[Scene, ...] = (
    counter_begins_anew, same_surname, name_cut_short, cut_name_of_one_person, placeholder,
    counter_restarts_at_noon, child_under_the_mother, stranger_gets_a_name, nameless_second_patient,
    number_again_next_january, two_analyzers_one_tube, late_preliminary, memory_undoes_correction,
    evening_sends_all, withdrawn_and_back, final_over_final, failed_rerun, failed_then_measured,
    final_without_sending_again, finished_without_sending_again, culture_is_told_again, mapping_repaired,
    correction_without_patient, correction_of_another_set,
    corrected_next_day, equal_texts, same_bytes_again, decided_and_again, one_test_a_message,
    one_of_a_panel_corrected, replay_of_the_older, usual_day,
)  # fmt: skip
PLAIN: frozenset[Scene] = frozenset(
    {
        culture_is_told_again, cut_name_of_one_person, finished_without_sending_again, two_analyzers_one_tube,
        memory_undoes_correction, evening_sends_all, final_over_final,
        failed_then_measured, mapping_repaired, correction_of_another_set, same_bytes_again, one_test_a_message,
        one_of_a_panel_corrected, replay_of_the_older, usual_day,
    }
)  # fmt: skip
