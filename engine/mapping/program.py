"""A compiled mapping: applied to messages, explained, and identified by the hash of all its sources.

The net below all rules about test codes: one code for several results of an order. It warns, and changes nothing.

Several results of an order may have one code where each has a time of its own (OBX-14, R-13: a run anew) or a number
of its own (OBX-4). Numbers without either, results in different units, and results of different names, are different
tests, perhaps, whose code is read at the wrong place: the setting `test_code` says where it is.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType

from engine.mapping.code_tables.tables import Table
from engine.mapping.explanations.trace import Trace, Tracer
from engine.mapping.fhir import bundle
from engine.mapping.functions.astm import astm_test_code
from engine.mapping.functions.numbers import decimal
from engine.mapping.functions.relations import SUSCEPTIBILITY, is_head
from engine.mapping.generated import FRAMING, Generated
from engine.mapping.language.structures import ASTM, unescape_of
from engine.mapping.language.targets import FHIR, Target
from engine.mapping.message.code_places import is_plain, put_codes_in_place
from engine.mapping.message.identity import BundleBuilder
from engine.mapping.message.identity_fields import IdentityFields
from engine.mapping.message.message_context import GENERATED, RESULT_SEGMENT, MessageContext
from engine.mapping.message.read_cache import KEPT_ASIDE, ReadCaches
from engine.mapping.outputs.collected import FactsParts, MessageParts, facts_made, facts_written
from engine.mapping.outputs.documents import body_of, observations_of, places_of
from engine.mapping.outputs.tracing import PartTracer
from engine.mapping.outputs.views import View
from engine.mapping.shared_codes import refuse_shared_codes
from engine.mapping.shipped import refusal
from engine.model.content.facts import Facts
from engine.model.content.numbers import clear
from engine.model.errors import ContentError, Dropped
from engine.model.message import Document, MapContext, Mapped, Parsed, Segment
from engine.model.texts.reasons import ReasonCode

_NOT_PRODUCTION = frozenset("DT")  # MSH-11, H-12: debugging, training
_REPORTS = ("ORU", "OUL")  # types of messages that HL7 v2 has for results; each has an OBR (chapter 7)
_LEAVES_OUT = frozenset({"on_missing", "on_missing_unit"})  # settings by which results are dropped, or messages dead
_CODES = "analytes"  # the code table of a channel
_CONTROL = "Q"  # H-12, and analyzers that say it in MSH-11 too


@dataclass(slots=True)
class Program:
    """A mapping ready for use. The same message and context always give the same documents.

    Attributes:
        format: ``hl7v2`` or ``astm``.
        structures: those it takes.
        content_hash: over the mapping, its libraries and tables.
        files: each of these by name, with its SHA-256 in hexadecimal.
        profiles: type of resource -> URL of the profile that its `meta` names.
        identity: the fields that ids are made of.
        target: the output format; ``columns`` of its rows, if it is CSV.
        problems: warnings of the check, as lines ``file:line:column: what; what to do``.
        settings_read: names of channel settings that rules ask for.
        report_numbers: (segment, field, component) of the numbers that reports and patients are known by.
        is_own: it, or a library of it, is a site's.
        reads_aside: a rule reads the value of a result from outside of it, so that a part may be of several results.
    """

    name: str
    format: str
    structures: tuple[str, ...]
    content_hash: str
    bundle: str
    policies: dict[str, str]
    identity: IdentityFields
    tables: dict[str, Table]
    problems: tuple[str, ...]
    settings_read: frozenset[str]
    report_numbers: frozenset[tuple[str, int, int]]
    plain: dict[str, Generated] = field(repr=False)
    compile_traced: Callable[[str], Generated] = field(repr=False)
    files: dict[str, str] = field(default_factory=dict, repr=False)
    profiles: dict[str, str] = field(default_factory=dict, repr=False)
    target: Target = FHIR
    columns: tuple[str, ...] = ()
    is_own: bool = False
    reads_aside: bool = False
    _traced: dict[str, Generated] = field(default_factory=dict, repr=False)
    _readings: ReadCaches = field(default_factory=ReadCaches, repr=False)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Rows of its tables that contradict themselves: errors of the check, but the mapping still works."""
        return tuple(line for table in self.tables.values() for line in table.doubts)

    @property
    def rule_lines(self) -> frozenset[str]:
        """The rules that coverage can speak of."""
        return frozenset(rule for generated in self.plain.values() for rule in generated.counted)

    def apply(self, parsed: Parsed, context: MapContext) -> Mapped:
        """Map one message.

        Raises:
            ContentError: the message is dead: a policy or rule says so, or the mapping failed (MAPPING_FAULT, naming
                the rule).
        """
        return _written(self._apply(parsed, context, self._generated(parsed, self.plain), None))

    def facts_in(self, parsed: Parsed, context: MapContext) -> Facts | None:
        """As `apply` of a mapping to facts, for who asks them and writes none; None: the message has no results."""
        generated = self._generated(parsed, self.plain)
        run = self._run(parsed, context, generated)
        try:
            making = FactsParts(run, written=False)
            results = self._fill(making, run, generated, None)
            if results is None:
                return None
            _refuse_what_is_wrong(run, results, self.tables.get(_CODES))
            return facts_made(run, making) if making.something else None
        finally:
            run.times.warn_no_more()

    def explain(self, parsed: Parsed, context: MapContext) -> Trace:
        """Map one message and trace the source of every value. A dead message is reported in the trace, not raised."""
        kind = Tracer if self.target.kind == "fhir" else PartTracer
        tracer = kind(parsed, context, self.name)
        try:
            tracer.mapped = _written(self._apply(parsed, context, self._generated(parsed, self._traced), tracer))
        except ContentError as error:
            tracer.error = error
        return tracer.trace()

    def aside(self) -> "Program":
        """The same mapping with caches of its own, for another thread than the one that maps with this."""
        return replace(self, _traced={}, _readings=ReadCaches(KEPT_ASIDE))

    def view(self, document: Document) -> View:
        """One of its documents, to be looked at."""
        return View(document, self.target, self.columns)

    def unread_segments(self, parsed: Parsed) -> tuple[str, ...]:
        """Names of segments of a message that no rule reads; those that frame it excepted, Z segments included."""
        read = self.plain[parsed.structure].read | FRAMING
        return tuple(dict.fromkeys(segment.name for segment in parsed.segments if segment.name not in read))

    def _generated(self, parsed: Parsed, variants: dict[str, Generated]) -> Generated:
        if parsed.format != self.format or parsed.structure not in self.plain:
            reason, what_to_do = refusal(parsed)
            reads = ", ".join(self.structures)
            given = parsed.structure or "another type"
            raise ContentError(reason, f"mapping {self.name} reads {reads}, not {given}; {what_to_do}")
        found = variants.get(parsed.structure)
        if found is None:
            found = self._traced[parsed.structure] = self.compile_traced(parsed.structure)
        return found

    def _apply(self, parsed: Parsed, context: MapContext, generated: Generated, tracer: Tracer | None) -> Mapped:
        run = self._run(parsed, context, generated)
        try:
            return self._mapped(parsed, run, generated, tracer)
        finally:
            run.times.warn_no_more()

    def _run(self, parsed: Parsed, context: MapContext, generated: Generated) -> MessageContext:
        if self.target.kind == "results" and not _LEAVES_OUT.isdisjoint(context.settings):
            kept = {name: value for name, value in context.settings.items() if name not in _LEAVES_OUT}
            context = replace(context, settings=kept)  # a code that no table has is a fact
        if not parsed.is_plain and parsed.format == "hl7v2":
            parsed.is_plain = is_plain(parsed, context.settings)
        if not parsed.is_plain:
            clear(parsed, context.settings)
        run = MessageContext(
            parsed,
            context,
            unescape_of(parsed.format),
            generated.rule_at,
            self.policies,
            self._readings.of(parsed, context),
            self.identity,
        )
        put_codes_in_place(run, self.tables.get(_CODES))
        return run

    def _mapped(self, parsed: Parsed, run: MessageContext, generated: Generated, tracer: Tracer | None) -> Mapped:
        making = self._making(run)
        results = self._fill(making, run, generated, tracer)
        if results is None:
            places = tuple(result.position for result in parsed.names.get(RESULT_SEGMENT[self.format], []))
            counts = {"results_in": len(places), "observations": 0, "qc": len(places)}
            return Mapped(filtered=ReasonCode.QUALITY_CONTROL, issues=tuple(run.issues), counts=counts, controls=places)
        if parsed.repeats and self.target.kind != "results":
            self._unread_repetitions(run, generated)
        return self._finish(run, making, results)

    def _fill(
        self, making: BundleBuilder, run: MessageContext, generated: Generated, tracer: Tracer | None
    ) -> int | None:
        """Follow the rules; returns how many results the message has. None: it is a control's, of which they say
        nothing."""
        results = self._refuse_what_is_no_report(run, generated)
        if results is None:
            return None
        if tracer is not None:
            run.trace = tracer
            tracer.making = making
        try:
            if tracer is None:
                generated.made.function(run, making)
            else:
                generated.made.function(run, making, tracer)
        except ContentError:
            raise
        except Dropped:
            raise run.dead(ReasonCode.UNMAPPED_CODE, "a code that is not in its table is outside the results") from None
        except Exception as error:
            raise _fault(run, generated, error) from error
        return results

    def _making(self, run: MessageContext) -> BundleBuilder:
        match self.target.kind:
            case "fhir":
                return BundleBuilder(run, transaction=self.bundle == "transaction")
            case "results":
                return FactsParts(run)
            case _:
                return MessageParts(run, self.target.results)

    def _unread_repetitions(self, run: MessageContext, generated: Generated) -> None:
        """Warn about repeating fields of which rules read only the first repetition, or the first few."""
        for segment in run.parsed.segments:
            for number, most in generated.repetitions.get(segment.name, ()):
                if len(segment.fields) <= number or run.R not in segment.fields[number]:
                    continue
                said = segment.fields[number].split(run.R)
                if any(run.present(one) and one not in said[:most] for one in said[most:]):
                    run.at = segment
                    run.warn(
                        "UNREAD_REPETITION",
                        f"a field with more repetitions than rules read ({most})",
                        field=f"{segment.name}-{number}",
                    )

    def _refuse_what_is_no_report(self, run: MessageContext, generated: Generated) -> int | None:
        """The checks of every message before its rules; returns how many results it has, None for a control."""
        names = run.parsed.names
        results = len(names.get(RESULT_SEGMENT[self.format], ()))
        unread = [name for name in names if name not in generated.read and name not in FRAMING and name[0] != "Z"]
        processing = run.text(run.field("MSH", 11) if run.hl7 else run.field("H", 12)) or ""
        processing = processing.upper()[:1]
        if processing == _CONTROL and self.target.kind != "results":  # facts say it
            return None
        if processing in _NOT_PRODUCTION:
            allowed = run.settings.get("processing_ids") or ()
            if processing not in ([allowed] if isinstance(allowed, str) else allowed):
                place = "MSH-11" if run.hl7 else "H-12"
                raise ContentError(ReasonCode.NOT_PRODUCTION, f"processing id {processing}", place=place)
        _refuse_what_lost_its_results(run, [*names])
        if unread:
            self._unread(run, unread)
        return results

    def _unread(self, run: MessageContext, names: list[str]) -> None:
        policy = run.policy("unread_segment") or "warn"
        if policy == "dead":
            raise ContentError(ReasonCode.UNREAD_SEGMENT, f"no rule reads {', '.join(names)}", place=names[0])
        if policy == "warn":
            for name in names:
                run.warn("UNREAD_SEGMENT", f"no rule reads {name}")

    def _finish(self, run: MessageContext, making: BundleBuilder, results: int) -> Mapped:
        """Count what came in against what came of it, and write the documents."""
        filtered = sum(run.filtered.values())
        counts = {"results_in": results, "observations": making.observations}
        if run.declared_drops:
            counts["dropped"] = run.declared_drops
        if run.attached:
            counts["attached"] = run.attached
        for name, count in run.filtered.items():
            counts[name] = count
        if self.target.kind == "orders":  # an observation in an order is context, and no result
            counts = {"results_in": 0, "observations": 0}
        else:
            _refuse_what_is_wrong(run, results, self.tables.get(_CODES))
            if results > 1 and self.target.kind != "results":
                warn_of_same_codes(run)
        controls = tuple(run.controls)
        if run.filtered and filtered == results and not making.observations:
            return Mapped(
                filtered=ReasonCode.QUALITY_CONTROL, issues=tuple(run.issues), counts=counts, controls=controls
            )
        if not (making.something if isinstance(making, MessageParts) else making.entries):
            return Mapped(filtered=ReasonCode.FILTERED, issues=tuple(run.issues), counts=counts)
        if run.policy("no_patient") == "dead" and not making.has("Patient"):
            raise ContentError(ReasonCode.NO_PATIENT, "no rule found a patient in the message")
        try:
            facts = facts_made(run, making) if isinstance(making, FactsParts) else None
            made = self._document(run, making)
        except ContentError:
            raise
        except Exception as error:
            raise ContentError(
                ReasonCode.MAPPING_FAULT, f"{type(error).__name__} while writing the document"
            ) from error
        return Mapped(
            documents=(made,),
            issues=tuple(run.issues),
            unmapped=tuple(run.unmapped),
            without_row=tuple(dict.fromkeys(run.without_row)),
            counts=counts,
            controls=controls,
            places=run.accounted,
            facts=facts,
        )

    def _document(self, run: MessageContext, making: BundleBuilder) -> Document:
        places: tuple[tuple[int, str], ...] = ()
        if isinstance(making, FactsParts):
            body, packed = b"", False  # `_written`
        elif isinstance(making, MessageParts):
            body, packed = body_of(run, making, self.target, self.columns, self.name), False
            if not self.reads_aside:  # else nothing says of which results a part is
                places = places_of(run, making, self.target.kind)
        else:
            name = f"{self.name}:{self.content_hash[:16]}"
            if not self.reads_aside:
                places = observations_of(run, making)  # the entries of a large one are gone once it is written
            body, packed = bundle.assemble(run, making, self.bundle, name, profiles=self.profiles)
        return Document(
            body=body,
            packed=packed,
            media_type=self.target.media_type,
            conditional=tuple(dict.fromkeys(making.conditional)),
            reports=making.remembered(),
            bearers=tuple(making.bearers.found.values()),
            used=tuple(making.used.values()),
            entries=len(making.entries),
            places=places,
        )


