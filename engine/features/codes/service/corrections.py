"""A correction of a code table before it is made: what is wrong with it, and what it changes in stored messages.

`examined` compares a change with the files of the channel's table; `preview` maps the newest stored messages of the
channel with the tables as they are and as they would be. Both only read.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import zip_longest
from typing import Any, NamedTuple

from engine.config.load import Site
from engine.mapping.code_tables.corrected import (
    MEANT,
    MOST_NAMED,
    Problem,
    beside,
    columns_of,
    covered,
    problems,
    whole_key,
)
from engine.mapping.code_tables.plausible import Kinds
from engine.mapping.code_tables.tables import Table
from engine.mapping.explanations.differences import DOCUMENT, Change, differences
from engine.mapping.loading import kinds_of, load_tables
from engine.model.errors import ErasedError, IntegrityError, RefusedError
from engine.model.journal.journal_views import Filter
from engine.model.routes import ChannelRoutes, Processed
from engine.model.site.corrections import Correction, RowChange, in_force, latest
from engine.processing.process import process
from engine.processing.reprocessing import Finding, FindingState, Tally
from engine.store.queries.messages import each_message
from engine.store.queries.reader import Reader, stored_message

MOST_LOOKED_AT = 500  # messages of a preview, the newest
PREVIEW_S = 5.0
EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Examined:
    """A change beside the tables that it concerns.

    Attributes:
        change: with the cells that the files have for its key.
        problems: why it cannot be made; doubts among them.
        before: the cells that decide about the key now; none: no row does.
    """

    change: RowChange
    problems: tuple[Problem, ...]
    before: Mapping[str, str]


def tables_of_channel(site: Site, channel: str) -> dict[str, Table]:
    """The code tables of a channel as its files have them, of all its mappings.

    Raises:
        RefusedError: there is no such channel.
        ConfigError: a table cannot be read.
    """
    config = site.channels.get(channel)
    if config is None:
        raise RefusedError(f"there is no channel {channel}; known: {', '.join(site.channels)}")
    found: dict[str, Table] = {}
    for mapping in dict.fromkeys(route.mapping for route in config.routes if route.mapping is not None):
        for name, table in load_tables(mapping, site.mapping_path(), tables=config.tables).items():
            found.setdefault(name, table)
    return found


def table_of(site: Site, channel: str, name: str) -> Table:
    """As `tables_of_channel`, one of them. Raises RefusedError: there is no such channel or table."""
    tables = tables_of_channel(site, channel)
    if name not in tables:
        raise RefusedError(f"channel {channel} has no table {name}; known: {', '.join(tables)}")
    return tables[name]


def examined(site: Site, made: Sequence[Correction], change: RowChange) -> Examined:
    """What a change means, and what is wrong with it.

    Raises:
        RefusedError: there is no such channel or table.
        ConfigError: the table's files cannot be read.
    """
    table = table_of(site, change.channel, change.table)
    kinds = kinds_of(site.mapping_path())
    change = replace(change, key=whole_key(table, change.key), covers=covered(table, change.key))
    if "display" in columns_of(table):
        change = _named(change, kinds)
    change = replace(change, beside=beside(table, change))
    now = latest(made).get(change.place)
    before = now.cells if now is not None and now.cells else change.covers
    found = [*problems(table, change, kinds), *_same_term(table, made, change)]
    after = change.cells or change.covers
    if _says(after) == _says(before) and bool(change.cells) == bool(now is not None and now.cells):
        found.append(Problem(table.key[0], "this is what decides already: nothing would change"))
    return Examined(change, tuple(found), before)


def _same_term(table: Table, made: Sequence[Correction], change: RowChange) -> Iterator[Problem]:
    """Two tests of one analyzer seldom have one LOINC code in one unit: a neighbour's row may have been taken. What an
    undo brings back was in force before, and is not doubted.
    """
    term, code, unit = change.cells.get("loinc"), change.key.get(table.key[0], ""), change.key.get("unit_in", "")
    if term is None or change.undoes or change.cells.get(MEANT) == "yes":
        return
    rows = {tuple(row.cells.get(column, "") for column in table.asked): row.cells for row in table.rows}
    for one in latest(made).values():
        if (one.channel, one.table) == (change.channel, change.table) and one.cells:
            rows[tuple(one.key.get(column, "") for column in table.asked)] = {**one.key, **one.cells}
    same = {_spelled(code), _spelled(term)}
    others = {
        row[table.key[0]]
        for row in rows.values()
        if row.get("loinc") == term and row.get("unit_in", "") == unit and _spelled(row[table.key[0]]) not in same
    }
    if others:
        text = f"LOINC {term} is the code of {', '.join(sorted(others)[:MOST_NAMED])}, too"
        yield Problem("loinc", f"{text}; where both are the same test, write yes under {MEANT}", doubt=True)


def _spelled(code: str) -> str:
    """Without what differs between spellings of one code: ``Hb-A1c`` and ``HBA1C``."""
    return "".join(sign for sign in code.casefold() if sign not in " -_.")


def _named(change: RowChange, kinds: Kinds | None) -> RowChange:
    """With the name of its LOINC term, where the row has no name."""
    name = kinds.names.get(change.cells.get("loinc", "")) if kinds is not None else None
    return replace(change, cells={"display": name, **change.cells}) if name else change


def _says(cells: Mapping[str, str]) -> dict[str, str]:
    return {name: cell for name, cell in cells.items() if name != MEANT}


def undone(made: Iterable[Correction], version: int, reason: str) -> RowChange:
    """The change that takes a correction back: what its key had before.

    Raises:
        RefusedError: there is no such correction, or a later one of the same key.
    """
    of_key: list[Correction] = []
    known = list(made)
    wanted = next((one for one in known if one.version == version), None)
    if wanted is None:
        raise RefusedError(f"there is no correction {version}")
    of_key = [one for one in known if one.place == wanted.place]
    if of_key[-1].version != version:
        raise RefusedError(f"correction {of_key[-1].version} is a later one of the same key: take that back first")
    cells = of_key[-2].cells if len(of_key) > 1 else {}
    return RowChange(
        channel=wanted.channel, table=wanted.table, key=wanted.key, cells=cells, undoes=version, reason=reason
    )


def with_change(site: Site, made: Sequence[Correction], change: RowChange) -> Site:
    """The configuration as it is once this change is made."""
    version = max((one.version for one in made), default=0) + 1
    values = {one.name: getattr(change, one.name) for one in fields(RowChange)}
    new = Correction(version=version, act=0, at_us=0, by="", **values)
    return replace(site, corrections=in_force([*made, new]))


class Disagreement(NamedTuple):
    """A correction in force beside files that have changed since it was made.

    Attributes:
        now: the cells that the files have for its key.
        taken: the files' rows of other keys of which it takes the place, and did not then, as in `RowChange.beside`.
    """

    made: Correction
    now: Mapping[str, str]
    taken: Mapping[str, Mapping[str, str]]


def disagreements(site: Site, made: Sequence[Correction]) -> list[Disagreement]:
    """Corrections in force of whose key the files say something else than when they were made, or that take the place
    of further rows; also those of which the channel or the table is gone.

    Raises:
        ConfigError: a table cannot be read.
    """
    tables: dict[str, dict[str, Table]] = {}
    found = []
    for one in latest(made).values():
        if not one.cells:
            continue
        if one.channel not in tables:
            is_there = one.channel in site.channels
            tables[one.channel] = tables_of_channel(site, one.channel) if is_there else {}
        table = tables[one.channel].get(one.table)
        if table is None:
            found.append(Disagreement(one, {}, {}))
            continue
        now = covered(table, one.key)
        taken = {key: cells for key, cells in beside(table, one).items() if one.beside.get(key) != cells}
        if now != one.covers or taken:
            found.append(Disagreement(one, now, taken))
    return found


# -- the preview ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Preview:
    """What a change does to the newest stored messages of its channel.

    Attributes:
        looked_at: messages that were mapped twice; ``whole``: these are all there are.
        tally: the differences, by kind and element.
        changed: numbers of some of those that differ, newest first.
    """

    looked_at: int = 0
    whole: bool = True
    tally: Tally = field(default_factory=Tally)
    changed: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Counts and elements: nothing of a patient."""
        return {
            "messages": self.looked_at,
            "all": self.whole,
            "changed": self.tally.changed,
            "examples": self.changed,
            "outcomes": self.tally.outcomes,
            "changes": [
                {"kind": kind, "element": path, "messages": group.messages, "times": group.occurrences}
                for (kind, path), group in sorted(self.tally.groups.items(), key=lambda item: -item[1].messages)
            ],
        }


