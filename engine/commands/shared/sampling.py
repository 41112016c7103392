"""Run messages of a folder through as the site's channels would: the outcome of each, and its lost parts.

No daemon, no journal, nothing is sent. Rules run in their traced variant, so that every field that no rule reads is
known. Nothing here quotes a message: only places, codes and counts are reported.

Two independent readers give a second opinion: `fhir.resources` (R4B) on FHIR documents, hl7apy on HL7 v2 messages. R4B
differs from R4 only in wider reference targets among the resources that mappings make. Mappings read more than the
standard allows, since analyzers send more; this shows a vendor the errors. Their own texts quote values; here places,
tables, limits and kinds of errors are reported, and no content.
"""

import importlib
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from engine.commands.shared.mapping_options import ChannelMapper, channel_mapper, held_by
from engine.diagnostics.packs import Pack, packs, recognise
from engine.mapping.code_tables.gaps import Tally
from engine.mapping.code_tables.tables import Table
from engine.mapping.explanations.trace import Trace
from engine.mapping.language.targets import FHIR
from engine.mapping.message.facts import facts_of
from engine.mapping.program import Program
from engine.mapping.shipped import refusal
from engine.mapping.trying.inputs import HL7, FoundMessage, messages_in
from engine.model.errors import ContentError
from engine.model.message import Issue, Parsed
from engine.model.texts.reasons import ReasonCode
from engine.views.view import picked

if TYPE_CHECKING:
    from engine.config.load import Site


# Files beside samples that are none.
NO_SAMPLES = frozenset({".facts", ".json", ".md", ".py", ".pyc", ".tsv", ".yaml", ".yml"})
NO_MESSAGE = "no message, by its name"
MAX_FILE_BYTES = 256 * 1024 * 1024  # as the largest message that a channel can be configured to take
MAX_FAULTS = 20  # shown of one document


@dataclass(slots=True)
class Sample:
    """The outcome of one message.

    Attributes:
        number: of the message in its file, from 1.
        channel: as which it was run; empty without channels.
        also: other channels of the site that would take it.
        outcome: ``mapped``, ``passed on``, ``filtered``, ``dead``.
        results_in: OBX or R segments, counted before any rule ran.
        counts: the mappings' counts of its results: ``observations``, ``dropped``, ``qc`` ...
        unread: fields with content that no rule touched; ``segments``: segments that no rule reads at all.
        held: why a route would hold a document, with no knowledge of earlier results.
        invalid: errors of the documents.
        hl7_errors, hl7_warnings: departures from HL7's structures, where they were asked for.
    """

    file: str
    number: int
    channel: str = ""
    also: tuple[str, ...] = ()
    type: str = ""
    mapping: str = ""
    outcome: str = "dead"
    reason: str = ""
    place: str = ""
    detail: str = ""
    results_in: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    resources: Counter[str] = field(default_factory=Counter)
    issues: list[Issue] = field(default_factory=list)
    unread: dict[str, None] = field(default_factory=dict)
    segments: dict[str, None] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    hl7_errors: list[str] = field(default_factory=list)
    hl7_warnings: list[str] = field(default_factory=list)

    @property
    def warnings(self) -> list[Issue]:
        return [issue for issue in self.issues if issue.severity == "warning"]

    @property
    def bad(self) -> bool:
        """Whether it would not arrive as a sound document."""
        return self.outcome == "dead" or bool(self.invalid or self.hl7_errors)

    def end(self, outcome: str, reason: ReasonCode | None = None, place: str = "", detail: str = "") -> None:
        self.outcome, self.reason = outcome, reason.value if reason is not None else ""
        self.place, self.detail = place, detail

    def to_json(self) -> dict[str, Any]:
        return {
            **picked(self, "file also type mapping outcome place detail results_in counts resources unread"),
            **picked(self, "held invalid hl7_errors hl7_warnings"),
            "message": self.number,
            "code": self.reason,
            "channel": self.channel or None,
            "warnings": [picked(issue, "code place rule text") for issue in self.warnings],
            "unread_segments": list(self.segments),
        }


@dataclass(frozen=True, slots=True)
class SampleFile:
    """A file of the folder. ``skipped``: why it was not read, else empty."""

    name: str
    path: Path
    skipped: str = ""


