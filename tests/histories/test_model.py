"""The checker can fail: a server on which something is wrong is caught, by the invariant that names it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from tests.histories.history import History
from tests.histories.laboratory import Laboratory, Order, Person
from tests.histories.model import INVARIANTS, judge, same_value, step_back
from tests.histories.render import STANDS_AS
from tests.histories.seen import Delivery, Made, Report, Row, Seen, Version


@dataclass
class Scene:
    """A laboratory with one channel and a patient, and what its server has; at first all is well."""

    lab: Laboratory = field(default_factory=lambda: Laboratory(random.Random(1)))
    rows: list[Row] = field(default_factory=list)
    versions: dict[str, list[Version]] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)
    report: str = "final"
    report_of: str = ""  # the Patient of all reports, where it is not that of their results
    plain: bool = False
    quiet: bool = True

    def __post_init__(self) -> None:
        self.channel = self.lab.channel("hl7", control="counts")
        self.anu, self.ravi = self.lab.person("1", "DAS^ANU"), self.lab.person("1", "PAUL^RAVI")
        self.unknown = self.lab.person("?")
        self.order = self.lab.order()

    def takes(
        self, test: str, status: str, value: str = "5.5", *, person: Person | None = None, order: Order | None = None,
        ident: str = "", patient: str = "p0", became: str = "", late: bool = False,
    ) -> int:  # fmt: skip
        """A message that is delivered as version of an Observation; its id."""
        order = order or self.order
        send = self.lab.say(self.channel, person or self.anu, order, (test, status, value), late=late)
        stands = became or _plainest(STANDS_AS["hl7"][status])
        found = "" if value == "----" else value
        name = ident or test
        made = Made(id=name, test=test, status=stands, value=found)
        self.rows.append(row(send.id, made))
        self.versions.setdefault(name, []).append(Version(status=stands, value=found, patient=patient))
        self.listed.add(name)
        return send.id

    def stays(self, test: str, status: str, value: str, state: str, reason: str = "", **how: bool) -> int:
        """A message that the server never sees."""
        send = self.lab.say(self.channel, self.anu, self.order, (test, status, value), **how)
        made = Made(id=test, test=test, status="final", value=value)
        if state in ("held", "waiting", "superseded", "rejected"):
            self.rows.append(row(send.id, made, state=state))
        else:
            self.rows.append(Row(send=send.id, number=send.id, state=state, reason=reason))
        return send.id

    def broken(self, answered: set[int] | None = None) -> set[str]:
        history: History = replace(self.lab.history("test"), plain=self.plain)
        patients = {some[-1].patient for some in self.versions.values()}
        reports = {
            patient: Report(
                status=self.report,
                patient=self.report_of or patient,
                results=frozenset(ident for ident in self.listed if self.versions[ident][-1].patient == patient),
            )
            for patient in patients
        }
        seen = Seen(
            answered=frozenset(send.id for send in history.sends) if answered is None else frozenset(answered),
            rows=tuple(self.rows),
            observations={ident: tuple(some) for ident, some in self.versions.items()},
            reports=reports,
            quiet=self.quiet,
        )
        return {fault.invariant for fault in judge(history, seen)}


def _plainest(statuses: frozenset[str]) -> str:
    return "final" if "final" in statuses else min(statuses)


def row(send: int, *made: Made, state: str = "delivered", acts: tuple[str, ...] = ()) -> Row:
    deliveries = (Delivery(state=state, cause="", made=made),)
    return Row(send=send, number=send, state="mapped", reason="", deliveries=deliveries, acts=acts)


Case = Callable[[Scene], object]

WELL: dict[str, Case] = {
    "an isolate is gone, and withdrawn": lambda at: (
        at.takes("ORG:ECO", "F", "ECO", ident="one"),
        at.takes("ORG:ECO", "G", "ECO", ident="one"),
    ),
    "an isolate is gone, and has become another": lambda at: (
        at.takes("ORG:ECO", "F", "ECO", ident="one"),
        at.stays("ORG:ECO", "G", "ECO", "superseded"),
        at.takes("ORG:SAU", "F", "SAU", ident="one", became="amended"),
        setattr(at, "report", "amended"),
    ),
    "a result": lambda at: at.takes("GLU", "F"),
    "preliminary, then final": lambda at: (at.takes("GLU", "P", "5"), at.takes("GLU", "F", "6")),
    "corrected, and the report too": lambda at: (
        at.takes("GLU", "F", "5"),
        at.takes("GLU", "C", "6"),
        setattr(at, "report", "corrected"),
    ),
    "a changed final is amended": lambda at: (
        at.takes("GLU", "F", "5"),
        at.takes("GLU", "F", "6", became="amended"),
        setattr(at, "report", "amended"),
    ),
    "withdrawn": lambda at: (at.takes("GLU", "F"), at.takes("GLU", "D")),
    "failed, then measured": lambda at: (at.takes("GLU", "X", ""), at.takes("GLU", "F")),
    "two people on two Patients": lambda at: (
        at.takes("GLU", "F"),
        at.takes("GLU", "F", person=at.ravi, order=at.lab.order(), ident="other", patient="p1"),
    ),
    "a conflict that is held": lambda at: (at.takes("GLU", "F"), at.stays("UREA", "F", "3", "held")),
    "a late preliminary that is held": lambda at: (
        at.takes("GLU", "F"),
        at.stays("GLU", "P", "3", "held", late=True),
    ),
    "a late preliminary of an unknown person stands by itself": lambda at: (
        at.takes("GLU", "F", "5", person=at.unknown),
        at.takes("GLU", "C", "6", person=at.unknown),
        at.takes("GLU", "P", "4", person=at.unknown, ident="elsewhere", late=True),
        setattr(at, "report", "corrected"),
    ),
    "a second withdrawal of an unknown person's result, which may mean two, is held": lambda at: (
        at.takes("GLU", "F", "5", person=at.unknown),
        at.takes("GLU", "D", "5", person=at.unknown),
        at.takes("GLU", "F", "6", person=at.unknown, ident="elsewhere"),
        at.lab.say(at.channel, at.unknown, at.order, ("GLU", "D", "5")),
        at.rows.append(row(3, Made(id="GLU", test="GLU", status="entered-in-error", value="5"), state="held")),
    ),
    "a dead letter": lambda at: at.stays("GLU", "F", "5", "dead", "MAPPING_FAULT"),
    "a correction that is held": lambda at: (at.takes("GLU", "F", "5"), at.stays("GLU", "C", "6", "held")),
    "what a person rejected": lambda at: at.stays("GLU", "F", "5", "rejected"),
    "an echo": lambda at: (
        at.takes("GLU", "F", "5"),
        at.lab.memory(at.lab.sends[-1]),
        at.rows.append(Row(send=1, number=1, state="filtered", reason="ECHO")),
    ),
    "an echo of what a person rejected after it": lambda at: (
        at.stays("GLU", "F", "5", "rejected"),
        at.rows.append(replace(at.rows.pop(), acts=("reject",), decided_at=1)),
        at.lab.again(at.lab.sends[-1]),
        at.rows.append(Row(send=1, number=1, state="filtered", reason="REPEAT")),
    ),
    "an echo of what a person released after it, overtaken by then": lambda at: (
        at.takes("GLU", "F", "9"),
        at.stays("GLU", "P", "5", "superseded", late=True),
        at.rows.append(replace(at.rows.pop(), acts=("release",), decided_at=2)),
        at.lab.again(at.lab.sends[-1]),
        at.rows.append(Row(send=2, number=2, state="filtered", reason="ECHO")),
    ),
    "an echo of what is held": lambda at: (
        at.stays("GLU", "F", "5", "held"),
        at.lab.again(at.lab.sends[-1]),
        at.rows.append(Row(send=1, number=1, state="filtered", reason="REPEAT")),
    ),
    "an echo, found when it was processed anew, of what is held": lambda at: (
        at.stays("GLU", "F", "5", "held"),
        at.lab.memory(at.lab.sends[-1]),
        at.rows.append(Row(
            send=1, number=1, state="filtered", reason="ECHO",
            deliveries=(Delivery(state="superseded", cause="", made=()),),
        )),
    ),
    "a rerun without a value beside what was withdrawn": lambda at: (
        at.takes("GLU", "F"),
        at.takes("GLU", "D"),
        at.takes("GLU", "F", "----", ident="elsewhere"),
    ),
    "withdrawn, and a person let it live again": lambda at: (
        at.takes("GLU", "D"),
        at.takes("GLU", "P"),
        at.rows.append(replace(at.rows.pop(), acts=("release",))),
    ),
}  # fmt: skip

WRONG: dict[str, tuple[str, Case]] = {
    "an isolate that is gone stands": (
        "LAST_WORD",
        lambda at: (
            at.takes("ORG:ECO", "F", "ECO", ident="one"),
            at.takes("ORG:SAU", "F", "SAU", ident="two"),
            at.takes("ORG:ECO", "G", "ECO", ident="one", became="final"),
        ),
    ),
    "an isolate stands twice": (
        "LAST_WORD",
        lambda at: (
            at.takes("ORG:ECO", "F", "ECO", ident="one"),
            at.takes("ORG:ECO", "G", "ECO", ident="two", became="entered-in-error"),
        ),
    ),
    "two people on one Patient": (
        "PERSONS",
        lambda at: (at.takes("GLU", "F"), at.takes("GLU", "F", person=at.ravi, order=at.lab.order(), ident="other")),
    ),
    "two people in one Observation": (
        "PERSONS",
        lambda at: (at.takes("GLU", "F"), at.takes("GLU", "F", person=at.ravi, order=at.lab.order(), patient="p1")),
    ),
    "a report of another Patient": (
        "PERSONS",
        lambda at: (at.takes("GLU", "F"), setattr(at, "report_of", "p1")),
    ),
    "final, then preliminary": ("BACK", lambda at: (at.takes("GLU", "F", "5"), at.takes("GLU", "P", "6", late=True))),
    "preliminary, then registered": ("BACK", lambda at: (at.takes("GLU", "P", "5"), at.takes("GLU", "I", "6"))),
    "the memory undoes a correction": (
        "BACK",
        lambda at: (at.takes("GLU", "F", "5"), at.takes("GLU", "C", "6"), at.takes("GLU", "F", "5", late=True)),
    ),
    "corrected, then amended": (
        "BACK",
        lambda at: (at.takes("GLU", "C", "5"), at.takes("GLU", "A", "6", became="amended")),
    ),
    "withdrawn, and live again": ("BACK", lambda at: (at.takes("GLU", "D"), at.takes("GLU", "P", "7.7"))),
    "withdrawn, and cancelled": ("BACK", lambda at: (at.takes("GLU", "D"), at.takes("GLU", "X", ""))),
    "a failed rerun takes the value": ("BACK", lambda at: (at.takes("GLU", "F"), at.takes("GLU", "F", "----"))),
    "a cancelled rerun takes the value": ("BACK", lambda at: (at.takes("GLU", "F"), at.takes("GLU", "X", ""))),
    "final over final": ("SILENT", lambda at: (at.takes("GLU", "F", "5"), at.takes("GLU", "F", "6"))),
    "a corrected result in a final report": (
        "SILENT",
        lambda at: (at.takes("GLU", "F", "5"), at.takes("GLU", "C", "6")),
    ),
    "the correction is nowhere": (
        "LAST_WORD",
        lambda at: (at.takes("GLU", "F", "5"), at.stays("GLU", "C", "6", "filtered", "ECHO")),
    ),
    "the correction stands beside what it corrects": (
        "LAST_WORD",
        lambda at: (at.takes("GLU", "F", "5"), at.takes("GLU", "C", "6", ident="elsewhere")),
    ),
    "the correction of an unknown person's result stands beside it": (
        "LAST_WORD",
        lambda at: (
            at.takes("GLU", "F", "5", person=at.unknown),
            at.takes("GLU", "C", "6", person=at.unknown, ident="elsewhere"),
        ),
    ),
    "a late preliminary of a person stands beside the correction": (
        "LAST_WORD",
        lambda at: (
            at.takes("GLU", "F", "5"),
            at.takes("GLU", "C", "6"),
            at.takes("GLU", "P", "4", ident="elsewhere", late=True),
        ),
    ),
    "a withdrawal stands beside what it withdraws": (
        "LAST_WORD",
        lambda at: (at.takes("GLU", "F", "5"), at.takes("GLU", "D", "5", ident="elsewhere")),
    ),
    "a lower status stays": (
        "LAST_WORD",
        lambda at: (at.takes("GLU", "P", "5"), at.stays("GLU", "F", "5", "filtered", "ECHO")),
    ),
    "a result in no report": ("UNLISTED", lambda at: (at.takes("GLU", "F"), at.listed.clear())),
    "acknowledged, and not in the journal": ("LOST", lambda at: (at.takes("GLU", "F"), at.rows.clear())),
    "filtered, and nowhere": ("LOST", lambda at: at.stays("GLU", "F", "5", "filtered", "REPEAT")),
    "delivered, says the journal": ("LOST", lambda at: (at.takes("GLU", "F"), at.versions.clear(), at.listed.clear())),
    "processed anew, and nowhere": (
        "LOST",
        lambda at: at.rows.append(Row(
            send=at.lab.say(at.channel, at.anu, at.order, ("GLU", "F", "5")).id, number=1, state="filtered",
            reason="ECHO", deliveries=(Delivery(state="superseded", cause="", made=()),),
        )),
    ),
    "another's equal text is a repeat": (
        "LOST",
        lambda at: (
            at.takes("HIV", "F", "NEG"),
            at.lab.say(at.channel, at.ravi, at.order, ("HIV", "F", "NEG")),
            at.rows.append(Row(send=1, number=1, state="filtered", reason="REPEAT")),
        ),
    ),
    "closed by a person, and the same bytes later are no repeat": (
        "LOST",
        lambda at: (
            at.stays("GLU", "F", "5", "dismissed"),
            at.lab.again(at.lab.sends[-1]),
            at.rows.append(Row(send=1, number=1, state="filtered", reason="REPEAT")),
        ),
    ),
    "overtaken, and the same later": (
        "LOST",
        lambda at: (at.stays("GLU", "P", "", "superseded"), at.takes("GLU", "F"), at.stays("GLU", "P", "", "filtered")),
    ),
    "plain, and held": ("HELD", lambda at: (setattr(at, "plain", True), at.stays("GLU", "F", "5", "held"))),
    "no rest": ("RESTLESS", lambda at: (at.takes("GLU", "F"), setattr(at, "quiet", False))),
}  # fmt: skip


@pytest.mark.parametrize("name", WELL)
def test_what_is_well_passes(name: str) -> None:
    scene = Scene()
    WELL[name](scene)
    assert scene.broken() == set()


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_caught_by_its_invariant(name: str) -> None:
    invariant, case = WRONG[name]
    scene = Scene()
    case(scene)
    assert invariant in scene.broken()


def test_each_invariant_has_a_server_that_breaks_it() -> None:
    assert {invariant for invariant, _ in WRONG.values()} == set(INVARIANTS)


def test_what_was_never_acknowledged_may_be_nowhere() -> None:
    scene = Scene()
    scene.takes("GLU", "F")
    scene.rows.clear()
    assert scene.broken(answered=set()) == set()


def test_a_patient_of_two_histories_is_one_of_two_people() -> None:
    scene = Scene()
    scene.takes("GLU", "F")
    history = scene.lab.history("test")
    seen = Seen(
        answered=frozenset({0}),
        rows=tuple(scene.rows),
        observations={"GLU": tuple(scene.versions["GLU"])},
        reports={"r": Report(status="final", patient="p0", results=frozenset({"GLU"}))},
        elsewhere=frozenset({"p0"}),
    )
    assert [fault.invariant for fault in judge(history, seen)] == ["PERSONS"]


@pytest.mark.parametrize(("said", "found"), [("5.50", "5.5"), ("5", "5.0"), ("----", ""), ("NEG", "NEG"), (" 7 ", "7")])
def test_values_are_compared_as_they_are_meant(said: str, found: str) -> None:
    assert same_value(said, found)


@pytest.mark.parametrize(("said", "found"), [("5.5", "5.6"), ("NEG", "POS"), ("5.5", "")])
def test_other_values_are_other_values(said: str, found: str) -> None:
    assert not same_value(said, found)


def test_every_step_of_status_has_one_direction() -> None:
    order = ["registered", "preliminary", "final", "amended", "corrected"]
    for below, lower in enumerate(order):
        for higher in order[below + 1 :]:
            one, two = (Version(status=status, value="5", patient="p") for status in (lower, higher))
            assert step_back(one, two) is None
            assert step_back(two, one) is not None
