"""The state of each laboratory at ABDM, counted: what waits, what has failed, what is open. One look is enough."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from engine.features.abdm.rows.consents import SUSPENDED
from engine.features.abdm.rows.lists import CONSENTS, CONTEXTS, MOST_COUNTED, Count, counts
from engine.features.abdm.rules.care_contexts import Gone, Hold
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import ContextState
from engine.store.core.connecting import Execute
from engine.store.queries.reader import Reader

FAILED_WITHIN_US = 86_400_000_000  # calls that have failed
REFUSED_WITHIN_US = 7 * 86_400_000_000  # callbacks that could not be used, as the to-do list has them
BEHIND_US = 60_000_000  # a callback that is not folded for so long
MOST = MOST_COUNTED


@dataclass(frozen=True, slots=True, kw_only=True)
class FacilityState:
    """One laboratory; counts go up to one more than `MOST_COUNTED` of each kind.

    Attributes:
        contexts, consents: of each state.
        moved, same_number, other_name: care contexts at which a person has to look, by their reason.
        calls_waiting: to the gateway, that have not ended; ``calls_again``: those of them that failed before.
        calls_failed: given up in the last 24 hours.
        suspended: consents under which nothing goes out until they are granted anew, or a person resumes them.
        unsure: granted, and nothing goes out for another reason.
        last_callback_us: 0: none has come.
        callbacks_behind: for a minute or longer not folded.
        callbacks_refused: not usable, in the last 7 days.
    """

    facility: str
    name: str
    contexts: Mapping[str, int]
    moved: int
    same_number: int
    other_name: int
    calls_waiting: int
    calls_again: int
    calls_failed: int
    consents: Mapping[str, int]
    suspended: int
    unsure: int
    transfers_open: int
    last_callback_us: int
    callbacks_behind: int
    callbacks_refused: int

    @property
    def troubles(self) -> Mapping[str, int]:
        """What is not well, by name; empty: all is."""
        found = {
            "moved": self.moved,
            "same_number": self.same_number,
            "other_name": self.other_name,
            "not_linked": self.contexts[ContextState.FAILED],
            "suspended": self.suspended,
            "callbacks_refused": self.callbacks_refused,
            "callbacks_behind": self.callbacks_behind,
            "calls_again": self.calls_again,
            "calls_failed": self.calls_failed,
        }
        return {name: count for name, count in found.items() if count}

    @property
    def is_well(self) -> bool:
        return not self.troubles


def facility_states(reader: Reader, configured: Mapping[str, str], now_us: int) -> list[FacilityState]:
    """Each laboratory that is configured, or of which the journal has something.

    Args:
        configured: id -> name.
    """
    contexts, consents = counts(reader, CONTEXTS), counts(reader, CONSENTS)
    with reader.snapshot() as execute:
        waiting, again = Counter[str](), Counter[str]()
        for facility, is_again, count in _open_calls(execute):
            waiting[facility] += count
            again[facility] += count * is_again
        failed = _by_facility(
            execute, "abdm_call WHERE state = 'failed' AND changed_us >= ?", now_us - FAILED_WITHIN_US
        )
        refused = _by_facility(
            execute,
            "abdm_callback WHERE state = 'refused' AND changed_us >= ? AND reason <> 'erased'",
            now_us - REFUSED_WITHIN_US,
        )
        behind = _by_facility(execute, "abdm_callback WHERE state = 'stored' AND received_us < ?", now_us - BEHIND_US)
        transfers = _by_facility(
            execute, "abdm_transfer WHERE state NOT IN ('ended', 'refused') AND made_us <= ?", now_us
        )
        called = dict(_last_callbacks(execute))
    found = {one.facility for one in (*contexts, *consents)}.union(waiting, failed, refused, behind, transfers, called)
    return [
        FacilityState(
            facility=facility,
            name=configured.get(facility, ""),
            contexts=_of(ContextState, ((one.state, one.count) for one in contexts if one.facility == facility)),
            moved=_because(contexts, facility, Gone.MOVED),
            same_number=_because(contexts, facility, Hold.SAME_NUMBER),
            other_name=_because(contexts, facility, Hold.OTHER_NAME),
            calls_waiting=waiting[facility],
            calls_again=again[facility],
            calls_failed=failed[facility],
            consents=_of(ConsentState, ((one.state, one.count) for one in consents if one.facility == facility)),
            suspended=_because(consents, facility, SUSPENDED),
            unsure=sum(
                one.count
                for one in consents
                if one.facility == facility and one.state == ConsentState.GRANTED and one.reason not in ("", SUSPENDED)
            ),
            transfers_open=transfers[facility],
            last_callback_us=called.get(facility, 0),
            callbacks_behind=behind[facility],
            callbacks_refused=refused[facility],
        )
        for facility in sorted({*configured, *found} - {""})
    ]


def _of(states: Iterable[str], found: Iterable[tuple[str, int]]) -> dict[str, int]:
    counted = Counter[str]()
    for state, count in found:
        counted[state] += count
    return {str(one): counted[one] for one in states}


def _because(found: Iterable[Count], facility: str, reason: str) -> int:
    return sum(one.count for one in found if one.facility == facility and one.reason == reason)


def _by_facility(execute: Execute, rows: str, at_us: int) -> Counter[str]:
    """``rows``: a table and a condition with one instant."""
    text = f"SELECT facility, count(*) FROM (SELECT facility FROM {rows} LIMIT {MOST + 1}) GROUP BY facility"  # noqa: S608 - constants
    return Counter(dict(execute(text, (at_us,)).fetchall()))


def _open_calls(execute: Execute) -> Iterator[tuple[str, int, int]]:
    for states in ("state IN ('waiting', 'accepted')", "state = 'sending'"):
        yield from execute(
            "SELECT facility, again, count(*) FROM (SELECT facility, attempt > 0 AND state = 'waiting' AS again"  # noqa: S608 - constants
            f" FROM abdm_call WHERE {states} LIMIT {MOST + 1}) GROUP BY facility, again"
        ).fetchall()


def _last_callbacks(execute: Execute) -> Iterator[tuple[str, int]]:
    """When the newest one of each facility came, by one step over the index for each."""
    facility = ""
    while (
        row := execute(
            "SELECT facility FROM abdm_callback WHERE facility > ? ORDER BY facility LIMIT 1", (facility,)
        ).fetchone()
    ) is not None:
        (facility,) = row
        newest = "SELECT received_us FROM abdm_callback WHERE facility = ? ORDER BY number DESC LIMIT 1"
        yield facility, execute(newest, (facility,)).fetchone()[0]