def preview(reader: Reader, now: ChannelRoutes, then: ChannelRoutes, *, keep_values: bool = False) -> Preview:
    """Map the newest stored messages of a channel with both.

    Args:
        keep_values: of some changes, for a person who may see patients.

    Raises:
        StoreError: the journal cannot be read.
        ConfigError: its key was not found.
    """
    seen = Preview(tally=Tally(keep_values=keep_values))
    due = time.monotonic() + PREVIEW_S
    for view in each_message(reader, Filter(channel=now.channel), at_once=50):
        if view.state == "incomplete":
            continue
        if seen.looked_at >= MOST_LOOKED_AT or time.monotonic() > due:
            seen.whole = False
            break
        try:
            stored = stored_message(reader, view.id)
        except (ErasedError, IntegrityError):
            continue
        finding = _compared(view.id, process(stored, now), process(stored, then))
        seen.looked_at += 1
        seen.tally.add(finding)
        if finding.outcome != "unchanged" and len(seen.changed) < EXAMPLES:
            seen.changed.append(view.id)
    return seen


def _compared(message_id: int, now: Processed, then: Processed) -> Finding:
    reason = then.reason.value if then.reason is not None else ""
    if now.state != then.state:
        outcome: FindingState = (
            "dead" if then.state == "dead" else "withdrawn" if then.state == "filtered" else "changed"
        )
        return Finding(message_id, outcome, reason)
    changes: list[Change] = []
    for before, after in zip_longest(now.documents, then.documents):
        if before is None or after is None:
            changes.append(Change("added" if before is None else "removed", DOCUMENT))
        else:
            changes += differences(before[0].body, after[0].body)
    return Finding(message_id, "changed" if changes else "unchanged", changes=tuple(changes))
