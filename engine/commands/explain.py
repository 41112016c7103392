"""Show for every produced value the rule, field and table row that it came from.

The argument is a file, or the number of a message in the journal. --field takes an element or all below it
(Observation[3].valueQuantity.value, Observation[3], Observation[*].code) or a field or segment of the message
(OBX[3]-5, OBX-5, PID), and then also shows the places that a value passed: fragments, and names that `let:` gave.
Resources of a type are numbered from 1 in the order of the document, items of lists from 0. The place that a FHIR
server named when it refused the document (Bundle.entry[4].resource.status) can be given as it is there.

A message of the journal is shown with the document as it was sent: mapped with the knowledge at its receipt, and with
the decisions about it because of other messages of its orders (left out results that were accepted before, statuses in
place of the sender's, ids of the results that it corrects). Lists of reports are joined when a document is sent, and
are shown as they were before. A file is mapped as if nothing was known of its orders.

Every value of the document is explained: values of rules, literal ones, and those that LabRelay makes by itself
(ids, references to them, the envelope). The exit code is 1 where a message is dead, or nothing is at PATH. Values
are patient data and shown only with --show-values; from the journal that leaves a row in the audit trail.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from engine.commands.shared import mapping_options
from engine.commands.shared.acting import note_shown, purpose_option, stated
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.session import Session, pass_session
from engine.mapping.explanations.explain_text import chosen, lines, missing, of_server
from engine.mapping.explanations.explaining import Leaf
from engine.mapping.explanations.trace import Trace
from engine.mapping.outputs.documents import form_of
from engine.mapping.program import Program
from engine.mapping.trying.inputs import FoundMessage
from engine.model.errors import ContentError, IntegrityError
from engine.model.journal.document_facts import NOTHING, DocumentFacts
from engine.model.message import MapContext, Parsed, Stored
from engine.model.routes import context_of
from engine.processing.impossible_times import readable
from engine.store.queries.listing import others_of
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import stored_message, why_absent
from engine.views import decided
from engine.views.as_sent import traced_as_sent
from engine.views.view import picked

GROUP = "when something is wrong"


@click.command(help=__doc__)
@click.argument("what", metavar="FILE|ID")
@click.option(
    "--field", "field", default="", metavar="PATH", help="Only this element (Observation[2].value) or field (OBX-5)."
)
@click.option("--show-values", is_flag=True, help="Show the values too: they are patient data.")
@purpose_option
@mapping_options.mapping_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(
    session: Session,
    /,
    what: str,
    field: str,
    show_values: bool,
    purpose: str | None,
    mapping: str,
    channel: str | None,
    timezone: str | None,
    form: Form,
) -> ExitCode:
    is_number = what.isdigit() and not Path(what).exists()
    stored = _stored(session, what, show_values, purpose) if is_number else None
    of_channel = stored.message.channel if stored is not None else None
    mapper = mapping_options.mapper_for(session, mapping=mapping, channel=channel or of_channel, timezone=timezone)
    if stored is None:
        messages = mapping_options.inputs((what,), mapper)
    else:
        mapper.refuse_unread(of_number := stored.found(mapper))
        messages = (mapping_options.Input(f"message {what}", one) for one in of_number)
    failed = found = False
    documents: list[dict[str, Any]] = []
    out: list[str] = []
    for one in messages:
        try:
            parsed = mapper.read(one.found)
            program = mapper.program_for(parsed)
        except ContentError as error:
            failed = True
            mapping_options.say_dead(one, error)
            continue
        if stored is None:
            context, facts = mapper.context_for(parsed, one.found.payload), NOTHING
        else:
            parsed, context = stored.as_mapped(mapper, parsed, program)
            facts = stored.decided(mapper, parsed, program, context)
        listed = form_of(program.target, program.columns, context.settings)
        trace = program.explain(parsed, context)
        if trace.error is not None:
            failed = True
            mapping_options.say_dead(one, trace.error)
        # Of a stored message the journal says whether it is held: `labrelay held show`.
        held = (
            mapping_options.held_by(mapper, parsed, one.found.payload, program, trace.mapped)
            if stored is None and trace.mapped is not None
            else None
        )
        mapping_options.say_held(one, held)
        said = None
        if facts and trace.mapped is not None and trace.mapped.documents:
            said = decided.decided(facts, trace.mapped.documents[0], listed)
            trace = traced_as_sent(trace, listed, facts)
        wanted = of_server(field, _types(trace)) if field else field
        leaves = chosen(trace.leaves, wanted)
        found = found or bool(leaves)
        if field and not leaves:
            say(f"{one.where}: {missing(trace, parsed, wanted)}")
            continue
        told = [f"  {line}" for line in decided.lines(said)] if said is not None else []
        out += [one.where, *told, *lines(trace, leaves, values=show_values, whole=not field), ""]
        documents.append(_document(one, trace, leaves, show_values, whole=not field))
        if stored is not None:
            documents[-1]["decided"] = said
        if held is not None:
            documents[-1]["held"] = {"code": held.reason.value, "why": held.text}
    show_document(form, {"messages": documents}, out[:-1])
    mapping_options.say_packs(mapper)
    return ExitCode.FAILED if failed or (field and not found) else ExitCode.OK


@dataclass(frozen=True, slots=True)
class _Journaled:
    """A message of the journal, with all that intake knew of it.

    Attributes:
        whole: it has its end.
        key: of ids. others: `MapContext.others`. facts: `engine.model.journal.journal_views.Trace.facts`.
    """

    message: Stored
    whole: bool
    key: bytes
    others: Mapping[bytes, int]
    facts: Mapping[int, DocumentFacts]

    def found(self, mapper: mapping_options.ChannelMapper) -> list[FoundMessage]:
        """The message as intake reads it; an incomplete one as files are read."""
        return [FoundMessage(self.message.payload, "")] if self.whole else mapper.messages_in(self.message.payload)

    def as_mapped(
        self, mapper: mapping_options.ChannelMapper, parsed: Parsed, program: Program
    ) -> tuple[Parsed, MapContext]:
        context = context_of(self.message, replace(mapper.context, key=self.key, others=self.others))
        right = readable(parsed, mapper.reading(parsed, self.message.payload).facts, context)
        return right.own if program.is_own else right.shipped, replace(context, impossible=right.impossible)

    def decided(
        self, mapper: mapping_options.ChannelMapper, parsed: Parsed, program: Program, context: MapContext
    ) -> DocumentFacts:
        """The decisions about the document that ``program`` makes; none where it is not a route's mapping."""
        if mapper.context.channel != self.message.channel or not self.facts:
            return NOTHING
        place = 1
        for route in mapper.taking(parsed):
            if route.mapping is None:
                place += 1
                continue
            own = mapper.program(route.mapping)
            if own is program or own.name == program.name:
                return self.facts.get(place, NOTHING)
            place += len(own.apply(parsed, context).documents)
        return NOTHING


