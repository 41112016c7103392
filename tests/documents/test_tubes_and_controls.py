"""What the worklist and the controls of an analyzer are told by each sample: the results of its tubes, as
`tests/golden/tubes.txt` says them, and how its controls ended.

After a change that is meant run them with LABRELAY_UPDATE_SAMPLES=1, then look at the difference.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from engine.mapping.measured import Reading, places_of
from engine.model.content.order_results import tubes_in
from engine.model.content.quality_controls import control_results
from engine.model.message import MapContext, Mapped, Parsed
from engine.processing.process import moment
from tests.documents.test_sample_facts import NAMES
from tests.documents.test_samples import run
from tests.support.expected import UPDATE
from tests.support.shipped import Recorder, program, reader_of

GOLDEN = Path(__file__).parents[1] / "golden" / "tubes.txt"
# code, material, whether it failed
EXPECTED = {
    "horiba_yumizen_h500/01-quality-control.astm": [
        ("WBC", "PX440N", False), ("6690-2", "PX440N", False), ("HGB", "PX440N", False), ("718-7", "PX440N", False),
    ],
    "mindray_bs_astm/04-quality-control.astm": [("GLU", "QC-L1", False)],
    "roche_cobas_6800/02-quality-control.hl7": [("70241-5", "HPC-0192", True)],
    "roche_cobas_c111/03-quality-control.astm": [("413", "1300", False), ("1751-7", "1300", False)],
    "roche_cobas_c311/04-quality-control.astm": [("717/", "PCCC1", False)],
    "roche_cobas_e411/02-quality-control.astm": [("8/1/not", "PCTSH", False)],
    "roche_cobas_e411/03-quality-control-by-sample-type.astm": [("8/1/not", "PCTSH", False)],
    "roche_cobas_pro/02-quality-control.hl7": [("20490", "PCCC2", False)],
    "snibe_maglumi/01-immunoassay.astm": [("TSH II", "#31207044Q1#", False)],
    "snibe_maglumi/02-quality-control.astm": [("FT4 II", "#31207044Q2#", False)],
}  # fmt: skip


@cache
def read(name: str) -> tuple[Parsed, MapContext, Mapped | None] | None:
    """A sample as its channel reads it, and what its mapping made of it; None: it is not mapped."""
    seen: list[tuple[Parsed, MapContext]] = []
    apply = Recorder.apply

    def kept(self: Recorder, parsed: Parsed, context: MapContext) -> Mapped:
        seen.append((parsed, context))
        return apply(self, parsed, context)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "apply", kept)
        _, mapped = run.__wrapped__(name)
    return (*seen[0], mapped) if seen else None


def reading(parsed: Parsed, context: MapContext) -> Reading:
    tables = tuple(sorted(context.settings.get("tables", {}).items()))
    return Reading(parsed, lambda: replace(context), lambda _: program(reader_of(parsed.format), tables))


def lines(name: str) -> Iterator[str]:
    """A line for each test of a tube."""
    found = read(name)
    if found is None:
        return
    parsed, context, mapped = found
    if mapped is None or not mapped.documents:
        return
    known = reading(parsed, context).measured(mapped.controls)
    for tube in tubes_in(known, parsed, {}, moment=lambda text: moment(text, context.timezone)):
        for one in tube.tests:
            said = [what for what in ("final", "corrects", "withdrawn") if getattr(one, what)]
            times = f"{one.own_us // 1_000_000} {one.measured_us // 1_000_000}"
            yield f"{name}: {tube.specimen!r} of {tube.patient_number!r}: {one.code!r} {' '.join(said) or '-'} {times}"


@pytest.mark.parametrize("name", NAMES)
def test_the_results_of_a_tube(name: str) -> None:
    golden = GOLDEN.read_text(encoding="utf-8").splitlines()
    found = list(lines(name))
    if UPDATE:
        others = [line for line in golden if not line.startswith(f"{name}: ")]
        golden = sorted([*others, *found], key=lambda line: line.partition(": ")[0])
        GOLDEN.write_text("".join(f"{line}\n" for line in golden), encoding="utf-8")
    assert found == [line for line in golden if line.startswith(f"{name}: ")]


@pytest.mark.parametrize("name", NAMES)
def test_the_controls_of_a_sample(name: str) -> None:
    found = read(name)
    runs = []
    parsed, context, mapped = found or (None, None, None)
    if parsed is not None and context is not None and mapped is not None and mapped.controls:
        facts = reading(parsed, context).facts
        assert facts is not None
        found_there = control_results(facts, parsed, lambda text: 0, places_of(mapped.controls, parsed))
        runs = [(code, one.number, one.failed) for one in found_there if one.failed is not None for code in one.codes]
    assert runs == EXPECTED.get(name, [])


def test_each_listed_sample_is_there() -> None:
    assert set(EXPECTED) <= set(NAMES)
    assert {line.split(": ")[0] for line in GOLDEN.read_text(encoding="utf-8").splitlines()} <= set(NAMES)
