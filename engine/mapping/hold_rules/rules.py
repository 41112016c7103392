"""The hold rules of one route: what they need of a message, and whether they hold what the route makes of it.

    facts     where the message is mapped: answers of the conditions about the message, and its results, as JSON
    decide    in the journal's transaction: each rule is applied to each result, with the patient's history

The two steps may run in different processes. Only the order of the journal shows which value came before. A rule that
matches, cannot be decided, or fails holds the document; a fault never lets a document through.

The part of a mapping test about holding results.

hold: =value < 7                         rules as a route has them
channel: haematology                     or those of the route of this channel that takes the message
earlier: {718-7: '10.2'}                 the patient's last values, by code
controls: {HGB: failed}                  how controls ended, by code: passed or failed
expect:
  held: HELD_BY_RULE                     or HOLD_UNDECIDED, HOLD_FAULT; `no`: it is not held
  held: {cause: HELD_BY_RULE, why: critical}        `why` is part of the text that a person reads

Patient history supplied by a test or a command instead of the journal: an
`engine.model.content.results.EarlierResults`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import orjson

from engine.config.reading.yaml_nodes import Node
from engine.mapping.conditions import EITHER
from engine.mapping.hold_rules.limits import CRITICAL
from engine.mapping.hold_rules.names import HoldContext
from engine.mapping.hold_rules.terms import Compiled, compile_rule
from engine.mapping.language import syntax
from engine.mapping.language.rules import Formula
from engine.mapping.measured import Reading
from engine.mapping.program import Program
from engine.mapping.shipped import READERS
from engine.mapping.values import decimals
from engine.model.content.results import EarlierResults, Result, from_json
from engine.model.errors import ConfigError, ExpressionError
from engine.model.journal.records import HoldReason, RuleAnswer
from engine.model.message import Mapped, Parsed
from engine.model.texts.reasons import ReasonCode
from engine.model.texts.spelling import suggestion

MAX_RESULTS = 5000  # rules ask the journal for each; a document of more is for a person
FHIR = "fhir/R4"
NAMED = 8  # results that a reason names
_VERSION_BYTES = 4


class RuleText(NamedTuple):
    """A rule as it is written: the scalar of its expression, with its ``=``, and what `engine.config.channel.HoldRule`
    has beside that.
    """

    when: Node
    reason: str = ""
    name: str = ""
    shadow: bool = False
    score: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        reason: the text for a person; the expression itself where the route gives none.
        place: ``channels/lab.yaml:12``.
        name: what it is counted under. version: of its expression, and of the tables of limits that it asks.
        shadow: it counts, and holds nothing. score: the address of the program whose number it asks for, or empty.
    """

    reason: str
    place: str
    compiled: Compiled
    name: str = ""
    version: str = ""
    shadow: bool = False
    score: str = ""


@dataclass(frozen=True, slots=True)
class HoldRules:
    """All hold rules of a route, compiled.

    Attributes:
        asks_document: what the route's mapping writes in FHIR, and not what its message says: a site's own mapping may
            have codes and units of its own.
    """

    rules: tuple[Rule, ...]
    asks_document: bool = False

    def beside(self, document: str, *, is_own: bool) -> "HoldRules":
        """The same, for what another mapping makes; arguments as for `compile_holding`."""
        return replace(self, asks_document=is_own and document == FHIR)

    @property
    def asks_the_past(self) -> bool:
        """Values of this route's results have to be remembered."""
        return any(rule.compiled.asks_the_past for rule in self.rules)

    @property
    def scored(self) -> Sequence[tuple[str, str]]:
        """See `engine.model.routes.Holding`."""
        return [(rule.name, rule.score) for rule in self.rules if rule.score]

    def asked(self, facts: bytes) -> list[Result]:
        """The results that rules are asked about."""
        return DocumentRules(self, facts)._results

    def limits(self, result: Result) -> str:
        """Beyond what tables of limits say that a result is critical: ``< 7``, ``< 2.5, > 6.5``; empty: nothing."""
        codes, units = [code for _, code in result.codes], result.units or ("",)
        tables = (table for rule in self.rules for table in rule.compiled.tables if table.columns == CRITICAL)
        rows = [
            next((row for row in table.of(codes) if row.unit in units and row.fits(result, result.at_us or 0)), None)
            for table in tables
        ]
        low, high = ([end for row in rows if row is not None and (end := getattr(row, name)) is not None]
                     for name in ("low", "high"))  # fmt: skip
        return ", ".join([*(f"< {end}" for end in low[:1]), *(f"> {end}" for end in high[:1])])

    def facts(self, parsed: Parsed, results: Sequence[Result] | None, warnings: Sequence[str] = ()) -> bytes:
        """The facts that `about` needs of a message. Never raises: a fault is a fact, too.

        Args:
            results: None, they cannot be read.
            warnings: codes of those that the route's mapping gave.
        """
        try:
            tests = [[holds(parsed) for holds in rule.compiled.conditions] for rule in self.rules]
        except Exception as error:
            return orjson.dumps({"fault": f"a condition about the message failed ({type(error).__name__})"})
        if results is None:
            return orjson.dumps({"fault": "the results of the message cannot be read"})
        return orjson.dumps({"tests": tests, "results": results, "warnings": list(warnings)}, default=str)

    def about(self, facts: bytes) -> "DocumentRules":
        """The rules about one document; see `engine.model.journal.records.Rules`."""
        return DocumentRules(self, facts)


