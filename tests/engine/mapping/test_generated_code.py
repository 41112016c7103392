"""Generated code: nothing that a user writes gets into its source, and no message makes it fail."""

import gc
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.mapping import Program, load
from engine.mapping.compiler.source.registers import ordered
from engine.mapping.conditions import route_condition
from engine.mapping.message.identity import BundleBuilder
from engine.mapping.message.key_scope import Bearers, KeyScope
from engine.mapping.message.message_context import MessageContext
from engine.mapping.values.json_text import as_text
from engine.model.errors import ConfigError, ContentError
from engine.model.message import Delimiters, Group, MapContext, Parsed, Segment
from tests.support.examples import examples
from tests.support.mapping_texts import HL7, Workshop, context, parse
from tests.support.shipped import MAPPINGS

SAFE = re.compile(r"[A-Za-z0-9_ .,:;()\[\]{}='\"<>!+*\\~^&|#-]*\n?")
hostile = st.one_of(
    st.text(min_size=1, max_size=40),
    st.sampled_from(
        [
            "'); __import__('os').system('x') #",
            '"""',
            "\\",
            "{0.__class__}",
            "%(x)s",
            "\n import os",
            "K1",
            "None",
            "\x00",
            "\u2028",
            "\ud7ff",
            "' + text + '",
            "=PID-3",
            "$case",
        ]
    ),
)
names = st.from_regex(r"[a-z_][a-z0-9_]{0,12}", fullmatch=True)


@given(text=hostile, name=names, other=hostile)
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_text_of_a_user_is_in_the_source(tmp_path_factory: Any, text: str, name: str, other: str) -> None:
    workshop = Workshop(tmp_path_factory.mktemp("m"))
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
    rules = {
        "mapping": "m",
        "format": "labrelay-mapping/1",
        "from": "hl7v2/ORU_R01",
        "let": {name: f"={quoted}"},
        "steps": [
            {
                "each": "PATIENT_RESULT",
                "do": [
                    {
                        "create": "Patient",
                        "key": f"=concat(PID-3, {quoted}, {name})",
                        "body": {
                            "language": f"={name}",
                            "maritalStatus": {"text": f"={quoted} | setting({quoted})"},
                            "name": [{"text": f"=join([PID-5, {name}], {quoted})", "family": other}],
                        },
                    },
                    {"warn": f"{other}: {text}"},
                    {"drop": "rest"},
                ],
            }
        ],
    }
    try:
        program = workshop.load(yaml.safe_dump(rules))
    except ConfigError:
        return  # not YAML, no name, or a literal that looks like an expression: refused is fine
    (generated,) = program.plain.values()
    assert all(SAFE.fullmatch(line) for line in generated.made.source.splitlines(keepends=True))
    for piece in (text, other):
        if len(piece) > 6 and not SAFE.fullmatch(piece):
            assert piece not in generated.made.source
    mapped = program.apply(parse(HL7), context())
    patient = as_text(mapped.documents[0].body)["entry"][0]["resource"]
    expected = "".join(sign if sign >= " " or sign in "\t\n\r" else "\ufffd" for sign in text).replace("\x7f", "\ufffd")
    assert patient["language"].replace("\x7f", "\ufffd") == expected


@cache
def shipped(name: str) -> Program:
    return load(name, [MAPPINGS])


FIELDS = st.text(alphabet=st.sampled_from('AZ019^&~\\|.<>=-:/" TXFNM\n\u00e9'), max_size=14)
SEGMENTS = {
    "hl7v2": ("PID", "OBR", "ORC", "OBX", "NTE", "SPM", "TQ1", "PV1", "ZZZ"),
    "astm": ("P", "O", "R", "C", "M", "Q", "L", "X"),
}
GROUPS = {
    "hl7v2": ("PATIENT_RESULT", "ORDER_OBSERVATION", "OBSERVATION", "SPECIMEN", "SPECIMEN_OBSERVATION", "OTHER"),
    "astm": ("PATIENT", "ORDER", "RESULT", "OTHER"),
}


