"""What a fuzzer may do to each parser: any bytes go in, and out come values or the product's own errors.

A target takes bytes of the fuzzer's choosing and raises where the parser breaks its word: another exception than its
own, an answer that depends on how the bytes were cut, text that vanished. What it takes in time and memory is for the
caller to bound (`tests.fuzz.__main__`, `tests/tooling/test_fuzz_corpus.py`).

The first bytes of an input choose options and sizes of the chunks, so that one corpus reaches all of them.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import yaml

from adapters.codecs import json_tree
from adapters.codecs.astm import records as astm_records
from adapters.codecs.astm.link import AstmReceiver
from adapters.codecs.astm.session import AstmOptions
from adapters.codecs.hl7v2 import acknowledgement
from adapters.codecs.hl7v2 import message as hl7v2
from adapters.codecs.hl7v2.mllp import MllpLink, MllpOptions
from engine.config.load import load_site
from engine.config.reading import yaml_nodes
from engine.mapping import load
from engine.mapping.language.rules import walk
from engine.mapping.language.syntax import parse as parse_expression
from engine.model.errors import ConfigError, ContentError, ExpressionError
from engine.model.link_events import Block, LinkEvent, LinkFault, SessionEnd
from engine.model.message import FormatOptions, Group, Parsed
from tests.fuzz import abdm
from tests.support.astm_peer import Line
from tests.support.mapping_texts import ASTM, HL7, context
from tests.support.mapping_texts import parse as read_message
from tests.support.sites import make_site

LONGEST = 4096  # bytes of an input: what is longer says nothing new
LONGEST_EXPRESSION = 200  # characters
SHORT = 64  # bytes of a block, in some runs
SLACK = 32  # bytes beyond the limit of a block, so that a sender that starts again is recognised
HL7_GROUPS = ("PATIENT_RESULT", "ORDER_OBSERVATION", "OBSERVATION")  # the way to one result
ASTM_GROUPS = ("PATIENT", "ORDER", "RESULT")
CHARSETS: tuple[tuple[str, ...], ...] = (("utf-8", "cp1252"), ("latin-1",), ("utf-8",), ("gb18030",))

Target = Callable[[bytes], None]


def mllp(data: bytes) -> None:
    """Blocks and evidence are the same however the bytes were cut, and no more is held than a block may have."""
    choice, size, wire = _choices(data)
    limit = SHORT if choice & 8 else 1024
    options = MllpOptions(
        start_without_vt=bool(choice & 1), end_by_idle=0.5 if choice & 2 else None, max_message=limit, max_noise=256
    )
    found = []
    for chunk in {len(wire) or 1, size}:
        link = MllpLink(options)
        events: list[LinkEvent] = []
        for at in range(0, len(wire), chunk):
            events += link.receive(wire[at : at + chunk], 0.0)
            _must(link.held <= limit + SLACK, "more is held than a block may have")
        events += link.tick(1.0) if choice & 4 else []
        events += link.closed()
        found.append([_plain(event) for event in events if not isinstance(event, LinkFault)])
        for event in events:
            if isinstance(event, Block):
                for payload in hl7v2.split(event.payload):
                    hl7v2.header(payload)
                    acknowledgement.acknowledge(payload, now_text="20260301101530+0000", control_id="1")
    if limit == SHORT and b"\0" in wire:
        return  # a sender of wide characters that starts again with narrow ones, in a block that is too long: evidence
    _must(all(one == found[0] for one in found), "the chunks matter")


def astm_link(data: bytes) -> None:
    """Answers, messages and evidence are the same however the bytes were cut; every message is in what was sent."""
    choice, size, wire = _choices(data)
    options = AstmOptions(
        framing=("e1381", "enq-less", "none", "e1381")[choice & 3],
        checksum=("required", "warn", "ignore", "required")[choice >> 2 & 3],
        frame_numbers=("strict", "warn", "ignore", "strict")[choice >> 4 & 3],
        commit="message" if choice & 64 else "frame",
        end="eot" if choice & 128 else "record",
        max_frame=400,
        max_message=1200,
    )
    found = []
    for chunk in {len(wire) or 1, size}:
        line = Line(AstmReceiver(options))
        line.send(wire, chunk)
        line.wait(60.0)
        line.close()
        _must(all(len(message) <= options.max_message for message in line.messages), "over the limit")
        found.append((line.messages, line.incomplete, line.answers))
    _must(all(one == found[0] for one in found), "the chunks matter")
    letters = [message.translate(None, b"\r\n\0") for message in found[0][0]]
    _must(sum(map(len, letters)) <= len(wire), "more came out than went in")


def e1394(data: bytes) -> None:
    """A message is read whole, every record in one place of its tree, or refused."""
    choice, _, payload = _choices(data)
    astm_records.header(payload)
    for message in astm_records.split(payload):
        with contextlib.suppress(ContentError):
            _whole(astm_records.parse(message, FormatOptions(charsets=CHARSETS[choice & 3])))


def hl7(data: bytes) -> None:
    """A message is read whole, every segment in one place of its tree, or refused; and answered."""
    choice, _, payload = _choices(data)
    options = FormatOptions(
        charsets=CHARSETS[choice & 3],
        spm_obx="specimen" if choice & 4 else FormatOptions().spm_obx,
        fixes=frozenset({hl7v2.UNESCAPED_NEWLINES}) if choice & 8 else frozenset(),
    )
    with contextlib.suppress(ContentError, ValueError):
        acknowledgement.read_ack(payload)
    for message in hl7v2.split(payload):
        hl7v2.header(message)
        acknowledgement.acknowledge(message, now_text="20260301101530+0000", control_id="1", ack_code="aa")
        with contextlib.suppress(ContentError):
            _whole(hl7v2.parse(message, options))


def json_text(data: bytes) -> None:
    """JSON is read whole, with every digit, or refused; what was read says itself again."""
    source = SimpleNamespace(format="json", control_id="$.id", message_type="$.items[0]['kind of']")
    for read in (json_tree.build(source), json_tree.build(SimpleNamespace(format="fhir"))):
        read.header(data)
        with contextlib.suppress(ContentError):
            tree = read.parse(data, FormatOptions()).tree
            _must(json_tree.read(_said(tree).encode())[0] == tree, "what was read is not what it says")


def _said(value: object) -> str:
    """JSON of a tree: numbers as the digits that they are."""
    if isinstance(value, json_tree.Digits):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_said(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_said, value)) + "]"
    return json.dumps(value)


def yaml_files(data: bytes) -> None:
    """A file is a tree whose every node has a place in it, and a site's files are a site or problems with places."""
    choice, _, content = _choices(data)
    text = content.decode("utf-8", "replace")
    try:
        root = yaml_nodes.read(text, "channels/a.yaml")
    except ConfigError as error:
        _must(error.problems or str(error), "no problem is named")
        return
    lines = len(text.splitlines()) + 1
    _placed(root, lines)
    if root.kind != "map" or choice & 1:
        return
    with tempfile.TemporaryDirectory() as folder:
        site = make_site(Path(folder), channels={"a.yaml": text})
        try:
            load_site(site)
        except ConfigError as error:
            _must(error.problems, "no problem is named")


