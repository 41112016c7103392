"""How the controls of each sample ended; a sample that is not listed has none that was judged."""

import pytest

from engine.mapping.measured import places_of
from engine.model.content.quality_controls import controls_in
from engine.model.message import MapContext, Parsed
from tests.documents.test_sample_facts import NAMES, read
from tests.documents.test_samples import run
from tests.support.shipped import Recorder

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


@pytest.mark.parametrize("name", NAMES)
def test_the_controls_of_a_sample(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Parsed] = []
    apply = Recorder.apply

    def kept(self: Recorder, parsed: Parsed, context: MapContext) -> object:
        seen.append(parsed)
        return apply(self, parsed, context)

    monkeypatch.setattr(Recorder, "apply", kept)
    _, mapped = run.__wrapped__(name)
    facts = read(name)[0]
    found = []
    if mapped is not None and mapped.controls and facts is not None:
        found = list(controls_in(facts, places_of(mapped.controls, seen[0])))
    assert [(one.code, one.material, one.failed) for one in found] == EXPECTED.get(name, [])


def test_each_listed_sample_is_there() -> None:
    assert set(EXPECTED) <= set(NAMES)
