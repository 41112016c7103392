"""Decisions about a message's documents, made from the journal's knowledge of its orders at that time.

A mapping sees one message alone. Whether a result was sent before, changes one that was final, or corrects one under
another id is known only in the order of the journal, so it is decided in the transaction that records the outcome
(`engine.features.results.rows`). The decision is stored beside the outcome, encrypted: code that makes the
document again from the message (`explain`, `reprocess`) applies the same facts and gets the same ids and statuses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

Json = dict[str, Any]

OWN_SYSTEM = "urn:labrelay:id"  # of an Identifier that says our own id, where a resource has no number that lasts


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFacts:
    """The decisions for one document.

    Attributes:
        echoes: ``Type/id`` of resources that were accepted before, unchanged, and are left out.
        absent: likewise, and nothing refers to them: the receiver does not have them.
        waits: ``Type/id`` of results that wait in a document of their own, and are left out of this one.
        statuses: ``Type/id`` -> the status that goes out in place of the sender's.
        apart: id as the mapping makes it -> id under a number that was given to another specimen
        (`engine.features.results.rows.used_numbers`).
        corrects: id as the mapping makes it, or under ``apart`` -> id of the resource that it corrects.
        reports: of other messages, written anew since they list a result that changes: entries as JSON.
        finished: preliminary results of other messages that are final now: entries as JSON.
        withdrawn: results of other messages that are gone from a report which is always sent whole: entries as JSON.
        not_sent: it has nothing that was not accepted before.
        version: of a FHIR document (``Bundle.meta.versionId``), where the sender's does not rise; else 0.
        orders: of its results, as `engine.succession.order_names` names them in the document: first of all.
        not_compared: why it could not be compared with what was accepted before, in words; empty where it was.
    """

    echoes: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    waits: frozenset[str] = frozenset()
    statuses: Mapping[str, str] = field(default_factory=dict)
    apart: Mapping[str, str] = field(default_factory=dict)
    corrects: Mapping[str, str] = field(default_factory=dict)
    reports: tuple[str, ...] = ()
    finished: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    not_sent: bool = False
    version: int = 0
    orders: tuple[Json, ...] = ()
    not_compared: str = ""

    def __bool__(self) -> bool:
        return bool(self.as_json())

    def as_json(self) -> Json:
        """For the note that is sealed beside the outcome; without what is empty."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in said.items() if value}


_MADE_OF_LISTS = {
    "echoes": frozenset,
    "absent": frozenset,
    "waits": frozenset,
    "reports": tuple,
    "finished": tuple,
    "withdrawn": tuple,
    "orders": tuple,
}


def facts_from(said: Json) -> DocumentFacts:
    """Read the output of `DocumentFacts.as_json`."""
    known = {one.name: said[one.name] for one in fields(DocumentFacts) if one.name in said}
    return DocumentFacts(**known | {name: of(known[name]) for name, of in _MADE_OF_LISTS.items() if name in known})


NOTHING = DocumentFacts()