def expression(data: bytes) -> None:
    """A text is an expression whose every part has a place in it, or an error with one."""
    text = data.decode("utf-8", "replace")[:LONGEST_EXPRESSION]
    try:
        tree = parse_expression(text)
    except ExpressionError as error:
        _must(0 <= error.at <= len(text), "the fault is outside of the text")
        return
    _must(all(0 <= node.at <= len(text) for node in walk(tree)), "a part is outside of the text")


def mapping(data: bytes) -> None:
    """What can be compiled maps a message or refuses it, and both variants of the code say the same."""
    choice, _, content = _choices(data)
    text = content.decode("utf-8", "replace")[:LONGEST_EXPRESSION]
    with contextlib.suppress(ExpressionError):
        parse_expression(text)
        _mapped(text, astm=bool(choice & 1))


def _mapped(text: str, *, astm: bool) -> None:
    kind, groups = ("astm/E1394", ASTM_GROUPS) if astm else ("hl7v2/ORU_R01", HL7_GROUPS)
    steps: list[dict[str, object]] = [
        {"create": "Organization", "key": "='k'", "body": {"name": f"={text}", "language": "en"}}
    ]
    for group in reversed(groups):
        steps = [{"each": group, "do": steps}]
    rules = {"mapping": "m", "format": "labrelay-mapping/1", "from": kind, "to": "fhir/R4", "steps": steps}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "m.yaml").write_text(yaml.safe_dump(rules, allow_unicode=True), encoding="utf-8")
        try:
            program = load("m", [Path(folder)])
        except ConfigError as error:
            _must(error.problems or str(error), "no problem is named")
            return
    parsed, ctx = read_message(ASTM if astm else HL7), context()
    try:
        mapped = program.apply(parsed, ctx)
    except ContentError as error:
        _must(program.explain(parsed, ctx).error is not None, f"only one variant refuses: {error.reason.value}")
        return
    trace = program.explain(parsed, ctx)
    _must(trace.mapped is not None, "only one variant refuses")
    _must(trace.mapped.documents == mapped.documents, "the variants differ")


TARGETS: dict[str, Target] = {
    "mllp": mllp,
    "astm_link": astm_link,
    "e1394": e1394,
    "hl7": hl7,
    "json": json_text,
    "yaml": yaml_files,
    "expression": expression,
    "mapping": mapping,
    "abdm": abdm.callback,
}


def _must(holds: bool, words: str) -> None:
    if not holds:
        raise AssertionError(words)


def _choices(data: bytes) -> tuple[int, int, bytes]:
    """Options, size of the chunks (1 to 32), and what is read."""
    head = data[:2].ljust(2, b"\0")
    return head[0], 1 + head[1] % 32, data[2:LONGEST]


def _plain(event: LinkEvent) -> object:
    if isinstance(event, Block):
        return event.payload
    if isinstance(event, SessionEnd):
        return event.completes, event.incomplete
    return event


def _whole(parsed: Parsed) -> None:
    """Every segment stands in the tree once, and nowhere twice."""
    positions = sorted(_positions(parsed.root))
    _must(positions == [segment.position for segment in parsed.segments], "a segment is lost or there twice")


def _positions(group: Group) -> list[int]:
    found = [segment.position for named in group.segments.values() for segment in named]
    for groups in group.groups.values():
        for inner in groups:
            found += _positions(inner)
    return found


def _placed(node: yaml_nodes.Node, lines: int) -> None:
    _must(1 <= node.line <= lines, "a node is outside of the file")
    _must(node.column >= 1, "a node is outside of its line")
    for inner in (*node.items, *(part for pair in node.pairs for part in pair)):
        _placed(inner, lines)
