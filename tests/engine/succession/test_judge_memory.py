"""What takes something back, what is known after a judgement and a person's decision, and the table of statuses."""

from datetime import UTC, datetime
from typing import Any

import pytest

from engine.succession.judge import keys
from engine.succession.judge.memory import note, remember, withdrawn, words_of
from engine.succession.judge.rejected import content_of, is_same, plain
from engine.succession.judge.taking_back import find, in_place, is_aside
from engine.succession.judge.words import Decision, Judgement, Memory, Ref, Said, Standing
from engine.succession.steps import Version, follow, is_said, of_report
from tests.engine.succession.test_judge_parts import ONE, RECEIPT
from tests.support.decided_memory import rejected, released

RECEIVED = datetime(2026, 3, 1, 18, 0, tzinfo=UTC)


# -- what takes something back -----------------------------------------------------------------------------------------

CORRECTED = ONE._replace(message=9, version=ONE.version._replace(said="corrected", status="corrected"), value="6")


def known(*words: Said, ref: Ref = (1, 1)) -> Standing:
    return Standing(ref, words)


def sought(
    new: Said, *standing: Standing, left: int = 1, taken: tuple[Ref, ...] = (), **settings: Any
) -> tuple[Any, ...]:
    alike = [one for one in standing if one.last.test == new.test]
    found = find(new, left, alike, standing, ("REJECTED_BEFORE",), taken, RECEIPT._replace(**settings))
    return found.one and found.one.ref, [one.ref for one in found.may_mean], found.words, found.moved


FITS_NONE = "none of the order's results fits"
WIDER = "one of another day, channel or test may be meant"
GONE = ONE._replace(version=ONE.version._replace(said="entered-in-error", waits=False))


@pytest.mark.parametrize(
    ("new", "one", "found"),
    [
        (CORRECTED, ONE, ((1, 1), [], "", False)),
        (CORRECTED._replace(number="", numbers=frozenset()), ONE, (None, [], "it names no order", False)),
        (CORRECTED._replace(panel="X"), ONE, ((1, 1), [], "", False)),
        (CORRECTED._replace(person=""), ONE, ((1, 1), [], "", False)),
        (CORRECTED._replace(channel="d"), ONE, (None, [(1, 1)], WIDER, False)),
        (CORRECTED._replace(sub="2"), ONE, (None, [(1, 1)], WIDER, False)),
        (CORRECTED._replace(test="FT4"), ONE, (None, [(1, 1)], WIDER, False)),
        (CORRECTED._replace(number="F2", numbers=frozenset({"F2"})), ONE, (None, [], "", False)),
        (CORRECTED._replace(person="x"), ONE, (None, [(1, 1)], "the order is another patient's", True)),
        (CORRECTED._replace(person="x"), GONE, (None, [], "", False)),
        (CORRECTED, GONE, ((1, 1), [], "", False)),
        (CORRECTED._replace(channel="d"), GONE, (None, [(1, 1)], FITS_NONE, False)),
        (CORRECTED, ONE._replace(doubt="REJECTED_BEFORE"), (None, [], "", False)),
        (CORRECTED, ONE._replace(doubt="CLOCK"), ((1, 1), [], "", False)),
    ],
)
def test_what_a_correction_finds(new: Said, one: Said, found: tuple[Any, ...]) -> None:
    assert sought(new, known(one)) == found


def test_of_several_a_correction_finds_that_of_its_minute() -> None:
    early, late = (
        ONE._replace(version=ONE.version._replace(time=f"2026-03-01T{hour}:30:00+00:00")) for hour in ("08", "09")
    )
    two = known(early), known(late, ref=(1, 2))
    assert sought(CORRECTED, *two)[0] == (1, 2)
    neither = CORRECTED._replace(version=CORRECTED.version._replace(time="2026-03-01T10:30:00+00:00"))
    assert sought(neither, *two) == (None, [(1, 1), (1, 2)], "several results may be meant", False)
    assert sought(neither, *two, left=2)[0] == (1, 1)
    assert sought(neither, *two, taken=((1, 1),))[0] == (1, 2)
    about = "two of its message are about one result"
    assert sought(neither, *two, taken=((1, 1), (1, 2))) == (None, [(1, 1), (1, 2)], about, False)


