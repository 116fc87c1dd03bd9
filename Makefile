# One command for each thing that people do here; `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The releases that this course was tested with. In a new .venv, `make CONSTRAINTS= book`
# takes the newest instead.
CONSTRAINTS ?= constraints.txt
PIP_OPTIONS = $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
PORT ?= 8000

# Threads that wait idle instead of spinning: on two cores this is several times faster.
export OMP_WAIT_POLICY = PASSIVE
export PYDEVD_DISABLE_FILE_VALIDATION = 1

.DEFAULT_GOAL := help
.PHONY: help book serve test browser demos notebooks check-notebooks clean

help:  ## list what make can do
	@awk -F ':.*## *' '/^[a-z%-]+:.*##/ {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# A stamp for each set of extras, made again when the requirements change.
$(VENV)/.installed-%: $(VENV)/pyvenv.cfg pyproject.toml $(CONSTRAINTS)
	@echo "Installing what '$*' needs (torch among it: a few minutes the first time) ..."
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_OPTIONS) -e ".[$*]"
	@touch $@

book: $(VENV)/.installed-book  ## execute the chapters and build the HTML into _build/html
	$(BIN)/python tools/build.py

serve:  ## serve the built book on localhost
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

test: $(VENV)/.installed-test  ## run all tests (browser tests want the built book and Chromium)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m pytest

browser:  ## install Chromium and bubblewrap, for the tests that need them (as root, on Debian)
	apt-get update -qq && apt-get install -y -qq --no-install-recommends bubblewrap chromium

demos: $(VENV)/.installed-demos  ## start the demonstrations in the browser; APP=st_app1 or st_app2: one of them
	$(BIN)/streamlit run demos/$(or $(APP),home).py

notebooks: $(VENV)/.installed-book  ## generate the notebooks for Colab and Binder
	$(BIN)/python tools/notebooks.py

check-notebooks: $(VENV)/.installed-book  ## fail if a notebook is older than its chapter
	$(BIN)/python tools/notebooks.py --check

train-%: $(VENV)/.installed-book  ## train a shipped model again, e.g. make train-vae (resumes)
	$(BIN)/course-lib train $* --full --publish

# These learn from a folder of photographs: make train-srdiff IMAGES=DIR
train-regression train-srdiff train-latent: train-%: $(VENV)/.installed-book
	@test -n "$(IMAGES)" || { echo "name a folder of photographs: make train-$* IMAGES=DIR"; exit 1; }
	$(BIN)/course-lib train $* --images "$(IMAGES)" --publish

clean:  ## remove the built book and caches, but not runs/ or .venv
	rm -rf _build build dist *.egg-info .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
