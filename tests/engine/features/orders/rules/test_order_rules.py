"""Every state of an item with every event, against a table that is written by hand from docs/orders.md."""

import pytest

from engine.features.orders.rules.order_rules import ItemEvent, Standing, same_patient, step
from engine.model.orders import ItemReason, ItemState, OrderedPatient

# One row for each state, one column for each event: the state afterwards. "." it stays and the event did nothing,
# "=" it stays and the event was done, "late" a result of an order that was given up.
EVENTS = (
    *("sent", "not_sent", "maybe_sent", "accepted", "refused", "preliminary", "final", "cancel", "cancel_confirmed"),
    *("close", "hold", "release", "free", "conflict", "replace", "resend", "expire", "unsupported", "result_held"),
    "withdrawn",
)
UNKNOWN = """
waiting offered . =  accepted refused in_progress resulted cancelled . . held . . held superseded = expired refused in_progress .
held           . . . . . . . cancelled . . . . waiting . superseded . expired . . .
offered = . waiting accepted refused in_progress resulted cancel_pending . . . . . held cancel_pending waiting expired . in_progress .
accepted       = . . = refused in_progress resulted cancel_pending . . . . . held cancel_pending waiting expired . in_progress .
in_progress    = . . = refused = resulted cancel_pending . . . . . held cancel_pending waiting expired . = .
cancel_pending . cancelled . . cancelled . late:resulted = cancelled cancelled . . . . . . expired . = .
resulted       . . . . . . . . . . . . . . . . . . . in_progress
refused        . . . . . late late . . cancelled . . . . . waiting . . . .
cancelled      . . . . . late late = . . . . . . . . . . . .
expired        . . . . . late late . . . . . . . . waiting . . . .
superseded     . . . . . late late . . . . . . . . . . . . .
rejected       . . . . . . . . . . . . . . . . . . . .
"""  # noqa: E501
# Where an analyzer has the order, or may have it.
KNOWN = {
    ("waiting", "cancel"): "cancel_pending", ("waiting", "replace"): "cancel_pending",
    ("held", "cancel"): "cancel_pending", ("held", "replace"): "cancel_pending", ("cancel_pending", "not_sent"): ".",
}  # fmt: skip
TABLE = {
    (row.split()[0], event): cell
    for row in UNKNOWN.strip().splitlines()
    for event, cell in zip(EVENTS, row.split()[1:], strict=True)
}


def test_the_table_has_every_state_and_every_event() -> None:
    assert TABLE.keys() == {(state.value, event.value) for state in ItemState for event in ItemEvent}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("event", ItemEvent)
@pytest.mark.parametrize("state", ItemState)
def test_each_event_in_each_state(state: ItemState, event: ItemEvent, known: bool) -> None:
    reason = ItemReason.SPECIMEN_CONFLICT if state is ItemState.HELD else ItemReason.NONE
    expected = TABLE[state.value, event.value]
    if known:
        expected = KNOWN.get((state.value, event.value), expected)
    found = step(Standing(state, reason, known), event)
    late, expected = expected.startswith("late"), expected.removeprefix("late:")
    stays = expected in (".", "=", "late")
    assert found.standing.state == (state if stays else expected)
    assert found.late == late
    assert found.done == (expected not in (".", "late"))
    if not found.done:
        assert found.standing.reason == reason
    assert found.standing.known >= known  # what an analyzer has seen it has seen


@pytest.mark.parametrize("event", ["release", "final", "conflict", "hold"])
def test_a_hold_of_the_lis_ends_without_a_person(event: str) -> None:
    expected = {"release": "waiting", "final": "resulted", "conflict": "held", "hold": "held"}[event]
    found = step(Standing(ItemState.HELD, ItemReason.HELD_BY_LIS, known=True), ItemEvent(event))
    assert (found.standing.state, found.done) == (expected, True)
    conflict = Standing(ItemState.HELD, ItemReason.ORDER_CONFLICT)
    assert step(conflict, ItemEvent(event)).standing.state == "held"


@pytest.mark.parametrize(("reason", "event"), [("SPECIMEN_CONFLICT", "free"), ("HELD_BY_LIS", "release")])
def test_a_released_order_that_an_analyzer_got_before_is_marked(reason: str, event: str) -> None:
    """Another analyzer may ask first: then two have it."""
    for known, expected in ((True, ItemReason.MAYBE_KNOWN), (False, ItemReason.NONE)):
        found = step(Standing(ItemState.HELD, ItemReason(reason), known), ItemEvent(event)).standing
        assert found == Standing(ItemState.WAITING, expected, known)


@pytest.mark.parametrize("state", [ItemState.WAITING, ItemState.OFFERED])
def test_a_refusal_of_what_was_sent_twice_says_that_the_analyzer_has_it(state: ItemState) -> None:
    once = step(Standing(state, ItemReason.MAYBE_KNOWN, known=True), ItemEvent.REFUSED).standing
    assert once == Standing(ItemState.OFFERED, known=True)
    assert step(once, ItemEvent.REFUSED).standing.state is ItemState.REFUSED


@pytest.mark.parametrize(("one", "other", "same"), [
    ({}, {}, True), ({"number": "1"}, {"number": "1"}, True), ({"number": "1"}, {"number": "01"}, False),
    ({"number": "1"}, {}, False), ({"number": "1", "namespace": "A"}, {"number": "1"}, True),
    ({"number": "1", "namespace": "A"}, {"number": "1", "namespace": "B"}, False),
    ({"number": "1", "birth_date": "1980"}, {"number": "1", "birth_date": "19800101"}, True),
    ({"number": "1", "birth_date": "1981"}, {"number": "1", "birth_date": "19800101"}, False),
    ({"number": "1", "family": "A"}, {"number": "1", "family": "B"}, True), ({"family": "A"}, {}, False),
    ({"family": "A", "given": "B"}, {"family": "A", "given": "B"}, True),
])  # fmt: skip
def test_the_same_patient(one: dict[str, str], other: dict[str, str], same: bool) -> None:
    first, second = OrderedPatient(**one), OrderedPatient(**other)
    assert same_patient(first, second) is same_patient(second, first) is same