def files_in(folder: Path) -> Iterator[SampleFile]:
    """Every file below a folder, by name; hidden ones are none of it."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts) or not path.is_file():
            continue
        skipped = ""
        if path.suffix.lower() in NO_SAMPLES:
            skipped = NO_MESSAGE
        elif path.stat().st_size > MAX_FILE_BYTES:
            skipped = f"larger than {MAX_FILE_BYTES} bytes"
        yield SampleFile(name.as_posix(), path, skipped)


class Channels:
    """The channels of a site, and the channel that each message is for.

    A folder with a channel's name holds messages of that channel. Any other message is for the channel that would take
    it: by format and routes, then by the signs of its analyzer's pack, then one whose `when` holds, then the first by
    name.
    """

    def __init__(self, site: "Site", timezone: str | None) -> None:
        self._mappers = {
            name: channel_mapper(site, name, timezone=timezone)
            for name, config in sorted(site.channels.items())
            if config.enabled
        }
        self._analyzers = {name: site.channels[name].analyzer for name in self._mappers}
        self._formats = {name: site.channels[name].source.reads_as for name in self._mappers}
        self._packs = {pack.name: pack for pack in packs(site.folder)}

    @property
    def names(self) -> list[str]:
        return list(self._mappers)

    def of_folder(self, file: SampleFile) -> str:
        """The channel that a file's folder names; empty where none does."""
        return next((part for part in reversed(Path(file.name).parts[:-1]) if part in self._mappers), "")

    def mapper(self, name: str) -> ChannelMapper:
        return self._mappers[name]

    def messages_in(self, data: bytes) -> list[FoundMessage]:
        """The messages of a file: HL7 v2 and ASTM are detected from the bytes, others read by a channel with its own
        format.
        """
        found = messages_in(data)
        if any(one.format for one in found):
            return found
        for mapper in self._mappers.values():
            if mapper.own_format:
                parts = mapper.messages_in(data)
                if any(_is_read(mapper, part) for part in parts):
                    return parts
        return found

    def taking(self, found: FoundMessage) -> list[str]:
        """The channels that would take a message, the likeliest first."""
        signs: dict[str, tuple[bool, bool]] = {}
        for name, mapper in self._mappers.items():
            if not mapper.own_format and self._formats[name] not in (found.format, "auto"):
                continue
            try:
                parsed = mapper.read(found)
            except ContentError:
                continue  # not one of this channel's
            if routes := mapper.taking(parsed):
                no_condition = all(route.when is None for route in routes)
                signs[name] = not self._shows_signs(name, parsed, found), no_condition
        return sorted(signs, key=lambda name: signs[name])

    def _shows_signs(self, name: str, parsed: Parsed, found: FoundMessage) -> bool:
        pack: Pack | None = self._packs.get(self._analyzers[name] or "")
        return pack is not None and bool(recognise(parsed, [pack]) or recognise(found.payload, [pack]))


def _is_read(mapper: ChannelMapper, found: FoundMessage) -> bool:
    try:
        mapper.read(found)
    except ContentError:
        return False
    return True


