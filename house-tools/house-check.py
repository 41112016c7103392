"""Is house-moves.tsv good for a tree?

    python3 house-check.py ROOT house-moves.tsv

Each source exists, or has moved; each target is unique and no source; names in a feature's folder are those of section
2 (rule 11); no module of a feature is left out: none stays in a folder that moves, and one whose name has a word of a
feature has a row or stands in STAYS with its reason. Before the move and after it.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT, MOVES = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
FEATURES = set("orders results rework codes todo alerts reports access events abdm reagents traces".split())
NAMES = set(
    "__init__ config rules wire client rows on_outcome service flows exchange acts lists todo metrics snapshot examine "
    "pages templates commands functions".split()
)  # `functions` is section 1's, `exchange` is the flows of orders
ONLY_OF = {"exchange": {"orders"}, "flows": {"abdm"}}
# Folders that move as a whole: nothing may stay in them.
WHOLE = (
    "engine/abdm engine/ordering engine/access engine/monitoring/alerting engine/devtools engine/store/operations/abdm "
    "engine/store/operations/worklist engine/store/operations/settling engine/store/operations/access "
    "engine/web/access adapters/codecs/abdm adapters/clients/abdm"
).split()
WORDS = re.compile(
    r"(?:^|_)(?:abdm|abha|alerts?|alerting|orders?|ordering|worklists?|shifts?|reports?|turnaround|oidc|consents?"
    r"|webhooks?|traces?|tracing|reagents?|todo|corrections?|correct|correcting|suggest\w*|gaps|held|hold|holds|settling"
    r"|accounts?|users?|tokens?|passwords?|replay|replays|reprocess|retry|edit|edited|events?|dlq|letters?|aside"
    r"|affected|downtime|bearers|superseding|questions?)(?:_|$)"
)
STAYS = {
    "engine/model/alerts": "sinks need it",
    "engine/model/orders": "codecs need it",
    "engine/model/corrections": "the mapping language needs it",
    "engine/model/reagents": "the mapping language needs it",
    "engine/model/order_results": "processing and the store's batch read it",
    "engine/model/worklist": "codecs and dialogues need it",
    "engine/model/todo": "every page's strip has it",
    "engine/diagnostics/suggested": "of packs, as doctor and check look at them",
    "engine/model/link_events": "of lines",
    "engine/config/questions": "open questions about a laboratory, of no feature",
    "engine/config/downtime": "expected downtime of a destination: delivery",
    "engine/config/downtime_windows": "the same",
    "engine/mapping": "the language",
    "engine/succession": "stays in the core",
    "engine/help": "lists what all others have",
    "engine/delivery": "delivery's own",
    "engine/runtime/verbs": "shared verbs of messages",
    "engine/store/core/event_notes": "rows of the journal",
    "engine/store/operations/dead_letters": "dead letters stay in the store",
    "engine/store/operations/line_trace": "bytes of lines",
    "engine/store/queries/letters": "dead letters stay in the store",
    "engine/views/letter_in_full": "the page of a message has it",
    "engine/runtime/event_loop": "no event of the stream",
    "engine/commands/shared/accounts_elsewhere": "of two features, for check and doctor",
    "engine/monitoring/usual_gaps": "gaps between messages",
    "engine/commands/shared/sample_report": "a report of a trial of a mapping",
    "adapters": "codecs, dialects and transports are found where they are",
}

rows = [line.split("\t") for line in MOVES.read_text().splitlines()[1:] if line.strip()]
tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
modules = [name for name in tracked if name.endswith(".py")]
wrong: list[str] = []
info: list[str] = []


def there(name: str) -> bool:
    return (ROOT / name).exists()


old, new = [row[0] for row in rows], [row[1] for row in rows]
folders = {row[0] for row in rows if not row[0].endswith(".py")}
wrong += [f"source is not there, nor its target: {a}" for a, b in rows if not there(a) and not there(b)]
wrong += [f"source and target are both there: {a}" for a, b in rows if there(a) and there(b) and a not in folders and b != a]
wrong += [f"two sources for {b}" for b in sorted({b for b in new if new.count(b) > 1})]
wrong += [f"two rows for {a}" for a in sorted({a for a in old if old.count(a) > 1})]
wrong += [f"a target is a source: {b}" for b in new if b in old]
wrong += [f"a target is taken by another file: {b}" for a, b in rows if a not in folders and there(a) and there(b)]


def in_feature(path: str) -> None:
    parts = path.removesuffix(".py").split("/")
    feature, rest = parts[2], parts[3:]
    if feature not in FEATURES:
        wrong.append(f"no feature of section 1: {path}")
    elif rest[0] not in NAMES or feature not in ONLY_OF.get(rest[0], {feature}):
        wrong.append(f"no name of section 2: {path}")
    elif len(rest) > 2 and rest[1] != "shared":
        wrong.append(f"a folder in a folder: {path}")


targets = [b for a, b in rows if b.startswith("engine/features/") and not b.startswith("tests/")]
for path in {*targets, *(name for name in modules if name.startswith("engine/features/") and name != "engine/features/__init__.py")}:
    in_feature(path)
files = {b for b in targets}
for b in sorted(files):  # a name is a file or a folder
    if b.removesuffix(".py") + "/" in {f"{Path(one).parent}/" for one in files}:
        wrong.append(f"both a file and a folder: {b}")


def left_out(name: str) -> bool:
    return name not in old and not any(name.startswith(f"{folder}/") for folder in folders)


for name in modules:
    if name.startswith(("tests/", "tools/", "workbench/", "engine/features/", "samples/")) or name in new:
        continue
    if not left_out(name):
        continue
    if any(name.startswith(f"{folder}/") for folder in WHOLE):
        wrong.append(f"stays in a folder that moves: {name}")
    stem = name.removesuffix(".py").removesuffix("/__init__")
    stays = any(f"{stem}/".startswith(f"{one}/") for one in STAYS)
    if WORDS.search(stem.rsplit("/", 1)[-1]) and not stays:
        wrong.append(f"has a feature's word, and neither a row nor a reason to stay: {name}")
wrong += [f"stays, and is not there: {one}" for one in STAYS if not there(one) and not there(f"{one}.py")]
for name in tracked:  # data beside modules that move
    if name.startswith(("engine/", "adapters/")) and not name.endswith(".py") and left_out(name):
        if any(name.startswith(f"{folder}/") for folder in WHOLE):
            wrong.append(f"data stays in a folder that moves: {name}")
tests = {str(Path(name).parent) for name in tracked if name.startswith("tests/") and Path(name).name.startswith("test_")}
for name in sorted(tests):
    at = name.removeprefix("tests/")
    for folder in folders | set(WHOLE):
        if f"{at}/".startswith(f"{folder}/") and not any(f"{name}/".startswith(f"{one}/") for one in folders):
            wrong.append(f"tests of a folder that moves have no row: {name}")
print(f"{len(rows)} rows, {sum(a.endswith('.py') for a in old if not a.startswith('tests/'))} modules by name, "
      f"{len(folders)} folders, {sum(not there(a) for a in old)} moved already; {len(set(wrong))} wrong")
print(*sorted(set(wrong)), sep="\n")
sys.exit(bool(wrong))