@st.composite
def messages(draw: st.DrawFn) -> Parsed:
    """Any tree of groups and segments that a codec could give, and some that none would."""
    message_format = draw(st.sampled_from(["hl7v2", "astm"]))
    segments: list[Segment] = []

    def segment(name: str) -> Segment:
        fields = [name, *draw(st.lists(FIELDS, max_size=27))]
        made = Segment(name, fields, len(segments) + 1, sum(one.name == name for one in segments) + 1)
        segments.append(made)
        return made

    def group(name: str, depth: int) -> Group:
        made = Group(name)
        for inner in draw(st.lists(st.sampled_from(SEGMENTS[message_format]), max_size=3)):
            made.segments.setdefault(inner, []).append(segment(inner))
        if depth:
            for inner in draw(st.lists(st.sampled_from(GROUPS[message_format]), max_size=3)):
                made.groups.setdefault(inner, []).append(group(inner, depth - 1))
        return made

    root = Group("root")
    head = "MSH" if message_format == "hl7v2" else "H"
    root.segments[head] = [segment(head)]
    rest = group("root", 4)
    root.groups, root.segments = rest.groups, root.segments | rest.segments
    return Parsed(
        format=message_format,
        structure="ORU_R01" if message_format == "hl7v2" else "E1394",
        message_type="",
        delimiters=draw(
            st.sampled_from([Delimiters(), Delimiters(escape="", subcomponent=""), Delimiters("|", "^", "", "", "")])
        ),
        root=root,
        segments=segments,
        control_id=draw(FIELDS),
    )


@given(messages(), st.sampled_from(["restart", "unique"]), st.booleans())
@settings(max_examples=examples(120), deadline=None)
def test_any_parsed_message_is_mapped_or_dead(parsed: Parsed, specimen_ids: str, comma: bool) -> None:
    program = shipped("hl7-results" if parsed.format == "hl7v2" else "astm-results")
    given = context(specimen_ids=specimen_ids, settings={"decimal_comma": "yes"} if comma else {})
    outcomes = [mapped_or_dead(program, parsed, given) for _ in range(2)]
    trace = program.explain(parsed, given)
    outcomes.append(trace.mapped.documents if trace.mapped is not None else str(trace.error))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert "MAPPING_FAULT" not in str(trace.error)


def mapped_or_dead(program: Program, parsed: Parsed, given: MapContext) -> object:
    try:
        return program.apply(parsed, given).documents
    except ContentError as error:
        return str(error)


def test_the_first_line_of_the_source_needs_no_user_either(tmp_path: Path) -> None:
    program = Workshop(tmp_path).steps("- drop: all\n")
    source = program.plain["ORU_R01"].made.source
    assert source.startswith("def mapping(m, making):\n")
    assert "all" not in re.findall(r"\w+", source.split("root = m.root")[1])


ORU = (
    "MSH|^~\\&|AN|LAB|LIS|H|20260301080000||ORU^R01^ORU_R01|1|P|2.5.1\r"
    "PID|1||4711||ALPHA^ANU||19600203|F\r"
    "OBR|1||F1|GLU^Glucose^L|||20260301073000|||||||||||||||20260301080000||LAB|F\r"
    "OBX|1|NM|2345-7^Glucose^LN||5.5|mmol/L|3-6|N|||F|||20260301073000\r"
)


def _alive() -> int:
    return sum(isinstance(one, (MessageContext, BundleBuilder, KeyScope, Bearers, Parsed)) for one in gc.get_objects())


@pytest.mark.parametrize("text", [ORU, ORU.replace("|F\rOBR", "|F\rNTE|1||remark\rOBR"), ORU.replace("||F1|", "|||")])
def test_a_message_is_freed_as_soon_as_it_is_mapped(text: str) -> None:
    program = shipped("hl7-results")
    condition = route_condition("=OBX-14", "hl7v2", "hl7v2", place="")
    assert condition is not None
    mapped_or_dead(program, parse(text), context())
    gc.collect()
    gc.disable()
    try:
        before = _alive()
        assert condition(parse(text))
        mapped_or_dead(program, parse(text), context())
        assert _alive() == before
    finally:
        gc.enable()


def test_variables_and_functions_of_loops_are_numbered_first() -> None:
    once = [(1, f"x{number} = rare{number}(1)") for number in range(300)]
    lines = [*once, (1, "for x300 in x1:"), (2, "x301 = often(x300, 'never', C)")]
    head = ordered(lines, {"C"})
    texts = ["def f(root):", head, *("  " * depth + text for depth, text in [(1, "C = 1"), *lines])]
    source = "\n".join(texts).replace("\n if 0", "\n  if 0")
    scope: dict[str, Any] = {}
    exec(compile(source, "test", "exec"), scope)
    code = scope["f"].__code__
    assert set(code.co_varnames[:5]) == {"root", "x1", "x300", "x301", "C"}
    assert code.co_names[0] == "often"
    assert "never" not in head
