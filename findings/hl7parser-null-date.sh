#!/usr/bin/env bash
# hl7parser 0.7.5 (PyPI): "delete this birth date" becomes "no word about it".
#
# Why a laboratory meets it: an ADT^A08 with PID-7 "" takes back a birth date that was wrong. A small program in between parses
# the message, looks at it and hands str(message) on.
# A good guess: "" stays, as it does in other fields, or is None in Python and "" in the text.
# Seen: in a field that the package knows as a time (PID-7) the two quotes are gone, so the receiver keeps the
# wrong date; in PID-10 and PID-11 of the same segment they stay. No error.
# Standard: HL7 v2.5.1, 2.5.3: an empty field says nothing and leaves what the receiver has; "" says that it is to be deleted.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check hl7parser==0.7.5

cat > null.py <<'PY'
from hl7parser.hl7 import HL7Message

SENT = 'MSH|^~\\&|HIS|SITE|LAB|SITE|20261130101500||ADT^A08^ADT_A01|1|P|2.5.1\rPID|1||4711||Bose^Mira||%s|F||""|""'
for date in ("19500214", '""'):
    print(date, "sent, written:", str(HL7Message(SENT % date)).splitlines()[1].rstrip("|"))
PY
seen=$(venv/bin/python null.py)
echo "$seen"
expected='19500214 sent, written: PID|1||4711||Bose^Mira||19500214|F||""|""
"" sent, written: PID|1||4711||Bose^Mira|||F||""|""'
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
