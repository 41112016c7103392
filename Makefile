# LabRelay's everyday commands. `make demo` and `make test` need only python3 (3.11 or newer),
# python3-venv, make and git; each makes what it needs in .venv, from hash-locked requirements.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?=
TEST ?=
MUTANTS ?=
COVERAGE ?=
REF ?=
NIGHTLY ?=
BUDGET ?=
AGAINST ?=
BUNDLE ?=
FAULTS ?=
INSTALL ?=
SESSIONS ?= 10000
HISTORIES ?=
SIZE ?=
HOUSE ?=
FUZZ ?=
CORE ?=
VALIDATION := .validation
ASTM := .astm
E2E := .e2e
COLLECTOR := .collector
SITE := .site
HAPI := .hapi
# Those that take longest come first (tests/e2e/conftest.py).
E2E_TESTS := tests/e2e/walk.py tests/e2e/chain.py tests/e2e/api.py tests/e2e/kafka.py tests/e2e/feeders.py tests/e2e/day.py tests/e2e/days.py tests/e2e/firefox.py tests/e2e/adding.py tests/e2e/technician.py tests/e2e/printing.py tests/e2e/live.py tests/e2e/doors.py tests/e2e/tokens.py tests/e2e/log_in.py tests/e2e/broker.py tests/e2e/alerting.py tests/e2e/monitoring.py tests/e2e/objects.py tests/e2e/real_storage.py tests/e2e/traces.py tests/e2e/log_shipping.py tests/e2e/log_servers.py tests/e2e/relay.py
# Without the walk of all pages, long days, Firefox and real brokers.
E2E_SHORT := $(filter-out tests/e2e/walk.py tests/e2e/chain.py tests/e2e/kafka.py tests/e2e/feeders.py tests/e2e/day.py tests/e2e/days.py tests/e2e/firefox.py,$(E2E_TESTS))
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input

# Modules are compiled once and kept, as an installation has them: the tests start daemons and commands by the thousand.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-dev style demo docs docs-site test test-all timings validate validate-astm validate-hapi collector e2e e2e-short nightly budget mutants coverage pictures workflow bench bench-against bench-hapi sessions histories fuzz faults soak soak-kafka laboratories size house check format lock bundle image-check install uninstall clean
.DEFAULT_GOAL := help

help:  ## show these commands
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "LabRelay needs Python 3.11 or newer as '$(PYTHON)'. On Debian or Ubuntu: apt install python3 python3-venv"; \
	  echo "Another interpreter: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv module is missing. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Making $(VENV) ..."
	@rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.lock pyproject.toml | $(BIN)/python
	@echo "Installing what LabRelay runs on (hash-checked, about half a minute the first time) ..."
	@$(PIP) install --require-hashes --only-binary :all: -r requirements/run.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.run
	@echo "Installing what the tests need ..."
	@$(PIP) install --require-hashes --only-binary :all: -r requirements/dev.lock
	@touch $@

setup: $(VENV)/.run  ## make .venv with the labrelay command in .venv/bin/labrelay

setup-dev: $(VENV)/.dev  ## the same, with what tests and checks need

demo: setup  ## daemon, sandbox and simulated analyzers together; DEMO="--messages 200 --exit" ends by itself
	@$(BIN)/labrelay demo $(DEMO)

style: setup-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

check: style  ## formatting, lint and types
	@$(BIN)/mypy

docs: setup-dev  ## renew what is generated: schemas for editors, HL7 tables, catalogues, OpenAPI, the recorded help and JSON names
	@LABRELAY_UPDATE_SAMPLES=1 $(BIN)/python -m pytest -q -n0 tests/site/test_surface.py
	@$(BIN)/python -m tools.generate

$(VENV)/.docs: requirements/docs.lock $(VENV)/.dev
	@$(PIP) install --require-hashes --only-binary :all: -r requirements/docs.lock
	@touch $@

docs-site: $(VENV)/.docs  ## the pages and the topics of labrelay help as a static site with search, in .site
	@$(BIN)/python -m tools.docs_site

# Types are checked beside the tests: that is one process.
test: style  ## formatting, lint, types and the fast set of tests, in five minutes; TEST="-k mllp" runs these, slow ones, too
	@types=$$(mktemp) && trap 'rm -f "$$types"' EXIT; $(BIN)/mypy >"$$types" 2>&1 & mypy=$$!; \
	$(BIN)/python tools/run_tests.py --numprocesses=auto $(if $(TEST),--dist=loadfile --no-loadscope-reorder $(TEST),--dist=each --fast); tests=$$?; \
	wait $$mypy; types_are=$$?; cat "$$types"; exit $$((tests ? tests : types_are))