class DocumentRules:
    """The rules of a route, asked about one document."""

    def __init__(self, holding: HoldRules, facts: bytes) -> None:
        self._holding = holding
        self._fault = "no person has looked at the document"
        self._tests: list[list[bool]] = []
        self._results: list[Result] = []
        self._told: list[Result] = []
        self._warnings: tuple[str, ...] = ()
        self._answers: list[RuleAnswer] = []
        self._scores: dict[
            str, tuple[str, dict[int, Decimal]]
        ] = {}  # by rule: version, and numbers by id of the result
        try:
            known = orjson.loads(facts)
            self._fault = known.get("fault", "")
            self._tests = known.get("tests", [])
            self._warnings = tuple(known.get("warnings", ()))
            self._told = [from_json(result) for result in known.get("results", ())]
            self._results = [one for one in self._told if not one.beside]
            for rule, scored in known.get("scores", {}).items():
                version, numbers = scored or ("", [None] * len(self._results))
                said = zip(self._results, numbers, strict=True)
                self._scores[rule] = version, {id(one): Decimal(text) for one, text in said if text is not None}
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            self._fault = f"the record of the document cannot be read ({type(error).__name__})"

    @property
    def results(self) -> Sequence[Result]:
        """Those that later rules may ask for."""
        return self._results[:MAX_RESULTS] if self._holding.asks_the_past else ()

    def among(self, wanted: Callable[[Result], bool]) -> "DocumentRules":
        """See `engine.model.journal.records.Rules`."""
        part = copy(self)
        part._results = [one for one in self._results if wanted(one)]
        part._answers = []
        return part

    @property
    def answers(self) -> Sequence[RuleAnswer]:
        """See `engine.model.journal.records.Rules`."""
        return self._answers

    @property
    def tests(self) -> Sequence[str]:
        """See `engine.model.journal.records.Rules`."""
        return [one.test for one in self._results]

    def decide(self, earlier: EarlierResults, now_us: int) -> HoldReason | None:
        """See `engine.model.journal.records.Rules`."""
        self._answers = []
        if self._fault:
            return self._undecided(HoldReason(reason=ReasonCode.HOLD_FAULT, text=self._fault))
        if len(self._results) > MAX_RESULTS:
            text = f"the document has {len(self._results)} results, and rules are asked for {MAX_RESULTS} at most"
            return self._undecided(HoldReason(reason=ReasonCode.HOLD_UNDECIDED, text=text))
        found: list[tuple[ReasonCode, str]] = []
        for rule, tests in zip(self._holding.rules, self._tests, strict=True):
            reasons = self._ask(rule, tests, earlier, now_us)
            found += () if rule.shadow else reasons
        if not found:
            return None
        order = (ReasonCode.HELD_BY_RULE, ReasonCode.HOLD_UNDECIDED, ReasonCode.HOLD_FAULT)
        reason = min((reason for reason, _ in found), key=order.index)
        return HoldReason(reason=reason, text="; ".join(text for _, text in found))

    def _undecided(self, why: HoldReason) -> HoldReason | None:
        """Of a document that no rule can be asked about: it is held, unless all its rules are shadows."""
        self._answers = [RuleAnswer(one.name, one.version, one.shadow, 1, (), ("",)) for one in self._holding.rules]
        return None if all(one.shadow for one in self._holding.rules) else why

    def _ask(self, rule: Rule, tests: list[bool], earlier: EarlierResults, now_us: int) -> list[tuple[ReasonCode, str]]:
        holds: list[Result] = []
        undecided: dict[str, list[Result]] = {}
        found: list[tuple[ReasonCode, str]] = []
        scored = self._scores.get(rule.name) if rule.score else None
        version, numbers = scored or ("", {})
        silent: list[Result] = []
        asks = self._results if rule.compiled.about_results else [Result()]
        for result in asks:
            asked = HoldContext(result, earlier, tests, now_us, self._warnings, self._told, numbers.get(id(result)))
            try:
                answer = rule.compiled.test(asked)
            except Exception as error:  # P7: a fault of ours holds this result only
                found.append((ReasonCode.HOLD_FAULT, f"{type(error).__name__} in the rule {rule.place}"))
                undecided.setdefault("", []).append(result)
                break
            if answer is True:
                holds.append(result)
            elif answer is None and scored is not None and asked.score is None:
                silent.append(result)  # its program gave no number: a warning says so
            elif answer is None:
                undecided.setdefault("; ".join(asked.unknown) or "not known", []).append(result)
        unknown = tuple(one.test for those in (*undecided.values(), silent) for one in those)
        hit = tuple(one.test for one in holds)
        self._answers.append(RuleAnswer(rule.name, rule.version, rule.shadow, len(asks), hit, unknown))
        if holds:
            said = [f"{one.name}; score {numbers[id(one)]} of {version}" for one in holds if id(one) in numbers]
            found.append((ReasonCode.HELD_BY_RULE, rule.reason + _named(rule, holds, said)))
        for what, those in undecided.items():
            if what:
                text = f"{rule.reason}: cannot be decided, {what}{_named(rule, those)}"
                found.append((ReasonCode.HOLD_UNDECIDED, text))
        return found