def _written(mapped: Mapped) -> Mapped:
    """With the document of its facts."""
    if mapped.facts is None:
        return mapped
    body = facts_written(mapped.facts)
    return replace(mapped, documents=tuple(replace(one, body=body) for one in mapped.documents))


def _refuse_what_is_wrong(run: MessageContext, results: int, table: Table | None) -> None:
    """
    Raises:
        ContentError: COUNT_MISMATCH, SAME_CODE.
    """
    refuse_shared_codes(run, table)
    if len(run.accounted) != results:
        missing = results - len(run.accounted)
        raise ContentError(
            ReasonCode.COUNT_MISMATCH, f"{results} results came in, and for {missing} of them no rule says what to do"
        )


def _refuse_what_lost_its_results(run: MessageContext, names: list[str]) -> None:
    """A report without an order and a result, or an ASTM header alone, which even an empty message follows with L.

    Raises:
        ContentError: NO_RESULTS.
    """
    if run.hl7:
        lost = run.parsed.structure.startswith(_REPORTS) and "OBR" not in names and "OBX" not in names
    else:
        lost = run.parsed.format == ASTM and names == ["H"] and len(run.parsed.segments) == 1
    if lost:
        others = ", ".join(names[1:]) or "nothing"
        wanted = "OBR or OBX" if run.hl7 else "a record"
        raise ContentError(ReasonCode.NO_RESULTS, f"{others} behind {names[0]}; wanted {wanted}")


