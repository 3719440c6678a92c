# Everything a fresh machine needs is Python >= 3.11 and make: each target sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo up test chaos jars paths check docs pages recording coverage bench sizes clean lock production audit sbom

help: ## show these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# KCL_JARS=FOLDER: with the KCL in that folder instead of the wheel's, as `make jars` fills one.
KCL_JARS ?=
WITH_JARS = $(if $(KCL_JARS),PENSTOCK_KCL_JARS="$(abspath $(KCL_JARS))")
JARS := build/kcl-jars
WHOLE_PATH := tests/chaos/test_kills.py tests/chaos/test_faults.py tests/chaos/test_kcl_versions.py \
	tests/integration/test_roles.py::test_no_role_is_denied_what_its_code_calls

demo: $(READY) ## the whole path on this machine, verified reading by reading
	@$(WITH_JARS) $(BIN)/penstock demo

up: $(READY) ## the same stack, kept running until Ctrl-C
	@$(BIN)/penstock up

test: $(READY) check docs ## everything that CI runs
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

chaos: $(READY) ## attack the guarantee for about ten minutes (SEED=, ONLY=, KCL_JARS=)
	@$(WITH_JARS) $(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only "$(ONLY)")

jars: ## the jars of KCL 3.5 into build/kcl-jars, by Maven and locked by hash, for kcl_jars
	@infra/kcl/fetch.sh $(JARS)

paths: $(READY) ## the tests of the whole path, with another KCL by KCL_JARS=build/kcl-jars
	$(WITH_JARS) $(BIN)/pytest -n $(WORKERS) --dist loadgroup $(WHOLE_PATH)

check: $(READY) ## formatting, lint, types, and known vulnerabilities where they can be looked up
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(BIN)/python -m tests.harness.vulnerabilities $(AUDIT)

audit: $(READY) ## known vulnerabilities of the production lock; fails where they cannot be looked up
	@$(BIN)/python -m tests.harness.vulnerabilities --require

SBOM ?= dist/sbom.json
sbom: $(READY) ## the production lock as a bill of materials, CycloneDX JSON (SBOM=dist/sbom.json)
	@$(BIN)/python -m tests.harness.sbom $(SBOM)
	@echo $(SBOM)

docs: $(READY) ## the pages as a site in build/docs, without a network
	@mkdir -p build
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict >build/docs.log 2>&1 || \
		{ grep -v INFO build/docs.log; exit 1; }

pages: $(READY) ## write links to the glossary and the list of decisions
	@$(BIN)/python -m tests.harness.pages

recording: $(READY) ## record a demo for the README: docs/images/demo.svg and the printed output
	$(BIN)/python -m benchmarks.recording

coverage: $(READY) ## which lines the unit and property tests do not reach
	$(BIN)/pytest -q -n $(WORKERS) tests/unit tests/property --cov --cov-report=term:skip-covered

sizes: $(READY) ## what each extra installs, as a table
	$(BIN)/python -m benchmarks.package_sizes

bench: $(READY) ## measure against baselines of the same run, about 15 minutes (RECORD=1)
	$(BIN)/python -m benchmarks $(if $(RECORD),--record)

clean: ## remove what was installed and what runs left behind
	rm -rf .venv .penstock .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

LOCK := uv pip compile -q --universal --generate-hashes --python-version 3.11 \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

lock: $(READY) ## resolve the locks in requirements/ again from pyproject.toml
	$(BIN)/$(LOCK) --extra dev pyproject.toml -o requirements/development.txt
	$(BIN)/$(LOCK) $(addprefix --extra ,$(PRODUCTION)) -c requirements/development.txt \
		pyproject.toml -o requirements/production.txt
	echo uv | $(BIN)/$(LOCK) - -o requirements/uv.txt
	echo hatchling | $(BIN)/$(LOCK) - -c requirements/development.txt -o requirements/build.txt

# What a worker's or a dashboard's machine gets; no test tool and no embedded AWS.
PRODUCTION := aws worker lake simulator dashboard traces

VENV ?= dist/production
production: $(READY) ## an environment from the production lock alone (VENV=dist/production)
	@$(PYTHON) -m venv --without-pip $(VENV)
	@$(BIN)/uv pip install -q --python $(VENV)/bin/python --require-hashes -r requirements/production.txt
	@$(BIN)/python -m hatchling build -t wheel -d dist >/dev/null
	@$(BIN)/uv pip install -q --python $(VENV)/bin/python --no-deps dist/penstock-*.whl
	@$(VENV)/bin/penstock --version

LOCKS := requirements/development.txt requirements/uv.txt

$(READY): $(LOCKS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Penstock needs Python 3.11 or newer; set PYTHON=python3.12, for example."; exit 1; }
	@echo "Setting up .venv (once, about a minute)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/development.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
