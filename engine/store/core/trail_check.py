"""Whether the audit trail is what it was: for whoever has the key, and against what was written down elsewhere.

The chain over the journal's rows is of plain hashes: whoever can write the file, and its anchor, can compute it anew
over whatever they like. So each act has inside its sealed content the chain value of the row before it
(`engine.store.operations.audit`). The seal is authenticated by a key that does not lie in the file; so nothing before
an act can be changed, taken out or put in without that the act says so, and nobody without the key can make acts.

What comes after the last act can only be cut off. Against that the daemon writes the head of the chain into its log at
each start, each stop and once a day, and the log goes where the journal's writer has no say (`journald`, and from there
to another machine).

A salvage makes the chain anew: acts from before it are compared with nothing.
"""

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from engine.model.errors import IntegrityError
from engine.model.records import KIND_ACT
from engine.store.core import pruned_ranges
from engine.store.core.chain import GENESIS
from engine.store.core.vault import Vault

HEAD_WORDS = "audit head"
# As the log has it, for people (journal_id=4711 head=9f..) and for machines ("journal_id": 4711, "head": "9f..").
_HEAD = re.compile(r'journal_id"?[=:] ?"?(\d+)"?.{0,200}?head"?[=:] ?"?([0-9a-f]{64})')
_PLAIN = re.compile(r"\s*(\d+):([0-9a-f]{64})\s*")

Execute = Callable[..., sqlite3.Cursor]


@dataclass(slots=True)
class Checked:
    """What a check found.

    Attributes:
        rows: of the trail. sealed: of those, how many prove what was before them.
        since: the first of these; 0 where there is none (written by an older version).
        anew: the newest salvage, before which acts are compared with nothing; 0 without one.
        findings: what is wrong, in words.
    """

    rows: int = 0
    sealed: int = 0
    since: int = 0
    anew: int = 0
    findings: list[str] = field(default_factory=list)


def check(execute: Execute, vault: Vault) -> Checked:
    """Open every act and compare what it says of the chain before it."""
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
            if found.since:
                found.findings.append(f"row {row_id} of the audit trail: it does not say what was before it")
            continue
        found.sealed += 1
        found.since = found.since or row_id
        if row_id < found.anew:
            continue
        stored = before(execute, row_id)
        if stored is not None and stored.hex() != said:
            found.findings.append(
                f"row {row_id} of the audit trail: what stands before it is not what stood there when it was written"
            )
    return found


def before(execute: Execute, row_id: int) -> bytes | None:
    """The chain value that a row follows; None where rows before it are missing, which `engine.store.integrity.verify`
    says."""
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
    """The heads that a log, or a person, has written down: (row, chain value)."""
    for line in lines:
        plain = _PLAIN.fullmatch(line)
        found = plain or (_HEAD.search(line) if HEAD_WORDS in line else None)
        if found is not None:
            yield int(found[1]), found[2]


def compare(execute: Execute, heads: Iterable[tuple[int, str]], anew: int) -> tuple[int, int, list[str]]:
    """How many heads agree, how many nothing can be said of any more, and what is wrong with the others.

    Args:
        anew: as in `Checked`: heads from before it are of another chain.
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
