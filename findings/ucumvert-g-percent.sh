#!/usr/bin/env bash
# ucumvert 0.3.2 with Pint 0.25.3 (PyPI): g% is a mass. Beside it ucum-lhc 7.1.10 (npm), which has it right.
#
# Why a laboratory meets it: haemoglobin in "g%" and glucose in "mg%" are daily units in India, and both are good UCUM.
# A good guess: a unit of its own in UCUM, so 12.5 g% is 12.5 g/dL.
# Seen: ucumvert takes it for g times percent: 12.5 g% is 0.125 g. It says nothing while it reads; a conversion to g/dL
# is refused with a text about dimensions, one to "mg" gives 125. ucum-lhc gives 12.5 g/dL.
# Standard: UCUM, table of chemical and biochemical units: g% "gram percent" = 1 g/dL, metric (so mg% = 1 mg/dL). A unit is one
# symbol there; % binds no factor without a dot.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check ucumvert==0.3.2 pint==0.25.3 lark==1.3.1
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . @lhncbc/ucum-lhc@7.1.10 > npm.log 2>&1 ||
  { cat npm.log >&2; exit 2; }

cat > percent.py <<'PY'
import warnings

warnings.filterwarnings("ignore")
from pint import DimensionalityError  # noqa: E402
from ucumvert import PintUcumRegistry  # noqa: E402

registry = PintUcumRegistry()


def converted(number, code, wanted):
    try:
        return f"{(number * registry.from_ucum(code)).to(registry.from_ucum(wanted).units).magnitude:g} {wanted}"
    except DimensionalityError:
        return f"not convertible to {wanted}"


for number, code, other in ((12.5, "g%", "g/dL"), (90, "mg%", "mg/dL")):
    print(f"ucumvert: {number} {code} is {converted(number, code, other)}, and {converted(number, code, 'mg')}")
PY
cat > percent.js <<'JS'
const utils = require("@lhncbc/ucum-lhc").UcumLhcUtils.getInstance();
for (const [number, code, other] of [[12.5, "g%", "g/dL"], [90, "mg%", "mg/dL"]])
  console.log(`ucum-lhc: ${number} ${code} is ${utils.convertUnitTo(code, number, other).toVal} ${other}`);
JS
seen=$(venv/bin/python percent.py; node percent.js)
echo "$seen"
expected='ucumvert: 12.5 g% is not convertible to g/dL, and 125 mg
ucumvert: 90 mg% is not convertible to mg/dL, and 0.9 mg
ucum-lhc: 12.5 g% is 12.5 g/dL
ucum-lhc: 90 mg% is 90 mg/dL'
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
