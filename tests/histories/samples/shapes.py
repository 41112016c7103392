"""What makers put into places of numbers, codes and values: messages of these shapes, each with lives that it may end.

rack    O-4 `^^R01^3`, O-3 empty            zeros   O-3 or OBR-3 `0000`
name    a name for the number of a tube     person  a name for the number of a patient
run     component 6 of R-3 counts           row     OBX-3 is the number of the row, OBX-4 the code
flag    R-4 or OBX-5 `71^HH`, which the settings `r4` and `obx5` say
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.histories.samples.day import Day, in_turns
from tests.histories.samples.facts import History, Message, Sample
from tests.histories.samples.lives import Life, finished

RACK, ZEROS, NAME, PERSON, RUN, ROW, FLAG = "rack", "zeros", "name", "person", "run", "row", "flag"
OF_FLAGS = {"r4": "value^flag", "obx5": "value^flag"}
WRITTEN = ("0", "0000", "00000000")
BESIDE = 0.5
CALLED = ("Meena Rao", "B/O Lata Nair", "GEETA  DAS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """``name``: of the shape; ``protocol``: the only one that can say it; ``output``: the only one that keeps it."""

    name: str
    life: Callable[[Day, str], Life]
    protocol: str = ""
    output: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def tubes_without_number(day: Day, shape: str) -> Life:
    """Each of a person of its own, who may be without a number too: the places of a rack come again."""
    for _ in range(day.rng.randrange(2, 5)):
        day.say(day.sample(), day.test(), "F", named=day.rng.random() < 0.5, shape=shape)
        yield
        day.later(day.rng.choice((1, 40)))


def tubes_of_a_rack(day: Day, shape: str) -> Life:
    """Of one person who has a number."""
    first, test = day.sample(), day.test()
    for sample in (first, day.sample(first.person)):
        day.say(sample, test, "F", shape=shape)
        yield
        day.later(5)


def named_for_a_number(day: Day, shape: str) -> Life:
    """The tube has its number; namesakes have one each. A final result stays beside a preliminary one: of both nothing
    says that they are of one person."""
    samples = [day.sample() for _ in range(day.rng.randrange(1, 4))]
    test = day.test()
    for status in day.rng.choice(("F", "FC")):
        for sample in samples:
            day.say(sample, test, status, shape=shape)
            yield
        day.later(20)


def replicates(day: Day, shape: str) -> Life:
    sample, test = day.sample(), day.test()
    first = day.say(sample, f"{test} 1", "F", code=test, shape=shape)
    for number in range(2, day.rng.randrange(3, 5)):
        day.say(sample, f"{test} {number}", "F", code=test, shape=shape, beside=first)
    yield


def reruns(day: Day, shape: str) -> Life:
    sample, test = day.sample(), day.test()
    for status in day.rng.choice(("FF", "PF", "FC", "FFC")):
        day.say(sample, test, status, shape=shape)
        yield
        day.later(day.rng.choice((3, 90)))


def rows(day: Day, shape: str) -> Life:
    """A panel; then all of it once more, or one test alone corrected."""
    sample, tests = day.sample(), day.rng.sample(("GLU", "UREA", "K", "CRE"), day.rng.randrange(2, 5))
    _panel(day, tests, "F", shape, sample=sample)
    yield
    day.later(20)
    if day.rng.random() < 0.5:
        _panel(day, tests, day.rng.choice("FC"), shape, sample=sample)
    else:
        day.say(sample, tests[-1], "C", shape=shape)
    yield


def rows_by_setting(day: Day, shape: str) -> Life:
    """Each row is read alone."""
    sample, tests = day.sample(), day.rng.sample(("GLU", "UREA", "K", "CRE"), day.rng.randrange(1, 4))
    for some in (tests, tests[-1:]):
        _panel(day, some, "F", shape, sample=sample)
        yield
        day.later(20)


def _panel(day: Day, tests: Sequence[str], status: str, shape: str, *, sample: Sample) -> None:
    first: Message | None = None
    for test in tests:
        message = day.say(sample, test, status, shape=shape, beside=first)
        first = first or message


def flags(day: Day, shape: str) -> Life:
    """Critical, or not; then it is corrected."""
    sample, test = day.sample(), day.test()
    for status, flag in day.rng.choice(((("F", "HH"),), (("F", "H"), ("C", "LL")), (("F", "LL"), ("C", "N")))):
        day.say(sample, test, status, flag=flag, shape=shape)
        yield
        day.later(20)


SHAPES = (
    Shape(name=RACK, life=tubes_without_number, protocol="astm"),
    Shape(name=RACK, life=tubes_of_a_rack, protocol="astm"),
    Shape(name=ZEROS, life=tubes_without_number), Shape(name=NAME, life=tubes_without_number),
    Shape(name=PERSON, life=named_for_a_number), Shape(name=RUN, life=replicates, protocol="astm", output="fhir"),
    Shape(name=RUN, life=reruns, protocol="astm"), Shape(name=ROW, life=rows, protocol="hl7"),
    Shape(name=ROW, life=rows_by_setting, protocol="hl7", settings={"obx3": "row"}),
    Shape(name=FLAG, life=flags, settings=OF_FLAGS),
)  # fmt: skip


def history(seed: int) -> History:
    """One shape, beside an ordinary life or none."""
    rng = random.Random(f"shapes/{seed}")
    shape = rng.choice(SHAPES)
    protocol = shape.protocol or rng.choice(("hl7", "astm"))
    possible = (shape.output,) if shape.output else ("fhir", "csv", "json", "hl7" if protocol == "astm" else "fhir")
    day = Day(rng, rng.choice(possible), protocol)
    in_turns(rng, [shape.life(day, shape.name), *([finished(day)] if rng.random() < BESIDE else ())])
    return History(
        seed=seed, name=f"{shape.name} {shape.life.__name__}", fault=0, output=day.output, protocols=(protocol,),
        steps=tuple(day.steps), joined=day.joined, settings=tuple(shape.settings.items()),
    )  # fmt: skip


def shaped(records: list[str], first: Message) -> list[str]:
    """The records of a message in its shape."""
    return [_shaped(record.split("|"), first) for record in records] if first.shown.shape else records


def _shaped(fields: list[str], first: Message) -> str:
    shape, number = first.shown.shape, first.sample.id
    match fields[0], shape:
        case "O", "rack":
            fields[2:4] = "", f"^^R01^{number}"
        case ("O", "zeros" | "name") | ("OBR", "zeros" | "name"):
            names = WRITTEN if shape == ZEROS else CALLED
            fields[2 if fields[0] == "O" else 3] = names[number % len(names)]
        case (("P" | "PID"), "person"):
            fields[3:] = [CALLED[0]]
        case "R", "run":
            fields[2] += f"^^{fields[1]}"
        case "OBX", "row":
            fields[3:5] = fields[1], fields[3]
        case "R", "flag":
            fields[3], fields[6] = f"{fields[3]}^{fields[6]}".rstrip("^"), ""
        case "OBX", "flag":
            fields[5], fields[8] = f"{fields[5]}^{fields[8]}".rstrip("^"), ""
    return "|".join(fields)
