"""Messages of an analyzer, from its samples: `samples/<pack>/`, each file one or more messages.

A sample is a control run (QC, background) where the message says so in its standard place, or its file's name does. A
sample that is no original result (a query, an order, a correction, a rerun) is left out: the simulator generates these.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.config import registry
from engine.config.pack import pack_folders, read_pack
from engine.config.site import search_path
from engine.mapping.trying.inputs import ASTM, HL7, messages_in
from engine.model.errors import LabRelayError
from workbench.simulator.panels import STANDARD, STANDARD_TIMES, Writing
from workbench.simulator.texts import SHAPES

SAMPLES = "samples"
LINK_OF = {HL7: "mllp", ASTM: "e1381"}
CONTROL_NAMES = ("quality-control", "-qc", "qc-", "control", "background")
LEFT_OUT_NAMES = ("correction", "same-number", "rerun", "query", "order", "request", "malformed", "service")
_ORDERS = frozenset({"ORU", "OUL"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One message of a pack. ``charset`` is what its bytes were read in, and new ones are written in."""

    name: str
    text: str
    charset: str


@dataclass(frozen=True, slots=True)
class Model:
    """An analyzer to play.

    Attributes:
        link: ``e1381``, ``mllp``, ``text`` or ``text-answered``.
        results: its messages about patients; none only where it is played by its dialect alone (`asking`).
        controls: its messages about control material; empty without a sample.
        dialect: its dialect's name; empty: it has none, or none is known.
        writing: as the dialect declares it.
    """

    name: str
    link: str
    results: tuple[Sample, ...]
    controls: tuple[Sample, ...]
    dialect: str = ""
    writing: Writing = STANDARD

    def in_dialect(self, name: str | None) -> "Model":
        """The same analyzer with a dialect of that name."""
        declared: dict[str, Any] = vars(registry.dialect(name)) if name else {}
        writing = Writing(declared.get("WRITES_NUMBERS", ()), declared.get("WRITES_TIMES", STANDARD_TIMES))
        return replace(self, dialect=name or "", writing=writing)


def names(site: Path | None = None) -> list[str]:
    """The packs that can be played."""
    return sorted({folder.name.replace("_", "-") for folder in _folders(site)})


def find_model(name: str, site: Path | None = None) -> Model:
    """The analyzer of that name.

    Raises:
        LabRelayError: there are no samples of it, or none that is a result, or its pack has problems.
    """
    wanted = name.replace("_", "-")
    for folder in _folders(site):
        if folder.name.replace("_", "-") == wanted:
            known = next((folder for folder in pack_folders(site) if folder.name == wanted), None)
            dialect = read_pack(known).config.gives.dialect if known is not None else None
            return read_model(wanted, sorted(folder.iterdir())).in_dialect(dialect)
    raise LabRelayError(f"no samples of an analyzer '{name}'; there are: {', '.join(names(site)) or 'none at all'}")


def read_model(name: str, files: Sequence[Path]) -> Model:
    """The analyzer that these files are samples of.

    Raises:
        LabRelayError: none of them is a result, or they are of different links.
    """
    results: list[Sample] = []
    controls: list[Sample] = []
    links: set[str] = set()
    for file in files:
        if file.name.endswith((".json", ".yaml", ".md")) or any(part in file.stem for part in LEFT_OUT_NAMES):
            continue
        if name in SHAPES:
            results.append(Sample(f"{file.parent.name}/{file.name}", file.read_bytes().decode("latin-1"), "latin-1"))
            links.add("text-answered" if SHAPES[name].answered else "text")
            continue
        for found in messages_in(file.read_bytes()):
            if found.format not in LINK_OF:
                continue
            sample = _read(f"{file.parent.name}/{file.name}", found.payload)
            if _is_control(sample, file.stem):
                controls.append(sample)
            elif _is_result(sample):
                results.append(sample)
            else:
                continue
            links.add(LINK_OF[found.format])
    if not results:
        raise LabRelayError(f"no sample of '{name}' is a patient's result, so there is nothing to play")
    if len(links) != 1:
        raise LabRelayError(f"the samples of '{name}' are of different links; name files of one kind")
    return Model(name, links.pop(), tuple(results), tuple(controls))


def _folders(site: Path | None) -> list[Path]:
    """Folders of samples; a site's own come first. Texts (``.txt``) are played where it is known how they change."""
    unplayed = {".json", ".yaml", ".txt"}
    return [
        folder
        for base in search_path(site, SAMPLES)
        for folder in sorted(base.iterdir())
        if folder.is_dir()
        and folder.name != "__pycache__"  # of `samples/api_client.py`, which an installation compiles
        and (folder.name.replace("_", "-") in SHAPES or any(file.suffix not in unplayed for file in folder.iterdir()))
    ]


def _read(name: str, payload: bytes) -> Sample:
    try:
        return Sample(name, payload.decode("utf-8"), "utf-8")
    except UnicodeDecodeError:
        return Sample(name, payload.decode("latin-1"), "latin-1")


def _rows(sample: Sample) -> list[list[str]]:
    lines = sample.text.replace("\n", "\r").strip("\r").split("\r")
    separator = lines[0][3:4] if lines[0].startswith("MSH") else lines[0][1:2]
    return [line.split(separator or "|") for line in lines if line]


def _is_control(sample: Sample, stem: str) -> bool:
    """H-12 or O-12 is Q, MSH-11 is Q, or the file's name says so."""
    if any(part in stem for part in CONTROL_NAMES):
        return True
    where = {"H": 11, "O": 11, "MSH": 10}
    return any(len(row) > (at := where.get(row[0], 99)) and row[at].startswith("Q") for row in _rows(sample))


def _is_result(sample: Sample) -> bool:
    rows = _rows(sample)
    if rows[0][0] == "MSH":
        return rows[0][8][:3] in _ORDERS and any(row[0] == "OBX" for row in rows)
    return any(row[0].strip() == "R" for row in rows) and not any(row[0].strip() == "Q" for row in rows)
