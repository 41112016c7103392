"""What the index of the corpus says of patients and orders holds in what is mapped by name, or is a listed deviation.

The facts are those of the first message of a file, read by a splitter of its own; counts are those of the whole file.
Results have tests of their own (`test_corpus_mapping.py`).
"""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from tests.documents.test_corpus_mapping import SETTINGS
from tests.support.corpus import CorpusFile, corpus_files, payloads
from tests.support.fhir_check import check_bundle, resources
from tests.support.shipped import verdict_of
from tests.validation.documents import mapping_of

pytestmark = pytest.mark.corpus

Json = dict[str, Any]
GENDERS = {"F": "female", "M": "male", "O": "other", "A": "other", "N": "other"}
ORDERS = {"hl7-orders"}

# PID-3 has the number of the order or specimen beside it: that is no patient's number.
NUMBER_OF_THE_ORDER = {"cdcdex__COVID19_ELR_01.hl7", "cdcdex__HL7_2.5_New_HHS_Fields1.txt"}
NO_PATIENT = (0, "PID-3 has the number of the order or specimen beside it, and PID-5 no name")
# Counts that differ from the index's, and why.
PATIENTS = {
    "cdcdex__2.3.1_HL7_Test_File_with_HHS_Data.txt": NO_PATIENT,
    "cdcdex__AR_v251.txt": NO_PATIENT,
    "cdcdex__Genv2_2-0-1_TC08.txt": NO_PATIENT,
    "cdcdex__Tuleremia.hl7": NO_PATIENT,
    "cdcdex__WI_v231.txt": NO_PATIENT,
    "oie__07.hl7": (2, "A40: the record that was merged is there as well"),
    "oie__batch03.hl7": (3, "A40 in the batch: the record that was merged is there as well"),
}
ORDERED: dict[str, tuple[int, str]] = {}


@dataclass
class Made:
    """What one file gave: a list of Bundles for each message, in order; empty where it gave none."""

    bundles: list[list[Json]] = field(default_factory=list)

    def all(self, kind: str) -> list[Json]:
        return [one for bundles in self.bundles for bundle in bundles for one in resources(bundle, kind)]

    def first(self, kind: str) -> list[Json]:
        return [one for bundle in self.bundles[0] for one in resources(bundle, kind)]


@cache
def made_of(name: str) -> Made:
    file, made = FILES[name], Made()
    for payload in payloads(file):
        mapping = mapping_of(payload, file.format)
        given = {"processing_ids": ["T", "D"], **SETTINGS.get(name, {})}
        documents = verdict_of(payload, file.format, given, mapping=mapping)[0].documents if mapping else ()
        made.bundles.append([check_bundle(document.body) for document, _ in documents])
    return made


FILES: dict[str, CorpusFile] = {file.name: file for file in corpus_files() if file.folder == "hl7"}
each_file = pytest.mark.parametrize("name", sorted(FILES))


def first_patient(name: str) -> Json | None:
    """The Patient of the first message; None where the message gives none, which other tests list with the reason."""
    made = made_of(name)
    patients = made.first("Patient") if made.bundles else []
    return patients[0] if patients else None


@each_file
def test_the_first_patient_has_the_number_of_the_index(name: str) -> None:
    patient, number = first_patient(name), re.split("[~^]", FILES[name].facts.get("pid3", ""))[0].strip()
    if patient is not None and number and "&" not in number:
        lasts = any(map(str.isdigit, number)) and name not in NUMBER_OF_THE_ORDER  # one without a digit may be a name
        assert (number in {one["value"] for one in patient["identifier"]}) == lasts


@each_file
def test_the_first_patient_has_the_family_name_of_the_index(name: str) -> None:
    patient, family = first_patient(name), FILES[name].facts.get("pid5.1", "")
    if patient is not None and family and family.isascii() and "\\" not in family:
        assert family in {one.get("family") for one in patient["name"]}


@each_file
def test_the_first_patient_has_the_birth_date_of_the_index(name: str) -> None:
    patient, sent = first_patient(name), FILES[name].facts.get("pid7", "")
    if patient is not None and re.match(r"\d{8}", sent):
        assert patient["birthDate"].replace("-", "") == sent[:8]


@each_file
def test_the_first_patient_has_the_sex_of_the_index(name: str) -> None:
    patient, sent = first_patient(name), FILES[name].facts.get("pid8", "")
    if patient is not None and sent:
        assert patient["gender"] == GENDERS.get(sent, "unknown")


@each_file
def test_there_are_as_many_patients_as_the_index_counts(name: str) -> None:
    made = made_of(name)
    if not made.bundles or not all(made.bundles):
        return  # a message without a document: which and why is listed where its verdict is tested
    expected, _why = PATIENTS.get(name, (FILES[name].number("pid"), ""))
    assert len(made.all("Patient")) == expected


@each_file
def test_there_are_as_many_orders_as_the_index_counts(name: str) -> None:
    made = made_of(name)
    mappings = {mapping_of(payload, "hl7v2") for payload in payloads(FILES[name])}
    if mappings != ORDERS or not all(made.bundles):
        return
    expected, _why = ORDERED.get(name, (FILES[name].number("obr"), ""))
    assert len(made.all("ServiceRequest")) == expected


def test_these_facts_were_looked_at() -> None:
    seen = [name for name in FILES if first_patient(name) is not None]
    assert len(seen) > 50
    ordered = [name for name in FILES if {mapping_of(one, "hl7v2") for one in payloads(FILES[name])} == ORDERS]
    assert len([name for name in ordered if all(made_of(name).bundles)]) > 8
