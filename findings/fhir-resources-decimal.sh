#!/usr/bin/env bash
# fhir.resources 8.3.0 with fhir-core 1.1.12 and pydantic 2.14.4 (PyPI): a Decimal that has been a float.
#
# Why a laboratory meets it: it is the Python library for FHIR; a service reads a result, adds a tag, stores it again.
# A good guess: the model's type is Decimal, so 5.10 stays 5.10; if not, by default the text of json.loads.
# Seen: model_validate_json gives Decimal('5.1') for 5.10 and ...568 for ...567.10: the digits were lost before the Decimal
# was made. A Decimal that a person puts in keeps its zeros in memory, and loses them in model_dump, JSON and XML alike;
# 1e2 becomes 100.0, which claims a tenth. In times
# -00:00 ("offset unknown") becomes Z ("this is UTC"), and .5 becomes .500000.
# Standard: FHIR R4, 2.24.0.1, decimal: "the precision of the decimal value has significance", 0.010 is another value than
# 0.01; instant and dateTime: digits and offset as sent.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check fhir.resources==8.3.0 fhir-core==1.1.12 pydantic==2.14.4

cat > decimals.py <<'PY'
import json
import re
from decimal import Decimal

from fhir.resources.observation import Observation

SENT = '{"resourceType":"Observation","status":"final","code":{"text":"Glucose"},"issued":"%s","valueQuantity":{"value":%s}}'


def written(text, name):
    return re.search(rf'"{name}":"?([^"}}]+)', text)[1]


for value in ("5.10", "0.00", "1e2", "12345678901234567.10"):
    read = Observation.model_validate_json(SENT % ("2026-11-30T10:15:00Z", value))
    print(f"{value} is {read.valueQuantity.value!r} and is written {written(read.model_dump_json(), 'value')}")
kept = Observation.model_validate(json.loads(SENT % ("2026-11-30T10:15:00Z", "5.10"), parse_float=Decimal))
print(f"5.10 as a Decimal is {kept.valueQuantity.value!r} and is written {written(kept.model_dump_json(), 'value')}")
for issued in ("2026-11-30T10:15:00-00:00", "2026-11-30T10:15:00.5+05:30"):
    print(issued, "is written", written(Observation.model_validate_json(SENT % (issued, "1")).model_dump_json(), "issued"))
PY
seen=$(venv/bin/python decimals.py)
echo "$seen"
expected="5.10 is Decimal('5.1') and is written 5.1
0.00 is Decimal('0.0') and is written 0.0
1e2 is Decimal('100.0') and is written 100.0
12345678901234567.10 is Decimal('12345678901234568') and is written 12345678901234568
5.10 as a Decimal is Decimal('5.10') and is written 5.1
2026-11-30T10:15:00-00:00 is written 2026-11-30T10:15:00Z
2026-11-30T10:15:00.5+05:30 is written 2026-11-30T10:15:00.500000+05:30"
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
