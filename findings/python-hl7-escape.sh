#!/usr/bin/env bash
# hl7 0.4.5 (PyPI, "python-hl7"): a unit with the Greek mu does not survive escape() and unescape().
#
# Why a laboratory meets it: two characters look like the sign of micro: U+00B5 (keyboards, code page 1252) and U+03BC (the
# Greek letter, which is what Unicode normalisation NFKC and many LIS make of it). Escaping each field before it is
# written is what the manual of each interface asks for.
# A good guess: unescape(escape(text)) is the text, for each text; highlighting (\H\ ... \N\) is left out or kept.
# Seen: U+00B5 comes back, U+03BC is written as \X3bc\ (three digits) and comes back as ";" and a form feed, so umol/L is
# no unit any more; "greater or equal" and Devanagari digits become other texts of the same kind. No error. UTF-8 bytes as
# another sender writes them (\XC2B5\) are read one by one as Latin-1. And \H\CRITICAL\N\ is "_CRITICAL_": underscores
# that nobody sent become part of the result.
# Standard: HL7 v2.5.1, 2.7.5: \Xdd...\ is pairs of hexadecimal digits, each pair a byte; 2.7.3: \H\ and \N\ start and end
# highlighting and are no characters of the text.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check hl7==0.4.5

cat > escapes.py <<'PY'
import hl7

message = hl7.parse(
    "MSH|^~\\&|LAB|SITE|LIS|SITE|20261130101500||ORU^R01^ORU_R01|1|P|2.5.1||||||UNICODE UTF-8\rPID|1||4711\r"
)
for text in ("5 \u00b5mol/L", "5 \u03bcmol/L", "\u2265 200", "\u0967\u0968"):
    written = message.escape(text)
    print(ascii(text), "written", written, "read", ascii(message.unescape(written)))
for written in (r"5 \XC2B5\mol/L", r"\H\CRITICAL\N\ 52"):
    print(written, "read", ascii(message.unescape(written)))
PY
seen=$(venv/bin/python escapes.py)
echo "$seen"
expected="'5 \\xb5mol/L' written 5 \\Xb5\\mol/L read '5 \\xb5mol/L'
'5 \\u03bcmol/L' written 5 \\X3bc\\mol/L read '5 ;\\x0cmol/L'
'\\u2265 200' written \\X2265\\ 200 read '\"e 200'
'\\u0967\\u0968' written \\X967\\\\X968\\ read '\\x96\\x07\\x96\\x08'
5 \\XC2B5\\mol/L read '5 \\xc2\\xb5mol/L'
\\H\\CRITICAL\\N\\ 52 read '_CRITICAL_ 52'"
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
