"""Care contexts: a table of issues of one report with what patient, physician and laboratory may expect of each, and
random histories of issues against a model that remembers all of them."""

from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.care_contexts import (
    ENDS,
    GENDERS,
    MIN_REFERENCE_BYTES,
    Claim,
    Known,
    Person,
    Report,
    Step,
    Wait,
    claim,
    display,
    followed,
    linked_by_hand,
    reference,
    step,
    whose,
)
from engine.model.values import changed

IST = timezone(timedelta(hours=5, minutes=30))
MEERA, OTHER = AbhaNumber("91123456789015"), AbhaNumber("91123456789023")
AT_HOME, AT_WORK, IN_SANDBOX = AbhaAddress("meera@abdm"), AbhaAddress("rao.meera@abdm"), AbhaAddress("meera@sbx")
FIRST = Report(
    document="urn:uuid:1",
    version=10,
    digest=b"first",
    issued=datetime(2026, 11, 20, 23, 45, tzinfo=IST),
    laboratory=frozenset({"IN1"}),
    patient="p-1",
    numbers=frozenset({MEERA}),
    addresses=frozenset({AT_HOME}),
    own_numbers=frozenset({("urn:city", "MR-1")}),
    name="Meera Rao",
    gender="F",
    birth_year=1984,
)
KNOWN = followed(None, FIRST, "IN1")

# what differs from the first issue -> what it is to its context
ISSUES: dict[str, tuple[Report, Step]] = {
    "the same message once more": (FIRST, Step.REPEATED),
    "the same report, sent a minute later": (changed(FIRST, version=11), Step.REPEATED),
    "a later time of issue, another value": (changed(FIRST, version=11, digest=b"second"), Step.AMENDED),
    "another value, the time of issue as it was": (changed(FIRST, digest=b"second"), Step.AMENDED),
    "an older issue of another person": (
        changed(FIRST, version=9, digest=b"zero", numbers=frozenset({OTHER})),
        Step.OLDER,
    ),
    "a day alone, the same day": (
        changed(FIRST, version=1, digest=b"d", is_day_alone=True, issued=datetime(2026, 11, 20, tzinfo=IST)),
        Step.AMENDED,
    ),
    "a day alone, the day before": (
        changed(FIRST, version=1, digest=b"d", is_day_alone=True, issued=datetime(2026, 11, 19, tzinfo=IST)),
        Step.OLDER,
    ),
    "a day alone, the next day": (
        changed(FIRST, version=12, digest=b"d", is_day_alone=True, issued=datetime(2026, 11, 21, tzinfo=IST)),
        Step.AMENDED,
    ),
    "an older issue that comes late": (changed(FIRST, version=9, digest=b"zero"), Step.OLDER),
    "another ABHA number": (changed(FIRST, version=11, digest=b"x", numbers=frozenset({OTHER})), Step.OTHER_PATIENT),
    "a second ABHA number beside it": (
        changed(FIRST, version=11, digest=b"x", numbers=frozenset({MEERA, OTHER})),
        Step.OTHER_PATIENT,
    ),
    "another person of the laboratory": (changed(FIRST, version=11, digest=b"x", patient="p-2"), Step.OTHER_PATIENT),
    "another person, and nothing else": (changed(FIRST, numbers=frozenset({OTHER})), Step.OTHER_PATIENT),
    "another address of the same number": (
        changed(FIRST, version=11, digest=b"x", addresses=frozenset({AT_WORK})),
        Step.AMENDED,
    ),
    "another address, and no number": (
        changed(FIRST, version=11, digest=b"x", numbers=frozenset(), addresses=frozenset({AT_WORK})),
        Step.OTHER_PATIENT,
    ),
    "one more address": (
        changed(FIRST, version=11, digest=b"x", addresses=frozenset({AT_HOME, AT_WORK})),
        Step.AMENDED,
    ),
    "no ABHA any more": (
        changed(FIRST, version=11, digest=b"x", numbers=frozenset(), addresses=frozenset()),
        Step.AMENDED,
    ),
    "the address alone": (changed(FIRST, version=11, digest=b"x", numbers=frozenset()), Step.AMENDED),
}

