"""The hold rules of a channel's route, from its configuration."""

from engine.config.load import Site
from engine.mapping import Program
from engine.mapping.conditions import EITHER
from engine.mapping.hold_rules.rules import HoldRules, RuleText, compile_holding
from engine.mapping.shipped import READERS
from engine.model.errors import ConfigError

_NO_PAST = (
    "a rule asks for the patient's earlier values, and patient numbers of this channel are counters: each value would "
    "be unknown, and held; say `patient_numbers: lasting` where they last (docs/identity.md)"
)


def holding_of(site: Site, channel: str, index: int, program: Program | None) -> HoldRules | None:
    """The hold rules of a channel's route, by its position; None where it has none.

    Raises:
        ConfigError: with all their errors.
    """
    rules = site.channels[channel].routes[index].hold
    if not rules:
        return None
    node = site.node(channel, "routes", index, "hold")
    nodes = node.items if node.kind == "list" else (node,)
    given = [
        RuleText(
            one if one.kind == "scalar" else one.get("when") or one,
            rule.reason,
            rule.name,
            rule.shadow,
            rule.score or "",
        )
        for one, rule in zip(nodes, rules, strict=True)
    ]
    reads = program.format if program is not None else site.channels[channel].source.reads_as
    makes, is_own = (str(program.target), program.is_own) if program is not None else ("", False)
    holding = compile_holding(given, reads, makes, site.mapping_path(), is_own=is_own)
    if holding.asks_the_past and not site.has_lasting_numbers(site.channels[channel]):
        raise ConfigError(node.problem(_NO_PAST))
    return holding


def formats_asked(hold: HoldRules | None, reads: str) -> tuple[str, ...]:
    """The formats whose facts the rules of a route are asked about.

    Args:
        reads: the format of its messages.
    """
    if hold is None or hold.asks_document:
        return ()
    return tuple(one for one in READERS if reads in (one, EITHER))
