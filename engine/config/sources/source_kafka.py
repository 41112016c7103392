"""The part of a ``source:`` block for a topic of Kafka, which a LabRelay in a data centre reads.

source: {kind: kafka, connect: k1.example.org:9093, topic: lab.results, group: feeder, tls: {}}
"""

from typing import ClassVar, Literal

from pydantic import Field

from engine.config.reading.values import Duration, Model, Name


class KafkaPart(Model):
    """Records of a topic: each is a message, journalled in one transaction with its place there."""

    transport: Literal["kafka"] = "kafka"
    """How bytes come: `kafka`. Needs the extra `labrelay[kafka]`."""

    link: Literal["whole"] = "whole"
    """`whole`: each record is a message of its own."""

    format: Literal["fhir", "json", "hl7v2"] = "fhir"
    """Content of the records."""

    group: Name
    """The group of consumers that shares the partitions. Each partition has one reader. LabRelay keeps the place
    itself, and gives it to the group."""

    behind: Duration = Field(default=300.0, gt=0)
    """Where a record waits in the topic for longer, the page and an alert say so."""

    max_connections: ClassVar[int] = 32
    """Partitions whose records are stored side by side."""

    @property
    def reads_as(self) -> str:
        return "json" if self.format == "fhir" else self.format
