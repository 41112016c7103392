"""Who is erased at ABDM: a patient may have several numbers of the laboratory, several addresses, and rows in several
laboratories. Whichever of the numbers is named, all that names him at ABDM goes, and nothing of another patient's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.abdm.rows import calls, contexts, patients
from engine.features.abdm.rows import reading as queries
from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.network import ContextState, TokenState
from engine.model.process.clock import ManualClock
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from engine.store.lifecycle import erasure
from engine.store.operations import append
from tests.support.abdm_consents import Desk
from tests.support.abdm_site import FACILITY, of_number, person, report
from tests.support.journals import received
from tests.support.running import hl7_channel, running_site
from tests.support.senders import send_blocks

WEST = "IN0000000002"
MEERA, SECOND = person(0).address, "meera.second@sbx"
S = ContextState


class Row(NamedTuple):
    """A patient at ABDM: who, at which laboratory, by which address, and the number of the laboratory in the row."""

    who: int
    facility: str
    address: str
    own: str


# Patients 1 to 3 are one person, of one ABHA number; 4 is another one.
PATIENTS = {
    1: Row(0, FACILITY, MEERA, "A"),
    2: Row(0, WEST, MEERA, "W"),
    3: Row(0, FACILITY, SECOND, ""),  # by scan and share
    4: Row(1, FACILITY, person(1).address, "X"),
}
# Message -> its reports: patient at ABDM, numbers of the laboratory, state.
MESSAGES: dict[int, list[tuple[int, tuple[str, ...], ContextState]]] = {
    1: [(1, ("A",), S.LINKED)],
    2: [(1, ("B",), S.LINKED)],
    3: [(1, ("A", "C"), S.FAILED)],
    4: [(2, ("W",), S.LINKED)],
    5: [(4, ("X",), S.LINKED)],
    6: [(1, ("B",), S.READY), (4, ("X",), S.LINKED)],  # of two patients
    7: [(4, ("B",), S.WAITING)],  # it is not known whose: a slip
}
HIS = {1, 2, 3}
# Numbers that are named -> patients who go, and messages of theirs that stay.
ERASURES: dict[tuple[str, ...], tuple[set[int], list[int]]] = {
    ("A",): (HIS, [2, 4, 6]),
    ("B",): (HIS, [1, 3, 4]),
    ("C",): (HIS, [1, 2, 4, 6]),
    ("W",): (HIS, [1, 2, 3, 6]),
    ("A", "B"): (HIS, [4]),
    ("A", "B", "W"): (HIS, []),
    ("b",): (HIS, [1, 3, 4]),
    ("X",): ({4}, []),
    ("X", "W"): ({*HIS, 4}, [1, 2, 3]),
    ("Z",): (set(), []),
    # by what the network knows: one who has shared his profile alone has no number of the laboratory
    (SECOND,): (HIS, [1, 2, 3, 4, 6]),
    (MEERA.upper(),): (HIS, [1, 2, 3, 4, 6]),
    (person(0).number,): (HIS, [1, 2, 3, 4, 6]),
    (AbhaNumber(person(0).number).dashed,): (HIS, [1, 2, 3, 4, 6]),
    (person(1).address,): ({4}, [5, 6]),
    ("someone.else@sbx",): (set(), []),
}


def _fill(batch: Batch) -> None:
    for number, row in PATIENTS.items():
        one = person(row.who, address=row.address, patient=row.own)
        assert patients.put(batch, row.facility, f"LR-P{number}", one) == number
        patients.set_link_token(batch, number, TokenState.HELD, token="a.b.c")
        calls.queue(batch, row.facility, "generate-token", number, {"abhaAddress": row.address})
    for message, reports in MESSAGES.items():
        for n, (patient, own, state) in enumerate(reports):
            reference = f"LR-{message}-{n}"
            new = report(
                reference, message_id=message, facility=PATIENTS[patient].facility, reference=reference,
                patient=patient, content=of_number(*own),
            )  # fmt: skip
            number = contexts.put(batch, new)
            batch.execute("UPDATE abdm_context SET state = ? WHERE number = ?", (state.value, number))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, ManualClock(), fill=False)
    for n in MESSAGES:
        stored = made.journal.run_alone(append.store_message, received(str(n).encode()), repeat_window_s=0.0)
        assert stored.id == n
    made.journal.run_alone(_fill)
    for number, row in PATIENTS.items():
        made.notice(made.grant(f"c-{number}", patient={"id": row.address}, careContexts=[]))
    yield made
    made.journal.close()


def of_numbers(*numbers: str) -> list[int]:
    """The messages that have one of these numbers."""
    wanted = {one.upper() for one in numbers}
    return [one for one, reports in MESSAGES.items() if any(wanted & set(own) for _, own, _ in reports)]


def left(journal: Journal) -> dict[str, set[Any]]:
    """What still names patients: rows with a name, keyed hashes, tokens, calls; consents by their address."""
    sought = {
        "rows": "SELECT number FROM abdm_patient WHERE content <> x''",
        "hashes": "SELECT number FROM abdm_patient WHERE address <> x'' OR abha <> x''",
        "tokens": "SELECT patient FROM abdm_link_token",
        "calls": "SELECT subject FROM abdm_call WHERE name = 'generate-token' AND content <> x''",
        "consents": "SELECT substr(consent_id, 3) + 0 FROM abdm_consent WHERE content <> x'' AND state = 'GRANTED'",
    }
    return {name: {number for (number,) in journal.rows(select)} for name, select in sought.items()}


@pytest.mark.parametrize("numbers", ERASURES, ids="-".join)
def test_by_whichever_number_all_that_names_a_patient_goes(desk: Desk, numbers: tuple[str, ...]) -> None:
    gone, stay = ERASURES[numbers]
    messages = of_numbers(*numbers)
    assert queries.of_person(desk.journal, messages, numbers) == (len(gone), stay)
    desk.journal.run_alone(erasure.erase, messages, list(numbers), actor="anna", reason="asked", more={})

    kept = PATIENTS.keys() - gone
    assert left(desk.journal) == dict.fromkeys(("rows", "hashes", "tokens", "calls", "consents"), kept)
    open_ones = desk.journal.rows(
        "SELECT message_id, patient FROM abdm_context WHERE content <> x'' AND state <> 'dropped' ORDER BY number"
    )
    assert open_ones == [
        (message, patient)
        for message, reports in MESSAGES.items()
        for patient, _, _ in reports
        if message not in messages and patient in kept
    ]
    assert queries.of_person(desk.journal, messages, numbers) == (0, [])


# -- the command -------------------------------------------------------------------------------------------------------


def hl7(control: str, patient: str) -> bytes:
    pid = f"PID|1||{patient}^^^HOSP^MR||{person(0).name}||19800101|F"
    records = f"OBR|1|O{control}|F{control}|GLU^Glucose", "OBX|1|NM|GLU^Glucose||5.1|mmol/L|||||F"
    head = f"MSH|^~\\&|A|L|H|L|20260301101530||ORU^R01|{control}|P|2.5.1"
    return "\r".join([head, pid, *records, ""]).encode()


@operation(priority=Priority.SETTLE)
def _known(batch: Batch) -> None:
    """The first two messages are one person's, under two numbers of the laboratory."""
    one = patients.put(batch, FACILITY, "LR-P", person(0, patient="PX-1"))
    for message in (1, 2):
        new = report(f"R-{message}", message_id=message, patient=one, content=of_number(f"PX-{message}"))
        contexts.move(batch, [contexts.put(batch, new)], S.LINKED)
    patients.put(batch, FACILITY, "LR-Q", person(1, patient="PX-9"))