def test_an_order_of_two_patients() -> None:
    mine, theirs = known(ONE._replace(test="NA")), known(ONE._replace(person="x"), ref=(1, 2))
    assert sought(CORRECTED, mine, theirs) == (None, [(1, 2)], "the order is another patient's, too", True)
    far = ONE._replace(person="x", version=ONE.version._replace(time="2026-02-01T09:30:00+00:00"))
    assert sought(CORRECTED, mine, known(far, ref=(1, 2))) == (None, [(1, 1)], WIDER, False)
    assert sought(CORRECTED, mine, known(far, ref=(1, 2)), unique=True)[1] == [(1, 2)]
    assert sought(CORRECTED, known(far), unique=True) == (None, [(1, 1)], "the order is another patient's", True)
    assert sought(CORRECTED, known(far)) == (None, [], "", False)


WITHDRAWS = CORRECTED._replace(version=CORRECTED.version._replace(said="entered-in-error"), value="5.5")
OTHER_VALUE = "it withdraws another value than the one that was accepted"


@pytest.mark.parametrize(
    ("value", "words", "found"),
    [("5.5", (ONE,), True), ("", (ONE,), True), ("6", (ONE,), False), ("5.50", (ONE,), True),
     ("6", (ONE, ONE._replace(value="6", version=ONE.version._replace(waits=True))), True),
     ("5.5", (ONE, ONE._replace(value="6")), False)],
)  # fmt: skip
def test_a_withdrawal_names_the_last_value_or_one_that_waits(value: str, words: tuple[Said, ...], found: bool) -> None:
    expected = ((1, 1), [], "", False) if found else (None, [(1, 1)], OTHER_VALUE, False)
    assert sought(WITHDRAWS._replace(value=value), known(*words)) == expected


@pytest.mark.parametrize(("value", "is_again"), [("5.5", True), ("", True), ("7", False)])
def test_what_is_withdrawn_is_withdrawn_once_more(value: str, is_again: bool) -> None:
    expected = ((1, 1), [], "", False) if is_again else (None, [(1, 1)], FITS_NONE, False)
    assert sought(WITHDRAWS._replace(value=value), known(ONE, GONE)) == expected


def test_the_place_of_a_result_is_on_its_channel_and_in_its_panel_or_another() -> None:
    places = [known(ONE), known(ONE._replace(panel="X"), ref=(1, 2)), known(ONE._replace(channel="d"), ref=(1, 3))]
    assert [[one.ref for one in in_place(ONE, places[at:], RECEIPT)] for at in range(3)] == [[(1, 1)], [(1, 2)], []]
    of_site = RECEIPT._replace(of_site=True)
    assert [one.ref for one in in_place(ONE, places[2:], of_site)] == [(1, 3)]
    isolate = known(ONE._replace(organism="eco"))
    assert in_place(ONE, [isolate], RECEIPT) == [isolate]
    assert in_place(ONE, [known(ONE._replace(organism="eco", isolate=True))], RECEIPT) == []
    assert in_place(ONE._replace(organism="sau"), [isolate], RECEIPT) == []


@pytest.mark.parametrize(
    ("words", "aside"),
    [((ONE._replace(doubt="CLOCK"),), True), ((ONE._replace(doubt="X"),), False), ((ONE,), False),
     ((ONE._replace(doubt="CLOCK"), ONE), False), ((GONE._replace(doubt="X"),), True), ((GONE,), False)],
)  # fmt: skip
def test_what_waits_for_a_person_is_passed_by(words: tuple[Said, ...], aside: bool) -> None:
    assert is_aside(known(*words), "CLOCK") is aside


# -- what is known after it --------------------------------------------------------------------------------------------


def after(kind: Any, before: Standing | None = None, new: Said = CORRECTED, **decided: Any) -> tuple[Standing, ...]:
    memory = Memory() if before is None else Memory((before,))
    decision = Decision(new.place, kind, **decided)
    return remember(memory, Judgement((decision,), {new.place: new})).standing


@pytest.mark.parametrize("kind", ["echo", "again", "filtered", "dead"])
def test_what_changes_nothing(kind: str) -> None:
    assert after(kind, known(ONE), meant=(1, 1)) == (known(ONE),)
    assert after(kind) == ()
    assert after("held", reason="POOL") == ()


