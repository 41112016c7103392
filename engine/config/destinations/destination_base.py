"""The keys that all ``destinations:`` of a site share, and the members that each kind declares."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from engine.config.destinations.downtime import DowntimeWindow, leaves_time
from engine.config.reading.values import Duration, Model, Whole
from engine.config.reading.yaml_nodes import KeyPath
from engine.model.process.clock import Clock
from engine.model.texts.units import HostPort


class RetryConfig(Model):
    """When a failed delivery is tried again: after `first`, then twice as long each time up to `max`, with jitter."""

    first: Duration = Field(default=1.0, gt=0, le=86_400)
    """Wait after the first failed attempt."""

    max: Duration = Field(default=300.0, gt=0, le=86_400)
    """Longest wait between two attempts."""

    give_up_after: Duration | None = Field(default=None, gt=0)
    """Age of a message at which a delivery that still fails becomes a dead letter (`GAVE_UP`). By default never: a
    destination that is down for a week loses nothing."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.max < self.first:
            raise ValueError("max is shorter than first; make it at least as long")
        return self


class BreakerConfig(Model):
    """When to stop trying each delivery in turn and only probe: the destination is down, not the document bad."""

    failures: Whole = Field(default=5, ge=1, le=1000)
    """Failed attempts in a row that open the breaker."""

    probe_after: Duration = Field(default=10.0, gt=0, le=3600)
    """Wait before one delivery is let through as a probe."""


class DestinationBase(Model, ABC):
    """The base of each kind of destination. Documents, schemas, pages and checks read its fields and the members below.

    Attributes:
        adapter: the module of `adapters.destinations` whose ``build(name, config, clock)`` makes the destination. It is
            imported where a site has such a destination.
        takes: the one kind of document (``target`` of a mapping) that it takes; empty for any.
        example: one entry of ``destinations:``, for the documentation.
        of_main_process: its documents are never handed to a second process.
        probed: `check --online` starts it; else what its feature examines says more.
    """

    adapter: ClassVar[str]
    takes: ClassVar[Literal["", "fhir", "hl7v2"]] = ""
    example: ClassVar[str]
    of_main_process: ClassVar[bool] = False
    probed: ClassVar[bool] = True

    timeout: Duration = Field(default=30.0, gt=0, le=3600)
    """Time for one attempt, connecting included."""

    contact: str = ""
    """Whom to call when it is down, as `help desk of the hospital, 022 5550 1234`: shown beside its state, and sent
    with its alerts."""

    retry: RetryConfig = Field(default_factory=RetryConfig)
    """When to try again."""

    breaker: BreakerConfig = Field(default_factory=BreakerConfig)
    """When to stop trying and only probe."""

    rate: Whole | None = Field(default=None, ge=1, le=100_000)
    """Attempts per second over all lanes, at most, so that a backlog does not flood a server that has just come
    back. By default as many as `concurrency` and the server's answers allow."""

    # a YAML list is a Python list; each window in it is still read strictly
    expected_downtime: Annotated[tuple[DowntimeWindow, ...], AfterValidator(leaves_time)] = Field(
        default=(), strict=False
    )
    """Windows in which it is expected to be down, as `- {days: [sun], start: 02:00, end: 04:00}`: failures within
    are shown calmly and are no alert, and nothing is given up."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for people and logs: nothing in it is secret."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of this machine that it fills."""
        return ()

    @property
    def listeners(self) -> tuple[tuple[KeyPath, HostPort, str], ...]:
        """The addresses of this machine that it listens on: the key, the address, and for what."""
        return ()

    @property
    def any_process(self) -> bool:
        """Whether both processes of a site may deliver at once, each with connections of its own."""
        return False

    def in_clear(self) -> Iterator[tuple[KeyPath, str]]:
        """Secrets and results that would go to another machine without TLS: the key that says so, and a sentence."""
        yield from ()

    def build(self, name: str, clock: Clock) -> Any:
        """The destination ``name`` of a site: an `engine.model.ports.Destination`.

        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        return import_module(self.adapter).build(name, self, clock)