def _fault(run: MessageContext, generated: Generated, error: Exception) -> ContentError:
    """Our own failure as a dead letter: the kind of error and the rule, never its text, which may hold patient data."""
    rule = ""
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == GENERATED:
            rule = generated.rule_of(traceback.tb_lineno)
        traceback = traceback.tb_next
    where = f" in rule {rule}" if rule else ""
    return ContentError(ReasonCode.MAPPING_FAULT, f"{type(error).__name__}{where}", place=run.place)


_NO_ISOLATE = "susceptibilities (S, I, R) of which nothing says to which isolate they belong: the setting head_codes"
_WORDS = "one code for several results of an order"
_WHERE = "; where the code is read at the wrong place, the setting test_code says where it is (ASTM)"
_DRUG = " beside S, I or R; the sender has to write the code of each drug to OBX-3.1"
_TEXT, _OBX_4 = 0, 1  # of `_names`
_OTHER = ("TX", "FT", "ED", "RP")  # OBX-2: lines of a text, documents, pictures
_NUMBER = re.compile(r"[0-9][-0-9./]*[A-Za-z]?", re.ASCII).fullmatch  # of a result in OBX-4: else that is a name
_LETTER = re.compile(r"[^\W\d_]").search


def _has_same_codes(run: MessageContext) -> bool:
    """Whether there may be a result with the code of another one: of nearly every message that is not so."""
    if run.parsed.is_apart:
        return False
    if run.hl7:  # without a step for each result
        rows = [row.fields for row in run.parsed.names.get("OBX", [])]
        codes = {fields[3].partition(run.C)[0] if len(fields) > 3 else "" for fields in rows}
        text = "\n".join(codes)
        return not len(codes) == len(rows) == len(text.split()) or run.S in text
    seen: set[str] = set()
    for segment in run.parsed.segments:
        if segment.name == "R":
            if (code := _code(run, segment)) in seen:
                return True
            seen.add(code)
        elif segment.name in ("O", "P"):
            seen.clear()
    return False


