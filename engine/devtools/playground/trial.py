"""One message through one mapping, and everything the page shows of it, as plain data.

Nothing raises for what people write: a mapping that cannot be right gives problems with their places, a message that
cannot be read or is dead gives the reason, and a fault of ours its kind (its own words may quote the message).
"""

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from engine.devtools.playground.files import Folders, overlay
from engine.mapping.explaining import Leaf
from engine.mapping.inputs import FoundMessage
from engine.mapping.program import Program
from engine.mapping.trace import Trace
from engine.model.errors import ConfigError, ContentError
from engine.model.message import MapContext, Parsed
from engine.views.document_lines import lines_of, pointer_of
from engine.views.message_fields import in_a_browser

MAX_MESSAGE_BYTES = 1024 * 1024
MAX_EXPLAINED_BYTES = 4 * 1024 * 1024  # of a document; a larger one is shown as far as it is, without explanations
MAX_LEAVES = 20_000
MAX_MESSAGES = 200  # of a text, to choose from
_PROBLEM = re.compile(r"(?P<file>[^:]+):(?P<line>\d+):(?P<column>\d+): (?P<text>.*)", re.DOTALL)
CHARSETS = ("utf-8", "cp1252")

Json = dict[str, Any]


class Maps(Protocol):
    """Maps a message, as a channel or the command line says."""

    def messages_in(self, data: bytes) -> list[FoundMessage]: ...

    def read(self, found: FoundMessage) -> Parsed: ...

    def program(self, name: str) -> Program: ...

    def program_for(self, parsed: Parsed) -> Program: ...

    def context_for(self, parsed: Parsed, payload: bytes) -> MapContext: ...


MakeMapper = Callable[[str, tuple[Path, ...]], Maps]
"""(name or path of a mapping, or nothing; folders to look into first) -> what maps with it. Raises ConfigError."""


@dataclass(slots=True)
class Bench:
    """Runs trials. The mapper of the last one is kept as long as its files are the same.

    Attributes:
        scratch: a folder for edited files.
    """

    make: MakeMapper
    folders: Folders
    scratch: Path
    _kept: "_Kept | None" = field(default=None, init=False)

    def messages(self, data: bytes) -> Json:
        """The messages of a file as texts for the page, without their framing."""
        try:
            found = self._mapper("", {})[0].messages_in(data) or [FoundMessage(data, "")]
        except ConfigError:
            found = [FoundMessage(data, "")]
        made = []
        for one in found[:MAX_MESSAGES]:
            text, charset = text_of(one.payload)
            made.append({"text": text, "charset": charset})
        return {"messages": made, "more": len(found) > MAX_MESSAGES}

    def run(self, mapping: str, texts: Mapping[str, str], message: str, charset: str) -> Json:
        """Process a message and describe the result.

        Args:
            mapping: its name, or the name of its file; empty for the one of the message's kind.
            texts: edited files by name; they replace those in the folders.
            message: the text of one message, or of several; the first is used.
            charset: the encoding of its bytes.
        """
        data = bytes_of(message, charset)
        if len(data) > MAX_MESSAGE_BYTES:
            return {"dead": _reason("TOO_LARGE", "", f"larger than {MAX_MESSAGE_BYTES} bytes; try a shorter one")}
        made: Json = {"problems": []}
        try:
            self._run(made, mapping, texts, message, data)
        except ConfigError as error:
            made["problems"] += [_problem(line, "error") for line in error.problems]
        except ContentError as error:
            made["dead"] = _reason(error.reason.value, error.place, error.detail or error.reason.help)
        except Exception as error:
            made["dead"] = _reason("MAPPING_FAULT", "", f"a fault inside LabRelay: {type(error).__name__}")
        return made

    def close(self) -> None:
        """Forget what was edited."""
        if self._kept is not None:
            self._kept.folder.cleanup()
            self._kept = None

    def _run(self, made: Json, mapping: str, texts: Mapping[str, str], message: str, data: bytes) -> None:
        mapper, place = self._mapper(mapping, texts)
        if place:
            _add_program(made, mapper.program(place))  # its problems are reported for any message
        if not data.strip():
            return
        parts = mapper.messages_in(data) or [FoundMessage(data, "")]
        found = parts[0]
        made["several"] = len(parts)
        parsed = mapper.read(found)
        made["message"] = {
            "type": parsed.message_type,
            "structure": parsed.structure,
            "format": parsed.format,
            "component": parsed.delimiters.component,
            "repetition": parsed.delimiters.repetition,
        }
        made["fields"] = _fields(message, found.payload, parsed)
        made["issues"] = [asdict(issue) for issue in parsed.warnings]
        program = mapper.program_for(parsed)
        if not place:
            _add_program(made, program)
        trace = program.explain(parsed, mapper.context_for(parsed, found.payload))
        made["issues"] += [asdict(issue) for issue in trace.issues]
        made["unread"] = list(trace.unread)
        _add_outcome(made, trace)

    def _mapper(self, mapping: str, texts: Mapping[str, str]) -> tuple[Maps, str]:
        """The mapper, and the name or path of its mapping; empty where that depends on the message."""
        key = repr((mapping, sorted(texts.items()), self.folders.stamps()))
        if self._kept is None or self._kept.key != key:
            self.close()
            folder = tempfile.TemporaryDirectory(dir=self.scratch)
            first = Path(folder.name)
            overlay(first, texts, self.folders)
            place = mapping
            if mapping.endswith((".yaml", ".yml")):
                # A copy beside the edited ones: files beside a mapping are searched there first.
                copy, here = first / mapping, self.folders.find(mapping)
                if here is not None and not copy.is_file():
                    copy.write_bytes(here.read_bytes())
                place = str(copy)
            try:
                self._kept = _Kept(key, self.make(place, (first, *self.folders.own)), place, folder)
            except ConfigError:
                folder.cleanup()
                raise
        return self._kept.mapper, self._kept.place