def test_a_first_word() -> None:
    assert after("new") == (known(CORRECTED, ref=(9, 1)),)
    (waits,) = after("held", reason="CLOCK")
    assert (waits.last.version.waits, waits.last.doubt) == (True, "CLOCK")
    eco = CORRECTED._replace(organism="eco")
    assert after("new", new=eco) == (Standing((9, 1), (eco,), (9,)),)


def test_a_later_word_is_under_the_key_of_the_first() -> None:
    named = ONE._replace(sub="1", tube="T1", head=3, counted="2", channel="a", numbers=frozenset({"F1", "P1"}))
    new = CORRECTED._replace(
        channel="b", person="", number="F2", numbers=frozenset({"F2"}), panel="X", test="GLUC", sub="", collected=""
    )
    (one,) = after("follows", known(named), new, meant=(1, 1), status="corrected")
    last = one.last
    assert (last.channel, last.number, last.panel, last.test, last.sub) == ("a", "F1", ONE.panel, "GLU", "1")
    assert (last.person, last.tube, last.head, last.counted, last.collected) == (
        ONE.person,
        "T1",
        3,
        "2",
        ONE.collected,
    )
    assert (last.numbers, last.message, one.words[0]) == ({"F1", "F2", "P1"}, 9, named)
    full = new._replace(person="p", tube="T2", head=5, counted="4", collected="2026", test="ORG", organism="sau")
    (one,) = after("amends", known(named._replace(organism="eco")), full, meant=(1, 1), status="amended")
    last = one.last
    assert (last.person, last.tube, last.head, last.counted, last.collected) == ("p", "T2", 5, "4", "2026")
    assert (last.organism, last.test, last.version.status, one.listed) == ("sau", "ORG", "amended", (9,))
    (one,) = after("follows", known(named._replace(organism="eco")), new, meant=(1, 1))
    assert (one.last.organism, one.last.test) == ("eco", "GLU")


def test_what_is_held_as_a_word_of_another_one_has_no_doubt() -> None:
    (one,) = after("held", known(ONE), meant=(1, 1), reason="STATUS_BACK", status="amended")
    assert (one.words[1].version.waits, one.words[1].doubt, one.words[1].version.status) == (True, "", "amended")
    assert one.last == ONE


def test_a_status_alone_keeps_the_value() -> None:
    final = CORRECTED._replace(value="", version=ONE.version._replace(said="final", whole=b"x"))
    before = ONE._replace(version=ONE.version._replace(said="preliminary", status="preliminary"))
    (one,) = after("finishes", known(before), final, meant=(1, 1), status="final")
    assert (one.last.value, one.last.version.whole, one.last.message) == ("5.5", ONE.version.whole, 9)
    assert (one.last.version.said, one.last.version.status) == ("final", "final")


def test_an_isolate_that_is_said_again_is_listed_again() -> None:
    eco = ONE._replace(organism="eco")
    (one,) = after("echo", Standing((1, 1), (eco,), (1,)), eco._replace(message=9), meant=(1, 1))
    assert (one.words, one.listed) == ((eco,), (1, 9))
    assert after("echo", Standing((1, 1), (eco,), (1,)), eco._replace(message=9))[0].listed == (1,)


@pytest.mark.parametrize("held", [False, True])
def test_what_is_gone_is_withdrawn_unless_its_message_waits(held: bool) -> None:
    memory = remember(Memory((known(ONE._replace(critical=True)),)), Judgement((), {}, ((1, 1), (7, 7))), held=held)
    last = memory.standing[0].last
    assert (last.version.said, last.version.status, last.critical) == (
        ("final", "final", True) if held else ("entered-in-error", "entered-in-error", False)
    )
    assert not last.version.waits


def test_what_was_sent_all_the_same_does_not_wait() -> None:
    standing: dict[Ref, Standing] = {}
    note(standing, Judgement((Decision(1, "held", reason="CLOCK"),), {1: ONE}), is_sent=True)
    assert (standing[1, 1].last.version.waits, standing[1, 1].last.doubt) == (False, "")


