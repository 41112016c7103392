"""Tests of mappings: ``mappings/tests/*.yaml``, a message and its expected output.

test: HGB in g/dL becomes g/L            a file holds one test, or a list of them
mapping: hl7-results
channel: haematology                     as this channel of the site: its tables, settings and hold rules
settings: {timezone: Asia/Kolkata}       timezone, channel, specimen_ids, patient_numbers, namespaces, received,
                                         charset, fix, spm_obx, tables; all others are settings of a channel, and come
                                         before the channel's. Patient numbers last, if the test does not say otherwise
given: | ...                             or file: message.hl7, beside the test
hold: =value < 7                         rules that hold results back, in place of a channel's; earlier:, controls:; see
                                         engine/mapping/hold_rules/rules.py
expect:
  held: HELD_BY_RULE                     what they say; `no`: the result is not held
  counts: {Observation: 1}               resources by type, and results_in, dropped, qc ...
  resources: [{find: Observation, has: {...}}]
                                         segments, rows or records where the mapping writes no FHIR:
                                         [{find: OBX, has: {'3.1': HGB, 5: '148'}}]
  issues: []                             all warnings, by code or as {code, place, rule, text}
  unmapped: [HGB]                        all codes that no table has
  unread: [OBX-1]                        these fields are read by no rule
  dead: UNMAPPED_UNIT                    or filtered: QUALITY_CONTROL; the message becomes no document
  golden: x.expected.json                the whole document; `labrelay test --update` writes it

Which rules of a mapping ran: the lines of its generated code, watched while tests run.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from difflib import ndiff
from pathlib import Path
from types import FrameType
from typing import Any

from engine.config.reading import yaml_nodes
from engine.config.reading.yaml_nodes import Node
from engine.mapping.explanations.explain_text import lines
from engine.mapping.explanations.explaining import RULE
from engine.mapping.explanations.trace import Trace
from engine.mapping.hold_rules import rules
from engine.mapping.hold_rules.rules import HoldRules
from engine.mapping.message.message_context import GENERATED
from engine.mapping.outputs.views import JSON_KINDS, View
from engine.mapping.program import Program
from engine.mapping.trying.expected_form import EXPECT_KEYS, PARTS, changes, check, differences, plain
from engine.mapping.trying.inputs import FoundMessage, Mapper, messages_in
from engine.mapping.values.json_text import as_text
from engine.model.errors import ConfigError, ContentError
from engine.model.message import Issue, MapContext, Mapped, Parsed
from engine.model.texts.spelling import suggestion

KEYS = ("test", "description", "mapping", "settings", "given", "file", *rules.KEYS, "expect")
# Of `settings:`, those that are no channel's settings.
CONTEXT_KEYS = ("channel", "timezone", "namespaces", "specimen_ids", "patient_numbers")
_MAPPING_HASH = re.compile(r"(urn:labrelay:mapping:[^:\"]+):[0-9a-f]{16}")


@dataclass(slots=True)
class Test:
    """One test as its file says it."""

    __test__ = False

    name: str
    node: Node
    folder: Path
    mapping: str
    settings: dict[str, Any]
    given: bytes
    expect: Node | None

    @property
    def place(self) -> str:
        return f"{self.node.file}:{self.node.line}"


@dataclass(slots=True)
class Outcome:
    """The result of a test: failures by path, and details to understand them.

    Attributes:
        program: the mapping that ran; None where the message could not be read, or no mapping takes it.
    """

    test: Test
    failures: list[str] = field(default_factory=list)
    help: list[str] = field(default_factory=list)
    updated: str = ""
    program: Program | None = None

    @property
    def passed(self) -> bool:
        return not self.failures


@dataclass(slots=True)
class Runner:
    """Runs tests; compiled mappings and the rules that ran are kept from test to test.

    Attributes:
        update: write golden files instead of comparing them.
        rules_of: the hold rules of the route of a channel that takes a message with this mapping; None without a site.
        as_channel: (channel, mapping of the test) -> the channel's mapper, None for a channel that is not there; None
            without a site.
        covered: program name and structure -> the rules that ran, where coverage is asked for.
    """

    update: bool = False
    measure: bool = False
    rules_of: Callable[[str, Parsed, Program], HoldRules | None] | None = None
    as_channel: Callable[[str, str], Mapper | None] | None = None
    covered: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    programs: dict[tuple[str, tuple[Path, ...], tuple[tuple[str, str], ...]], Program] = field(default_factory=dict)

    def run(self, test: Test, search: Sequence[Path]) -> Outcome:
        """Run one test.

        Args:
            search: `mappings` folders.

        Raises:
            ConfigError: its mapping is wrong.
        """
        outcome = Outcome(test)
        messages = messages_in(test.given)
        if len(messages) != 1:
            outcome.failures.append(f"given: one message is expected, and there are {len(messages)}")
            return outcome
        mapper, found = self._mapper(test, search), messages[0]
        program: Program | None = None
        mapped: Mapped | None = None
        error: ContentError | None = None
        trace: Trace | None = None
        try:
            parsed = mapper.read(found)
            program = outcome.program = self._program(mapper, parsed)
            context = mapper.context_for(parsed, found.payload)
            trace = program.explain(parsed, context)
            mapped = self._apply(program, parsed, context)
        except ContentError as caught:
            error = caught
        except ConfigError as problems:
            raise self._at_the_test(test, problems) from problems
        self._compare(test, outcome, mapped, error, trace)
        held = test.expect.get("held") if test.expect is not None else None
        if held is not None and mapped is not None and program is not None:
            holding = self._holding(test, program, parsed, search)
            reading, past = mapper.reading(parsed, found.payload), rules.told(test.node)
            reason = rules.would_hold(holding, parsed, reading, mapped, past) if holding is not None else None
            outcome.failures += rules.differences(held, reason)
        if not outcome.passed and trace is not None:
            ruled = [leaf for leaf in trace.leaves if leaf.origin == RULE]
            outcome.help = list(lines(trace, ruled, values=True, whole=True))
        return outcome

    def _holding(self, test: Test, program: Program, parsed: Parsed, search: Sequence[Path]) -> HoldRules | None:
        """The rules that a test names."""
        channel = test.node.get("channel")
        if channel is None:
            return rules.own_rules(test.node, program, search)
        assert self.rules_of is not None, "a site that knows the channel knows its rules"
        return self.rules_of(channel.value, parsed, program)

    def _apply(self, program: Program, parsed: Parsed, context: MapContext) -> Mapped:
        if not self.measure:
            return program.apply(parsed, context)
        ran: set[int] = set()
        with recording(ran):
            mapped = program.apply(parsed, context)
        generated = program.plain[parsed.structure].made
        rules = self.covered.setdefault((program.name, parsed.structure), set())
        rules.update(generated.ran(ran))
        return mapped

    def _mapper(self, test: Test, search: Sequence[Path]) -> Mapper:
        """As the channel that the test names, else as one without settings; the test's own settings have precedence."""
        usual = MapContext(channel="test", patient_numbers="lasting")
        mapper = self._channel(test) or Mapper(search, test.mapping, context=usual)
        given = dict(test.settings)
        if received := given.pop("received", None):
            at = datetime.fromisoformat(received)
            mapper.received = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        if charset := given.pop("charset", None):
            charsets = (charset,) if isinstance(charset, str) else tuple(charset)
            mapper.options = replace(mapper.options, charsets=charsets)
        if fixes := given.pop("fix", None):
            mapper.options = replace(mapper.options, fixes=frozenset(fixes))
        if spm_obx := given.pop("spm_obx", None):
            mapper.options = replace(mapper.options, spm_obx=spm_obx)
        mapper.tables = {**(mapper.tables or {}), **given.get("tables", {})}
        known = {name: given.pop(name) for name in CONTEXT_KEYS if name in given}
        mapper.context = replace(mapper.context, settings={**mapper.context.settings, **given}, **known)
        return mapper

    def _channel(self, test: Test) -> Mapper | None:
        """The mapper of the channel that the test names; None where it names none."""
        channel = test.node.get("channel")
        if channel is None:
            return None
        if self.as_channel is None:
            raise ConfigError(channel.problem(f"there is no site here, so channel {channel.value} is not known"))
        mapper = self.as_channel(channel.value, test.mapping)
        if mapper is None:
            raise ConfigError(channel.problem(f"the site has no channel {channel.value}"))
        return mapper

    def _program(self, mapper: Mapper, parsed: Parsed) -> Program:
        key = (
            mapper.mapping,
            tuple(mapper.search),
            tuple(sorted((name, str(files)) for name, files in (mapper.tables or {}).items())),
        )
        if not mapper.mapping or key not in self.programs:
            self.programs[key] = mapper.program_for(parsed)
        return self.programs[key]

    @staticmethod
    def _at_the_test(test: Test, error: ConfigError) -> ConfigError:
        """A missing mapping is a mistake of the test, and is reported there."""
        named = test.node.get("mapping")
        lines = [problem.partition(f"{test.mapping}.yaml:1:1: there is no mapping ") for problem in error.problems]
        if named is None or not lines[0][1] or lines[0][0]:
            return error
        return ConfigError(*(named.problem(f"there is no mapping {rest}") for _, _, rest in lines))

    def _compare(
        self, test: Test, outcome: Outcome, mapped: Mapped | None, error: ContentError | None, trace: Trace | None
    ) -> None:
        failures = outcome.failures
        expected = {key.value: value for key, value in test.expect.pairs} if test.expect is not None else {}
        dead = expected.get("dead")
        if error is not None:
            if dead is None:
                failures.append(f"the message is dead: {error}")
            elif error.reason.value != dead.value:
                failures.append(f"dead: expected {dead.value}, got {error}")
        elif dead is not None:
            failures.append(f"dead: expected {dead.value}, and the message was mapped")
        if mapped is not None:
            self._compare_mapped(test, outcome, mapped, expected)
        if trace is not None and (unread := expected.get("unread")) is not None:
            for item in plain(unread):
                if item not in trace.unread:
                    failures.append(f"unread: {item} is read by a rule, or is not in the message")

    def _compare_mapped(self, test: Test, outcome: Outcome, mapped: Mapped, expected: dict[str, Node]) -> None:
        failures = outcome.failures
        wanted = expected["filtered"].value if "filtered" in expected else None
        if (mapped.filtered.value if mapped.filtered is not None else None) != wanted:
            failures.append(f"filtered: expected {wanted}, got {mapped.filtered and mapped.filtered.value}")
        view = outcome.program.view(mapped.documents[0]) if outcome.program and mapped.documents else None
        resources = view.parts() if view is not None else []
        if "counts" in expected:
            failures += _counts(plain(expected["counts"]), resources, mapped)
        for name in PARTS:
            if name in expected:
                failures += _find_all(name, plain(expected[name]), resources)
        if "issues" in expected:
            failures += _issues(plain(expected["issues"]), mapped.issues)
        if "unmapped" in expected:
            codes, seen = plain(expected["unmapped"]), [one.code for one in mapped.unmapped]
            if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
                failures.append("unmapped: expected a list of codes, as [NIT]")
            elif sorted(codes) != sorted(seen):
                failures.append(f"unmapped: expected {', '.join(codes) or 'none'}, got {', '.join(seen) or 'none'}")
        if "golden" in expected:
            self._golden(test.folder / expected["golden"].value, view, outcome)

    def _golden(self, path: Path, view: View | None, outcome: Outcome) -> None:
        # The hash of the mapping changes with every edit of a comment; only its output counts.
        text = (_MAPPING_HASH.sub(r"\1", view.text()) if view is not None else "{}") + "\n"
        structured = view is None or view.document.media_type in JSON_KINDS
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        if self.update:
            if before != text:
                path.write_text(text, encoding="utf-8")
                outcome.updated = path.name
        elif not before:
            outcome.failures.append(f"golden: {path.name} is not there; labrelay test --update writes it")
        elif before != text and not structured:
            outcome.failures += _different_lines(before, text)[:40]
        elif before != text:
            outcome.failures += list(changes(as_text(before), as_text(text)))[:40] or [
                "golden: the same, written differently"
            ]