# what differs -> the person, or why it waits
NAMED = Person(address=AT_HOME, number=MEERA, name="Meera Rao", gender="F", birth_year=1984)
PATIENTS: dict[str, tuple[Report, Person | Wait]] = {
    "number and address": (FIRST, NAMED),
    "an address alone": (changed(FIRST, numbers=frozenset()), changed(NAMED, number=None)),
    "a number alone has its first address": (
        changed(FIRST, addresses=frozenset()),
        changed(NAMED, address=AbhaAddress("91123456789015@abdm")),
    ),
    "two addresses": (changed(FIRST, addresses=frozenset({AT_WORK, AT_HOME})), NAMED),
    "an address of the sandbox beside it": (changed(FIRST, addresses=frozenset({IN_SANDBOX, AT_HOME})), NAMED),
    "an address of the sandbox alone": (changed(FIRST, addresses=frozenset({IN_SANDBOX})), Wait.OTHER_ENVIRONMENT),
    "neither number nor address": (changed(FIRST, numbers=frozenset(), addresses=frozenset()), Wait.NO_ABHA),
    "nothing that lasts": (
        changed(FIRST, numbers=frozenset(), addresses=frozenset(), own_numbers=frozenset()),
        Wait.COUNTED,
    ),
    "a counter beside a number": (changed(FIRST, own_numbers=frozenset()), NAMED),
    "two numbers": (changed(FIRST, numbers=frozenset({MEERA, OTHER})), Wait.TWO_NUMBERS),
    "a check digit that does not fit": (
        changed(FIRST, numbers=frozenset({AbhaNumber("91123456789012")})),
        Wait.DOUBTFUL_NUMBER,
    ),
    "thirteen digits": (changed(FIRST, numbers=frozenset(), unreadable=1), Wait.DOUBTFUL_NUMBER),
    "another laboratory": (changed(FIRST, laboratory=frozenset({"IN2"})), Wait.OTHER_LABORATORY),
    "no laboratory": (changed(FIRST, laboratory=frozenset()), Wait.OTHER_LABORATORY),
    "no name": (changed(FIRST, name=""), Wait.NO_NAME),
    "no year": (changed(FIRST, birth_year=None), Wait.NO_BIRTH_YEAR),
    "sex unknown": (changed(FIRST, gender="U"), changed(NAMED, gender="U")),
}


@pytest.mark.parametrize("name", ISSUES)
def test_an_issue_is_new_amended_repeated_or_refused(name: str) -> None:
    report, expected = ISSUES[name]
    assert step(None, report) is Step.NEW
    assert step(KNOWN, report) is expected


@pytest.mark.parametrize("name", PATIENTS)
def test_a_patient_is_known_or_the_context_says_why_it_waits(name: str) -> None:
    report, expected = PATIENTS[name]
    assert whose(report, ["IN1"], "abdm") == expected


def test_each_reason_to_wait_has_a_case() -> None:
    assert {found for _, found in PATIENTS.values() if isinstance(found, Wait)} == set(Wait)
    assert {found for _, found in ISSUES.values()} | {Step.NEW} == set(Step)
    assert {Wait.COUNTED, Wait.OTHER_LABORATORY} == ENDS


def test_a_version_rises_with_each_amendment_also_where_the_time_of_issue_stays() -> None:
    second = followed(KNOWN, changed(FIRST, digest=b"second"), "IN1")
    third = followed(second, changed(FIRST, version=99, digest=b"third"), "IN1")
    fourth = changed(FIRST, version=100, digest=b"fourth")
    assert [one.version for one in (KNOWN, second, third)] == [1, 2, 3]
    assert step(third, fourth) is Step.AMENDED