def test_a_person_releases_or_refuses_the_words_of_one_message() -> None:
    waits = ONE.version._replace(waits=True)
    words = (ONE, CORRECTED._replace(doubt="X", version=waits), CORRECTED._replace(message=8, version=waits))
    memory = Memory((known(*words),), frozenset({ONE.content}))
    (one,) = released(memory, 9).standing
    assert [(word.version.waits, word.doubt) for word in one.words] == [(False, ""), (False, ""), (True, "")]
    assert released(memory, 1) == memory
    left = rejected(Memory((known(*words), known(CORRECTED._replace(critical=True), ref=(9, 2)))), 9)
    assert [one.words for one in left.standing] == [(ONE, words[2])]
    assert left.refused == {CORRECTED.content}
    assert rejected(memory, 9).refused == {ONE.content, CORRECTED.content}


def test_what_goes_with_a_document_once_a_person_has_released_it() -> None:
    asked = Decision(1, "held", reason="RESULTS_GONE", may_mean=((1, 1), (1, 2)))
    others = (asked._replace(kind="new"), asked._replace(reason="CLOCK", may_mean=((5, 5),)))
    assert withdrawn(Judgement((asked, *others), {}, ((1, 2), (1, 3)))) == ((1, 2), (1, 3), (1, 1))
    assert withdrawn(Judgement(others, {})) == ()


# -- a person's no -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "same"),
    [
        ("5.50", "5.5"),
        ("5.0", "5"),
        ("50", "50"),
        ("1.2.30", "1.2.30"),
        ("-1.50", "-1.5"),
        (" a.0 ", "a.0"),
        (".", "."),
    ],
)
def test_a_number_counts_by_its_digits(value: str, same: str) -> None:
    assert plain(value) == same


def test_what_a_persons_no_is_about() -> None:
    def about(value: str = "< 5.50", unit: str = "MIU / l", **more: Any) -> Any:
        given = {
            "person": "p",
            "numbers": frozenset({"F1"}),
            "test": "TSH",
            "sub": "",
            "organism": "",
            "at": "t",
        } | more
        return content_of(value=value, unit=unit, **given)

    assert about().what == ("", "TSH", "<5.5", "miu/l", "t")
    assert about(">=").what[2] == ">="
    assert about("POS").what[2] == "pos"
    one = about()
    assert is_same(one, about(person=""))
    assert is_same(one, about(sub="1"))
    assert not is_same(one, about(person="q"))
    assert not is_same(about(sub="2"), about(sub="1"))
    assert is_same(one, about(numbers=frozenset({"F1", "P1"})))
    assert not is_same(one, about(numbers=frozenset({"F2"})))
    assert is_same(about(numbers=frozenset()), about(numbers=frozenset()))


# -- the table of statuses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said_in_message", "said_by_mapping", "is_it"),
    [("corrected", "final", False), ("corrected", "amended", True), ("preliminary", "final", False),
     ("registered", "partial", True), ("cancelled", "final", False), ("final", "corrected", True), ("", "x", True)],
)  # fmt: skip
def test_a_mapping_says_what_the_sender_says(said_in_message: str, said_by_mapping: str, is_it: bool) -> None:
    assert is_said(said_in_message, said_by_mapping) is is_it


@pytest.mark.parametrize(
    ("said_now", "before", "results", "status"),
    [("cancelled", "final", ["final", "cancelled"], "final"), ("cancelled", "final", ["cancelled"], "cancelled"),
     ("cancelled", "", ["final"], "cancelled"), ("final", "final", ["entered-in-error"], "entered-in-error"),
     ("final", "final", ["final", "entered-in-error"], "corrected"),
     ("preliminary", "", ["registered", "entered-in-error"], "preliminary"),
     ("preliminary", "partial", ["preliminary"], "preliminary"), ("corrected", "final", ["final"], "corrected"),
     ("amended", "final", ["final"], "amended"), ("final", "appended", ["final"], "appended")],
)  # fmt: skip
def test_the_status_of_a_report_of_which_some_are_gone(
    said_now: str, before: str, results: list[str], status: str
) -> None:
    assert of_report(said_now, before, results) == status


TIME = "2026-03-01T09:30:00+00:00"


def version(said: str = "final", whole: bytes = b"a", **more: Any) -> Version:
    return Version(said, said, whole, TIME)._replace(**more)


