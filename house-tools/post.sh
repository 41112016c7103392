.venv/bin/ruff check -q --select I,F401,F811,PIE790 --fix . || true
sed -i 's/^"""Whether an order is of a patient, or of a control, a blank, a calibrator or a pool (`engine.model.quality_controls`)."""/"""Whether an order is of a patient, a control, a blank, a calibrator or a pool (`engine.model.quality_controls`)."""/' engine/mapping/functions/controls.py
sed -i 's/"rows.tables:TABLES"/"rows:TABLES"/' tests/engine/test_feature.py
sed -i 's/(contents, contents, upkeep)/(contents, upkeep)/' tests/engine/actions/test_declaring.py
find tests/engine tests/adapters tests/workbench -type d -not -name __pycache__ | while read d; do
  s=${d#tests/}; if [ ! -d $s ] && ls $d/*.py >/dev/null 2>&1; then for f in $d/*.py; do b=$(basename $f); if [ -e $(dirname $d)/$b ]; then if [ $b = __init__.py ]; then git rm -q -f $f; else echo "CLASH $f"; fi; else git mv $f $(dirname $d)/$b; fi; done; o=$(echo $d | tr / .); n=$(echo $(dirname $d) | tr / .); grep -rl "$o\b" tests tools | xargs -r sed -i "s/\b$o\b/$n/g"; grep -rl "$d/" tests tools .ci Makefile CONTRIBUTING.md docs 2>/dev/null | xargs -r sed -i "s|$d/|$(dirname $d)/|g"; fi; done
.venv/bin/ruff check -q --select I --fix . || true
.venv/bin/ruff format -q .
.venv/bin/ruff check --output-format concise .
