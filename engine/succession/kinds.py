"""The kinds of document whose results are compared with those of other messages: how each is read, and changed. Pure.

    kind                 a result is                 its status is in                     an unchanged result
    FHIR transaction     an Observation, by its id   status, the sender's own in a tag    is left out
    FHIR document        an Observation, by its id   the same, and Composition.status     stays: it is replaced whole
    HL7 v2               an OBX                      OBX-11, OBR-25                       is left out
    CSV, JSON            where ``results:`` of the mapping says                           is left out

Kinds without an entry here are not compared: documents that pass through, and those without a rule to read results.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo

from engine.model.document_facts import DocumentFacts
from engine.model.list_form import Form
from engine.succession import document_statements, hl7_statements, statements
from engine.succession.list_statements import LISTS, List
from engine.succession.order_names import with_orders
from engine.succession.statements import Resource

FHIR = "application/fhir+json"


@dataclass(frozen=True, slots=True)
class OpenedDocument:
    """A document whose results were read.

    Attributes:
        resources: the results to compare, in their order.
        write: the document as it goes out under facts; asked once.
        by_id: a correction takes the id of the result that it corrects.
        whole: it takes the place of the one before as a whole, so that nothing is left out of it.
    """

    resources: Sequence[Resource]
    write: Callable[[DocumentFacts], bytes]
    by_id: bool = False
    whole: bool = False


def opened(body: bytes, media_type: str, form: Form | None, zone: tzinfo = UTC) -> OpenedDocument | None:
    """A document that a mapping wrote; None where its results are not compared.

    Args:
        form: of CSV and JSON, where the results are.
        zone: of times without an offset.

    Raises:
        ValueError: it is not what its type says.
    """
    if media_type == hl7_statements.MEDIA_TYPE:
        return OpenedDocument(hl7_statements.results_in(body, zone), lambda facts: hl7_statements.as_sent(body, facts))
    if media_type != FHIR:
        if form is None or media_type not in LISTS:
            return None
        found = List(body, form, zone)
        return OpenedDocument(found.resources, found.write)
    bundle = statements.loads(body)
    if bundle.get("type") == "document":
        results = document_statements.results_in(bundle)
        return OpenedDocument(results, lambda facts: document_statements.as_sent(bundle, facts), whole=True)
    return OpenedDocument(statements.resources_in(bundle), lambda facts: statements.as_sent(bundle, facts), by_id=True)


def has_ids(media_type: str) -> bool:
    """Whether results of such documents have our ids, which contain the day, and tags for the sender's status.
    Receivers of all others go by the numbers and codes that are sent.
    """
    return media_type == FHIR


def under(body: bytes, media_type: str, form: Form | None, facts: DocumentFacts | None) -> bytes | None:
    """A document as it goes out under ``facts``; None where it is not sent. Kinds that are not compared stay as they
    are.
    """
    if not facts:
        return body
    if facts.not_sent:
        return None
    try:
        if facts.orders:
            body = with_orders(body, media_type, facts.orders)
        document = opened(body, media_type, form)
    except ValueError:
        return body
    return body if document is None else document.write(facts)
