"""The part of a mapping test about holding results.

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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from engine.config.reading.yaml_nodes import Node
from engine.mapping.hold_rules.rules import HoldRules, RuleText, compile_holding
from engine.mapping.measured import Reading
from engine.mapping.program import Program
from engine.mapping.values import decimals
from engine.model.content.results import Result
from engine.model.errors import ConfigError
from engine.model.journal.records import HoldReason
from engine.model.message import Mapped, Parsed
from engine.model.texts.reasons import ReasonCode
from engine.model.texts.spelling import suggestion


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