async def test_the_person_who_erases_is_told_what_stays(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"chem": hl7_channel()}) as site:
        await send_blocks(site.port("chem"), [hl7("1", "PX-1"), hl7("2", "PX-2"), hl7("3", "PX-3")])
        await site.settled()
        await site.journal.run(_known)
        looked = await site.labrelay("erase", "--patient", "PX-2", "--dry-run", "-o", "json")
        assert ([one["id"] for one in looked.json["messages"]], looked.json["same_abha"]) == ([2], [1])
        done = await site.labrelay("erase", "--patient", "PX-2", "--reason", "asked", "--yes", "--force")
        assert done.code == ExitCode.OK, done.err
        assert "addresses, link tokens, consents and codes go, too" in done.err
        assert "1 more have the patient's ABHA and another patient number. They stay" in done.err
        assert "where they are the patient's: 1\n" in done.err
        acts = await site.labrelay("audit", "list", "--act", "erase", "-o", "json")
        assert [one["what"]["same_abha"] for one in acts.json["acts"]] == [[1]]
        assert person(0).address not in done.out + done.err + str(acts.json)

        other = await site.labrelay("erase", "--patient", "PX-3", "--dry-run")
        assert "ABDM" not in other.out + other.err
        alone = await site.labrelay("erase", "--patient", "PX-9", "--reason", "asked", "--yes", "--force")
        assert alone.code == ExitCode.OK, "one of whom ABDM's rows alone are left"
        assert site.journal.rows("SELECT number FROM abdm_patient WHERE content <> x''") == []


def test_an_address_of_the_table_is_one() -> None:
    assert all(AbhaAddress.read(row.address) for row in PATIENTS.values())
