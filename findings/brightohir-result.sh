#!/usr/bin/env bash
# brightohir 2.1.2 with hl7apy 1.3.5 and fhir.resources 8.3.0 (PyPI): HL7 v2 to FHIR, and its own validator says no.
#
# Why a laboratory meets it: "v2_to_r5(message)" is one line, and a result from an analyzer is its most usual input.
# A good guess: a valid document; some fields that are not mapped are missing.
# Seen: the offset is cut off (10:14+05:30 becomes 10:14 of nowhere, which FHIR does not allow); of two flags, of
# two patient numbers and of two values in OBX-5 the first alone remains; 5.10 is 5.1; system is "LN", so no reader finds
# LOINC; the birth month stays in HL7's form. MessageHeader names as the sender's address the *text of a Python object*.
# The package's own R5.validate refuses four resources of the five, after the conversion has said nothing.
# Standard: FHIR (R4 and R5), dateTime: with hours there SHALL be a time zone; Coding.system is a URI (http://loinc.org);
# HL7 v2.5.1, 7.4.2.8 (OBX-8 repeats) and 3.4.2.3 (PID-3 repeats); v2-to-FHIR guide, OBX and PID.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check brightohir==2.1.2 hl7apy==1.3.5 fhir.resources==8.3.0 \
  fhir-core==1.1.12 pydantic==2.14.4

cat > result.py <<'PY'
import brightohir

MESSAGE = (
    "MSH|^~\\&|LAB|SITE|LIS|SITE|20261130101500+0530||ORU^R01^ORU_R01|1|P|2.5.1\r"
    "PID|1||4711^^^LAB^MR~90^^^CLINIC^PI||Pillai^Usha||195003|F\r"
    "OBR|1|5|6|GLU^Glucose^L|||20261130101400+0530||||||||||||||||||F\r"
    "OBX|1|NM|2345-7^Glucose^LN||5.10|mmol/L|3.9-6.1|H~A|||F|||20261130101400+0530\r"
    "OBX|2|TX|600-7^Culture^LN||no growth~after 48 h||||||F\r"
)
resources = [entry["resource"] for entry in brightohir.v2_to_r5(MESSAGE)["entry"]]
kinds = {resource["resourceType"]: resource for resource in reversed(resources)}
result, patient = kinds["Observation"], kinds["Patient"]
print("value", result["valueQuantity"]["value"], "time", result["effectiveDateTime"])
print("system", result["code"]["coding"][0]["system"], "flags", len(result["interpretation"]))
print("numbers", [number["value"] for number in patient["identifier"]], "born", patient["birthDate"])
print("text", resources[-1]["valueString"])
print("sender", kinds["MessageHeader"]["source"]["endpoint"])
for resource in resources:
    print(resource["resourceType"], "refused" if brightohir.R5.validate(resource["resourceType"], resource) else "valid")
PY
seen=$(venv/bin/python result.py)
echo "$seen"
expected="value 5.1 time 2026-11-30T10:14:00
system LN flags 1
numbers ['4711'] born 195003
text no growth
sender urn:oid:[<Field MSH_3 (SENDING_APPLICATION) of type HD>]
MessageHeader refused
Patient refused
DiagnosticReport refused
Observation refused
Observation valid"
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