def warn_of_same_codes(run: MessageContext) -> None:
    """A warning at the first result of each message that has the code of another one."""
    if not _has_same_codes(run):
        return
    result, order = ("OBX", "OBR") if run.hl7 else ("R", "O")
    units: dict[str, str] = {}
    names: dict[tuple[str, int], str] = {}
    seen: set[tuple[str, str, str]] = set()
    taken = set(run.controls)
    heads = not run.hl7 and run.settings.get("head_codes")
    for segment in run.parsed.segments:
        name = segment.name
        if name == order or name in ("P", "PID") or (heads and name == result and is_head(run, segment)):
            units.clear()
            names.clear()
            seen.clear()
        if name == result and segment.position not in taken and segment.position in run.accounted:
            if run.hl7 and segment.get(2) in _OTHER:
                continue
            code, number, own = _code(run, segment), segment.get(4).strip() if run.hl7 else "", _names(run, segment)
            texts = enumerate(map(str.casefold, own))
            differing = {at for at, text in texts if text and names.setdefault((code, at), text) != text}
            if differing - {_OBX_4} and _is_of_drug(run, segment):
                run.at = segment
                raise ContentError(
                    ReasonCode.SAME_CODE, f"{_WORDS}, with different names{_DRUG}", place=f"{run.place}-3"
                )
            if not differing.isdisjoint((_TEXT, _OBX_4)):
                _warn(run, segment, "with different names")
                return
            unit = segment.get(6 if run.hl7 else 5).strip()
            # A code table may have a row for each unit (HbA1c in % and in mmol/mol).
            if unit and units.setdefault(code, unit) != unit and segment.position in run.without_row:
                _warn(run, segment, "with different units")
                return
            raw = segment.get(5 if run.hl7 else 4).partition(run.R)[0]
            tested = not run.hl7 and not SUSCEPTIBILITY.isdisjoint((segment.get(7), raw))
            if tested or (raw and (found := decimal(run, raw)) is not None and found.value is not None):
                key = code, number, segment.get(14 if run.hl7 else 13).strip()
                if key in seen and tested:
                    run.at = segment
                    run.warn("UNLINKED", _NO_ISOLATE)
                    return
                if key in seen:
                    _warn(run, segment, "and neither a time nor a number of their own")
                    return
                seen.add(key)


