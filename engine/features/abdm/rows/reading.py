"""Reading what the laboratory has to do with ABDM."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.features.abdm.rows import forgetting
from engine.store.queries.reader import Reader, Rows

T = TypeVar("T")


def look(reader: Reader, read: Callable[..., T], *arguments: Any) -> T:
    """What ``read(rows, ...)`` finds, in a snapshot of its own."""
    with reader.snapshot() as execute:
        return read(Rows(execute, reader.vault), *arguments)


def of_person(reader: Reader, messages: Sequence[int], numbers: Sequence[str]) -> tuple[int, list[int]]:
    """What an erasure of these messages, by these numbers of the laboratory, meets: how many rows of the patient go,
    and the messages of his other reports, which stay."""
    with reader.snapshot() as execute:
        rows = Rows(execute, reader.vault)
        found = forgetting.patients_of(rows, messages, numbers)
        return len(found), forgetting.other_messages(rows, found, messages)


@dataclass(frozen=True, slots=True)
class RefusedCallbacks:
    """Callbacks of one path that could not be used.

    Attributes:
        reasons: why, each once; short constants.
    """

    path: str
    reasons: tuple[str, ...]
    count: int
    oldest_us: int


def refused_callbacks(reader: Reader, since_us: int) -> list[RefusedCallbacks]:
    """Those that were set aside since then, by path; not those that an erasure has emptied."""
    rows = reader.rows(
        "SELECT path, group_concat(DISTINCT reason), count(*), min(received_us) FROM abdm_callback"
        " WHERE state = 'refused' AND changed_us >= ? AND reason <> 'erased' GROUP BY path ORDER BY path",
        (since_us,),
    )
    return [
        RefusedCallbacks(path, tuple(sorted(reasons.split(","))), count, oldest_us)
        for path, reasons, count, oldest_us in rows
    ]


@dataclass(frozen=True, slots=True)
class Undecided:
    """Reports or consents of which a person has to decide.

    Attributes:
        what: of reports `moved`, `same_number`, `other_name`, `not-notified`, `failed`, `ABDM-1092` (those that failed
            with it) or `blocked`; of patients `leaving`; of consents `suspended`, `bad_signature`, `other_patient` or
            `doubtful`; of profiles `unshared`.
    """

    what: str
    count: int
    oldest_us: int


def undecided(reader: Reader, since_us: int = 0) -> list[Undecided]:
    """Those at which no person has looked yet; not those that are erased or deleted. Since then: of
    requests for records those that ended as a row of theirs cannot be opened, profiles that do not count, and patients
    who may have left, of whom no report is known."""
    found = reader.rows(
        "SELECT reason, count(*), min(changed_us) FROM abdm_context"
        " WHERE reason IN ('moved', 'same_number', 'other_name', 'not-notified') GROUP BY reason UNION ALL"
        " SELECT 'leaving', count(*), min(changed_us) FROM abdm_patient WHERE state = 'leaving'"
        " AND (changed_us >= ? OR EXISTS (SELECT 1 FROM abdm_context WHERE patient = abdm_patient.number"
        " AND state <> 'dropped')) AND NOT EXISTS (SELECT 1 FROM abdm_call WHERE name = 'status-on-notify'"
        " AND subject = notice AND state IN ('waiting', 'sending') AND attempt < 2) UNION ALL"
        " SELECT iif(reason = 'ABDM-1092', reason, 'failed') AS what, count(*), min(changed_us) FROM abdm_context"
        " WHERE state = 'failed' GROUP BY what UNION ALL"
        " SELECT 'blocked', count(*), min(changed_us) FROM abdm_context"
        " WHERE state = 'ready' AND reason = 'blocked' UNION ALL"
        " SELECT reason, count(*), min(changed_us) FROM abdm_consent"
        " WHERE state = 'GRANTED' AND reason IN ('suspended', 'bad_signature', 'other_patient', 'doubtful')"
        " AND NOT (reason = 'doubtful' AND EXISTS (SELECT 1 FROM abdm_call WHERE name = 'consent-on-notify'"
        " AND subject = abdm_consent.number AND state IN ('waiting', 'sending') AND attempt < 2)) GROUP BY reason"
        " UNION ALL"
        " SELECT 'unshared', count(*), min(changed_us) FROM abdm_call WHERE name = 'on-share' AND subject > 0"
        " AND state = 'failed' AND code NOT IN ('left', 'erased') AND changed_us >= ? AND EXISTS"
        " (SELECT 1 FROM abdm_share WHERE number = subject AND patient = 0) UNION ALL"
        " SELECT 'damaged', count(*), min(changed_us) FROM abdm_transfer"
        " WHERE changed_us >= ? AND state = 'ended' AND reason = 'damaged-row' ORDER BY 1",
        (since_us, since_us, since_us),
    )
    return [Undecided(*row) for row in found if row[1]]
