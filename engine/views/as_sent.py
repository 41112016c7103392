"""Explain the documents of a stored message as they are sent: mapped by the routes in force now.

A mapping sees one message alone; the sent document also depends on the journal's knowledge of its orders
(`engine.model.journal.document_facts`). Both come together here: each value with the rule that made it, or with the
decision about it. It is what `labrelay explain` shows of a message of the journal.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from engine.mapping.explanations import explaining
from engine.mapping.explanations.explaining import ExplainContext, Leaf, numbered
from engine.mapping.explanations.trace import Trace
from engine.mapping.program import Program
from engine.mapping.values.json_text import as_text
from engine.model.content.list_form import Form
from engine.model.journal.document_facts import DocumentFacts
from engine.model.message import Document, Parsed, Stored
from engine.model.routes import ChannelRoutes, context_of
from engine.succession.kinds import has_ids, under
from engine.succession.statements import SENDER_STATUS
from engine.views.decided import ANEW, CORRECTS, ECHO, OF_ORDER, why_status

Json = dict[str, Any]

_URN = "urn:uuid:"
_NUMBERED = re.compile(r"\b[A-Z]\w+\[\d+\]")
_ENTRY = re.compile(r"/entry/(\d+)(/.*)")


def as_sent(
    leaves: Sequence[Leaf], document: Document, form: Form | None, facts: DocumentFacts
) -> tuple[list[Leaf], bytes]:
    """The values of a document as it is sent, each with its explanation; and that document.

    Args:
        form: for CSV and JSON, the places of the results.
        leaves: of the document as the mapping makes it. If it is not sent they are returned unchanged, also for a
            document that is no Bundle: `engine.views.decided` shows its left out results and other
            statuses.
    """
    body = document.body
    sent = under(document, form, facts)
    if sent is None or sent == body:
        return list(leaves), body
    if not has_ids(document.media_type):
        return list(leaves), sent
    after, before = as_text(sent), as_text(body)
    made = {new: old for old, new in facts.corrects.items()}
    places = {entry["fullUrl"]: at for at, entry in enumerate(before["entry"])}
    old_at: dict[int, int] = {}  # place of an entry as it goes out -> its place as the mapping makes it
    for at, entry in enumerate(after["entry"]):
        url = entry["fullUrl"]
        identity = url.removeprefix(_URN)
        place = places.get(f"{_URN}{made[identity]}" if identity in made else url)
        if place is not None:
            old_at[at] = place
    old_names, new_names = numbered(before["entry"]), numbered(after["entry"])
    names = {name: f"{name.partition('[')[0]} left out" for name in old_names}
    names |= {old_names[old]: new_names[new] for new, old in old_at.items()}
    by_pointer = {leaf.pointer: leaf for leaf in leaves}
    found: list[Leaf] = []
    for leaf in explaining.explained(after, {}, (), ExplainContext({})):
        entry = _ENTRY.fullmatch(leaf.pointer)
        if entry is None:
            made_as = by_pointer.get(leaf.pointer, leaf)
            above = "" if made_as.value == leaf.value else "above the number of every issue that was accepted before"
            found.append(replace(made_as, value=leaf.value, about=above) if above else made_as)
            continue
        at = int(entry[1])
        if at not in old_at:
            found.append(replace(leaf, about=ANEW))
            continue
        own = by_pointer.get(f"/entry/{old_at[at]}{entry[2]}")
        if own is None:
            about = (
                "the sender's status" if _is_tag(after["entry"][at], entry[2]) else _of_order(entry[2]) or leaf.about
            )
            found.append(replace(leaf, about=about))
            continue
        about = _NUMBERED.sub(lambda match: names.get(match[0], match[0]), own.about)
        if own.value != leaf.value:
            why = _changed(after["entry"][at], entry[2], own.value, leaf.value, facts)
            about = f"{about}; {why}" if about else why
        found.append(replace(own, path=leaf.path, pointer=leaf.pointer, value=leaf.value, about=about))
    return found, sent


def traced_as_sent(trace: Trace, form: Form | None, facts: DocumentFacts) -> Trace:
    """A trace whose (first) document is the one that is sent; ``form`` as of `as_sent`."""
    assert trace.mapped is not None
    document, *more = trace.mapped.documents
    leaves, body = as_sent(trace.leaves, document, form, facts)
    mapped = replace(trace.mapped, documents=(replace(document, body=body), *more))
    return replace(trace, mapped=mapped, explain=lambda: leaves)


def _changed(entry: Json, place: str, old: str, new: str, facts: DocumentFacts) -> str:
    """Why a sent value differs from the mapping's."""
    if place == "/resource/status":
        name = f"{entry['resource']['resourceType']}/"
        return f"{new} in place of the sender's {old}: {why_status(name, new)}"
    if place == "/resource/docStatus":
        return f"{new} in place of {old}, as the document"
    if any(identity in old for identity in facts.corrects):
        return CORRECTS
    return f"left out here: {ECHO}"


def _of_order(place: str) -> str:
    """Why a value is there that no rule made: it is of the order of a result."""
    return OF_ORDER if place.startswith(("/resource/basedOn/", "/resource/note/")) else ""


def _is_tag(entry: Json, place: str) -> bool:
    tags = entry["resource"].get("meta", {}).get("tag", ())
    return any(
        place.startswith(f"/resource/meta/tag/{at}/") for at, tag in enumerate(tags) if tag["system"] == SENDER_STATUS
    )


class Explained(NamedTuple):
    """What one route makes of a message.

    Attributes:
        place: of its document among those of the message, from 1, as `DocumentView.ordinal`.
        mapping: its name and hash, as `engine.model.journal.journal_views.Trace.mapping` has them.
        trace: with the (first) document as it is sent.
    """

    place: int
    mapping: str
    trace: Trace

    @property
    def document(self) -> Document | None:
        mapped = self.trace.mapped
        return mapped.documents[0] if mapped is not None and mapped.documents else None


def mappings_of(routes: ChannelRoutes) -> list[str]:
    """The mappings of a channel in force now, ``name@hash``."""
    return [_named(route.program) for route in routes.routes if isinstance(route.program, Program)]


def explained(
    stored: Stored, parsed: Parsed, routes: ChannelRoutes, facts: Mapping[int, DocumentFacts]
) -> Iterator[Explained]:
    """For each route with a mapping that takes the message.

    Args:
        facts: the decisions about its documents, by place.

    Raises:
        ContentError: a condition of a route cannot be decided.
    """
    place = 1
    for route in routes.routes:
        if route.when is not None and not route.when(parsed):
            continue
        if route.filter:
            return
        if not isinstance(route.program, Program):
            place += 1
            continue
        trace = route.program.aside().explain(parsed, context_of(stored, routes.context))
        documents = trace.mapped.documents if trace.mapped is not None else ()
        if documents and place in facts:
            trace = traced_as_sent(trace, route.form, facts[place])
        yield Explained(place, _named(route.program), trace)
        place += len(documents)


def _named(program: Program) -> str:
    return f"{program.name}@{program.content_hash[:12]}"