def test_a_person_who_was_known_once_is_not_forgotten_with_an_issue_that_does_not_say_it() -> None:
    bare = changed(FIRST, version=11, digest=b"x", numbers=frozenset(), addresses=frozenset())
    after = followed(KNOWN, bare, "IN1")
    assert after.numbers == {MEERA}
    assert step(after, changed(FIRST, version=12, digest=b"y", numbers=frozenset({OTHER}))) is Step.OTHER_PATIENT


def test_the_text_of_the_app_says_the_day_of_the_laboratory_and_nothing_of_the_patient() -> None:
    assert display(FIRST.issued) == "Lab report 20 Nov 2026"
    assert display(datetime(2027, 1, 2, tzinfo=IST)) == "Lab report 2 Jan 2027"


@given(st.binary(min_size=MIN_REFERENCE_BYTES, max_size=64))
def test_a_reference_has_the_letters_that_the_network_takes(chance: bytes) -> None:
    made = reference(chance)
    assert set(made) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567-")
    assert len(made) <= 255
    assert made != reference(chance[:-1] + bytes([chance[-1] ^ 1]))


def test_a_reference_of_too_little_chance_is_refused() -> None:
    with pytest.raises(ValueError, match="10 bytes"):
        reference(bytes(9))


def test_the_four_words_of_fhir_have_their_letters() -> None:
    assert GENDERS == {"male": "M", "female": "F", "other": "O", "unknown": "U"}


issues = st.builds(
    lambda version, content, who: changed(
        FIRST,
        version=version,
        digest=content,
        numbers=frozenset({who}) if who else frozenset(),
        addresses=frozenset(),
    ),
    st.integers(1, 6),
    st.sampled_from([b"a", b"b", b"c"]),
    st.sampled_from([None, MEERA, OTHER]),
)


@given(st.lists(issues, max_size=12))
def test_in_any_history_a_context_is_of_one_person_and_never_goes_back(history: list[Report]) -> None:
    known: Known | None = None
    taken: list[Report] = []
    versions: list[int] = []
    for report in history:
        found = step(known, report)
        newest = max((one.version for one in taken), default=0)
        seen = report.version == newest and report.digest in [one.digest for one in taken[:-1]]
        people = {one for earlier in taken for one in earlier.numbers}
        is_other = bool(people and report.numbers and people != report.numbers)
        assert (found is Step.OTHER_PATIENT) == (is_other and report.version >= newest and not seen)
        assert (found is Step.NEW) == (not taken)
        if found in (Step.NEW, Step.AMENDED):
            assert not taken or (report.digest != taken[-1].digest and report.version >= newest and not seen)
            known = followed(known, report, "IN1")
            taken.append(report)
            versions.append(known.version)
    assert versions == sorted(set(versions))
    assert len({one for report in taken for one in report.numbers}) <= 1


def days_alone(*digests: bytes) -> list[Report]:
    midnight = datetime(2026, 11, 20, tzinfo=IST)
    return [changed(FIRST, version=5, is_day_alone=True, issued=midnight, digest=one) for one in digests]


def test_of_issues_of_one_day_without_a_time_the_one_that_came_later_is_newer() -> None:
    first, second, third = days_alone(b"first", b"second", b"third")
    known = followed(followed(None, first, "IN1"), second, "IN1")
    assert step(known, third) is Step.AMENDED
    assert step(known, third, came_later=False) is Step.OLDER
    assert step(known, first) is Step.OLDER, "sent again: it was there before"
    assert step(known, second) is Step.REPEATED


def test_a_day_alone_hides_no_time_that_was_known() -> None:
    (bare,) = days_alone(b"bare")
    known = followed(KNOWN, bare, "IN1")
    assert step(known, FIRST) is Step.OLDER
    assert step(known, changed(FIRST, version=9, digest=b"early")) is Step.OLDER
    assert step(known, changed(FIRST, version=11, digest=b"late")) is Step.AMENDED
    assert step(followed(None, bare, "IN1"), FIRST) is Step.AMENDED
    assert step(followed(None, bare, "IN1"), FIRST, came_later=False) is Step.OLDER