def _warn(run: MessageContext, segment: Segment, why: str) -> None:
    run.at = segment
    run.warn("SAME_CODE", f"{_WORDS}, {why}{_WHERE}")


def _code(run: MessageContext, segment: Segment) -> str:
    """The code of a result, with its own number (OBX-4) where it is one of several parts."""
    raw = segment.get(3)
    if not run.hl7:
        return (astm_test_code(run, raw) or "") if raw else ""
    code = raw.partition(run.C)[0].strip() or raw
    return f"{code}/{segment.get(4).strip()}" if run.S in code else code


def _is_of_drug(run: MessageContext, segment: Segment) -> bool:
    """Whether OBX-5 or OBX-8 interprets a susceptibility; LOINC has a code for each drug, whatever its words."""
    calls = map(str.upper, segment.fields[5:9:3])
    return not SUSCEPTIBILITY.isdisjoint(calls) and segment.get(3).split(run.C)[2:3] != ["LN"]


def _names(run: MessageContext, segment: Segment) -> tuple[str, ...]:
    """Names beside the code: OBX-3.2, OBX-4, OBX-3.4 and OBX-3.5; of test ids `engine.mapping.shared_codes` compares
    them."""
    code, _, beside = segment.get(3).partition(run.C)
    if not run.hl7 or run.S in (code or beside):
        return ()
    number = segment.get(4).strip()
    text, *others = [part.strip() for part in f"{beside}{run.C * 3}".split(run.C)]
    return text, number if _LETTER(number) and not _NUMBER(number) else "", *others[1:3]