test-all: check  ## the same with every test; CORE=1 is coverage, too
	@$(if $(TEST),,echo "Tests: about 27,000. A failing one is named at once.")
	@$(BIN)/python $(if $(CORE),tools/core.py --all,tools/run_tests.py --numprocesses=auto --dist=loadfile --no-loadscope-reorder) $(TEST)

timings: setup-dev  ## tests/timings.tsv, by a run of every test: how long each takes decides which are slow; TEST=--fast renews the fast set's alone
	@$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder --fewer-examples --timings tests/timings.tsv $(TEST)

$(VALIDATION)/.installed: tests/validation/package.json tests/validation/package-lock.json | $(BIN)/python
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && command -v npm >/dev/null || { \
	  echo "make validate needs Node.js 20 or newer with npm: https://nodejs.org, or your system's packages nodejs and npm"; \
	  exit 1; }
	@rm -rf $(VALIDATION) && mkdir $(VALIDATION)
	@cp tests/validation/package.json tests/validation/package-lock.json tests/validation/.npmrc $(VALIDATION)
	@cd $(VALIDATION) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

validate: setup-dev $(VALIDATION)/.installed  ## every Bundle from corpus, samples and mapping tests through independent validators (needs Node.js); VALIDATE=--write keeps the figures
	@$(BIN)/python -m tests.validation --modules $(VALIDATION)/node_modules $(VALIDATE)

# The package is of 2013: its build, as its use, needs names that Python has removed since.
$(ASTM)/.installed: requirements/astm.lock requirements/astm-build.lock | $(BIN)/python
	@rm -rf $(ASTM) && $(PYTHON) -m venv $(ASTM)
	@$(ASTM)/bin/python -m pip --disable-pip-version-check --quiet --no-input install --require-hashes --only-binary :all: \
	  -r requirements/astm-build.lock
	@PYTHONPATH=$(abspath tests/validation/astm_package/removed_names) $(ASTM)/bin/python -m pip --disable-pip-version-check --quiet \
	  --no-input install --require-hashes --no-deps --no-build-isolation -r requirements/astm.lock
	@touch $@

validate-astm: setup-dev $(ASTM)/.installed  ## frames, records and dialogues of ASTM against the package astm 0.5, in an environment of its own
	@LABRELAY_ASTM=$(ASTM)/bin/python $(BIN)/python -m pytest -q -n0 tests/validation/astm_package/judged.py

$(VALIDATION)/hapi-classpath: tests/validation/hapi/pom.xml | $(VALIDATION)/.installed
	@java --version >/dev/null 2>&1 && command -v mvn >/dev/null || { \
	  echo "make validate-hapi needs Java 17 or newer and Maven. On Debian or Ubuntu: apt install openjdk-17-jdk-headless maven"; \
	  exit 1; }
	@mvn -q -B -f tests/validation/hapi/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath \
	  -Dmdep.outputFile=$(abspath $@)

$(VALIDATION)/hapi-v2-classpath: tests/validation/hapi_v2/pom.xml | $(VALIDATION)/hapi-classpath
	@mvn -q -B -f tests/validation/hapi_v2/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath \
	  -Dmdep.outputFile=$(abspath $@)

validate-hapi: setup-dev $(VALIDATION)/hapi-classpath $(VALIDATION)/hapi-v2-classpath  ## the same by HAPI's validator, which is HL7's, documents of ABDM against NRCeS' profiles, and IHE LAW by its HL7 v2 library (needs Java and Maven)
	@$(BIN)/python -m tests.validation.law $(VALIDATION)/hapi-v2-classpath
	@$(BIN)/python -m tests.validation.abdm $(VALIDATION)/hapi-classpath
	@$(BIN)/python -m tests.validation --modules $(VALIDATION)/node_modules --hapi $(VALIDATION)/hapi-classpath $(VALIDATE)

$(E2E)/.installed: tests/e2e/package.json tests/e2e/package-lock.json | $(BIN)/python
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && command -v npm >/dev/null || { \
	  echo "make e2e needs Node.js 20 or newer with npm: https://nodejs.org, or your system's packages nodejs and npm"; \
	  exit 1; }
	@rm -rf $(E2E) && mkdir $(E2E)
	@cp tests/e2e/package.json tests/e2e/package-lock.json tests/validation/.npmrc $(E2E)
	@cd $(E2E) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(VENV)/.e2e: requirements/e2e.lock $(VENV)/.dev
	@$(PIP) install --require-hashes --only-binary :all: -r requirements/e2e.lock
	@touch $@

