"""The results of samples, as reports count them: each is one of its own test, and one whose code no table had is known
by its place, however the mapping writes the code of the table.
"""

import pytest

from tests.documents.test_samples import run

# sample -> results; results whose code no code table has; results of a test that the message has had already
RESULTS = {
    "abbott_afinion_2/02-outside-the-range.astm": (2, 0, 1),  # only the unit of one is unknown
    "abbott_architect/01-serology.hl7": (5, 5, 0),
    "abbott_architect/03-all-coded.hl7": (5, 0, 0),  # the codes are OBX-3.4
    "abbott_m2000/01-below-limit.astm": (2, 2, 0),  # a raw signal is none
    "cepheid_genexpert/01-viral-load.astm": (7, 5, 0),  # all have the code VL1
    "cepheid_genexpert/03-panel.astm": (7, 3, 0),
    "cepheid_genexpert_hl7/01-ct-ng.hl7": (8, 8, 0),
    "hologic_panther/01-hpv.astm": (5, 5, 0),  # likewise
    "mindray_bc5380/01-blood-count.hl7": (18, 1, 0),  # the analyzer's suspicion is one; its settings are none
    "mindray_bs200/01-chemistry.hl7": (4, 1, 0),
    "roche_cobas_c311/01-chemistry.astm": (3, 3, 0),
    "siemens_clinitek/01-strip.hl7": (12, 0, 0),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_of_a_sample(name: str) -> None:
    run.cache_clear()
    for _ in range(2):  # the second time the mapping remembers
        verdict, _ = run(name)
        run.cache_clear()
        codes = [code for group in verdict.results for code in group.codes]
        tests = [(group.specimen, test) for group in verdict.results for test in group.tests]
        assert (len(codes), codes.count(""), len(tests) - len(set(tests))) == RESULTS[name]