@dataclass(slots=True)
class Sampler:
    """Runs messages through.

    Attributes:
        one: the mapper for every message, where a channel or mapping was named (``name`` is the channel), or where the
            site has no channels.
        channels: else the site's, with ``bare`` for messages that none of them takes.
        strict: also validate with the standards' own readers: hl7apy for messages, `fhir.resources` for documents.
        tables: (channel or mapping, table) -> the table, of those that were asked.
    """

    one: ChannelMapper | None = None
    name: str = ""
    channels: Channels | None = None
    bare: ChannelMapper | None = None
    strict: bool = False
    gaps: Tally = field(default_factory=Tally)
    tables: dict[tuple[str, str], Table] = field(default_factory=dict)

    def run(self, file: SampleFile) -> Iterator[Sample]:
        """The outcome of each message of a file. Raises OSError where it cannot be read."""
        data = file.path.read_bytes()
        name, mapper = self.name, self.one
        if mapper is None and self.channels is not None and (name := self.channels.of_folder(file)):
            mapper = self.channels.mapper(name)
        splitter = mapper or self.channels
        assert splitter is not None
        for number, found in enumerate(splitter.messages_in(data) or [FoundMessage(data, "")], 1):
            sample = Sample(file.name, number, channel=name)
            chosen = mapper
            if chosen is None and self.channels is not None:
                names = self.channels.taking(found)
                chosen = self.channels.mapper(names[0]) if names else self.bare
                sample.channel, sample.also = (names[0], tuple(names[1:])) if names else ("", ())
            assert chosen is not None
            self.look(sample, found, chosen)
            yield sample

    def look(self, sample: Sample, found: FoundMessage, mapper: ChannelMapper) -> ContentError | None:
        """Run one message through; return why it would be dead."""
        try:
            parsed = mapper.read(found)
            sample.type = parsed.message_type
            sample.results_in = facts_of(parsed).results
            sample.issues += parsed.warnings
            if self.strict and parsed.format == HL7:
                text = found.payload.decode(parsed.charset, "replace")
                sample.hl7_errors, sample.hl7_warnings = hl7_departures(text)
            if mapper is self.bare:
                raise ContentError(*refusal(parsed))
            self._map(sample, found, parsed, mapper)
        except ContentError as error:
            filtered = error.reason is ReasonCode.FILTERED
            sample.end("filtered" if filtered else "dead", error.reason, error.place, error.detail)
            return None if filtered else error
        except Exception as error:
            # As in the daemon: an error of ours makes a dead letter. Its kind is reported; its text may quote the
            # message.
            sample.end("dead", ReasonCode.MAPPING_FAULT, detail=type(error).__name__)
            return ContentError(ReasonCode.MAPPING_FAULT, type(error).__name__)
        return None

    def _map(self, sample: Sample, found: FoundMessage, parsed: Parsed, mapper: ChannelMapper) -> None:
        context = mapper.context_for(parsed, found.payload)
        filtered = ReasonCode.FILTERED
        passed_on = False
        traces: list[tuple[Program, Trace]] = []
        for program in self._programs(parsed, mapper):
            if program is None:
                passed_on = True
                continue
            trace = program.explain(parsed, context)
            traces.append((program, trace))
            sample.issues += trace.issues
            if trace.error is not None:
                raise trace.error
        for program, trace in traces:
            mapped = trace.mapped
            assert mapped is not None
            sample.issues += mapper.differing(parsed, found.payload, program, mapped)
            where = sample.channel or program.name
            self.gaps.add(where, mapped.unmapped)
            for name, table in program.tables.items():
                self.tables.setdefault((where, name), table)
            sample.counts.update(mapped.counts)
            if (held := held_by(mapper, parsed, found.payload, program, mapped)) is not None:
                sample.held.append(f"{held.reason.value}: {held.text}")
            filtered = mapped.filtered or filtered
            for document in mapped.documents:
                view = program.view(document)
                sample.resources.update(view.counts())
                wrong = view.faults()
                if self.strict and program.target.kind == HL7:
                    errors, warnings = hl7_departures(view.text())
                    sample.hl7_errors += [f"written: {line}" for line in errors]
                    sample.hl7_warnings += [f"written: {line}" for line in warnings]
                if self.strict and program.target.kind == FHIR.kind:
                    wrong += departures(document.body)
                sample.invalid += wrong[:MAX_FAULTS]
                if len(wrong) > MAX_FAULTS:
                    sample.invalid.append(f"and {len(wrong) - MAX_FAULTS} more")
        sample.mapping = ", ".join(f"{program.name}@{program.content_hash[:12]}" for program, _ in traces)
        if sample.resources:
            sample.end("mapped")
            self._unread(sample, parsed, traces)
        elif passed_on:
            sample.end("passed on")
        else:
            sample.end("filtered", filtered)

    @staticmethod
    def _programs(parsed: Parsed, mapper: ChannelMapper) -> Iterator[Program | None]:
        """The mappings that the message goes through; None for a route that passes it on unchanged."""
        if mapper.mapping or not mapper.routes:
            yield mapper.program_for(parsed)
            return
        taking = mapper.taking(parsed)
        if not taking:
            raise ContentError(*refusal(parsed))
        for route in taking:
            if not route.filtered:
                yield mapper.program(route.mapping) if route.mapping is not None else None

    @staticmethod
    def _unread(sample: Sample, parsed: Parsed, traces: Iterable[tuple[Program, Trace]]) -> None:
        """Only what no mapping of the message reads is unread."""
        fields: Counter[str] = Counter()
        segments: Counter[str] = Counter()
        looked = 0
        for program, trace in traces:
            looked += 1
            fields.update(trace.unread)
            segments.update(program.unread_segments(parsed))
        sample.segments = {name: None for name, count in segments.items() if count == looked}
        sample.unread = {
            name: None
            for name, count in fields.items()
            if count == looked and name.partition("-")[0] not in sample.segments
        }


