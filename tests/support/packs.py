"""Analyzer packs at work: messages as a pack's own channel file would have them, from the line to the verdict."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from engine.config.load import load_site
from engine.config.pack import find_pack
from engine.mapping.code_tables.tables import LOINC
from engine.mapping.trying.inputs import messages_in
from engine.model.link_events import Block, Frame, LinkFault
from engine.model.message import Mapped, Stored
from engine.model.process.clock import SystemClock
from engine.model.routes import ChannelRoutes, Processed
from engine.runtime.build import BuiltChannel, build_site
from tests.support.corpus import REFERENCE, CorpusFile, corpus_files
from tests.support.fhir_check import check_bundle, resources
from tests.support.shipped import KEY, RECEIVED, Recorder, of_any_day
from tests.support.sites import make_site

CHECKOUT = Path(__file__).parents[2]
CORPUS_FILES = {f"{file.folder}/{file.name}": file for file in corpus_files()}

Json = dict[str, Any]


@cache
def channel_of(name: str, settings: str = "") -> BuiltChannel:
    """The channel of a pack, as its `channel.yaml` builds it.

    Args:
        settings: lines for its ``settings:`` block.
    """
    site = (CHECKOUT / "config" / "labrelay.yaml").read_text(encoding="utf-8")
    text = find_pack(name).template.replace("settings:\n", f"settings:\n{settings}", 1)
    with TemporaryDirectory() as folder:
        loaded = load_site(make_site(Path(folder), site=site, channels={"one.yaml": text}))
        return build_site(loaded, identity_key=KEY, clock=SystemClock()).channels[name]


@dataclass(frozen=True)
class Told:
    """What became of one message."""

    verdict: Processed
    mapped: Mapped | None

    @property
    def outcome(self) -> str:
        """``mapped``, or the reason."""
        return self.verdict.reason.value if self.verdict.reason else self.verdict.state

    @property
    def results_in(self) -> int:
        return self.mapped.counts.get("results_in", 0) if self.mapped is not None else 0

    def all(self, kind: str) -> list[Json]:
        return [one for document, _ in self.verdict.documents for one in resources(check_bundle(document.body), kind)]


def judged(built: BuiltChannel, payload: bytes) -> Told:
    """What the daemon's judgement of one payload is."""
    recorders = []
    routes = []
    for route in built.routes.routes:
        if route.program is None:
            routes.append(route)
            continue
        recorders.append(Recorder(route.program))  # type: ignore[arg-type]  # a Program, behind its Protocol
        routes.append(replace(route, program=recorders[-1]))
    channel: ChannelRoutes = replace(built.routes, routes=tuple(routes))
    stored = Stored(
        id=1, channel=channel.channel, seq=1, payload=payload, received_us=int(RECEIVED.timestamp() * 1_000_000)
    )
    verdict = of_any_day(stored, channel)
    return Told(verdict, next((one.mapped for one in recorders if one.mapped is not None), None))


def payloads_of(built: BuiltChannel, data: bytes) -> list[bytes]:
    """The messages of a file, as `labrelay map --channel` finds them."""
    if built.config.source.reads_as != built.config.source.format:
        return built.message_format.split(data)
    return [found.payload for found in messages_in(data)]


def received(built: BuiltChannel, chunks: Sequence[bytes]) -> tuple[list[bytes], list[LinkFault]]:
    """What the channel's link makes of bytes as they come: messages for the journal, and faults."""
    link = built.new_link()
    messages: list[bytes] = []
    faults: list[LinkFault] = []
    now = 0.0
    for chunk in chunks:
        now += 0.001
        events = link.receive(chunk, now)
        while events:  # a link goes on to the next frame only when the one before it is durable
            for event in events:
                if isinstance(event, Block):
                    messages += built.message_format.split(event.payload)
                elif isinstance(event, LinkFault):
                    faults.append(event)
                else:
                    messages += event.completes
                    if isinstance(event, Frame):
                        link.committed(now)
            events = link.receive(b"", now)
        link.outgoing()
    return messages, faults


def corpus_file(name: str) -> CorpusFile:
    """A file of the corpus by its folder and name, as packs name their evidence."""
    assert name in CORPUS_FILES, (
        f"no such file in the corpus: {name}. Write under seen: of the pack the folder and file of a message that an "
        "INDEX.tsv of the corpus lists, as astm/sysmex-xn550.astm, or put the message into the corpus, with its row"
    )
    return CORPUS_FILES[name]


@dataclass(frozen=True)
class Facts:
    """What one file of the corpus must yield.

    Attributes:
        outcomes: of its messages, in order.
        results: R records or OBX segments; ``left_out`` of them are no results.
        specimens, patients: every number that a Specimen, a Patient has.
        samples: (code as sent, LOINC or "" where there is none, value as sent, unit as it goes out).
    """

    outcomes: Sequence[str] = ("mapped",)
    results: int = 0
    left_out: int = 0
    specimens: Sequence[str] = ()
    patients: Sequence[str] = ()
    samples: Sequence[Sequence[str]] = ()
    reports: int = 1


def read_facts(path: Path) -> dict[tuple[str, str], Facts]:
    """By pack and file."""
    packs = yaml.safe_load(path.read_text(encoding="utf-8")).items()
    return {(name, file): Facts(**facts) for name, files in packs for file, facts in files.items()}


@cache
def told(name: str, file: str) -> list[Told]:
    """What became of the messages of a file of the corpus, through a pack."""
    built = channel_of(name)
    return [judged(built, payload) for payload in payloads_of(built, corpus_file(file).path.read_bytes())]


def everything(name: str, file: str, kind: str) -> list[Json]:
    return [resource for one in told(name, file) for resource in one.all(kind)]


def code_sent(observation: Json) -> str:
    """The code as it was sent: the last coding, also where a table's stands before it."""
    return str(observation["code"]["coding"][-1]["code"])


def loinc(observation: Json) -> str:
    return next((one["code"] for one in observation["code"]["coding"] if one.get("system") == LOINC), "")


def evidence() -> list[dict[str, str]]:
    """The rows of the reference that says which analyzer sends which code, and how that is known."""
    with (REFERENCE / "analyzer-codes.tsv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
