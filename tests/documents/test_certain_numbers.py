"""Of tubes, orders and persons a message has the numbers that are certain, and the same ones in every output
(`certain_numbers.tsv`)."""

import csv
from pathlib import Path

import pytest
import yaml

from tests.documents.test_outputs_agree import ASTM, HL7, OUL
from tests.support.outputs_read import texts
from tests.support.shipped import verdict_of

HEADS = {
    "P": "H|\\^&|||RX-9|||||||P|1|20260301092000",
    "PID": "MSH|^~\\&|RX9|LAB|||20260301092000||ORU^R01|1|P|2.5",
    "OUL": "MSH|^~\\&|RX9|LAB|||20260301092000||OUL^R22^OUL_R22|1|P|2.6",
}
USUAL = {
    "R1": "R|1|^^^GLU|5.4|mmol/L||||F||||20260301091500",
    "X1": "OBX|1|NM|GLU||5.4|mmol/L|||||F|||20260301091500",
}
LINES = (Path(__file__).parent / "certain_numbers.tsv").read_text().splitlines()
SCENES = list(csv.DictReader((line for line in LINES if line[0] != "#"), delimiter="\t"))


@pytest.mark.parametrize("row", SCENES, ids=lambda row: row["scene"])
def test_every_output_has_the_numbers_that_are_certain(row: dict[str, str]) -> None:
    records = [USUAL.get(one, one) for one in row["records"].split(" ¶ ")]
    kind = "OUL" if records[1].startswith("SPM") else records[0].partition("|")[0]
    text = "\r".join([HEADS[kind], *records, *(["L|1|N"] if kind == "P" else []), ""])
    due, _, refused = row["codes"].partition("!")
    settings = {"csv_header": "yes", **(yaml.safe_load(row["settings"]) or {})}
    for form, read in {"P": ASTM, "PID": HL7, "OUL": OUL}[kind].items():
        if form == "abdm-report":
            continue
        verdict, mapped = verdict_of(text.encode(), "astm" if kind == "P" else "hl7v2", settings, mapping=form)
        assert mapped is not None, (form, verdict.reason)
        (result,) = read(mapped.documents[0].body)
        assert result.specimens == texts(row["specimen"]), form
        patient = row["patient"].replace("-", "")  # in brackets: one that FHIR does not have, for it does not last
        assert result.patients == texts("" if patient[:1] == "(" and "results" in form else patient.strip("()")), form
        codes = {issue.code for issue in verdict.issues}
        assert set(due.split()) <= codes, form
        assert codes.isdisjoint(refused.split()), form
