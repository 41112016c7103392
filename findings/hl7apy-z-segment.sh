#!/usr/bin/env bash
# hl7apy 1.3.5 (PyPI): a Z segment vanishes, and may take the results away from their patient.
# @redoxengine/redox-hl7-v2 1.0.1 (npm): it vanishes there, too.
#
# Why a laboratory meets it: makers and hospitals put what the standard has no place for into Z segments (insurance after
# PID, instrument data after OBX). A program between two systems reads a message with the usual call and writes it again.
# A good guess: Z segments stay where they are, as hl7apy has classes for them; or an error.
# Seen: with parse_message as it is, to_er7() is without the Z segment, no error, no log. One after PID does worse: what
# follows is put into a *second* PATIENT_RESULT, which has no PID. Whoever walks the groups finds a patient without
# results and results without a patient. With find_groups=False all is there. Redox' parser and generator drop it as well.
# Standard: HL7 v2.5.1, 2.17 (local extensions: Z segments may be added) and 2.6 (a recipient ignores what it does not
# expect and reads the rest as if that were not there: OBR still belongs to the PID before it).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check hl7apy==1.3.5
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . @redoxengine/redox-hl7-v2@1.0.1 > npm.log 2>&1 ||
  { cat npm.log >&2; exit 2; }

cat > groups.py <<'PY'
from hl7apy.parser import parse_message

HEAD = "MSH|^~\\&|LAB|SITE|LIS|SITE|20261130101500||ORU^R01^ORU_R01|1|P|2.5.1\r"
PATIENT, ORDER, RESULT = "PID|1||4711^^^LAB||Menon^Tara\r", "OBR|1|5||GLU^Glucose\r", "OBX|1|NM|GLU||5.1||||||F\r"


def names(text):
    return " ".join(line[:3] for line in text.strip("\r").split("\r"))


for title, body in (
    ("after OBX", PATIENT + ORDER + RESULT + "ZPS|1|LOT 7\r"),
    ("after PID", PATIENT + "ZPI|1|INSURED\r" + ORDER + RESULT),
):
    message = parse_message(HEAD + body)
    groups = [
        "with PID" if any(child.name == "ORU_R01_PATIENT" for child in group.children) else "without PID"
        for group in message.children
        if group.name == "ORU_R01_PATIENT_RESULT"
    ]
    flat = parse_message(HEAD + body, find_groups=False)
    print(f"hl7apy, Z {title}: groups {groups}; written: {names(message.to_er7())}; flat: {names(flat.to_er7())}")
PY
cat > redox.js <<'JS'
const { Parser, Generator } = require("@redoxengine/redox-hl7-v2");
const message = ["MSH|^~\\&|LAB|SITE|LIS|SITE|20261130101500||ORU^R01^ORU_R01|1|P|2.5.1", "PID|1||4711^^^LAB||Menon^Tara",
  "OBR|1|5||GLU^Glucose", "OBX|1|NM|GLU||5.1||||||F", "ZPS|1|LOT 7"].join("\r") + "\r";
const written = new Generator().write(new Parser().parse(message));
console.log("redox, Z after OBX: written: " + written.trim().split("\r").map((line) => line.slice(0, 3)).join(" "));
JS
seen=$(venv/bin/python groups.py; node redox.js)
echo "$seen"
expected="hl7apy, Z after OBX: groups ['with PID']; written: MSH PID OBR OBX; flat: MSH PID OBR OBX ZPS
hl7apy, Z after PID: groups ['with PID', 'without PID']; written: MSH PID OBR OBX; flat: MSH PID ZPI OBR OBX
redox, Z after OBX: written: MSH PID OBR OBX"
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
