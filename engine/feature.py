"""What a feature is, and how the core asks all of them. The core imports this module, and no feature.

A feature is a folder of `engine/features`; its ``__init__`` declares ``FEATURE``. A value is ``module:name`` in that
folder, and is imported when it is first asked for: a command that reads the journal imports no page.

A module of the core says what it asks for, and of which type the answers are, and asks in a function, never while a
module is imported::

    STEPS: Hook[Step] = Hook("on_outcome")

    def decide(...):
        for step in STEPS.each():
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Generic, TypeVar

T = TypeVar("T")

FEATURES = "engine.features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of the journal that a feature has, and how it comes back with a backup.

    Attributes:
        name: as the schema has it.
        copied: the rows that go into each copy of the state (`engine.store.recovery.backups.state_snapshot`), as a
            SELECT from ``main``; empty: all, in place of those that are there; None: none, for a restore ends them.
        by: the column by which its rows belong together: ``copied`` selects values of it, and all rows with one of
            these come back in place of those that are there. Empty: each row by itself.
        newest: the column with the time of a row's last change, where much happens without a new row of the journal.
        numbered: ``copied`` asks for the highest ``id`` of the copy before, in ``known.highest``.
        restored: a statement about its rows once a restore has brought them back; empty: none.
        sealed: a SELECT of its sealed values, for a check: column, row, channel and value; empty: it has none.
        pruned: the column that names a message, where a row goes with its message when retention deletes that.
        unit: which rows are those of some channels: ``COLUMN TABLE.KEY``, the row that a row belongs to, or a condition
            with ``these_channels``. Empty: by its column ``channel``, else ``message_id``; with neither, none is.
    """

    name: str
    copied: str | None = ""
    by: str = ""
    newest: str = ""
    numbered: bool = False
    restored: str = ""
    sealed: str = ""
    pruned: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """What a feature has. All but ``after`` are ``module:name``, and empty where it has none.

    Attributes:
        after: features that are asked before it.
        tables: those of the journal that it alone writes.
        on_outcome: its `Step` while the outcome of a message is recorded.
        on_decided: what it does when a person has decided about a held delivery, or one with results of orders, or a
            critical value.
        on_given_up: how it frees what a message has taken of which nothing goes out.
        on_taken_back: what it does when held results of a message were closed, for newer ones took their place.
        before_send: its `BeforeSend`: what it says of a delivery right before that is sent.
        with_open_order: ``(batch, numbers)``: those of these specimen numbers that an order is open for.
        would_be_superseded: whether newer results were delivered than those of a document that is made again.
        on_earlier_state: ``(batch, act)``: the journal goes on from an earlier state of itself, as this audit row says.
        checks: by name, what it checks of its rows (`engine.store.integrity.verify.Check`).
        redone: by verb of the audit trail, how a restore does an act again
            (`engine.store.recovery.backups.decisions.Redo`).
        every: what deletes its short-lived rows, as `engine.store.core.sweeping.sweep`.
        in_steps: what it does in small steps beside messages (`engine.store.core.sweeping.InSteps`).
        keeps: ``(rows, row, kind)``: whether it needs a row of the journal that is old enough to be deleted
            (`engine.store.lifecycle.retention.Need`).
        on_prune: ``(batch, messages)``: these messages are about to be deleted.
        made_of: ``(batch, rows)``: deletes what it made of these rows of the journal; the numbers, by their kind.
        on_walk: ``(batch, before_us)``: retention goes on; what has an age of its own may go, where it is older.
        left_of: ``(execute, vault, numbers)``: what is here of a patient beside messages, by number -> is it open.
        forgets: ``(batch, message)``: a message is erased (`engine.store.operations.emptying`); the number of
            values that go with it.
        on_erase: ``(batch, messages, numbers, act)``: these messages were erased; the number of things closed by it.
        forgets_again: ``(rows, message)``: a message was erased after the backup that is restored.
        salvage: its part in a salvage (`engine.store.recovery.salvage.tables.Part`).
        earlier: ``(rows, message, controls_of, received_us)``: what was known when a message came
            (`engine.model.content.results.EarlierResults`); one feature has it.
        others: ``(execute)``: the persons of patient numbers that several have (`engine.store.queries.listing`).
        service: what it runs while the site runs: `engine.runtime.service.Service`, of the `App`.
        corrections: those of code tables, as the journal has them (`engine.store.queries.acts`).
        metrics: `engine.monitoring.metrics.Metrics`.
        sources: its part in the building of channels: `engine.runtime.build.Talking`.
        todo: its entries of the to-do list, of an `engine.monitoring.todo.Look`.
        pages: the routes of its pages, of the frame.
        menu: those of them that the menu leads to.
        panels: its parts of pages of the core.
        strip: its words for the overview, where it has the to-do list.
        keys: the model with its keys of the site's file.
        channel_keys: the model with its keys of a channel's file.
        destination: the model of a kind of destination.
        source: the model of a kind of source.
        agreement: what its keys in several files say against each other.
        key_help: what `labrelay help keys` says of its keys.
        servers: those that its keys name.
        system_users: the accounts of this machine that its keys give roles to.
        elsewhere: examines the site's account at another system, which is asked.
        examine: examines what the journal says of it.
        erased: what it has of a patient beside messages and orders (`engine.views.erased.Kept`).
        of_pack: what it knows of an analyzer's pack (`engine.diagnostics.packs.PackWords`).
        dead_letters: groups of those that a filter finds, with their counts.
        doubts: lines on corrections of code tables and the site's files.
        acts: what people can do there (`engine.actions.declaring.Declared`).
        goes_along: the messages that go along where some are sent again (`engine.actions.selection.Along`).
        lists: its lists and documents that the API reads (`engine.web.api.lists`).
        streams: the streams of events that the API has (`engine.web.api.service.Streams`); one feature has them.
    """

    after: Sequence[str] = ()
    tables: str = ""
    on_outcome: str = ""
    on_decided: str = ""
    on_given_up: str = ""
    on_taken_back: str = ""
    before_send: str = ""
    with_open_order: str = ""
    would_be_superseded: str = ""
    on_earlier_state: str = ""
    checks: str = ""
    redone: str = ""
    every: str = ""
    in_steps: str = ""
    keeps: str = ""
    on_prune: str = ""
    made_of: str = ""
    on_walk: str = ""
    left_of: str = ""
    forgets: str = ""
    on_erase: str = ""
    forgets_again: str = ""
    salvage: str = ""
    earlier: str = ""
    others: str = ""
    service: str = ""
    corrections: str = ""
    metrics: str = ""
    sources: str = ""
    todo: str = ""
    pages: str = ""
    menu: str = ""
    panels: str = ""
    strip: str = ""
    keys: str = ""
    channel_keys: str = ""
    destination: str = ""
    source: str = ""
    agreement: str = ""
    key_help: str = ""
    servers: str = ""
    system_users: str = ""
    elsewhere: str = ""
    examine: str = ""
    erased: str = ""
    of_pack: str = ""
    dead_letters: str = ""
    doubts: str = ""
    acts: str = ""
    goes_along: str = ""
    lists: str = ""
    streams: str = ""