@dataclass(slots=True)
class _Kept:
    """The mapper of the last trial, and the folder of edited files that it reads."""

    key: str
    mapper: Maps
    place: str
    folder: "tempfile.TemporaryDirectory[str]"


# -- messages as texts -----------------------------------------------------------------------------------------------


def text_of(payload: bytes) -> tuple[str, str]:
    """A message as the page's text, with the character set that gives back its bytes."""
    text = _decoded(payload)
    charset = CHARSETS[0] if text.encode(CHARSETS[0], "replace") == payload else CHARSETS[1]
    return text.replace("\r\n", "\n").replace("\r", "\n"), charset


def bytes_of(text: str, charset: str) -> bytes:
    """The text as bytes; a character that the set does not have makes it UTF-8, as a new message would be."""
    try:
        return text.encode(charset if charset in CHARSETS else CHARSETS[0])
    except UnicodeEncodeError:
        return text.encode(CHARSETS[0], "replace")


def _decoded(payload: bytes) -> str:
    for charset in CHARSETS:
        try:
            return payload.decode(charset)
        except UnicodeDecodeError:
            continue
    return payload.decode(CHARSETS[1], "replace")


# -- as the page takes it --------------------------------------------------------------------------------------------


def _add_program(made: Json, program: Program) -> None:
    made["problems"] += [_problem(line, "error") for line in program.doubts]
    made["problems"] += [_problem(line, "warning") for line in program.problems]
    made["mapping"] = {"name": program.name, "hash": program.content_hash[:12], "files": list(program.files)}


def _add_outcome(made: Json, trace: Trace) -> None:
    if trace.error is not None:
        error = trace.error
        made["dead"] = _reason(error.reason.value, error.place, error.detail or error.reason.help)
    mapped = trace.mapped
    if mapped is None:
        return
    if mapped.filtered is not None:
        made["filtered"] = _reason(mapped.filtered.value, "", mapped.filtered.help)
    made["counts"] = dict(mapped.counts)
    made["unmapped"] = [asdict(one) for one in mapped.unmapped]
    if mapped.documents:
        document = mapped.documents[0]
        explained = len(document.body) <= MAX_EXPLAINED_BYTES
        leaves = trace.leaves[:MAX_LEAVES] if explained else ()
        made["explained"] = explained
        in_json = "json" in document.media_type
        lines, more = lines_of(document.body, document.media_type, ((leaf.path, leaf.value) for leaf in leaves))
        made["lines"] = [[line.depth, line.text, line.pointer] for line in lines]
        made["more"] = more
        made["leaves"] = [
            _leaf(leaf, leaf.pointer or (pointer_of(leaf.path) if in_json else leaf.path)) for leaf in leaves
        ]


def _leaf(leaf: Leaf, pointer: str) -> Json:
    """All but its value, which is in the document."""
    shown = {name: getattr(leaf, name) for name in ("path", "origin", "rule", "function", "sources", "rows", "about")}
    return {**shown, "pointer": pointer, "calls": [astuple(call) for call in leaf.calls]}


def _fields(message: str, payload: bytes, parsed: Parsed) -> list[tuple[int, int, str]]:
    """The fields of the message's text on the page; none where it is in a frame there."""
    text, _ = text_of(payload)
    at = message.find(text)
    if at < 0:
        return []
    before = len(message[:at].encode("utf-16-le", "surrogatepass")) // 2
    return [(field.start + before, field.end + before, field.name) for field in in_a_browser(text, parsed)]


def _problem(line: str, severity: str) -> Json:
    match = _PROBLEM.fullmatch(line)
    if match is None:
        return {"severity": severity, "file": "", "line": 0, "column": 0, "text": line}
    return {
        "severity": severity,
        "file": Path(match["file"]).name if match["file"].startswith("/") else match["file"],
        "line": int(match["line"]),
        "column": int(match["column"]),
        "text": match["text"],
    }


def _reason(code: str, place: str, text: str) -> Json:
    return {"reason": code, "place": place, "text": text}