MOST = 20  # reported errors of a document


def departures(body: bytes) -> list[str]:
    """The errors of the models in a serialised resource, each once: ``entry.2.Observation.status: missing``.

    A body that is no JSON object is not checked here: `engine.mapping.fhir.validity` reports it.
    """
    from engine.mapping.fhir.validity import load

    try:
        content = load(body)
    except ValueError:
        return []
    models: Any = importlib.import_module("fhir.resources.R4B")
    try:
        models.get_fhir_model_class(content.get("resourceType", "")).model_validate(content)
    except ValidationError as error:
        found = dict.fromkeys(f"{_place(one['loc'])}: {one['type'].replace('_', ' ')}" for one in error.errors())
        return [f"R4B: {line}" for line in found][:MOST]
    except (LookupError, AttributeError, ValueError):
        return ["R4B: there is no resource of this type"]
    return []


def _place(parts: tuple[int | str, ...]) -> str:
    return ".".join(map(str, parts)) or "the resource"


_PLACE = r"[A-Z][A-Za-z0-9_.]*"
# hl7apy's sentences as rules without values; a sentence without a rule is reported by its first words only.
_SENTENCES = (
    (re.compile(rf"Missing required child ({_PLACE})"), "{0} is required"),
    (re.compile(rf"Child limit exceeded ({_PLACE})"), "{0} occurs too often"),
    (re.compile(rf"Exceeded max length \((\d+)\) of ({_PLACE})"), "{1} is longer than {0}"),
    (re.compile(rf"Value .* not in table HL7(\w+) in element ({_PLACE})", re.DOTALL), "{1} is not in table {0}"),
    (re.compile(rf"Datatype None is not correct for ({_PLACE})"), "{0} has parts that its type does not have"),
    (re.compile(rf"Datatype (\w+) is not correct for ({_PLACE})"), "{1} is of another type than {0}"),
    (
        re.compile(rf"Invalid children detected for <\w+ ({_PLACE})[^>]*>: \[([\w', ]*)\]"),
        "{1} does not belong into {0}",
    ),
    (re.compile(rf"Unknown element found: ({_PLACE})"), "{0} has an element that the standard does not know"),
    (re.compile(r"Invalid element found"), "has an element that the standard does not know"),
)


def hl7_departures(text: str) -> tuple[list[str], list[str]]:
    """(errors, warnings) of a decoded message, each once: ``OBX.OBX_11 is required``.

    An error is a structure that the standard does not allow, a warning a value that is too long or not in its table.
    """
    parser: Any = importlib.import_module("hl7apy.parser")
    consts: Any = importlib.import_module("hl7apy.consts")
    known: Any = importlib.import_module("hl7apy.exceptions")
    segments = "\r".join(line for line in re.split(r"\r\n|\r|\n", text) if line.strip())
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        try:
            message = parser.parse_message(segments + "\r", validation_level=consts.VALIDATION_LEVEL.TOLERANT)
            message.validate(report_file=str(report))
        except known.HL7apyException as error:
            if not report.is_file():  # it cannot be read at all
                return [f"hl7apy cannot read it ({type(error).__name__})"], []
        except AttributeError as error:
            if str(error) == "reference":  # it has parsed the message, and has no structure of this name to compare
                return ["HL7 has no structure of this name in this version (MSH-9, MSH-12)"], []
            return [f"hl7apy fails on it ({type(error).__name__})"], []
        except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
            return [f"hl7apy fails on it ({type(error).__name__})"], []
        lines = report.read_text(encoding="utf-8").splitlines() if report.is_file() else []
    return _told(lines, "Error: "), _told(lines, "Warning: ")


def _told(lines: list[str], kind: str) -> list[str]:
    return list(dict.fromkeys(_without_values(line.removeprefix(kind)) for line in lines if line.startswith(kind)))


def _without_values(sentence: str) -> str:
    for pattern, words in _SENTENCES:
        if (match := pattern.search(sentence)) is not None:
            places = [group.replace("'", "") for group in match.groups()]
            if "None" in places[-1].split(", "):  # a value without a name at this place
                return f"{places[0]} has a field that this version does not have"
            return words.format(*places)
    return "departs from the standard in another way"