def test_what_a_person_has_said_of_a_number_stands_against_the_documents() -> None:
    known = linked_by_hand(KNOWN, OTHER, IN_SANDBOX)
    assert step(known, changed(FIRST, version=11, digest=b"x")) is Step.AMENDED, "the number that was set aside"
    third = changed(FIRST, version=11, digest=b"x", numbers=frozenset({AbhaNumber("91100000000024")}))
    assert step(known, third) is Step.OTHER_PATIENT
    after = followed(known, changed(FIRST, version=11, digest=b"x"), "IN1")
    assert after.numbers == {OTHER}


# A report whose number another patient's report has. What the other one was -> what comes -> what it is to it. The day:
# 20 November is that of the first one.
NEXT, WEEKS_LATER = date(2026, 11, 21), date(2026, 12, 24)
THEIRS = changed(
    FIRST,
    document="urn:uuid:2",
    patient="p-2",
    digest=b"theirs",
    version=11,
    numbers=frozenset({OTHER}),
    addresses=frozenset(),
)
CLAIMS: dict[str, tuple[bool, Report, Claim]] = {
    "a correction under the other name": (False, changed(THEIRS, is_correction=True), Claim.MOVED),
    "the same number on the same day, and no word of a correction": (False, THEIRS, Claim.DOUBT),
    "the same number on the next day": (False, changed(THEIRS, measured=NEXT), Claim.FREE),
    "the same number in weeks": (False, changed(THEIRS, measured=WEEKS_LATER), Claim.FREE),
    "a correction that says another day": (
        False,
        changed(THEIRS, measured=NEXT, is_correction=True),
        Claim.DOUBT,
    ),
    "a correction of a number that was given again long ago": (
        False,
        changed(THEIRS, measured=WEEKS_LATER, issued=datetime(2026, 12, 24, tzinfo=IST), is_correction=True),
        Claim.FREE,
    ),
    "the report that was corrected comes after its correction": (True, changed(THEIRS, version=9), Claim.LATE),
    "it comes after its correction, which says another day": (
        True,
        changed(THEIRS, version=9, issued=datetime(2026, 11, 19, 10, tzinfo=IST), measured=date(2026, 11, 19)),
        Claim.LATE,
    ),
    "an older report of another day, long before a correction": (
        True,
        changed(THEIRS, version=9, issued=datetime(2026, 11, 2, 10, tzinfo=IST), measured=date(2026, 11, 2)),
        Claim.FREE,
    ),
    "a newer report of another day after a correction": (True, changed(THEIRS, measured=NEXT), Claim.FREE),
    "an older correction after the newer one": (
        True,
        changed(THEIRS, version=9, is_correction=True),
        Claim.LATE,
    ),
    "an older report, and neither is a correction": (False, changed(THEIRS, version=9), Claim.DOUBT),
    "one person under two numbers of the laboratory": (
        False,
        changed(THEIRS, numbers=frozenset({MEERA})),
        Claim.FREE,
    ),
    "one person under two numbers, corrected": (
        False,
        changed(THEIRS, numbers=frozenset({MEERA}), is_correction=True),
        Claim.MOVED,
    ),
    "another person with the same address, who has another number": (
        False,
        changed(THEIRS, addresses=frozenset({AT_HOME})),
        Claim.DOUBT,
    ),
    "one patient, another day": (False, changed(FIRST, document="urn:uuid:3", measured=NEXT), Claim.FREE),
    "the same document with another ABHA number": (
        False,
        changed(THEIRS, document=FIRST.document, patient=FIRST.patient),
        Claim.DOUBT,
    ),
    "the same document with another ABHA number, corrected": (
        False,
        changed(THEIRS, document=FIRST.document, patient=FIRST.patient, is_correction=True),
        Claim.MOVED,
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_number_of_two_patients_is_given_again_moved_or_doubtful(name: str) -> None:
    was_corrected, report, expected = CLAIMS[name]
    assert claim(changed(KNOWN, is_correction=was_corrected), report) is expected


def test_each_claim_has_a_case() -> None:
    assert {expected for _, _, expected in CLAIMS.values()} == set(Claim)
