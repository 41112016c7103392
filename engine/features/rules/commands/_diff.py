"""Ask two files of rules about the stored results of a channel."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from engine.commands.shared.mapping_options import channel_mapper, known_channel
from engine.config.load import Site
from engine.config.reading.yaml_nodes import Node, read_file
from engine.features.rules.rows.replaying import Replayed, replay
from engine.features.rules.rules import Difference, Said
from engine.mapping.hold_rules.rules import HoldRules, RuleText, compile_holding
from engine.mapping.measured import results_in
from engine.model.errors import ConfigError, ContentError
from engine.model.message import Parsed
from engine.store.queries.reader import Reader

Both = tuple[HoldRules, HoldRules]


def files_of(site: Site, paths: Sequence[Path], channel: str | None) -> tuple[str, Both]:
    """The channel, and the rules of the two files.

    Raises:
        ConfigError: a file is wrong, or names another channel than the other.
    """
    nodes = [read_file(path, path.name) for path in paths]
    named = {said.value for node in nodes if (said := node.get("channel")) is not None}
    if channel is None and len(named) != 1:
        raise ConfigError("say --channel NAME: the files do not name the same one")
    name = channel or named.pop()
    config = known_channel(site, name)
    old, new = (compile_holding([*_rules_in(node)], config.source.reads_as, "", site.mapping_path()) for node in nodes)
    return name, (old, new)


def _rules_in(node: Node) -> Iterator[RuleText]:
    """Of a file of rules, or of all routes of a channel's file: what two routes have alike is one rule."""
    routes = node.get("routes")
    holds = [node.get("hold"), *(route.get("hold") for route in (routes.items if routes is not None else ()))]
    known = set()
    for hold in filter(None, holds):
        for one in hold.items if hold.kind == "list" else (hold,):
            when = one if one.kind == "scalar" else one.get("when")
            if when is None:
                raise ConfigError(one.problem("a rule is an expression, or {when: =..., reason: ...}"))
            said = [text.value if (text := one.get(key)) is not None else "" for key in ("reason", "name", "shadow")]
            if (when.value, *said) not in known:
                known.add((when.value, *said))
                yield RuleText(when, said[0], said[1], shadow=said[2] == "true")


def difference(reader: Reader, site: Site, channel: str, rules: Both, since_us: int) -> Difference:
    """What the second rules would hold otherwise.

    Raises:
        StoreError, ConfigError: the journal cannot be read.
    """
    mapper = channel_mapper(site, channel)
    read, found = mapper.message_format, Difference()
    context = replace(mapper.context, key=reader.vault.identity_key)  # a result is not earlier than itself
    if read is None:
        raise ConfigError(f"the messages of {channel} have no format of their own: their results cannot be asked about")

    def parsed(payload: bytes) -> Parsed | None:
        try:
            return read.parse(payload, mapper.options)
        except ContentError:
            return None

    def look(one: Replayed) -> None:
        message = parsed(one.payload) if one.facts is not None else None
        if message is None or one.facts is None:
            found.unread += 1
            return
        results = results_in(one.facts, message, context)
        asked = [holding.about(holding.facts(message, results, one.warnings)) for holding in rules]
        held = [each.decide(one.past, one.received_us) is not None for each in asked]
        old, new = (Said(each.answers, is_held) for each, is_held in zip(asked, held, strict=True))
        found.add(one.message, old, new)

    replay(reader, channel, known_channel(site, channel).controls_of or channel, since_us, look)
    return found