def _different_lines(before: str, after: str) -> list[str]:
    """Lines that came or went: segments, or rows."""
    marks = {"-": "expected, and not there", "+": "not expected"}
    lines = ndiff(before.splitlines(), after.splitlines())
    return [f"golden: {marks[line[0]]}: {line[2:]}" for line in lines if line[0] in marks]


def _counts(expected: dict[str, str], resources: list[dict[str, Any]], mapped: Mapped) -> Iterator[str]:
    for name, count in expected.items():
        if name[:1].isupper() or name in map(_type, resources):
            actual = sum(1 for resource in resources if resource["resourceType"] == name)
        else:
            actual = mapped.counts.get(name, 0)
        if str(actual) != count:
            yield f"counts.{name}: expected {count}, got {actual}"


def _find_all(key: str, expected: list[dict[str, Any]], resources: list[dict[str, Any]]) -> Iterator[str]:
    """Each expectation takes the first resource, or other part, of its type that matches and is not taken yet."""
    left = list(resources)
    for at, one in enumerate(expected):
        kind, has = one.get("find", ""), one.get("has", {})
        candidates = [resource for resource in left if resource["resourceType"] == kind]
        nearest: list[str] | None = None
        for resource in candidates:
            found = list(differences(has, resource))
            if not found:
                left.remove(resource)
                break
            if nearest is None or len(found) < len(nearest):
                nearest = found
        else:
            if nearest is None:
                yield f"{key}[{at}]: there is no {'further ' if kind in map(_type, resources) else ''}{kind}"
            else:
                yield from (f"{key}[{at}]: {kind}.{line}" for line in nearest)


