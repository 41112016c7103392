"""Consents: a table of requests with the answer that patient, reader and gateway may expect, and random histories
against a model that remembers everything and derives each answer anew.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.features.abdm.rules.abha import AbhaAddress
from engine.features.abdm.rules.consents import (
    CODES,
    PURPOSES,
    UNIT_LASTS,
    Artefact,
    CareContext,
    ConsentState,
    DataRequest,
    Frequency,
    FrequencyUnit,
    Holding,
    Notice,
    Period,
    Refusal,
    Standing,
    Unfit,
    is_used_up,
    noticed,
    refusal,
    state_at,
    unfit,
)
from engine.model.values import changed
from tests.support.examples import examples

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MEERA, OTHER = AbhaAddress("meera@abdm"), AbhaAddress("asha@abdm")
GRANTED = Artefact(
    consent_id="c-1",
    patient=MEERA,
    facility="IN1",
    care_contexts=(CareContext("P-7", "LR-A"), CareContext("P-7", "LR-B")),
    purpose="CAREMGT",
    hi_types=frozenset({"DiagnosticReport"}),
    period=Period(NOW - 30 * DAY, NOW),
    erase_at=NOW + DAY,
)
ASKED = DataRequest(
    transaction_id="t-1", consent_id="c-1", period=GRANTED.period, push_url="https://x.example", key_material={}
)
GRANT = Notice(consent_id="c-1", state=ConsentState.GRANTED, artefact=GRANTED)


def word(state: ConsentState) -> Notice:
    return Notice(consent_id="c-1", state=state)


def after(*notices: Notice) -> Standing:
    return reduce(noticed, notices, Standing())


def looked_at(standing: Standing | None, request: DataRequest = ASKED, now: datetime = NOW) -> Refusal | None:
    return refusal(standing, request, facility="IN1", now=now)


# -- states ----------------------------------------------------------------------------------------------------------

# notices in the order in which they came -> state
STATES: list[tuple[list[ConsentState], ConsentState]] = [
    ([], ConsentState.REQUESTED),
    ([ConsentState.REQUESTED], ConsentState.REQUESTED),
    ([ConsentState.GRANTED], ConsentState.GRANTED),
    ([ConsentState.GRANTED, ConsentState.GRANTED], ConsentState.GRANTED),
    ([ConsentState.GRANTED, ConsentState.REQUESTED], ConsentState.GRANTED),
    ([ConsentState.GRANTED, ConsentState.REVOKED], ConsentState.REVOKED),
    ([ConsentState.REVOKED, ConsentState.GRANTED], ConsentState.REVOKED),
    ([ConsentState.REVOKED, ConsentState.EXPIRED], ConsentState.REVOKED),
    ([ConsentState.EXPIRED, ConsentState.REVOKED], ConsentState.REVOKED),
    ([ConsentState.EXPIRED, ConsentState.GRANTED], ConsentState.EXPIRED),
    ([ConsentState.DENIED, ConsentState.GRANTED], ConsentState.DENIED),
]


@pytest.mark.parametrize(("notices", "state"), STATES)
def test_the_state_after_notices(notices: list[ConsentState], state: ConsentState) -> None:
    standing = after(*(GRANT if one is ConsentState.GRANTED else word(one) for one in notices))
    assert state_at(standing, NOW) is state
    assert (looked_at(standing) is None) is (state is ConsentState.GRANTED)


def test_a_consent_ends_by_our_own_clock() -> None:
    standing = after(GRANT)
    moments = [NOW, GRANTED.erase_at - timedelta(microseconds=1), GRANTED.erase_at, GRANTED.erase_at + DAY]
    assert [state_at(standing, at) for at in moments] == [ConsentState.GRANTED] * 2 + [ConsentState.EXPIRED] * 2
    assert [looked_at(standing, now=at) for at in moments] == [None, None, Refusal.EXPIRED, Refusal.EXPIRED]


def test_a_revoked_consent_is_revoked_also_after_its_end() -> None:
    standing = after(GRANT, word(ConsentState.REVOKED))
    assert state_at(standing, GRANTED.erase_at + DAY) is ConsentState.REVOKED


def test_the_artefact_of_a_late_grant_is_kept_for_people_to_see() -> None:
    assert after(word(ConsentState.REVOKED), GRANT).artefact == GRANTED


OTHERS: dict[str, Artefact] = {
    "a longer time": changed(GRANTED, erase_at=NOW + 100 * DAY),
    "a wider range": changed(GRANTED, period=Period(NOW - 365 * DAY, NOW)),
    "another patient": changed(GRANTED, patient=OTHER),
    "one context more": changed(GRANTED, care_contexts=(*GRANTED.care_contexts, CareContext("P-7", "LR-C"))),
    "another reader": changed(GRANTED, reader="HIU-2"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_two_grants_with_different_contents_are_a_dispute(name: str) -> None:
    other = changed(GRANT, artefact=OTHERS[name])
    for notices in ((GRANT, other), (other, GRANT), (GRANT, other, GRANT)):
        for now in (NOW, GRANTED.erase_at, NOW + 1000 * DAY):  # the end of such a consent is unknown
            assert looked_at(after(*notices), now=now) is Refusal.DISPUTED
    assert looked_at(after(GRANT, other, word(ConsentState.REVOKED))) is Refusal.NOT_GRANTED


def test_a_grant_that_names_its_reader_in_other_words_is_no_dispute() -> None:
    again = changed(GRANT, artefact=changed(GRANTED, reader_name="City Hospital"))
    assert looked_at(after(GRANT, again)) is None


# -- requests --------------------------------------------------------------------------------------------------------

MICROSECOND = timedelta(microseconds=1)


def asked(begin: datetime, end: datetime) -> DataRequest:
    return changed(ASKED, period=Period(begin, end))


BEGIN, END = GRANTED.period.begin, GRANTED.period.end
# what is asked, under which consent, at which facility -> the answer
REQUESTS: dict[str, tuple[Standing | None, DataRequest, str, Refusal | None]] = {
    "all that was granted": (after(GRANT), ASKED, "IN1", None),
    "a part of the time": (after(GRANT), asked(BEGIN + DAY, END - DAY), "IN1", None),
    "one moment": (after(GRANT), asked(BEGIN, BEGIN), "IN1", None),
    "earlier than granted": (after(GRANT), asked(BEGIN - MICROSECOND, END), "IN1", Refusal.RANGE),
    "later than granted": (after(GRANT), asked(BEGIN, END + MICROSECOND), "IN1", Refusal.RANGE),
    "another time": (after(GRANT), asked(BEGIN - 9 * DAY, BEGIN - DAY), "IN1", Refusal.RANGE),
    "from the end to the begin": (after(GRANT), asked(END, BEGIN), "IN1", Refusal.RANGE_INVERTED),
    "no such consent": (None, ASKED, "IN1", Refusal.UNKNOWN),
    "the artefact of another consent": (after(GRANT), changed(ASKED, consent_id="c-2"), "IN1", Refusal.UNKNOWN),
    "before the grant": (after(word(ConsentState.REQUESTED)), ASKED, "IN1", Refusal.NOT_GRANTED),
    "a grant without an artefact": (Standing(ConsentState.GRANTED), ASKED, "IN1", Refusal.NOT_GRANTED),
    "denied": (after(word(ConsentState.DENIED)), ASKED, "IN1", Refusal.NOT_GRANTED),
    "revoked": (after(GRANT, word(ConsentState.REVOKED)), ASKED, "IN1", Refusal.NOT_GRANTED),
    "expired by a notice": (after(GRANT, word(ConsentState.EXPIRED)), ASKED, "IN1", Refusal.EXPIRED),
    "at another facility of ours": (after(GRANT), ASKED, "IN2", Refusal.OTHER_FACILITY),
    "an unknown purpose": (
        after(changed(GRANT, artefact=changed(GRANTED, purpose="MARKETING"))), ASKED, "IN1", Refusal.PURPOSE),
    "prescriptions alone": (
        after(changed(GRANT, artefact=changed(GRANTED, hi_types=frozenset({"Prescription"})))), ASKED, "IN1",
        Refusal.HI_TYPE),
    "several things are wrong": (
        after(GRANT, word(ConsentState.REVOKED)), asked(END, BEGIN), "IN2", Refusal.NOT_GRANTED),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request(name: str) -> None:
    standing, request, facility, answer = REQUESTS[name]
    assert refusal(standing, request, facility=facility, now=NOW) is answer


def test_each_refusal_has_its_request() -> None:
    elsewhere = {Refusal.DISPUTED, Refusal.FREQUENCY}  # tests of their own
    assert {answer for *_, answer in REQUESTS.values()} == {None, *Refusal} - elsewhere
    assert CODES.keys() <= set(Refusal)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_each_known_purpose_is_served(purpose: str) -> None:
    assert looked_at(after(changed(GRANT, artefact=changed(GRANTED, purpose=purpose)))) is None


HOURLY = Frequency(FrequencyUnit.HOUR, 1, 2)
AGO: Callable[[float], datetime] = lambda minutes: NOW - timedelta(minutes=minutes)  # noqa: E731
# frequency, answers so far -> used up
USES: list[tuple[Frequency | None, list[datetime], bool]] = [
    (None, [NOW] * 100, False),
    (Frequency(FrequencyUnit.HOUR, 1, 0), [NOW] * 100, False),  # as the sandbox sends it
    (Frequency(FrequencyUnit.HOUR, 0, 1), [NOW] * 100, False),
    (HOURLY, [], False),
    (HOURLY, [AGO(1)], False),
    (HOURLY, [AGO(1), AGO(2)], True),
    (HOURLY, [AGO(1), AGO(59.9)], True),
    (HOURLY, [AGO(1), AGO(60)], False),
    (HOURLY, [AGO(1), AGO(-600)], True),  # the clock was set back
    (Frequency(FrequencyUnit.DAY, 2, 1), [AGO(47 * 60)], True),
    (Frequency(FrequencyUnit.DAY, 2, 1), [AGO(48 * 60)], False),
    (Frequency(FrequencyUnit.MONTH, 1, 1), [NOW - 30 * DAY], True),
    (Frequency(FrequencyUnit.YEAR, 1, 1), [NOW - 365 * DAY], True),
    (Frequency(FrequencyUnit.YEAR, 10_000, 1), [], False),
]


@pytest.mark.parametrize(("frequency", "served", "is_so"), USES)
def test_how_often_a_consent_is_used(frequency: Frequency | None, served: list[datetime], is_so: bool) -> None:
    standing = after(changed(GRANT, artefact=changed(GRANTED, frequency=frequency)))
    found = refusal(standing, ASKED, facility="IN1", now=NOW, served=served)
    assert found is (Refusal.FREQUENCY if is_so else None)


def test_the_longest_frequency_is_within_the_calendar() -> None:
    assert is_used_up(Frequency(FrequencyUnit.YEAR, 10_000, 1), [NOW], NOW)


# -- a grant that comes ----------------------------------------------------------------------------------------------

HELD = {"LR-A": Holding("P-7", frozenset({MEERA})), "LR-B": Holding("P-7", frozenset({MEERA, OTHER}))}
GRANTS: dict[str, tuple[Artefact, Unfit | None]] = {
    "ours": (GRANTED, None),
    "of another facility": (changed(GRANTED, facility="IN9"), Unfit.OTHER_FACILITY),
    "for nothing": (changed(GRANTED, care_contexts=()), Unfit.NO_CONTEXT),
    "for a report that is not here, too": (
        changed(GRANTED, care_contexts=(CareContext("P-7", "LR-Z"), *GRANTED.care_contexts)), None),
    "for no report that is here": (
        changed(GRANTED, care_contexts=(CareContext("P-7", "LR-Z"),)), Unfit.UNKNOWN_CONTEXT),
    "for one that is not here, and another patient's": (
        changed(GRANTED, care_contexts=(CareContext("P-7", "LR-Z"), CareContext("P-8", "LR-A"))), Unfit.OTHER_PATIENT),
    "for another patient's report": (changed(GRANTED, patient=OTHER), Unfit.OTHER_PATIENT),
    "for a report under another number": (
        changed(GRANTED, care_contexts=(CareContext("P-8", "LR-A"),)), Unfit.OTHER_PATIENT),
    "by a second address of the patient": (
        changed(GRANTED, patient=OTHER, care_contexts=(CareContext("P-7", "LR-B"),)), None),
}  # fmt: skip


@pytest.mark.parametrize("name", GRANTS)
def test_a_grant_that_comes(name: str) -> None:
    artefact, answer = GRANTS[name]
    assert unfit(artefact, {"IN1", "IN2"}, HELD) is answer


# -- random histories ------------------------------------------------------------------------------------------------

ARTEFACTS = [GRANTED, *OTHERS.values(), changed(GRANTED, frequency=HOURLY), changed(GRANTED, reader_name="other words")]
NOTICES = st.one_of(
    st.sampled_from(ARTEFACTS[:1] * 4 + ARTEFACTS).map(lambda one: changed(GRANT, artefact=one)),
    st.sampled_from(ConsentState).map(lambda state: GRANT if state is ConsentState.GRANTED else word(state)),
)
MOMENTS = st.integers(-3 * 24 * 60, 3 * 24 * 60).map(lambda minutes: NOW + timedelta(minutes=minutes))
PERIODS = st.tuples(st.integers(-35, 5), st.integers(-35, 5)).map(
    lambda days: asked(NOW + days[0] * DAY, NOW + days[1] * DAY)
)
LOOKS = st.tuples(st.one_of(st.just(ASKED), PERIODS), st.sampled_from(["IN1", "IN1", "IN2"]), MOMENTS)


class Model:
    """It keeps all that was said, and asks for each request: may the patient be sorry if this is answered?"""

    def __init__(self) -> None:
        self.said: list[Notice] = []
        self.served: list[datetime] = []

    def may(self, request: DataRequest, facility: str, now: datetime) -> bool:
        words = {one.state for one in self.said}
        grants = [one.artefact for one in self.said if one.artefact is not None]
        if not grants or words & {ConsentState.REVOKED, ConsentState.DENIED, ConsentState.EXPIRED}:
            return False
        terms = {
            (one.patient, one.facility, one.care_contexts, one.period, one.erase_at, one.reader, one.frequency)
            for one in grants
        }
        if len(terms) > 1:
            return False
        one = grants[0]
        begin, end = request.period.begin, request.period.end
        lasts = UNIT_LASTS[one.frequency.unit] * one.frequency.value if one.frequency else DAY
        recent = [at for at in self.served if now - at < lasts]
        return (
            now < one.erase_at
            and facility == one.facility
            and one.period.begin <= begin <= end <= one.period.end
            and not (one.frequency and one.frequency.repeats and len(recent) >= one.frequency.repeats)
        )


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(st.one_of(NOTICES, LOOKS), max_size=14))
def test_in_any_order_of_notices_and_requests_the_model_agrees(events: list[Notice | tuple]) -> None:  # type: ignore[type-arg]
    model, standing = Model(), Standing()
    for event in events:
        if isinstance(event, Notice):
            model.said.append(event)
            standing = noticed(standing, event)
            continue
        request, facility, now = event
        found = refusal(standing, request, facility=facility, now=now, served=model.served)
        assert (found is None) is model.may(request, facility, now)
        if found is None:
            model.served.append(now)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(NOTICES, max_size=4), LOOKS)
def test_the_order_of_notices_makes_no_difference(
    notices: list[Notice], look: tuple[DataRequest, str, datetime]
) -> None:
    request, facility, now = look
    found = {
        (state_at(standing, now), standing.disputed, refusal(standing, request, facility=facility, now=now))
        for standing in (after(*order) for order in permutations(notices))
    }
    assert len(found) == 1


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(NOTICES, max_size=6), st.lists(NOTICES, max_size=6), LOOKS)
def test_a_revoked_consent_never_comes_back(
    before: list[Notice], later: list[Notice], look: tuple[DataRequest, str, datetime]
) -> None:
    request, facility, now = look
    standing = after(*before, word(ConsentState.REVOKED), *later)
    assert standing.state is ConsentState.REVOKED
    assert refusal(standing, request, facility=facility, now=now) is Refusal.NOT_GRANTED


@given(st.lists(NOTICES, min_size=1, max_size=6), st.data())
def test_a_notice_that_comes_again_changes_nothing(notices: list[Notice], data: st.DataObject) -> None:
    again = data.draw(st.sampled_from(notices))
    assert noticed(after(*notices), again) == after(*notices)
