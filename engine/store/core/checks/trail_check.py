"""Verify the audit trail: with the key, and against chain heads that were recorded elsewhere.

The chain over the journal's rows consists of plain hashes: a person who can write the file and its anchor can recompute
it over other rows. So the sealed content of each audit row has the chain value of the row before it
(`engine.store.operations.audit`). The seal is authenticated by a key that is not in the file. Without that key no audit
row can be forged, and a change, removal or insertion before one is detected by it.

Rows after the last audit row can still be cut off. Against that the daemon logs the head of the chain at each start,
each stop and once a day, and the log goes to a place that a user with access to the journal cannot change (`journald`,
and from there another machine).

A salvage starts a new chain: audit rows from before it are compared with nothing.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from engine.model.errors import IntegrityError
from engine.model.journal.records import KIND_ACT
from engine.store.core.chain import GENESIS
from engine.store.core.checks import pruned_ranges
from engine.store.core.connecting import Execute
from engine.store.core.vault import Vault

HEAD_WORDS = "audit head"
# As the log has it, for people (journal_id=4711 head=9f..) and for machines ("journal_id": 4711, "head": "9f..").
_HEAD = re.compile(r'journal_id"?[=:] ?"?(\d+)"?.{0,200}?head"?[=:] ?"?([0-9a-f]{64})')
_PLAIN = re.compile(r"\s*(\d+):([0-9a-f]{64})\s*")


@dataclass(slots=True)
class Checked:
    """The result of a check.

    Attributes:
        rows: of the trail. sealed: how many of them prove the rows before them.
        since: the first of these; 0 without one.
        anew: the newest salvage, before which audit rows are compared with nothing; 0 without one.
        findings: problems, as text.
    """

    rows: int = 0
    sealed: int = 0
    since: int = 0
    anew: int = 0
    findings: list[str] = field(default_factory=list)


def check(execute: Execute, vault: Vault) -> Checked:
    """Open every audit row and compare the chain value in it with the chain before it."""
    found = Checked()
    acts: list[tuple[int, dict[str, object]]] = []
    for row_id, sealed in execute("SELECT id, body FROM journal WHERE kind = ? ORDER BY id", (KIND_ACT,)):
        found.rows += 1
        try:
            acts.append((row_id, orjson.loads(vault.open(sealed, "body", row_id, ""))))
        except (IntegrityError, ValueError) as error:
            found.findings.append(f"row {row_id} of the audit trail: {error}")
    found.anew = max((row_id for row_id, content in acts if content.get("verb") == "salvage"), default=0)
    for row_id, content in acts:
        said = content.get("chain")
        if not isinstance(said, str):
            found.findings.append(f"row {row_id} of the audit trail: it does not say what was before it")
            continue
        found.sealed += 1
        found.since = found.since or row_id
        if row_id < found.anew:
            continue
        stored = before(execute, row_id)
        if stored is not None and stored.hex() != said:
            found.findings.append(
                f"row {row_id} of the audit trail: the rows before it are not those that were there when it was written"
            )
    return found


def before(execute: Execute, row_id: int) -> bytes | None:
    """The chain value that a row follows; None where rows before it are missing, which `engine.store.integrity.verify`
    reports.
    """
    at = row_id - 1
    while at > 0:
        row = execute("SELECT chain FROM journal WHERE id = ?", (at,)).fetchone()
        if row is not None:
            return bytes(row[0])
        gone = pruned_ranges.around(execute, pruned_ranges.JOURNAL, at)
        if gone is not None:
            return gone.chain
        gap = execute("SELECT first_id FROM gap WHERE first_id <= ? AND last_id >= ?", (at, at)).fetchone()
        if gap is None:
            return None
        at = gap[0] - 1
    return GENESIS


def heads_in(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The chain heads in a log, or in a person's notes: (row, chain value)."""
    for line in lines:
        plain = _PLAIN.fullmatch(line)
        found = plain or (_HEAD.search(line) if HEAD_WORDS in line else None)
        if found is not None:
            yield int(found[1]), found[2]


def compare(execute: Execute, heads: Iterable[tuple[int, str]], anew: int) -> tuple[int, int, list[str]]:
    """The number of heads that agree, the number that cannot be checked any more, and the problems with the others.

    Args:
        anew: as in `Checked`: heads from before it belong to another chain.
    """
    agree = silent = 0
    findings = []
    for row_id, head in heads:
        row = execute("SELECT chain FROM journal WHERE id = ?", (row_id,)).fetchone()
        stored = row[0] if row is not None else GENESIS if row_id == 0 else None
        gone = pruned_ranges.around(execute, pruned_ranges.JOURNAL, row_id) if stored is None else None
        if gone is not None and gone.last == row_id:
            stored = gone.chain
        if stored is not None and stored.hex() == head:
            agree += 1
        elif row_id < anew or (stored is None and gone is not None):
            silent += 1
        elif stored is None:
            findings.append(f"row {row_id} was there when its head was written down, and is missing")
        else:
            findings.append(f"row {row_id}: the chain is not the one whose head was written down")
    return agree, silent, findings