# Without Java and Maven there is no Kafka: its tests skip, and say so.
$(E2E)/kafka-classpath: tests/e2e/kafka_broker/pom.xml | $(E2E)/.installed
	@! command -v java >/dev/null || ! command -v mvn >/dev/null || \
	  mvn -q -B -f $< org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath -Dmdep.outputFile=$(abspath $@)

e2e: $(VENV)/.e2e $(E2E)/.installed $(E2E)/kafka-classpath  ## destinations, alerts and the log-in against real servers (authorization, mail, MQTT, Kafka, syslog, an S3 fake), the API against schemathesis, every page in Chromium and Firefox, on loopback (needs Node.js; Kafka Java and Maven)
	@LABRELAY_KAFKA=$(E2E)/kafka-classpath LABRELAY_E2E=$(E2E)/node_modules timeout 1800 $(BIN)/python tools/run_tests.py --numprocesses=auto --dist=worksteal $(E2E_TESTS)

e2e-short: $(VENV)/.e2e $(E2E)/.installed  ## the part of it that continuous integration runs
	@LABRELAY_E2E=$(E2E)/node_modules timeout 1800 $(BIN)/python tools/run_tests.py --numprocesses=auto --dist=worksteal $(E2E_SHORT)

nightly: setup-dev  ## what continuous integration has no time for: e2e whole, validators, mutants, brokers, costs, faults, soak; NIGHTLY="e2e mutants" runs these
	@$(BIN)/python -m tools.nightly $(NIGHTLY)

budget: setup-dev  ## lines of code of each room, and names that say nothing, beside what they may be; BUDGET=--lower lowers the rows
	@$(BIN)/python -m tools.budget $(BUDGET)

$(COLLECTOR)/otelcol: tests/e2e/collector/main.go tests/e2e/collector/go.mod tests/e2e/collector/go.sum
	@command -v go >/dev/null || { echo "make collector needs Go 1.26 or newer: https://go.dev"; exit 1; }
	@go -C tests/e2e/collector build -mod=readonly -trimpath -o $(abspath $@) .

collector: $(COLLECTOR)/otelcol  ## .collector/otelcol, an OpenTelemetry Collector that make e2e sends traces to (needs Go 1.26; some minutes)

workflow:  ## what starts continuous integration, through actionlint (needs Go 1.25; a minute once)
	@command -v go >/dev/null || { echo "make workflow needs Go 1.25 or newer: https://go.dev"; exit 1; }
	@go -C tests/workflow tool actionlint $(abspath .github/workflows/ci.yaml)

mutants: setup-dev  ## small faults put into the mapping engine, one at a time: does a test notice? MUTANTS="--group core --write"
	@$(BIN)/python tools/mutants.py $(MUTANTS)

coverage: setup-dev  ## every line and branch of journal, outbox, links and acknowledgement is reached by a test, or this fails; COVERAGE=--write keeps the figures
	@$(BIN)/python tools/core.py $(COVERAGE)

pictures: setup-dev  ## the pictures of the README, of the demo with trouble, in Chromium
	@$(BIN)/python -m tools.pictures

bench: setup-dev  ## labrelay bench of this checkout, its figures kept in docs/figures-performance.md; BENCH="--scenario page"
	@$(BIN)/python -m tools.bench $(BENCH)

$(HAPI)/classpath: workbench/bench/hapi/pom.xml
	@java --version >/dev/null 2>&1 && command -v mvn >/dev/null || { \
	  echo "make bench-hapi needs Java 17 or newer, Maven and PostgreSQL. On Debian or Ubuntu: apt install openjdk-17-jdk-headless maven postgresql"; \
	  exit 1; }
	@mkdir -p $(HAPI)
	@mvn -q -B -f $< org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath -Dmdep.outputFile=$(abspath $@)

bench-against: setup-dev  ## this checkout beside other commits, in turns, and whether it costs more; REF="7667c386", AGAINST=--gate; REF is the parent and the anchor (needs strace)
	@$(BIN)/python -m tools.against $(AGAINST) $(REF)

bench-hapi: setup-dev $(HAPI)/classpath  ## the cost of a message to a real FHIR server, one thing left out at a time; 40 minutes (needs Java, Maven and PostgreSQL)
	@LABRELAY_HAPI=$(HAPI)/classpath $(BIN)/python -m tools.bench --scenario fhir $(BENCH)

sessions: setup-dev  ## 10,000 simulated sessions with every fault, against the real daemon; SESSIONS=... for another number
	@LABRELAY_FIGURES=1 LABRELAY_SESSIONS=$(SESSIONS) LABRELAY_SEED=$${LABRELAY_SEED:-$$(date +%s)} $(BIN)/python -m pytest -s tests/faults/test_simulated_sessions.py

