# make demo and make test set up all that they need. PYTHON is the Python to build the environment from.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= runs/demo
DEMO_PAIRS ?= 20000
DEMO_MINUTES ?= 3
DEMO_TEXTS ?= --text "blonde woman with glasses" --text "old man with a white beard and a hat" \
	--text "smiling child with red hair in a forest" --text "眼鏡をかけた金髪の女性"

BIN := $(VENV)/bin
CORE := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
TEXT2LATENT := $(BIN)/python -m text2latent
WEB := apps/exports/web
NPM_INSTALL := npm install --silent --no-package-lock --no-audit --no-fund
DRAW := $(TEXT2LATENT) infer $(DEMO_TEXTS) --num-images 4 --grid --overwrite

.DELETE_ON_ERROR:
.PHONY: help demo test lint format wheel clean

help:
	@echo "make demo       the whole job: draw pairs, train a prior for $(DEMO_MINUTES) minutes, draw pictures into $(DEMO)/"
	@echo "make test       all tests"
	@echo "make lint       ruff and mypy; with npm, eslint and tsc for the page that runs in browsers"
	@echo "make format     let ruff rewrite the sources"
	@echo "make wheel      build dist/*.whl"
	@echo "make zoo-faces  rebuild the weights of a world, faces or landscapes, from seed 0 (hours on 2 cores; goes on when rerun)"
	@echo "make clean      remove what was built; keeps $(VENV)/ and runs/"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "expected Python 3.10 to 3.13, got $$($(PYTHON) --version 2>&1); try make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(CORE): setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEV): setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $(CORE) $@

demo: $(DEMO)/comparison.png
	@echo
	@echo "$(DEMO)/shipped.png     drawn with the prior that ships with the project"
	@echo "$(DEMO)/demo.png        drawn with the prior that this demo trained in $(DEMO_MINUTES) minutes, from fewer pairs than the shipped one"
	@echo "$(DEMO)/comparison.png  both, side by side"
	@echo "Draw your own: $(BIN)/python infer.py --text \"a bald man with sunglasses at the sea\" --output face.png"

# A verb that was interrupted goes on when it is run again, so each leaves a mark only when it is through.
$(DEMO)/pairs.done: | $(CORE)
	@echo "== 1/3 sample: $(DEMO_PAIRS) pairs of latents and CLIP embeddings"
	$(TEXT2LATENT) sample --output $(DEMO)/pairs --num-pairs $(DEMO_PAIRS)
	@touch $@

$(DEMO)/train.done: $(DEMO)/pairs.done
	@echo "== 2/3 train: a prior, for $(DEMO_MINUTES) minutes"
	$(TEXT2LATENT) train --config configs/faces.yaml --data.path $(DEMO)/pairs --output $(DEMO)/train \
		--max-minutes $(DEMO_MINUTES)
	@touch $@

$(DEMO)/shipped.png: | $(CORE)
	@mkdir -p $(DEMO)
	$(DRAW) --output $@

$(DEMO)/demo.png: $(DEMO)/train.done
	@echo "== 3/3 infer: pictures for texts"
	$(DRAW) --model $(DEMO)/train --output $@

$(DEMO)/comparison.png: $(DEMO)/shipped.png $(DEMO)/demo.png
	$(BIN)/python -m text2latent.zoo.side_by_side $^ --titles "shipped prior" "this demo's prior" --output $@

# A process for each core, of which each computes with one thread: that is faster than one with all.
test: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

# mypy finds the package by its folder's name, so it is shown the repository under the name text2latent.
lint: $(DEV)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	@mkdir -p $(VENV)/src && ln -sfn $(CURDIR) $(VENV)/src/text2latent
	cd $(VENV)/src && MYPYPATH=. ../bin/python -m mypy --config-file $(CURDIR)/setup.cfg --cache-dir $(CURDIR)/.mypy_cache
	@if command -v npm >/dev/null && (cd $(WEB) && $(NPM_INSTALL)); then cd $(WEB) && npm run --silent lint; \
	else echo "make lint: eslint and tsc could not be installed; $(WEB) isn't checked" >&2; fi

format: $(DEV)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

# What an earlier build left in build/ would be packed once more.
wheel: $(DEV)
	rm -rf build
	$(BIN)/python -m build --wheel

zoo-%: $(DEV)
	$(BIN)/python -m text2latent.zoo.build $*

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis $(WEB)/node_modules
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
