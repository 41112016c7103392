#!/usr/bin/env bash
# hl7lw 0.1.2 (PyPI): a message is read anew with the delimiters of the message that came after it.
#
# Why a laboratory meets it: one parser serves several analyzers, as the manual's examples have it, and one of them declares %
# as its component separator.
# A good guess: a parsed message is complete, or keeps its own delimiters.
# Seen: fields are cut when they are first looked at, with what the *parser* holds by then. After the second message was
# parsed the first one's family name is "Shetty^Ravi" and its given name empty; setting PID-5.3 appends "%%" and a
# value to it, below an MSH that says ^. Looked at before, the same message is right: it depends on who was faster.
# Standard: HL7 v2.5.1, 2.5.4: delimiters belong to the message, in MSH-1 and MSH-2.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check hl7lw==0.1.2

cat > two.py <<'PY'
from hl7lw import Hl7Parser

FIRST = "MSH|^~\\&|LAB|SITE|LIS|SITE|20261130101500||ORU^R01|1|P|2.5.1\rPID|1||4711||Shetty^Ravi\r"
SECOND = "MSH|%~\\&|POC|SITE|LIS|SITE|20261130101501||ORU%R01|2|P|2.5.1\rPID|1||4712||Das%Ila\r"
parser = Hl7Parser()

alone = parser.parse_message(FIRST)
print("alone:", repr(alone["PID-5.1"]), repr(alone["PID-5.2"]))

first = parser.parse_message(FIRST)
second = parser.parse_message(SECOND)
print("second:", repr(second["PID-5.1"]), repr(second["PID-5.2"]))
print("first:", repr(first["PID-5.1"]), repr(first["PID-5.2"]))
first["PID-5.3"] = "K"
print("written:", parser.format_message(first).replace("\r", " / ")[:9], parser.format_message(first).split("\r")[1])
PY
seen=$(venv/bin/python two.py)
echo "$seen"
expected="alone: 'Shetty' 'Ravi'
second: 'Das' 'Ila'
first: 'Shetty^Ravi' ''
written: MSH|^~\\&| PID|1||4711||Shetty^Ravi%%K"
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