histories: setup-dev  ## random histories of a laboratory, and a model that says what must hold; HISTORIES="--count 2000 --seed 7"
	@$(BIN)/python -m tests.histories $(HISTORIES)

faults: setup-dev  ## every fault of docs/reliability.md, 50 minutes at most; FAULTS="--only T1,T6", LABRELAY_SEED=...
	@$(BIN)/python -m tests.faults.harness --scale long $(FAULTS)

soak: setup-dev  ## the same in full, for hours, and 100,000 histories; FAULTS="--only T24" for a part
	@$(BIN)/python -m tests.faults.harness --scale soak $(FAULTS)
	@$(if $(FAULTS),,$(BIN)/python -m tests.histories --count 100000 --write $(HISTORIES))

soak-kafka: $(VENV)/.e2e $(E2E)/kafka-classpath  ## gateways, brokers and feeders of a chain die, and two brokers are away for ten minutes; 16 minutes (needs Java and Maven)
	@LABRELAY_KAFKA=$(E2E)/kafka-classpath LABRELAY_OUTAGE_S=600 timeout 1800 $(BIN)/python -m pytest -q -n0 -s --timeout 1700 tests/e2e/chain.py

$(VENV)/.fuzz: requirements/fuzz.lock $(VENV)/.dev
	@$(PIP) install --require-hashes --only-binary :all: -r requirements/fuzz.lock
	@touch $@

fuzz: $(VENV)/.fuzz  ## parsers under a coverage-guided fuzzer, a minute each; FUZZ="--seconds 600 --target hl7 --keep"
	@$(BIN)/python -m tests.fuzz $(FUZZ)

laboratories: setup-dev  ## random laboratories with controls; LABORATORIES=1000
	@LABRELAY_LABORATORIES=$(or $(LABORATORIES),1000) $(BIN)/python -m pytest -q -n0 tests/engine/features/quality_control/test_laboratories.py

size: | $(BIN)/python  ## lines of code by folder, and figures of the shape; SIZE="--against COMMIT" compares
	@$(BIN)/python -m tools.size $(SIZE)

house: setup-dev  ## rooms of the engine, on which floor each stands, and which imports which; HOUSE=--pairs names the modules
	@$(BIN)/python -m tools.house $(HOUSE)

format: setup-dev  ## let ruff format and mend what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock:  ## renew the hash locks (needs uv)
	uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --universal \
	  --python-version 3.11 --no-header pyproject.toml requirements/run.in -o requirements/run.lock
	uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --universal \
	  --python-version 3.11 --no-header requirements/kafka.in -c requirements/run.lock -o requirements/kafka.lock
	uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --universal \
	  --python-version 3.11 --no-header pyproject.toml requirements/run.in requirements/dev.in \
	  -c requirements/run.lock -c requirements/kafka.lock -o requirements/dev.lock
	uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --universal \
	  --python-version 3.11 --no-header requirements/fuzz.in -o requirements/fuzz.lock
	uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --universal \
	  --python-version 3.11 --no-header requirements/e2e.in -c requirements/run.lock -c requirements/dev.lock \
	  -o requirements/e2e.lock
	uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --universal \
	  --python-version 3.11 --no-header requirements/docs.in -c requirements/run.lock -c requirements/dev.lock \
	  -o requirements/docs.lock

bundle: setup  ## dist/labrelay-VERSION-MACHINE.tar.gz, which installs without network; BUNDLE="--python 3.11 --python 3.13"
	@$(BIN)/python tools/bundle.py $(BUNDLE)

$(VENV)/.image: requirements/image.lock | $(BIN)/python
	@$(PIP) install --require-hashes --only-binary :all: -r requirements/image.lock
	@touch $@

image-check: setup $(VENV)/.image  ## lint the Dockerfile, build it step by step without an engine, and try the result (root, debootstrap)
	@$(BIN)/hadolint --failure-threshold warning Dockerfile
	@$(BIN)/python tools/image_steps.py

install:  ## install on this host as a service (root); asks what it needs, or INSTALL="--lab NAME --fhir URL ..."
	@PYTHON="$(PYTHON)" DESTDIR="$(DESTDIR)" tools/install.sh $(INSTALL)

uninstall:  ## remove program and unit; site and journal stay
	@DESTDIR="$(DESTDIR)" tools/install.sh --uninstall

clean:  ## remove .venv, .validation, .astm, .e2e, .collector, .site and caches; data in var/ stays
	rm -rf $(VENV) $(VALIDATION) $(ASTM) $(E2E) $(COLLECTOR) $(SITE) .against .mypy_cache .ruff_cache .pytest_cache dist
