#!/usr/bin/env bash
# fhirpathpy 2.2.4 (PyPI) beside fhirpath 5.2.2 (npm), from which it was ported: 1 mg is 0 g, and 1 g/L is not 100 mg/dL.
#
# Why a laboratory meets it: rules over results ("creatinine over 20 mg/L") are written once, in FHIRPath, and are run in a
# browser by the one package and in a service by the other.
# A good guess: both convert by UCUM, or the port gives nothing (empty) where it cannot convert.
# Seen: the port says false, which a rule takes for an answer, where the original says true: no conversion of mass, of
# volume, of counts (10*3/uL, 10*9/L). toQuantity('g') of 1 mg is 0 g, a number.
# Standard: FHIRPath N1 (2.0.0), 6.1 (equality of quantities: compared after conversion to one unit; where the units
# cannot be compared the result is empty) and 5.5 (toQuantity: empty where it cannot convert).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check fhirpathpy==2.2.4
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . fhirpath@5.2.2 > npm.log 2>&1 || { cat npm.log >&2; exit 2; }

cat > expressions.txt <<'TEXT'
1 'g/L' = 100 'mg/dL'
1 'mg' = 1000 'ug'
10 '10*3/uL' = 10 '10*9/L'
(1 'mg').toQuantity('g')
7 days = 1 'wk'
TEXT
cat > ask.py <<'PY'
from fhirpathpy import evaluate

for line in open("expressions.txt"):
    (answer,) = evaluate({}, line.strip(), {})
    value = str(getattr(answer, "value", answer)).lower()
    print(f"fhirpathpy: {line.strip()} -> {value}{' ' + answer.unit if hasattr(answer, 'unit') else ''}")
PY
cat > ask.js <<'JS'
const fhirpath = require("fhirpath");
for (const line of require("fs").readFileSync("expressions.txt", "utf8").trim().split("\n"))
  console.log(`fhirpath.js: ${line} -> ${fhirpath.evaluate({}, line).join()}`);
JS
seen=$(venv/bin/python ask.py; node ask.js)
echo "$seen"
expected="fhirpathpy: 1 'g/L' = 100 'mg/dL' -> false
fhirpathpy: 1 'mg' = 1000 'ug' -> false
fhirpathpy: 10 '10*3/uL' = 10 '10*9/L' -> false
fhirpathpy: (1 'mg').toQuantity('g') -> 0 'g'
fhirpathpy: 7 days = 1 'wk' -> true
fhirpath.js: 1 'g/L' = 100 'mg/dL' -> true
fhirpath.js: 1 'mg' = 1000 'ug' -> true
fhirpath.js: 10 '10*3/uL' = 10 '10*9/L' -> true
fhirpath.js: (1 'mg').toQuantity('g') -> 0.001 'g'
fhirpath.js: 7 days = 1 'wk' -> true"
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
