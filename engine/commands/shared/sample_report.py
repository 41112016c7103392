"""The report of `labrelay check --samples`: a line for each message, then totals of lost, unmapped and invalid
parts.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from engine.commands.shared.sampling import NO_MESSAGE, Sample, Sampler, files_in
from engine.mapping.code_tables.gaps import (
    ColumnsOf,
    MissingCode,
    columns_in,
    csv_lines,
    is_of_use,
    shipped_columns,
    without_settled_units,
)
from engine.views.view import Field, View, picked, plural, printable, table

SAMPLES = View[Sample](
    "messages",
    Field("message", "MESSAGE", of=lambda one: _where(one)),
    Field("channel", "CHANNEL"),
    Field("type", "TYPE"),
    Field("results", "RESULTS", of="results_in", right=True),
    Field("outcome", "OUTCOME", of=lambda one: f"{one.outcome} {one.reason}".strip()),
    Field("documents", "RESOURCES", of=lambda one: [f"{count} {kind}" for kind, count in one.resources.items()]),
    Field("warnings", "WARNINGS", of=lambda one: len(one.warnings) or None, right=True),
    Field("unread", "UNREAD", of=lambda one: len(one.unread) + len(one.segments) or None, right=True),
    Field("invalid", "INVALID", of=lambda one: len(one.invalid) or None, right=True),
    Field("hl7", "HL7", of=lambda one: len(one.hl7_errors) or None, right=True),
)


@dataclass(slots=True)
class Report:
    """All messages that were run, and the files that were not read."""

    samples: list[Sample] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    gaps: list[MissingCode] = field(default_factory=list)
    columns_of: ColumnsOf = shipped_columns

    @property
    def bad(self) -> bool:
        return any(sample.bad for sample in self.samples)

    def totals(self) -> dict[str, Any]:
        """Counts over all messages. Incoming results are those that were mapped, filtered, or are dead with their
        message; if they do not add up, the mapping makes its message dead (COUNT_MISMATCH).
        """
        outcomes = Counter(sample.outcome for sample in self.samples)
        results: Counter[str] = Counter()
        made: Counter[str] = Counter()
        for sample in self.samples:
            results["in"] += sample.results_in
            results[f"in_{sample.outcome.replace(' ', '_')}"] += sample.results_in
            made.update({name: count for name, count in sample.counts.items() if name != "results_in"})
        return {
            "messages": len(self.samples),
            "outcomes": dict(outcomes),
            "results": {**results, **{name: count for name, count in made.items() if count}},
            "resources": dict(sum((sample.resources for sample in self.samples), Counter())),
            "held": sum(bool(sample.held) for sample in self.samples),
            "invalid_documents": sum(bool(sample.invalid) for sample in self.samples),
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "messages": [sample.to_json() for sample in self.samples],
            "skipped": [{"file": file, "why": why} for file, why in self.skipped.items()],
            "gaps": [picked(one, "where table code unit count") for one in self.gaps],
            "totals": self.totals(),
        }

    # -- for people ------------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        yield from table(self.samples, SAMPLES.columns)
        yield from _listed(
            "dead",
            ((f"{_where(s)}: {s.reason}{_at(s.place)}{': ' + s.detail if s.detail else ''}") for s in self._dead()),
        )
        yield from _listed(
            "invalid documents", (f"{_where(sample)}: {line}" for sample in self.samples for line in sample.invalid)
        )
        yield from _grouped("would be held back", self.samples, lambda sample: sample.held)
        yield from _grouped("departures from HL7's structures", self.samples, lambda sample: sample.hl7_errors)
        yield from _grouped("outside HL7's tables and lengths", self.samples, lambda sample: sample.hl7_warnings)
        yield from _grouped("warnings", self.samples, _warnings)
        yield from _grouped("segments that no rule reads", self.samples, lambda sample: sample.segments)
        yield from _listed("fields that no rule reads, with how many messages have them", self._unread())
        yield from _listed("taken by several channels, run as the first", _several(self.samples))
        if self.gaps:
            yield click.style("codes and units that no table has", bold=True)
            yield from (f"  {line}" for line in csv_lines(self.gaps, self.columns_of))
        others = {file: why for file, why in self.skipped.items() if why != NO_MESSAGE}
        yield from _listed("files that were not read", (f"{file}: {why}" for file, why in others.items()))
        yield from self._summary()

    def _unread(self) -> Iterator[str]:
        """By segment; without headers and sequence numbers, which no rule needs (they are in the JSON)."""
        counts: Counter[str] = Counter()
        for sample in self.samples:
            counts.update(list(sample.unread))
        segments: dict[str, list[tuple[int, int]]] = {}
        for name, count in sorted(counts.items()):
            segment, _, number = name.partition("-")
            if is_of_use(segment, int(number)):
                segments.setdefault(segment, []).append((int(number), count))
        for segment, fields in segments.items():
            yield ", ".join(f"{segment}-{number} ({count})" for number, count in sorted(fields))

    def _dead(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.outcome == "dead"]

    def _summary(self) -> Iterator[str]:
        totals = self.totals()
        outcomes = ", ".join(f"{count} {name}" for name, count in totals["outcomes"].items())
        yield click.style(f"{plural(totals['messages'], 'message')}: {outcomes or 'none'}", bold=True)
        results = dict(totals["results"])
        came = results.pop("in", 0)
        ended = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in results.items() if n and name[:3] == "in_")
        made = ", ".join(f"{n} {name}" for name, n in results.items() if name[:3] != "in_")
        if no_messages := sum(why == NO_MESSAGE for why in self.skipped.values()):
            yield f"{no_messages} {'file is no message' if no_messages == 1 else 'files are no messages'}, by name"
        if came:
            yield f"{plural(came, 'result')} in: {ended} messages; the mappings made of them {made or 'nothing'}"


def collect(folder: Path, sampler: Sampler) -> Report:
    """Run every message of a folder."""
    report = Report()
    for file in files_in(folder):
        if file.skipped:
            report.skipped[file.name] = file.skipped
            continue
        try:
            report.samples += sampler.run(file)
        except OSError as error:
            report.skipped[file.name] = f"cannot be read: {error.strerror}"
    report.gaps = without_settled_units(sampler.gaps.seen(), sampler.tables)
    report.columns_of = columns_in(sampler.tables)
    return report


def _where(sample: Sample) -> str:
    return f"{sample.file}: {sample.number}"


def _at(place: str) -> str:
    return f" at {place}" if place else ""


def _warnings(sample: Sample) -> Iterator[str]:
    """Each kind of warning once: by code, field and rule, whichever segment it was."""
    seen: dict[str, None] = {}
    for issue in sample.warnings:
        place = re.sub(r"\[\d+\]", "", issue.place)
        rule = f" ({issue.rule})" if issue.rule else ""
        seen[f"{issue.code}{_at(place)}: {issue.text}{rule}"] = None
    yield from seen


def _several(samples: Iterable[Sample]) -> Iterator[str]:
    for sample in samples:
        if sample.also:
            yield f"{_where(sample)}: {sample.channel}; also {', '.join(sample.also)}"


def _listed(title: str, lines: Iterable[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield click.style(title, bold=True)
        yield from (f"  {printable(line)}" for line in found)


def _grouped(title: str, samples: list[Sample], of: Callable[[Sample], Iterable[str]]) -> Iterator[str]:
    """Features that messages share, the most frequent first, each with an example message."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for sample in samples:
        for text in of(sample):
            counts[text] += 1
            first.setdefault(text, _where(sample))
    yield from _listed(
        title,
        (
            f"{text}: {count} message{'' if count == 1 else 's'}, as {first[text]}"
            for text, count in counts.most_common()
        ),
    )
