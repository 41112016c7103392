"""A fragment that is used many times: each use has values of its own, whatever was compiled before."""

import hashlib
import subprocess
import sys

from engine.mapping import load
from tests.support.shipped import MAPPINGS


def _sources(name: str) -> dict[str, str]:
    program = load(name, (MAPPINGS,))
    return {structure: generated.made.source for structure, generated in program.plain.items()}


def test_the_code_does_not_depend_on_what_was_compiled_before() -> None:
    """Scopes that had ended made room for others at their address, whose values then passed for computed."""
    alone = _sources("hl7-orders")
    for other in ("hl7-oul-results", "astm-results", "hl7-orders"):
        held = [object() for _ in range(5000)]
        load(other, (MAPPINGS,))
        assert _sources("hl7-orders") == alone
        del held[::2]


def test_another_process_makes_the_same_code() -> None:
    """Where nothing else was compiled, and addresses are others."""
    script = (
        "import hashlib, sys; from engine.mapping import load; from pathlib import Path\n"
        "program = load('hl7-orders', (Path(sys.argv[1]),))\n"
        "for name in program.plain: print(hashlib.sha256(program.plain[name].made.source.encode()).hexdigest())"
    )
    out = subprocess.run(
        [sys.executable, "-c", script, str(MAPPINGS)],
        cwd=MAPPINGS.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    here = [hashlib.sha256(source.encode()).hexdigest() for source in _sources("hl7-orders").values()]
    assert out.stdout.split() == here