@cache
def features() -> Mapping[str, Feature]:
    """The features by name, each behind those that it comes after, else by the alphabet.

    Raises:
        graphlib.CycleError: two come after each other.
    """
    package = import_module(FEATURES)
    names = sorted(one.name for one in iter_modules(package.__path__))
    found: dict[str, Feature] = {name: import_module(f"{FEATURES}.{name}").FEATURE for name in names}
    order = TopologicalSorter({name: one.after for name, one in found.items()}).static_order()
    return {name: found[name] for name in order}


class Hook(Generic[T]):
    """A question of the core to all features: ``T`` is what each that has an answer gives."""

    def __init__(self, name: str) -> None:
        """``name``: the field of `Feature`.

        Raises:
            ValueError: there is no such field.
        """
        if name not in {one.name for one in fields(Feature)}:
            raise ValueError(f"a feature declares no {name}")
        self.name = name

    def by_feature(self) -> Mapping[str, T]:
        """The answers, by the name of the feature, in their order."""
        return _answers(self.name)

    def each(self) -> tuple[T, ...]:
        return tuple(self.by_feature().values())


def joined(hook: Hook[Sequence[T]]) -> Iterator[T]:
    """The members of all answers, where each is a sequence."""
    for one in hook.each():
        yield from one


@cache
def _answers(name: str) -> Mapping[str, Any]:
    found = {}
    for feature, one in features().items():
        if value := getattr(one, name):
            found[feature] = _resolved(feature, value) if isinstance(value, str) else value
    return found


def _resolved(feature: str, value: str) -> object:
    module, _, member = value.partition(":")
    return getattr(import_module(f"{FEATURES}.{feature}.{module}"), member)
