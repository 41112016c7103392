#!/usr/bin/env bash
# ucumvert 0.3.2 with Pint 0.25.3 (PyPI): an international unit is a colony is a plaque is the number 1.
#
# Why a laboratory meets it: viral load in [IU]/mL or {copies}/mL, antibodies in [APL'U]/mL, urine cultures in [CFU]/mL; a
# warehouse converts all results of a code to one unit, and relies on the library to refuse what cannot be converted.
# A good guess: refused; "units that depend on a procedure do not convert" is a core rule of UCUM.
# Seen: 250 [IU]/mL are 250 [CFU]/mL, 250 [APL'U]/mL, 250 /mL, without a word. Only [IU] and [iU], which UCUM does equate,
# should give a number.
# Standard: UCUM, 24 and 25 (arbitrary units, operations on them): an arbitrary unit is commensurable with no unit of
# another kind, with another arbitrary one neither.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check ucumvert==0.3.2 pint==0.25.3 lark==1.3.1

cat > arbitrary.py <<'PY'
import warnings

warnings.filterwarnings("ignore")
from pint import DimensionalityError  # noqa: E402
from ucumvert import PintUcumRegistry  # noqa: E402

registry = PintUcumRegistry()
sent = 250 * registry.from_ucum("[IU]/mL")
for wanted in ("[iU]/mL", "[CFU]/mL", "[PFU]/mL", "[APL'U]/mL", "/mL", "mg/mL"):
    try:
        print(f"250 [IU]/mL is {sent.to(registry.from_ucum(wanted).units).magnitude:g} {wanted}")
    except DimensionalityError:
        print(f"250 [IU]/mL is not convertible to {wanted}")
PY
seen=$(venv/bin/python arbitrary.py)
echo "$seen"
expected="250 [IU]/mL is 250 [iU]/mL
250 [IU]/mL is 250 [CFU]/mL
250 [IU]/mL is 250 [PFU]/mL
250 [IU]/mL is 250 [APL'U]/mL
250 [IU]/mL is 250 /mL
250 [IU]/mL is not convertible to mg/mL"
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
