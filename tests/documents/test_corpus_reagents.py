"""Reagent lots of every capture in the corpus that names any: these and no others."""

import pytest

from adapters.codecs.astm import records as astm_records
from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Reagent
from engine.model.reagents import reagents_in
from tests.support.corpus import CorpusFile, corpus_files, payloads

pytestmark = pytest.mark.corpus

OPTIONS = FormatOptions(charsets=("utf-8", "cp1252"))

# name, lot, expires, tests; `cepheid-genexpert-hbv` has its instrument in R-7, which its dialect puts right.
EXPECTED = {
    "cepheid-genexpert-mtb.astm": [("cartridge", "56401", "2025-05-25", "Xpert Trace RIF")],
    "cepheid-genexpert-oru-r32.hl7": [("cartridge", "01502", "2012-05-27", "CTNG")],
    "cepheid-guidance-cov2flursv.astm": [("cartridge", "00500", "2021-12-26", "SARSCOV2 FLUA FLUB RSV")],
    "cepheid-guidance-hivvl-below40.astm": [("cartridge", "12902", "2023-06-18", "HIVVL")],
    "cepheid-guidance-hivvl-error.astm": [("cartridge", "12902", "2023-06-18", "HIVVL")],
    "horiba-yumizen-h500.astm": [
        ("CLEANER", "221114I1*", "2023-06-17", ""),
        ("DILUENT", "220729H1", "2023-07-29", ""),
        ("LYSE", "221026M11", "2023-05-27", ""),
    ],
    "oeplug__ORU_R30.txt": [("cartridge", "01502", "2012-05-27", "CTNG")],
    "roche-cobas-pro-c503-oul.hl7": [
        ("2049001 R1", "256616", "2018-10-30", "20490"),
        ("2049001 R3", "256616", "2018-10-30", "20490"),
    ],
    "roche-cobas-pro-e801-oul.hl7": [
        ("1310020 ASY", "620931", "2023-08-31", "10020"),
        ("1018448 PRC", "620127", "2023-11-30", "10020"),
    ],
    "siemens-clinitek-qc.hl7": [("Multistix 10 SG", "004183", "2019-07", "")],
    "siemens-dca-vantage.astm": [("cartridge", "0090", "", "Alb Crt Ratio")],
    "stago-satellite-max.astm": [
        ("STA-NEO CI PLUS 5", "254169", "", "SPT SINR"),
        ("STA-CEPHASCREEN 4", "254173", "", "SAPTT"),
        ("CACL2 0.025 M", "254005", "", "SAPTT"),
    ],
}


def named(file: CorpusFile) -> list[Reagent]:
    found: list[Reagent] = []
    for payload in payloads(file):
        try:
            parsed = (hl7v2 if file.format == "hl7v2" else astm_records).parse(payload, OPTIONS)
        except ContentError:
            continue
        found += [reagent for reagent in reagents_in(parsed) if reagent not in found]
    return found


def test_every_capture_that_names_lots_yields_them_and_no_other_does() -> None:
    found = {file.name: named(file) for file in corpus_files()}
    told = {
        name: [(one.name, one.lot, one.expires, " ".join(one.tests)) for one in reagents]
        for name, reagents in found.items()
        if reagents
    }
    assert told == EXPECTED