@pytest.mark.parametrize(
    ("new", "accepted", "kind", "reason"),
    [
        (version(repeats=True, time=""), [version()], "echo", ""),
        (version(repeats=True, whole=b"b"), [version()], "held", "STATUS_BACK"),
        (version(repeats=True, whole=b"b"), [], "plain", ""),
        (version(), [version(refused=("lis",))], "plain", ""),
        (version(), [version(waits=True, refused=("lis",))], "plain", ""),
        (version(), [version(), version(whole=b"b", refused=("lis",))], "echo", ""),
        (version(issued="2026-03-01T11:00:00+00:00"),
         [version(), version(whole=b"b", issued="2026-03-01T10:00:00+00:00")], "held", "STATUS_BACK"),
        (version(issued="2026-03-01T11:00:00+00:00"),
         [version(), version(whole=b"b", issued="2026-03-01T12:00:00+00:00")], "echo", ""),
        (version("preliminary", issued="2026-03-01T11:00:00+00:00"),
         [version("preliminary"), version(whole=b"b", issued="2026-03-01T10:00:00+00:00")], "echo", ""),
        (version("unknown", whole=b"b"), [version()], "plain", ""),
        (version(whole=b"b"), [version("unknown")], "amended", ""),
        (version(whole=b"b"), [version(status="corrected")], "amended", ""),
        (version(whole=b"b"), [version(status="entered-in-error")], "amended", ""),
        (version(),
         [version(), version("cancelled", has_value=False, whole=b"c", time="2026-03-01T09:40:00+00:00")],
         "echo", ""),
    ],
)  # fmt: skip
def test_what_is_said_again_and_what_was_refused(new: Version, accepted: list[Version], kind: str, reason: str) -> None:
    step = follow(new, accepted, RECEIVED)
    assert (step.kind, step.reason.value if step.reason else "") == (kind, reason)
    if kind == "amended":
        assert step.status == ("corrected" if accepted[-1].status == "corrected" else "amended")


# -- what a result is known by -----------------------------------------------------------------------------------------


def test_what_two_results_have_in_common() -> None:
    said = ONE._replace(tube="T1", sub="2", organism="eco")
    assert keys.unit(said) == (said.person, "F1", "CULT", "T1")
    assert keys.named(said) == ("F1", "GLU", "2", "eco")
    timed = keys.measured(said)
    assert timed == keys.measured(said._replace(number="F2", place=9, message=4))
    day = said._replace(version=said.version._replace(time="2026-03-01"))
    assert keys.measured(day) != keys.measured(day._replace(place=9))
    minute = said._replace(version=said.version._replace(time="2026-03-01T09:30"))
    assert keys.measured(minute) == keys.measured(minute._replace(place=9))


@pytest.mark.parametrize(
    ("reason", "others", "new", "is_its_word"),
    [("CORRECTS_UNKNOWN", (), ONE._replace(test="GLUC"), True), ("ORDER_MOVED", (), ONE._replace(test="GLUC"), False),
     ("RESULTS_GONE", (), ONE, False), ("CORRECTS_UNKNOWN", (), ONE._replace(test="GLUC", value="6"), False),
     ("CORRECTS_UNKNOWN", (), ONE._replace(test="GLUC", value=""), False), ("SAMPLE_UNKNOWN", (), ONE, True),
     ("CORRECTS_UNKNOWN", (), ONE._replace(test="X", value="6", organism="eco"), True),
     ("CORRECTS_UNKNOWN", (Decision(2, "follows", meant=(1, 1)),), ONE, False)],
)  # fmt: skip
def test_what_a_person_releases_is_a_word_of_what_it_may_mean(
    reason: str, others: tuple[Decision, ...], new: Said, is_its_word: bool
) -> None:
    asked = Decision(1, "held", "final", reason, may_mean=((1, 1),))
    found = words_of((asked, *others), {1: new}, {(1, 1): known(ONE)})
    assert found == ({1: (1, 1)} if is_its_word else {}) | {one.place: one.meant for one in others}
    several = asked._replace(may_mean=((1, 1), (1, 2)))
    assert words_of((several, asked._replace(kind="dead"), asked._replace(may_mean=())), {1: new}, {}) == {}
    assert words_of((asked._replace(reason="SAMPLE_UNKNOWN"),), {}, {}) == {1: (1, 1)}