def _named(rule: Rule, results: list[Result], said: Sequence[str] = ()) -> str:
    if not rule.compiled.about_results:
        return ""
    distinct = list(dict.fromkeys(said or (one.name for one in results)))
    more = f" and {len(distinct) - NAMED} more" if len(distinct) > NAMED else ""
    return f" ({'; '.join(distinct[:NAMED])}{more})"


def is_named(text: str, name: str) -> bool:
    """Whether a reason names a result, as rules and comparisons do: behind it, in brackets."""
    return re.search(rf"[(;] ?{re.escape(name)}(?:[);]| and \d+ more)", text) is not None


def compile_holding(
    rules: Sequence[RuleText], message_format: str, document: str, search: Sequence[Path], *, is_own: bool = False
) -> HoldRules:
    """Compile a route's rules.

    Args:
        message_format: the format that the route's mapping reads, else that of the channel.
        document: the format that it writes, as ``to:`` of the mapping says; empty without a mapping.
        search: `mappings` folders, for tables of limits.
        is_own: the mapping is a site's.

    Raises:
        ConfigError: all that is wrong with them.
    """
    made: list[Rule] = []
    problems: list[str] = []
    for rule in rules:
        try:
            made.append(_compile(rule, message_format, document, search))
        except ConfigError as error:
            problems += error.problems
        if rule.name and [one.name for one in rules].count(rule.name) > 1:
            problems.append(rule.when.problem(f"two rules have the name '{rule.name}'; it is counted by its name"))
    if problems:
        raise ConfigError(*problems)
    return HoldRules(tuple(made)).beside(document, is_own=is_own)


def _compile(rule: RuleText, message_format: str, document: str, search: Sequence[Path]) -> Rule:
    node = rule.when
    if not node.value.startswith("="):
        raise ConfigError(node.problem("a rule is an expression and starts with =, as =flags in ['HH', 'LL']"))
    if message_format not in (*READERS, EITHER) and document != FHIR:
        text = f"nothing reads results of {message_format} but a mapping to FHIR, and this route has none"
        raise ConfigError(node.problem(text))
    try:
        tree = syntax.parse(node.value[1:])
    except ExpressionError as error:
        raise ConfigError(node.problem(str(error), offset=1 + error.at)) from error
    compiled = compile_rule(Formula(node, tree), message_format, search)
    text = node.value[1:].strip()
    if rule.score and not compiled.asks_score:
        raise ConfigError(node.problem("the rule has a score, and its condition does not ask for it, as =score > 0.9"))
    if compiled.asks_score and not rule.score:
        raise ConfigError(node.problem("score is the number of another program: give the rule its address, `score:`"))
    version = blake2b(repr((text, compiled.tables)).encode(), digest_size=_VERSION_BYTES).hexdigest()
    place = f"{node.file}:{node.line}"
    return Rule(
        rule.reason or text, place, compiled, rule.name or rule.reason or text, version, rule.shadow, rule.score
    )


@dataclass(frozen=True, slots=True)
class StatedHistory:
    """The patient history as stated.

    Attributes:
        values: code -> the patient's last value, in the unit of the result, whenever it was measured.
        controls: code -> whether a control of it failed.
    """

    values: Mapping[str, Decimal] = field(default_factory=dict)
    controls: Mapping[str, bool] = field(default_factory=dict)

    def value(self, result: Result, within_us: int) -> Decimal | None:
        return next((self.values[code] for _, code in result.codes if code in self.values), None)

    def days(self, result: Result, within_us: int) -> Decimal | None:
        return None

    def control_failed(self, codes: tuple[str, ...], within_us: int) -> bool | None:
        judged = [self.controls[code] for code in codes if code in self.controls]
        return any(judged) if judged else None