def _stored(session: Session, what: str, show_values: bool, purpose: str | None) -> _Journaled:
    from engine.commands.shared.selecting import ROW

    number = ROW.convert(what, None, None)
    if show_values:
        note_shown(session, number, stated(purpose))
    with session.reader() as journal:
        trace = trace_of(journal, number)
        if trace is None:
            absent = why_absent(journal, "message", number)
            raise absent if isinstance(absent, IntegrityError) else click.UsageError(str(absent))
        with journal.snapshot() as execute:
            others = others_of(execute)
        key = journal.vault.identity_key
        return _Journaled(
            stored_message(journal, number), trace.message.state != "incomplete", key, others, trace.facts
        )


def _types(trace: Trace) -> list[str]:
    """The types of the resources of a Bundle, in its order; of another document, none."""
    if trace.mapped is None or not trace.mapped.documents or "json" not in trace.mapped.documents[0].media_type:
        return []
    entries = json.loads(trace.mapped.documents[0].body).get("entry", [])
    return [entry.get("resource", {}).get("resourceType", "") for entry in entries]


def _document(
    one: mapping_options.Input, trace: Trace, leaves: list[Leaf], values: bool, *, whole: bool
) -> dict[str, Any]:
    made = []
    for leaf in leaves:
        row = picked(leaf, "path pointer origin rule function sources rows about")
        row["calls"] = [picked(call, "rule name function") for call in leaf.calls]
        if values:
            row["value"] = leaf.value
        made.append(row)
    document: dict[str, Any] = {"message": one.where, "values": made}
    if whole:
        document["unread"] = trace.unread
        document["issues"] = [picked(issue, "code severity place rule text") for issue in trace.issues]
    if trace.error is not None:
        document["dead"] = {"code": trace.error.reason.value, **picked(trace.error, "place detail")}
    return document
