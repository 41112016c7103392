"""Conditions of routes (``when: =MSH-9.1 == 'ORU'``): the mapping language's expressions over a whole message.

A condition is evaluated before a mapping is chosen, on messages of every structure. So it knows no groups: a path reads
the first such segment anywhere in the message, ``OBX[*]-3`` all of them.
"""

from collections.abc import Callable, Sequence

from engine.config.reading.yaml_nodes import Node
from engine.mapping.compiler.assembly import compilation
from engine.mapping.compiler.context import Setting
from engine.mapping.compiler.scopes import Scope
from engine.mapping.compiler.terms.expressions import condition
from engine.mapping.language import syntax
from engine.mapping.language.rules import Formula, Problems
from engine.mapping.language.structures import Group, known_segments, unescape_of
from engine.mapping.loading import build
from engine.mapping.message.identity_fields import STANDARD
from engine.mapping.message.message_context import MessageContext
from engine.mapping.message.runtime import PROLOGUE
from engine.model.errors import ConfigError, ExpressionError
from engine.model.message import MapContext, Parsed, Segment

Condition = Callable[[Parsed], bool]

FORMATS = ("hl7v2", "astm")
EITHER = "auto"  # what a source reads that brings messages of either

_NOTHING = MapContext()
# A condition makes no resources, so it needs none of what makes them.
_PROLOGUE = "".join(line for line in PROLOGUE.splitlines(keepends=True) if "making" not in line)


def compile_condition(text: str, message_format: str, *, place: str) -> Condition:
    """A function that says whether a parsed message is meant.

    Args:
        text: the expression with its ``=``.
        place: ``file:line:column`` of it, for problems.

    Raises:
        ConfigError: with the place inside the expression and what to do.
    """
    node = _node(text, place)
    if not text.startswith("="):
        raise ConfigError(node.problem("a condition starts with =, as =MSH-9.1 == 'ORU'"))
    try:
        tree = syntax.parse(text[1:])
    except ExpressionError as error:
        raise ConfigError(node.problem(str(error), offset=1 + error.at)) from error
    return condition_of(Formula(node, tree), message_format)


def condition_of(formula: Formula, message_format: str) -> Condition:
    """As `compile_condition`, of a tree that is part of an expression, perhaps.

    Raises:
        ConfigError: as there.
    """
    segments = known_segments(message_format)
    problems = Problems()
    root = Group("message", frozenset(segments))
    setting = Setting(message_format, root, segments, STANDARD[message_format], whole_message=True)
    c = compilation(setting, problems)
    code = c.code
    scope = Scope(None, code.slot(), 0, group=setting.root, variable="root")
    code.emit(f"return {condition(c, formula, scope)}")
    for bound in c.all_segments:
        bound.pad(code)
    if problems.errors:
        raise ConfigError(*problems.errors)
    generated = build(code, frozenset(), "m, of_name", _PROLOGUE)
    holds: Callable[..., object] = generated.made.function
    unescape = unescape_of(message_format)

    def is_meant(parsed: Parsed) -> bool:
        def of_name(name: str) -> list[Segment]:
            return [segment for segment in parsed.segments if segment.name == name]

        run = MessageContext(parsed, _NOTHING, unescape, generated.rule_at, {})
        try:
            return bool(holds(run, of_name))
        finally:
            run.times.warn_no_more()

    return is_meant


def route_condition(text: str | None, reads: str, mapped: str, *, place: str) -> Condition | None:
    """When a route takes a message; None: always.

    Where the source brings messages of either format, a mapping takes its own format only, and a condition holds only
    for messages in whose format it makes sense (``=MSH-9.1 == 'ORU'`` is about HL7 v2).

    Args:
        text: the route's ``when``, if it has one.
        reads: the format that the source brings, or `EITHER`.
        mapped: the format that the route's mapping reads; empty where it has none.

    Raises:
        ConfigError: the condition is wrong, or makes sense in no format that comes.
    """
    if reads != EITHER:
        return None if text is None else compile_condition(text, reads, place=place)
    if text is None:
        return lambda parsed: parsed.format in ((mapped,) if mapped else FORMATS)
    return _of_either(lambda one: compile_condition(text, one, place=place), (mapped,) if mapped else FORMATS)


def condition_in(formula: Formula, reads: str) -> Condition:
    """As `condition_of`, also of a source that brings messages of either format."""
    if reads != EITHER:
        return condition_of(formula, reads)
    return _of_either(lambda one: condition_of(formula, one), FORMATS)


def _of_either(compiled_in: Callable[[str], Condition], formats: Sequence[str]) -> Condition:
    """A condition that holds only for messages in whose format it makes sense."""
    compiled: dict[str, Condition] = {}
    problems: list[str] = []
    for one in formats:
        try:
            compiled[one] = compiled_in(one)
        except ConfigError as error:
            problems += error.problems
    if not compiled:
        raise ConfigError(*dict.fromkeys(problems))
    return lambda parsed: parsed.format in compiled and compiled[parsed.format](parsed)


def _node(text: str, place: str) -> Node:
    file, _, rest = place.partition(":")
    line, _, column = rest.partition(":")
    return Node(kind="scalar", file=file, line=int(line or 1), column=int(column or 1), value=text)