def _type(resource: dict[str, Any]) -> str:
    return str(resource["resourceType"])


def _issues(expected: list[Any], issues: tuple[Issue, ...]) -> Iterator[str]:
    """Warnings must be exactly those expected, in any order; notes are no matter of tests."""
    left = [issue for issue in issues if issue.severity != "note"]
    for one in expected:
        wanted = {"code": one} if isinstance(one, str) else one
        for issue in left:
            if all(getattr(issue, name, None) == value for name, value in wanted.items()):
                left.remove(issue)
                break
        else:
            yield f"issues: expected {', '.join(wanted.values())}, and it did not occur"
    for issue in left:
        yield f"issues: not expected: {issue.code} at {issue.place or 'the message'}: {issue.text} ({issue.rule})"


# -- reading test files ------------------------------------------------------------------------------------------


def read_tests(path: Path, name: str = "") -> list[Test]:
    """The tests of a file.

    Raises:
        ConfigError: its problems.
    """
    node = yaml_nodes.read_file(path, name or path.name)
    problems: list[str] = []
    tests = []
    for item in node.items if node.kind == "list" else (node,):
        test = _read_test(item, path.parent, problems)
        if test is not None:
            tests.append(test)
    if problems:
        raise ConfigError(*problems)
    return tests


def _read_test(node: Node, folder: Path, problems: list[str]) -> Test | None:
    if node.kind != "map":
        problems.append(node.problem("a test is a map with test:, mapping:, given: and expect:"))
        return None
    before = len(problems)
    for key, _ in node.pairs:
        if key.value not in KEYS:
            problems.append(key.problem(f"a test has no key '{key.value}'{suggestion(key.value, KEYS)}"))
    problems += check(node)
    given = _given(node, folder, problems)
    problems += rules.check(node)
    settings, expect = node.get("settings"), node.get("expect")
    if len(problems) > before:
        return None
    name = node.get("test")
    mapping = node.get("mapping")
    return Test(
        name=name.value if name is not None else f"{node.file}:{node.line}",
        node=node,
        folder=folder,
        mapping=mapping.value if mapping is not None else "",
        settings=plain(settings) if settings is not None else {},
        given=given or b"",
        expect=expect,
    )


def _given(node: Node, folder: Path, problems: list[str]) -> bytes | None:
    given, file = node.get("given"), node.get("file")
    if (given is None) == (file is None):
        problems.append(node.problem("a test needs given: with a message, or file: with its name"))
        return None
    if given is not None:
        return given.value.encode()
    assert file is not None
    try:
        return (folder / file.value).read_bytes()
    except OSError as error:
        problems.append(
            file.problem(f"{file.value} cannot be read: {error.strerror}; the name is relative to the test")
        )
        return None


__all__ = ["EXPECT_KEYS", "FoundMessage", "Outcome", "Runner", "Test", "read_tests"]


@contextmanager
def recording(ran: set[int]) -> Iterator[None]:
    """Add the numbers of the lines of generated code that run inside the block."""

    def line(frame: FrameType, event: str, _argument: Any) -> Any:
        ran.add(frame.f_lineno)
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_code.co_filename == GENERATED else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)
