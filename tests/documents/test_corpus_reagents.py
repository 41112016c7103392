"""Reagent lots of every sample and of every capture in the corpus that names any: these and no others."""

from collections.abc import Iterable

import pytest

from adapters.codecs.astm import records as astm_records
from adapters.codecs.hl7v2 import message as hl7v2
from engine.config import registry
from engine.model.content.reagents import reagents_in
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Reagent
from engine.processing.formats import InDialect
from tests.support.corpus import CorpusFile, corpus_files, payloads
from tests.support.samples import SampleFile, sample_files

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


OF_SAMPLES = {
    **{
        f"cepheid_genexpert/{name}": [("cartridge", "12902", "2027-06-18", "VL1")]
        for name in ("01-viral-load", "02-error", "06-correction")
    },
    "cepheid_genexpert/03-panel": [("cartridge", "00500", "2027-12-26", "SARSCOV2 FLUA FLUB RSV")],
    "cepheid_genexpert/04-french": [("cartridge", "12902", "2027-06-18", "EV")],
    "cepheid_genexpert/07-tuberculosis": [("cartridge", "56877", "2027-09-30", "Xpert Trace RIF")],
    "cepheid_genexpert/08-off-the-scale": [("cartridge", "13377", "2027-08-31", "VL1")],
    "cepheid_genexpert_hl7/01-ct-ng": [("cartridge", "01502", "2027-05-27", "CTNG")],
    "cepheid_genexpert_hl7/02-viral-load": [("cartridge", "01502", "2027-05-27", "VL1")],
    "roche_cobas_pro/01-chemistry": [("2049001 R1", "256616", "2027-10-30", "20490")],
    "siemens_clinitek/02-quality-control": [("Multistix 10 SG", "004183", "2027-07", "")],
    "siemens_dca_vantage/01-albumin-creatinine": [("cartridge", "0090", "", "Alb Crt Ratio")],
    **{
        f"siemens_dca_vantage/{name}": [("cartridge", "0090", "", "Alb")]
        for name in ("02-correction", "03-quality-control", "04-service")
    },
    "stago_sta_satellite/01-coagulation": [("STA-NEO CI PLUS 5", "254169", "", "SPT SINR")],
}


def named(file: CorpusFile | SampleFile) -> list[Reagent]:
    found: list[Reagent] = []
    for payload in payloads(file):
        try:
            parsed = (hl7v2 if file.format == "hl7v2" else astm_records).parse(payload, OPTIONS)
        except ContentError:
            continue
        found += [reagent for reagent in reagents_in(parsed) if reagent not in found]
    return found


def told(files: Iterable[CorpusFile | SampleFile]) -> dict[str, list[tuple[str, str, str, str]]]:
    found = {file.name: named(file) for file in files}
    return {
        name: [(one.name, one.lot, one.expires, " ".join(one.tests)) for one in reagents]
        for name, reagents in found.items()
        if reagents
    }


def test_the_lot_is_the_same_where_a_dialect_has_corrected_the_message() -> None:
    for file in sample_files("hl7v2"):
        if file.folder == "cepheid-genexpert-hl7":
            (payload,) = payloads(file)
            parsed = InDialect(hl7v2, registry.dialect("cepheid-genexpert-hl7")).parse(payload, OPTIONS)
            lots = [(one.name, one.lot, one.expires, " ".join(one.tests)) for one in reagents_in(parsed)]
            assert lots == OF_SAMPLES.get(file.name.rpartition(".")[0], []), file.name


def test_every_sample_that_names_lots_yields_them_and_no_other_does() -> None:
    assert {name.rpartition(".")[0]: lots for name, lots in told(sample_files()).items()} == OF_SAMPLES


@pytest.mark.corpus
def test_every_capture_that_names_lots_yields_them_and_no_other_does() -> None:
    assert told(corpus_files()) == EXPECTED