KEYS = ("hold", "channel", "earlier", "controls")
NOT_HELD = "no"
CAUSES = tuple(reason.value for reason in (ReasonCode.HELD_BY_RULE, ReasonCode.HOLD_UNDECIDED, ReasonCode.HOLD_FAULT))


def check(test: Node) -> Iterator[str]:
    """Problems in a test's part about holding."""
    if test.get("hold") is not None and (channel := test.key("channel")) is not None:
        yield channel.problem("a test has rules of its own (hold:) or those of a channel (channel:), not both")
    for key in ("earlier", "controls"):
        node = test.get(key)
        for name, value in node.pairs if node is not None else ():
            if key == "earlier" and decimals.normal(value.value) is None:
                yield value.problem(f"earlier: {name.value}: expected a decimal in quotes, as '10.2'")
            if key == "controls" and value.value not in ("passed", "failed"):
                yield value.problem(f"controls: {name.value}: expected passed or failed")
        if node is not None and node.kind != "map":
            yield node.problem(f"{key}: is a map from codes, as {{HGB: {'passed' if key == 'controls' else '10.2'}}}")
    expect = test.get("expect")
    held = expect.get("held") if expect is not None else None
    if held is None:
        return
    for name, _ in held.pairs:
        if name.value not in ("cause", "why"):
            yield name.problem(f"held: has no key '{name.value}'{suggestion(name.value, ('cause', 'why'))}")
    cause = held.get("cause") if held.kind == "map" else held
    if cause is not None and cause.value not in (*CAUSES, *((NOT_HELD,) if held.kind == "scalar" else ())):
        yield cause.problem(f"held: expected no, {', '.join(CAUSES)}, and not '{cause.value}'")
    if test.get("hold") is None and test.get("channel") is None:
        yield held.problem("held: needs rules: hold: with expressions, or channel: with the name of a channel")


def own_rules(test: Node, program: Program, search: Sequence[Path]) -> HoldRules | None:
    """The rules that a test brings itself; None where it has none.

    Raises:
        ConfigError: they are wrong.
    """
    hold = test.get("hold")
    if hold is None:
        return None
    rules: list[RuleText] = []
    for node in hold.items if hold.kind == "list" else (hold,):
        when = node if node.kind == "scalar" else node.get("when")
        if when is None:
            raise ConfigError(node.problem("a rule is an expression, or {when: =..., reason: ...}"))
        reason, name, shadow = (said.value if (said := node.get(key)) else "" for key in ("reason", "name", "shadow"))
        rules.append(RuleText(when, reason, name, shadow == "true"))
    return compile_holding(rules, program.format, str(program.target), search, is_own=program.is_own)


def told(test: Node) -> StatedHistory:
    """The patient history that a test states."""
    earlier, controls = test.get("earlier"), test.get("controls")
    return StatedHistory(
        {key.value: Decimal(decimals.normal(value.value) or 0) for key, value in earlier.pairs} if earlier else {},
        {key.value: value.value == "failed" for key, value in controls.pairs} if controls else {},
    )


def would_hold(
    holding: HoldRules, parsed: Parsed, reading: Reading, mapped: Mapped, past: StatedHistory
) -> HoldReason | None:
    """Why what is made of a message would be held, with this patient history; None: it would not."""
    warned = [issue.code for issue in mapped.issues if issue.severity == "warning"]
    asked = (
        holding.facts(parsed, reading.results(one, mapped.controls, written=holding.asks_document), warned)
        for one in mapped.documents
    )
    return next(filter(None, (holding.about(facts).decide(past, 0) for facts in asked)), None)


def differences(expected: Node, found: HoldReason | None) -> Iterator[str]:
    """Where it was held, or not, otherwise than expected."""
    if expected.value == NOT_HELD:
        if found is not None:
            yield f"held: expected no, and it would be held: {found.reason.value}: {found.text}"
        return
    if found is None:
        yield "held: expected to be held, and no rule holds it"
        return
    cause = expected.get("cause") if expected.kind == "map" else expected
    why = expected.get("why")
    if cause is not None and cause.value != found.reason.value:
        yield f"held: expected {cause.value}, got {found.reason.value}: {found.text}"
    if why is not None and why.value not in found.text:
        yield f"held: expected a reason with '{why.value}', got: {found.text}"
