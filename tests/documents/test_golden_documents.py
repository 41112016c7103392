"""Whole documents of messages of each type, read by eye beside their message, and held byte for byte since.

Two kinds: messages of our own in `tests/golden/own`, and those messages of the corpus whose licence lets what comes of
them stand here, in `tests/golden/corpus`. What samples of analyzers must give stands in `samples/`, what mappings must
give in `mappings/tests/`. After a change that is meant: LABRELAY_UPDATE_SAMPLES=1, then look at the difference.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.model.message import Mapped
from engine.model.routes import Processed
from tests.documents.test_corpus_mapping import SETTINGS
from tests.support.corpus import CorpusFile, corpus_files, payloads
from tests.support.expected import UPDATE, outcome_text
from tests.support.fhir_check import check_bundle
from tests.support.shipped import verdict_of
from tests.validation.documents import mapping_of

GOLDEN = Path(__file__).parents[1] / "golden"
OWN = sorted(path for path in (GOLDEN / "own").iterdir() if path.suffix in {".hl7", ".astm"})
FORMATS = {".hl7": "hl7v2", ".astm": "astm"}
# Orders, people and documents keep their numbers from day to day; results of analyzers may not.
UNIQUE = {"hl7-orders", "hl7-order-answers", "hl7-patients", "hl7-documents"}
LICENCES = ("Apache-2.0", "MIT", "same as this project")

# By file of the corpus: the numbers of its messages.
CORPUS: dict[str, tuple[int, ...]] = {
    "hl7/cdcdex__2.3.1_HL7_Test_File_with_HHS_Data.txt": (1,),
    "hl7/cdcdex__AR_v251.txt": (1,),
    "hl7/cdcdex__COVID19_ELR_01.hl7": (1,),
    "hl7/cdcdex__CaseLab_002.txt": (1,),
    "hl7/cdcdex__MI_v23_Valid_2.txt": (1,),
    "hl7/cdcdex__ND_23z_Valid_1.txt": (1,),
    "hl7/cdcdex__PHLIP_FLU_2.5.1_DUPLICATE_OBX1.txt": (1,),
    "hl7/cdcdex__PHLIP_FLU_2.5.1_OBX2CWE_OBX5ST.txt": (1,),
    "hl7/cdcdex__RawHL7DataCELR.txt": (1,),
    "hl7/cdcdex__SD_v25.txt": (1,),
    "hl7/cdcdex__WI_v231.txt": (1,),
    "hl7/cdcdex__celr_ATillGenVersion251.txt": (1,),
    "hl7/efferent__Sample-ORM.txt": (1,),
    "hl7/gcp__adt_a01.hl7": (1,),
    "hl7/gcp__adt_a01_ex1.hl7": (1,),
    "hl7/gcp__adt_a04_ex1.hl7": (1,),
    "hl7/gcp__adt_a08_ex1.hl7": (1,),
    "hl7/gcp__oml_o21_ex1.hl7": (1,),
    "hl7/gcp__oml_o21_ex2.hl7": (1,),
    "hl7/gcp__oml_o21_ex4.hl7": (1,),
    "hl7/gcp__oml_o21_ex6.hl7": (1,),
    "hl7/gcp__orm_o01_ex1.hl7": (1,),
    "hl7/gcp__oru_r01_ex2.hl7": (1,),
    "hl7/gcp__oru_r01_ex6.hl7": (1,),
    "hl7/own__batch_fhs_bhs.hl7": (1, 2),
    "hl7/own__charset_8859-1.hl7": (1,),
    "hl7/own__charset_gb18030.hl7": (1,),
    "hl7/own__charset_utf8.hl7": (1,),
    "hl7/own__escape_torture.hl7": (1,),
    "hl7-analyzers/roche-cobas-pro-c503-oul.hl7": (1,),
    "hl7-analyzers/roche-cobas-pro-e801-oul.hl7": (1,),
}
FILES: dict[str, CorpusFile] = {f"{file.folder}/{file.name}": file for file in corpus_files()}


def _mapped(payload: bytes, message_format: str, given: dict[str, Any]) -> tuple[Processed, Mapped | None]:
    mapping = mapping_of(payload, message_format)
    return verdict_of(
        payload,
        message_format,
        {"tasks": "yes", "processing_ids": ["T", "D"], **given},
        mapping=mapping,
        specimen_ids="unique" if mapping in UNIQUE else "restart",
    )


def _compare(expected: Path, verdict: Processed, mapped: Mapped | None) -> None:
    found = outcome_text(verdict, mapped)
    if UPDATE:
        expected.write_text(found, encoding="utf-8")
    held = expected.read_text(encoding="utf-8")
    assert json.loads(found, parse_float=Decimal) == json.loads(held, parse_float=Decimal)
    assert found == held, "numbers or the order of elements differ"
    for document, _route in verdict.documents:
        check_bundle(document.body)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_a_message_of_our_own_gives_the_document_that_was_read_beside_it(path: Path) -> None:
    _compare(path.with_suffix(".expected.json"), *_mapped(path.read_bytes(), FORMATS[path.suffix], {}))


@pytest.mark.corpus
@pytest.mark.parametrize(("name", "number"), [(name, number) for name, numbers in CORPUS.items() for number in numbers])
def test_a_message_of_the_corpus_gives_the_document_that_was_read_beside_it(name: str, number: int) -> None:
    file = FILES[name]
    assert file.facts["licence"].startswith(LICENCES)
    payload = payloads(file)[number - 1]
    expected = GOLDEN / "corpus" / f"{file.name}.{number}.expected.json"
    _compare(expected, *_mapped(payload, file.format, SETTINGS.get(file.name, {})))


def test_no_expected_document_is_left_over() -> None:
    named = {
        f"{name.partition('/')[2]}.{number}.expected.json" for name, numbers in CORPUS.items() for number in numbers
    }
    assert {path.name for path in (GOLDEN / "corpus").iterdir()} == named
    assert {path.name for path in (GOLDEN / "own").glob("*.json")} == {f"{path.stem}.expected.json" for path in OWN}
