# The same commands for people and CI. Python >= 3.11 and make are all they need.

PYTHON ?= python3
VENV := .venv
# Not the script: its first line does not survive a $$ in the path. -P keeps this folder off sys.path.
PYINFRA := PYTHONDONTWRITEBYTECODE=1 $(VENV)/bin/python -P -m pyinfra
# `make untry` has to leave the machine as it was, so pip's cache stays out of the home, and so does
# what rustup writes when pip asks rustc for its version.
export RUSTUP_HOME := $(VENV)/rustup
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --no-cache-dir \
	--require-hashes --only-binary :all:

export TRY_PORT

.PHONY: help try untry onboard pin policy test matrix readme lab check style lock

help:
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

try: ## serve a small model on this machine and ask it
	@if [ ! -e $(VENV) ]; then mkdir -p $(VENV) && touch $(VENV)/of-homeport $(VENV)/made-by-try; fi
	@$(MAKE) --silent --no-print-directory $(VENV)/ready
	@$(PYINFRA) --yes inventory/try.py deploy.py

untry: $(VENV)/ready ## take away everything that `make try` made
	@$(PYINFRA) --yes inventory/try.py remove.py
	@if [ -e $(VENV)/made-by-try ]; then rm -rf $(VENV); fi

onboard: $(VENV)/ready ## make this machine a laptop and a workstation, as group_data/ says
	@$(PYINFRA) --yes inventory/local.py deploy.py

pin: $(VENV)/ready ## look the weights up on the Hub, and write weights.lock.json; MODEL= REVISION=
	@PYTHONDONTWRITEBYTECODE=1 $(VENV)/bin/python -m homeport.pin $(MODEL) $(if $(REVISION),--revision $(REVISION))

policy: $(VENV)/ready ## write managed settings and a profile for Macs; ROUTE=claude-glm
	@PYTHONDONTWRITEBYTECODE=1 $(VENV)/bin/python -m homeport.mdm $(ROUTE)

test: $(VENV)/ready-dev ## run the tests
	@rm -f $(VENV)/made-by-try
	@$(VENV)/bin/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(TESTS)

matrix: $(VENV)/ready-dev ## measure the pinned versions of Claude Code (root), and write docs/clients.md
	@rm -f $(VENV)/made-by-try
	@$(VENV)/bin/python -m tests.client.matrix

readme: $(VENV)/ready ## write the doctor's checks into README.md
	@PYTHONDONTWRITEBYTECODE=1 $(VENV)/bin/python -m homeport.troubleshooting

lab: $(VENV)/ready-dev ## boot real hosts to play with (root, Debian); HOSTS="gpu laptop mac"
	@rm -f $(VENV)/made-by-try
	@$(VENV)/bin/python -m tests.lab $(or $(HOSTS),gpu laptop)

check: $(VENV)/ready-dev ## lint, types
	@rm -f $(VENV)/made-by-try
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

style: $(VENV)/ready-dev ## format, and mend what a machine can mend
	@$(VENV)/bin/ruff check --fix-only .
	@$(VENV)/bin/ruff format .

lock: $(VENV)/ready-dev ## write requirements*.txt anew from pyproject.toml
	@VENV=$(VENV) ./lock.sh

# A virtual environment of ours has our mark from its first moment, and another once it is complete:
# an interrupted one is built anew, and somebody else's is left alone.
$(VENV)/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'homeport: $(PYTHON) is not Python 3.11 or newer. Install one, or: make try PYTHON=python3.12' >&2; \
	  exit 1; }
	@if [ -e $(VENV) ] && [ ! -e $(VENV)/of-homeport ]; then \
	  echo 'homeport: $(VENV) is there and not of our making. Move it away, or: make try VENV=.venv-homeport' >&2; \
	  exit 1; fi
	@if [ ! -e $@ ]; then \
	  mkdir -p $(VENV) && touch $(VENV)/of-homeport && $(PYTHON) -m venv $(VENV) || { \
	    echo 'homeport: $(PYTHON) cannot make virtual environments. Type: sudo apt install python3-venv' >&2; \
	    rm -rf $(VENV); exit 1; }; fi
	@$(PIP) -r $< || { \
	  echo 'homeport: pip could not install $<. It needs the Python package index, or a mirror named in pip.conf: check network and proxy' >&2; \
	  exit 1; }
	@touch $@

$(VENV)/ready-dev: requirements-dev.txt $(VENV)/ready
	@$(PIP) -r $<
	@touch $@
