"""What acts ask of a running daemon: the part of `engine.runtime.app.App` that they use."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from engine.config.findings.changes import Change
from engine.config.load import Site
from engine.model.process.clock import Clock
from engine.store.journal import Journal

T = TypeVar("T")


class Shown(Protocol):
    """The site at one moment."""

    def without_notes(self) -> "Shown": ...
    def to_json(self) -> dict[str, Any]: ...


class Observer(Protocol):
    def snapshot(self) -> Shown: ...


class Taps(Protocol):
    """`engine.monitoring.taps.Taps`."""

    @property
    def stages(self) -> Sequence[str]: ...
    def follow(
        self, channel: str, stages: Collection[str], *, unmask: bool
    ) -> AsyncGenerator[dict[str, Any], None]: ...


class Built(Protocol):
    """A configuration, compiled."""

    @property
    def site(self) -> Site: ...
    @property
    def channels(self) -> Mapping[str, object]: ...
    @property
    def doubts(self) -> Sequence[str]: ...


class Parts(Protocol):
    @property
    def built(self) -> Built: ...
    @property
    def taps(self) -> Taps: ...


class Copies(Protocol):
    """How the copies of the journal are."""

    @property
    def running(self) -> str: ...
    @property
    def fault(self) -> str: ...


class Keeper(Protocol):
    """`engine.runtime.upkeep.backup_scheduler.BackupScheduler`."""

    @property
    def is_busy(self) -> bool: ...
    def ask(self, what: str) -> None: ...
    async def go_on(self, actor: str, reason: str) -> None: ...
    def snapshot(self) -> Copies: ...


class Daemon(Protocol):
    @property
    def clock(self) -> Clock: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def parts(self) -> Parts: ...
    @property
    def observer(self) -> Observer: ...
    @property
    def backup(self) -> Keeper: ...
    async def anew(self) -> tuple[Built, Sequence[Change]]: ...
    async def reload(self) -> Site: ...
    def service(self, kind: type[T]) -> T: ...
