"""The faults that LabRelay is tried with: what is broken, how, how much of it, and what must hold.

The entries are in catalogue.yaml; each names the tests that do it. A test file may say more about itself than its entry
does. docs/reliability.md has a row for each with its promise, docs/figures-faults.md the figures of the last run.
`quick` runs with `make test-all`, `long` with `make faults`, `soak` with `make soak`.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One entry.

    Attributes:
        number: as in T1.
        how: what the tests do.
        passes: what must hold for it to pass, beyond the oracle's own conditions.
        quick, long, soak: how much of it at each scale; ``soak`` is empty where it is the same as ``long``.
        seconds: the share of `make faults` that it may take.
        nodes: pytest nodes, a file or one test in it; parameters left out.
        takes_the_rest: it runs last, and may take all the time that the others have left over.
        unproven: what it does not prove.
    """

    number: int
    fault: str
    how: str
    passes: str
    nodes: tuple[str, ...]
    quick: str
    long: str
    soak: str = ""
    seconds: int = 30
    takes_the_rest: bool = False
    unproven: str = ""

    @property
    def name(self) -> str:
        return f"T{self.number}"


FAULTS = tuple(
    Fault(**{name: tuple(said) if isinstance(said, list) else said for name, said in entry.items()})
    for entry in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
)


def exists(node: str) -> bool:
    """Whether a test file has such a test."""
    path, _, name = node.partition("::")
    file = ROOT / path
    return file.is_file() and (not name or f"def {name}(" in file.read_text(encoding="utf-8"))
