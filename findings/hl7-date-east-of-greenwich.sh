#!/usr/bin/env bash
# hl7-date 1.0.1 (npm): the offset of each zone east of Greenwich is no offset. Read by hl7 0.4.5 (PyPI).
#
# Why a laboratory meets it: India is +0530. The package makes the time stamps of MSH-7, OBR-7, OBX-14; where it was written
# and tested (America) all is well.
# A good guess: +0530; at worst a wrong half hour.
# Seen: Asia/Kolkata gives "+-6-30", Berlin "+-100"; west of Greenwich and UTC are right. Midnight, given as a Date, is
# written as a day, since precision is guessed from the value. python-hl7 reads both broken forms without an error, as a
# time without a zone: a server in UTC takes the Indian result as five and a half hours later than it was.
# Standard: HL7 v2.5.1, 2.A.22 (DTM): ...[+/-ZZZZ], ZZZZ being HHMM; precision is said by the sender, not by zeros.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check hl7==0.4.5
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . hl7-date@1.0.1 > npm.log 2>&1 || { cat npm.log >&2; exit 2; }

cat > stamp.js <<'JS'
const { stringify } = require("hl7-date");
console.log(stringify(new Date("2026-11-30T04:45:07Z"), "second"));
JS
cat > reader.py <<'PY'
import sys

import hl7

print("read as", hl7.parse_datetime(sys.argv[1]).isoformat())
PY
seen=$(for zone in America/New_York UTC Europe/Berlin Asia/Kolkata; do
  stamp=$(TZ=$zone node stamp.js)
  echo "$zone $stamp $(venv/bin/python reader.py "$stamp")"
done
echo "midnight in India $(TZ=Asia/Kolkata node -e 'console.log(require("hl7-date").stringify(new Date(2026, 10, 30, 0, 0, 0)))')")
echo "$seen"
expected='America/New_York 20261129234507-0500 read as 2026-11-29T23:45:07-05:00
UTC 20261130044507+0000 read as 2026-11-30T04:45:07+00:00
Europe/Berlin 20261130054507+-100 read as 2026-11-30T05:45:07
Asia/Kolkata 20261130101507+-6-30 read as 2026-11-30T10:15:07
midnight in India 20261130'
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
