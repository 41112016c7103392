"""How a result follows those accepted before it: the table that a laboratory may expect, walked row by row."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.texts.reasons import ReasonCode
from engine.succession.steps import RANK, WITHDRAWN, Version, follow, is_older, of_report

RECEIVED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STATUS = {
    "I": "registered",
    "P": "preliminary",
    "F": "final",
    "A": "amended",
    "C": "corrected",
    "X": "cancelled",
    "D": "entered-in-error",
}


def version(text: str, *, waits: bool = False) -> Version:
    """``F 5.5 09:30``: status, value (``-`` for none), time of measurement (absent: none). ``[..]``: it is held."""
    if text.startswith("["):
        return version(text[1:-1], waits=True)
    status, value, *time = text.split()
    out, _, said = status.rpartition("<")  # A<F: went out as amended, and the sender said final
    at = f"2026-03-01T{time[0]}:00+00:00" if time else ""
    return Version(STATUS[out or said], STATUS[said], f"{value} {at}".encode(), at, has_value=value != "-", waits=waits)


# accepted before, the oldest first | new | what becomes of it
TABLE = [
    # nothing is known
    ([], "F 5.5 09:30", "final"),
    ([], "P 5.5 09:30", "preliminary"),
    ([], "C 5.5 09:30", "corrected"),
    ([], "D - 09:30", "entered-in-error"),
    ([], "X -", "cancelled"),
    # the analyzer's memory
    (["F 9.9 09:30"], "F 9.9 09:30", "echo"),
    (["F 9.9 09:30", "C 6.0 09:32"], "F 9.9 09:30", "echo"),
    (["P 1.1 09:00", "F 9.9 09:30"], "P 1.1 09:00", "echo"),
    (["F 9.9 09:30", "D - 09:40"], "F 9.9 09:30", "echo"),
    (["F 9.9 09:30", "[P 1.1 09:40]"], "P 1.1 09:40", "again"),
    (["[F 9.9 09:30]"], "F 9.9 09:30", "again"),
    (["F 9.9 09:30", "C 6.0 09:32", "[F 9.9 09:30]"], "F 9.9 09:30", "echo"),
    (["F 9.9 09:30", "A<F 8.8 09:30"], "F 8.8 09:30", "echo"),
    (["F 9.9"], "F 9.9", "final"),  # no time in the text: it may be a second measurement
    # the order of status
    (["F 9.9 09:30"], "P 1.1 09:30", ReasonCode.STATUS_BACK),
    (["F 9.9 09:30"], "P 1.1 10:30", ReasonCode.STATUS_BACK),
    (["F 9.9"], "P 1.1", ReasonCode.STATUS_BACK),
    (["F 9.9"], "I -", ReasonCode.VALUE_GONE),
    (["F 9.9 09:30", "C 6.0 09:32"], "F 7.7 09:40", ReasonCode.STATUS_BACK),
    (["C 6.0 09:32"], "A 7.7 09:40", ReasonCode.STATUS_BACK),
    (["C 6.0 09:32"], "C 7.7 09:31", "corrected"),
    (["P 1.1 09:00"], "F 9.9 09:30", "final"),
    (["P 9.9 09:30"], "F 9.9 09:30", "final"),
    (["P 1.1 09:30"], "F 9.9 09:00", "final"),  # further on: its time does not matter
    (["P 1.1 09:00"], "P 2.2 09:10", "preliminary"),
    # older by the time of measurement
    (["F 9.9 10:00"], "F 5.5 09:00", ReasonCode.OLDER_RESULT),
    (["P 9.9 10:00"], "P 5.5 09:00", ReasonCode.OLDER_RESULT),
    (["F 9.9 10:00"], "F 5.5", "amended"),
    (["F 9.9"], "F 5.5 09:00", "amended"),
    (["F 9.9 23:00"], "F 5.5 09:00", "amended"),  # measured after its receipt: a clock that is wrong
    (["F 9.9 10:00"], "C 5.5 09:00", "corrected"),
    # a changed final
    (["F 5.5 09:30"], "F 6.0 09:40", "amended"),
    (["F 5.5 09:30"], "F 6.0 09:30", "amended"),
    (["F 5.5 09:30", "A<F 6.0 09:40"], "F 6.1 09:50", "amended"),
    (["P 5.5 09:30", "F 6.0 09:40"], "C 6.1 09:50", "corrected"),
    (["[F 5.5 09:30]"], "F 6.0 09:40", "final"),  # no receiver has had the first
    (["P 5.5 09:00", "[F 5.5 09:30]"], "F 6.0 09:40", "final"),
    # no value any more
    (["F 5.5 09:30"], "X - 09:40", ReasonCode.VALUE_GONE),
    (["F 5.5 09:30"], "F - 09:40", ReasonCode.VALUE_GONE),
    (["F 5.5 09:30"], "C - 09:40", ReasonCode.VALUE_GONE),
    (["P 5.5 09:30"], "F - 09:40", ReasonCode.VALUE_GONE),
    (["X - 09:30"], "F 5.5 09:40", "final"),
    (["X - 09:30"], "F 5.5 09:20", ReasonCode.OLDER_RESULT),
    (["X - 09:30"], "X - 09:40", "cancelled"),
    (["F - 09:30"], "F 5.5 09:40", "amended"),
    # withdrawn
    (["F 5.5 09:30"], "D - 09:40", "entered-in-error"),
    (["F 5.5 09:30"], "D -", "entered-in-error"),
    (["F 5.5 09:30", "D - 09:40"], "P 7.7 09:50", ReasonCode.WITHDRAWN_BEFORE),
    (["F 5.5 09:30", "D - 09:40"], "F 7.7 09:50", ReasonCode.WITHDRAWN_BEFORE),
    (["F 5.5 09:30", "D - 09:40"], "C 7.7 09:50", ReasonCode.WITHDRAWN_BEFORE),
    (["F 5.5 09:30", "D - 09:40", "F 7.7 09:50"], "F 7.8 09:55", "amended"),  # a person has let the 7.7 go
    (["F 5.5 09:30", "[D - 09:40]"], "F 7.7 09:50", ReasonCode.WITHDRAWN_BEFORE),
    # held versions count, too
    (["F 5.5 09:30", "[C 6.0 09:40]"], "F 5.6 09:50", ReasonCode.STATUS_BACK),
    (["[F 5.5 09:30]"], "P 5.6 09:50", ReasonCode.STATUS_BACK),
]


@pytest.mark.parametrize(("accepted", "new", "outcome"), TABLE)
def test_what_becomes_of_a_result(accepted: list[str], new: str, outcome: str | ReasonCode) -> None:
    step = follow(version(new), [version(one) for one in accepted], RECEIVED)
    if isinstance(outcome, ReasonCode):
        assert (step.kind, step.reason) == ("held", outcome)
    elif outcome in ("echo", "again"):
        assert step.kind == outcome
    else:
        assert (step.kind in ("plain", "amended"), step.status) == (True, outcome)


# accepted before | what is held | the status with which it goes out once a person releases it; empty: its own
RELEASED = [
    (["F 9.9 09:30", "C 6.0 09:32"], "F 7.7 09:40", "amended"),
    (["F 9.9 10:00"], "F 5.5 09:00", "amended"),
    (["F 5.5 09:30", "[C 6.0 09:40]"], "F 5.6 09:50", "amended"),
    (["F 5.5 09:30"], "F - 09:40", "amended"),
    (["[F 5.5 09:30]"], "P 5.6 09:50", ""),
    (["P 9.9 10:00"], "P 5.5 09:00", ""),
    (["[C 5.5 09:30]"], "F 5.6 09:50", ""),  # no receiver has had the first
    (["F 5.5 09:30"], "X - 09:40", ""),
]


@pytest.mark.parametrize(("accepted", "new", "status"), RELEASED)
def test_what_a_person_releases_over_another_final_one_says_so(accepted: list[str], new: str, status: str) -> None:
    step = follow(version(new), [version(one) for one in accepted], RECEIVED)
    assert (step.kind, step.status) == ("held", status)


VERSIONS = st.builds(
    lambda status, value, minute: f"{status} {'-' if status in 'XD' else value} 09:{minute:02}",
    st.sampled_from("IPFACXD"),
    st.sampled_from(["5.5", "6.0", "7.1"]),
    st.integers(0, 59),
)


@given(st.lists(VERSIONS, max_size=12))
def test_no_history_takes_a_status_back(history: list[str]) -> None:
    """All that may come, in any order: what goes out without a person never goes back, and a final one that
    changes is never silently final."""
    accepted: list[Version] = []
    for text in history:
        new = version(text)
        step = follow(new, accepted, RECEIVED)
        if step.kind in ("echo", "again"):
            assert new.whole in [one.whole for one in accepted]
            continue
        if step.kind == "held":
            accepted.append(new._replace(waits=True))
            continue
        sent = [one for one in accepted if not one.waits]
        if sent:
            before = sent[-1]
            assert before.status != WITHDRAWN or step.status == WITHDRAWN
            if step.status in RANK and before.status in RANK:
                assert RANK[step.status] >= RANK[before.status]
                assert not (before.status == step.status == "final" and before.whole != new.whole)
            assert new.has_value or not before.has_value or step.status == WITHDRAWN
        accepted.append(new._replace(status=step.status))


@pytest.mark.parametrize(
    ("new", "old", "older"),
    [
        ("2026-03-01T09:00:00+05:30", "2026-03-01T04:00:00+00:00", True),
        ("2026-03-01T09:30:00+05:30", "2026-03-01T04:00:00+00:00", False),
        ("2026-03-01", "2026-03-01T09:00:00+05:30", False),  # compared as days
        ("2026-02-28", "2026-03-01T09:00:00+05:30", True),
        ("2026-02", "2026-03-01", True),
        ("", "2026-03-01", False),
        ("2026-03-01", "", False),
        ("2000-01-01T00:05:00+00:00", "2026-03-01", False),  # a clock that has lost its battery
        ("2026-02-28", "2031-03-01", False),
        ("2026-02-28T09:00:00", "2026-03-01T09:00:00+00:00", False),  # no offset: it cannot be told
        ("nonsense of a time", "2026-03-01", False),
        ("2001-01-01", "2001-01-02", True),
        ("2000-12-31", "2001-01-02", False),
        ("2026-03-01", "2026-03-02T09:30", True),
        ("2026-03-01", "2026-03-03", False),
        ("2026-02-28T09:00:00+00:00", "2026-03-01T12:15:00+00:00", True),
        ("2026-02-28T09:00:00+00:00", "2026-03-01T12:15:01+00:00", False),
    ],
)
def test_which_time_is_older(new: str, old: str, older: bool) -> None:
    assert is_older(new, old, RECEIVED) is older


@pytest.mark.parametrize(
    ("said", "before", "results", "status"),
    [
        ("final", "", ["final"], "final"),
        ("final", "final", ["final", "final"], "final"),  # it has grown, and nothing else
        ("preliminary", "preliminary", ["preliminary", "preliminary"], "preliminary"),
        ("preliminary", "final", ["final", "preliminary"], "partial"),
        ("preliminary", "final", ["preliminary"], "partial"),
        ("final", "partial", ["final", "preliminary"], "partial"),
        ("final", "partial", ["final", "final"], "final"),
        ("preliminary", "final", ["final"], "final"),
        ("final", "corrected", ["corrected", "final"], "corrected"),
        ("final", "amended", ["final", "amended"], "amended"),
        ("corrected", "amended", ["amended", "corrected"], "corrected"),
        ("final", "corrected", ["final"], "corrected"),
        ("final", "final", ["cancelled", "final"], "final"),
        ("entered-in-error", "final", ["final"], "entered-in-error"),
        ("cancelled", "final", [], "cancelled"),
    ],
)
def test_the_status_of_a_report_that_has_grown(said: str, before: str, results: list[str], status: str) -> None:
    assert of_report(said, before, results) == status
