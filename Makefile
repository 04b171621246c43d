# Everything is installed into .venv of this folder; nothing else is touched and nothing is asked.
#   make demo    a real game session: recorded, encoded, decoded, compared, reported in demo/report.html
#   make test    all tests          make check   format, lint, types, import table
#   make bench   the published figures: two test splits against x264, x265 and AV1, into results/ (hours)
#
# torch comes first and by its version, so that a CPU wheel offered by pip's own settings is used. Elsewhere, to avoid
# the CUDA build:  make setup TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
TORCH_ARGS ?=
EXTRAS := games,bench,train,live,play,rerun,restore,search,data,dev
BIN := .venv/bin
TEST_SPLITS := runs/corpus/test_known runs/corpus/test_unknown
STAMP := .venv/.relive-setup
# As many as there are cores, and four at most: a process takes a gigabyte or so.
TEST_PROCESSES ?= logical
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

# Two threads that spin while they wait cost each other the machine; let them sleep.
export OMP_WAIT_POLICY := PASSIVE
# Games and plots need no screen and no sound.
export SDL_VIDEODRIVER ?= dummy
export SDL_AUDIODRIVER ?= dummy
export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench format clean

help:
	@sed -n 's/^#  //p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) \
	  else f"relive needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}; run: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -q --no-compile $(TORCH_ARGS) "$$(grep '^torch==' constraints.txt)"
	$(PIP) install -q --no-compile -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

demo: setup
	$(BIN)/relive demo --out demo --force

test: setup
	$(BIN)/python tests/compile_kernels.py
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_imports.py --durations=0

bench: setup
	$(BIN)/relive record --batch configs/corpus.toml -o runs/corpus --split test_known --split test_unknown
	$(BIN)/relive bench rd $(TEST_SPLITS) --out results/rd.json
	$(BIN)/relive bench chain $(TEST_SPLITS) --out results/chain.json
	$(BIN)/relive bench state $(TEST_SPLITS) --out results/state.json

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
