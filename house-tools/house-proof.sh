#!/bin/sh
# Hashes of what must stay the same by the move:  house-proof.sh CHECKOUT  (with its .venv, made by make setup-dev)
# --quick: what is recorded and what the code says; without it also the tests that compare both run, one process.
set -eu
cd "$1"
PY=.venv/bin/python
said() { printf '%-28s %s\n' "$1" "$2"; }
of_files() { git ls-files -- "$@" | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-16; }
said "golden documents" "$(of_files tests/golden)"
said "help recorded" "$(sha256sum < tests/golden/help.txt | cut -c1-16)"
said "names in -o json, recorded" "$(sha256sum < engine/help/topics/json_names.txt | cut -c1-16)"
said "openapi recorded" "$(sha256sum < engine/web/api/openapi.json | cut -c1-16)"
said "schemas for editors" "$(of_files config/schema)"
said "catalogues" "$(of_files engine/web/locale)"
said "templates and static" "$(of_files engine/web/templates engine/web/static)"
LABRELAY_SITE= PYTHONHASHSEED=0 $PY - <<'P'
import hashlib, io, json, re, sqlite3, sys
from pathlib import Path
sys.path.insert(0, ".")
def said(what, value):
    if not isinstance(value, (str, bytes)):
        value = json.dumps(value, sort_keys=True, default=str)
    value = value.encode() if isinstance(value, str) else value
    print(f"{what:<28} {hashlib.sha256(value).hexdigest()[:16]}")
    (Path(OUT) / re.sub(r"\W+", "-", what)).write_bytes(value)
import os, tempfile
OUT = os.environ.get("PROOF_KEEP") or tempfile.mkdtemp()
Path(OUT).mkdir(parents=True, exist_ok=True)
from tools import generate
said("renewed by make docs", sorted(generate.outdated()))
from tools import generate_openapi
said("openapi made", generate_openapi.document())
from engine.runtime.control_handlers import HANDLERS
said("verbs: needs, arguments", {name: [sorted(map(str, verb.needs)), verb.arguments.model_json_schema()] for name, verb in HANDLERS.items()})
from engine.commands.shared.verb_list import verbs
said("verbs of the command", {name: list(verb) for name, verb in verbs().items()})
from engine.mapping.functions import FUNCTIONS
said("functions of mappings", {str(name): [re.sub(r" at 0x\w+|engine\.[\w.]+", "", str(getattr(one, "parameters", ""))), getattr(one, "__doc__", "")] for name, one in FUNCTIONS.items()})
from engine.monitoring import metrics
said("metrics", sorted(set(re.findall(r"labrelay_\w+|process_\w+", Path(metrics.__file__).read_text()))))
from engine.store.core import migrate
plain = [(number, re.sub(r"--[^\n]*", "", text)) for number, text, *_ in ((s[0], s[1]) for s in migrate.steps())]
said("schema, without comments", [[n, re.sub(r"\s+", " ", t)] for n, t in plain])
from engine.help import library
for name in library.TOPICS:
    said(f"topic {name}", library.topic(name))
P
said "help all" "$(LABRELAY_SITE= $PY -m engine help all | sha256sum | cut -c1-16)"
[ "${2-}" = --quick ] || timeout 900 $PY -m pytest -q -n0 -p no:cacheprovider tests/documents/test_golden_documents.py tests/site/test_surface.py tests/engine/web/test_every_route.py 2>&1 | tail -1 | sed 's/ in .*//'
