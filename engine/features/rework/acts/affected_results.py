"""The affected results of messages that are mapped again: one row each, with the delivered and the new value.

After an error in a mapping, a laboratory uses this list to inform the wards which results to check again. The documents
that `engine.processing.reprocessing` found to differ are compared result by result. So that the list is complete, some
rows have no test: for a message that cannot be compared, and for a document that differs in something other than a
result, or without readable results (`engine.model.tested_results`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from engine.model.errors import ErasedError, IntegrityError
from engine.model.search_keys import folded
from engine.model.tested_results import TestedResult, tests_in
from engine.processing.reprocessing import DocumentDifference, Finding
from engine.store.queries.contents import stored_document
from engine.store.queries.reader import Reader

TOLD = ("patient", "specimen", "code", "loinc", "value", "unit", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """One result that differs.

    Attributes:
        outcome: the outcome of the new one (`engine.processing.reprocessing`).
        reason: the reason code where its message would be dead.
        destinations: those that got the old one, or will get the new one.
        change: empty where there is no result to report.
        differs: which of `TOLD`; ``other`` where all of these are equal.
        old, new: None without a result on that side.
    """

    message_id: int
    outcome: str
    reason: str = ""
    destinations: tuple[str, ...] = ()
    change: Literal["changed", "added", "removed", ""] = ""
    differs: tuple[str, ...] = ()
    old: TestedResult | None = None
    new: TestedResult | None = None


def affected(reader: Reader, finding: Finding) -> Iterator[Affected]:
    """The differing results of one message, in the order of its documents.

    Raises:
        StoreError: the journal cannot be read.
        ConfigError: its key was not found.
    """
    if finding.outcome == "unchanged":
        return
    if not finding.compared:
        yield Affected(message_id=finding.message_id, outcome=finding.outcome, reason=finding.reason)
    for one in finding.compared:
        yield from _of_document(reader, finding, one)


def _of_document(reader: Reader, finding: Finding, compared: DocumentDifference) -> Iterator[Affected]:
    def row(
        change: Literal["changed", "added", "removed", ""] = "",
        differs: tuple[str, ...] = (),
        old: TestedResult | None = None,
        new: TestedResult | None = None,
    ) -> Affected:
        return Affected(
            message_id=finding.message_id,
            outcome=compared.outcome,
            reason=finding.reason,
            destinations=compared.destinations,
            change=change,
            differs=differs,
            old=old,
            new=new,
        )

    before: dict[str, TestedResult] = {}
    after: dict[str, TestedResult] = {}
    if compared.before is not None:
        try:
            before = _results(reader, stored_document(reader, compared.before))
        except (ErasedError, IntegrityError):  # it was erased, or `labrelay verify` reports the damage
            yield row()
            return
    if compared.after is not None:
        after = _results(reader, compared.after)
    count = 0
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            yield row("added" if old is None else "removed", (), old, new)
        elif differs := tuple(name for name in TOLD if getattr(old, name) != getattr(new, name)):
            yield row("changed", differs, old, new)
        elif old.rest != new.rest:
            yield row("changed", ("other",), old, new)
        else:
            continue
        count += 1
    if not count:
        yield row()


def _results(reader: Reader, document: bytes) -> dict[str, TestedResult]:
    def token(number: str) -> str:
        return reader.vault.search_token("patient", folded(number)).hex()

    return {one.key: one for one in tests_in(document, token)}
