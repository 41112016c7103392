#!/usr/bin/env bash
# hl7-standard 1.0.4, simple-hl7 3.3.0, tiny-hl7 1.0.7, hl7 1.1.1 (npm): a message declares other delimiters than it has.
#
# Why a laboratory meets it: the sender chooses the delimiters and says so in MSH-2. Some analyzers do not take ^ (units
# like 10^9/L would need an escape) and send % or another sign instead. Small gateways read and write again with these packages.
# A good guess: either MSH-2 is obeyed, or the package knows ^~\& only, and gives back the text that it got.
# Seen: three of them read the name as one component *and* write ^~\& into MSH-2 over a body that still has %: the output
# is a well-formed message in which the patient's name is "Nair%Kiran", given name empty, and nobody can tell any more. The
# fourth does the opposite: it reads % rightly and writes ^ in the body below a header that says %.
# hl7-standard also makes a repetition out of a subcomponent there (& becomes ~).
# Standard: HL7 v2.5.1, 2.5.4 and 2.15.9.2 (MSH-2): the message's own encoding characters hold for the whole message.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --ignore-scripts --prefix . \
  hl7-standard@1.0.4 simple-hl7@3.3.0 tiny-hl7@1.0.7 hl7@1.1.1 > npm.log 2>&1 || { cat npm.log >&2; exit 2; }

cat > delimiters.js <<'JS'
const message = "MSH|%~\\&|LAB|SITE|LIS|SITE|20261130101500||ORU%R01%ORU_R01|1|P|2.5.1\rPID|1||4711||Nair&van%Kiran";

function show(name, given, written) {
  const lines = written.trim().split(/[\r\n]+/);
  console.log(`${name}: given name ${JSON.stringify(given)}; writes ${lines[0].slice(0, 9)} and ${lines[1].replace(/\|+$/, "")}`);
}

const HL7Standard = require("hl7-standard");
const standard = new HL7Standard(message);
standard.transform();
show("hl7-standard", standard.get("PID.5.2"), standard.build());

const { Parser } = require("simple-hl7");
const simple = new Parser().parse(message);
show("simple-hl7", simple.getSegment("PID").getComponent(5, 2), simple.toString());

const tiny = require("tiny-hl7");
const small = tiny.parse(message);
show("tiny-hl7", small[1]["PID.5.2"] ?? null, tiny.serialize(small));

const hl7 = require("hl7");
const nested = hl7.parseString(message);
show("hl7", nested[1][5][0][1], hl7.serializeJSON(nested));
JS
seen=$(node delimiters.js)
echo "$seen"
expected='hl7-standard: given name null; writes MSH|^~\&| and PID|1||4711||Nair~van%Kiran
simple-hl7: given name ""; writes MSH|^~\&| and PID|1||4711||Nair&van%Kiran
tiny-hl7: given name null; writes MSH|^~\&| and PID|1||4711||Nair\T\van%Kiran
hl7: given name "Kiran"; writes MSH|%~\&| and PID|1||4711||Nair&van^Kiran'
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
