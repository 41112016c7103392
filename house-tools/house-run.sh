#!/bin/sh
# The scripted commit on a clean checkout with .venv:  house-run.sh CHECKOUT
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
VENV=${VENV:-$(cd "$1" && pwd)/.venv}
cd "$1"
[ -z "$(git status --porcelain)" ] || { echo "not clean: $1"; exit 1; }
python3 "$HERE/house-check.py" . "$HERE/house-moves.tsv"
python3 "$HERE/house-move.py" . "$HERE/house-moves.tsv"
git add -A
python3 "$HERE/house-wrap.py" .
"$VENV"/bin/ruff check -q --fix --select I,F401 . || true
"$VENV"/bin/ruff format -q .
python3 "$HERE/house-check.py" . "$HERE/house-moves.tsv"
"$VENV"/bin/ruff check . --output-format concise || true  # two long lines of tests/test_architecture.py: the hand edits have them
git add -A
git commit -q -m "features: each has a folder, and its tests lie there, too; workbench: what was engine/devtools

Files are moved, imports and names follow; nothing else changes."
git log -1 --format='%h %s'
