# Mediana: `make` alone lists what can be done. Nothing here needs root, and nothing is installed outside this folder
# except Kafka's jars, which go to a cache folder (MEDIANA_CACHE, default ~/.cache/mediana), and, for the tests, Debian's
# packages of programs that are missing (a browser and the like), if this runs as root.

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --disable-pip-version-check

# What `make demo` and `make bench` read from the command line: `make demo DEMO_SECONDS=120`.
export DEMO_SECONDS DEMO_DAYS DEMO_RATE DEMO_SEED DEMO_FOLDER DEMO_HTTP_PORT DEMO_KAFKA_PORT DEMO_CONTROLLER_PORT
export DEMO_REDIS_PORT DEMO_WORKER_METRICS_PORT DEMO_SNAPSHOT_METRICS_PORT
export BENCH_EVENTS BENCH_ROUNDS BENCH_SEED BENCH_LANES BENCH_FOLDER BENCH_CHARTS
export FLAT_SIZES FLAT_EVENTS FLAT_ROUNDS LATENCY_CONTACTS LATENCY_SECONDS LATENCY_SHARES LATENCY_SINGLES
export SNAPSHOTS_ACCOUNTS SNAPSHOTS_CONTACTS_PER_DAY SNAPSHOTS_READS SCALE_WORKERS SCALE_PARTITIONS SCALE_EVENTS
export STARTUP_CONTACTS STARTUP_FAUST_KEYS

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install lint fmt test coverage tools demo bench chaos simulate-faults soak wheel jars lock clean
.PHONY: bench-flat bench-latency bench-snapshots bench-scale bench-startup

help: ## show this list
	@printf 'Mediana: a live report of how fast a team answers its contacts.\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nNeeds Python 3.11, Java 17 or newer and Maven. Start with: make demo\n'

install: $(STAMP) ## make .venv with the locked dependencies (instant when nothing changed)

$(STAMP): pyproject.toml requirements/dev.txt
	@command -v $(PYTHON) >/dev/null || { \
	  printf '%s not found. Install it (Debian, Ubuntu: apt install python3.11 python3.11-venv)\n' '$(PYTHON)' >&2; \
	  printf 'or name another Python, 3.11 or newer: make PYTHON=/path/to/python3 install\n' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  printf '%s is older than Python 3.11. Name a newer one: make PYTHON=/path/to/python3.11 install\n' \
	  '$(PYTHON)' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  printf '%s lacks its venv module. Debian, Ubuntu: apt install python3.11-venv\n' '$(PYTHON)' >&2; exit 1; }
	@test -x $(BIN)/python || { echo 'install: making $(VENV)'; $(PYTHON) -m venv $(VENV); }
	@echo 'install: locked dependencies (requirements/dev.txt)'
	@$(PIP) install --quiet --require-hashes --prefer-binary -r requirements/dev.txt || { \
	  printf 'The packages could not be installed. Without network, point pip at a mirror or at a folder of wheels\n' >&2; \
	  printf '(PIP_INDEX_URL, PIP_FIND_LINKS). A hash that does not match is a package other than the locked one.\n' >&2; \
	  exit 1; }
	@echo 'install: mediana itself'
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lint: install ## ruff (rules and format) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: install ## put the code into the format that lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

jars: install ## fetch Kafka's jars into the cache (demo and test do it by themselves)
	@$(BIN)/python -m streams.local.jars

tools: install ## what tests run beside Kafka and Redis, from tests/programs.py (installs it as root on Debian, else says how)
	@$(BIN)/python -m tests.programs
	@$(BIN)/python -m tests.npm

# A test whose program is missing fails and names it; the others run.
test: install jars ## every test, against a real Kafka and a real Redis (PYTEST='-k name' narrows)
	@$(MAKE) --no-print-directory tools || true
	$(BIN)/python -m $(if $(PYTEST),pytest $(PYTEST),tests.halves)

# Programs that tests start as processes of their own are not measured: what needs a server is left out.
COVERED ?= tests/unit tests/properties tests/oracle tests/golden tests/simulation tests/repository
coverage: install ## which lines and branches the tests without servers reach (HTML in build/coverage)
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(COVERED) $(PYTEST)
	$(BIN)/python -m coverage html --quiet
	$(BIN)/python -m coverage report --skip-covered --sort=cover

demo: install ## everything on this machine, page at http://127.0.0.1:8080 (DEMO_SECONDS=120 ends by itself)
	@$(BIN)/python -m streams.local.demo

bench: install $(VENV)/.bench-installed ## what an event costs here and in other frameworks (BENCH_EVENTS, BENCH_ROUNDS)
	@$(BIN)/python -m bench

bench-flat: ## cost of an event with 10 thousand to a million contacts known, and bytes in Redis (FLAT_SIZES)
bench-latency: ## from sending an event to its committed counters, at shares of the capacity
bench-snapshots: ## what publishing costs, and how fast a year is read (SNAPSHOTS_ACCOUNTS)
bench-scale: ## 1 to 4 workers on 1 to 64 partitions (SCALE_WORKERS, SCALE_PARTITIONS)
bench-startup: ## start to first commit, and the pause of a rebalance (STARTUP_CONTACTS)
bench-flat bench-latency bench-snapshots bench-scale bench-startup: install $(VENV)/.bench-installed
	@$(BIN)/python -m bench $(@:bench-%=%)

# Without the peers the bench still runs: their lanes then say why they have no number.
$(VENV)/.bench-installed: requirements/bench.txt
	@echo 'bench: locked peers (requirements/bench.txt)' >&2
	@$(PIP) install --quiet --require-hashes --prefer-binary -r requirements/bench.txt >&2 && touch $@ || \
	  echo 'bench: not all peers could be installed; their lanes are left out' >&2

SEED ?= 1
chaos: install jars ## break everything under load, compare every number (SEED=7 SECONDS=600)
	@$(BIN)/python -m tests.faults.campaign --seed $(SEED) --seconds $(or $(SECONDS),300)

SEEDS ?= 10000
simulate-faults: install ## seeds of faults, on a log, a Redis and a clock in memory (SEEDS=10000 FIRST=0)
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(or $(FIRST),0)

soak: install jars ## hours of steady traffic: memory, growth of Redis, old days, every number (MINUTES=60 RATE=200)
	@$(BIN)/python -m bench soak --minutes $(or $(MINUTES),60) --rate $(or $(RATE),200)

wheel: install ## build the wheel and the sdist into dist/
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist .

# uv is needed only here: the locks themselves install with plain pip.
UV   ?= uv
LOCK  = $(UV) pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links

lock: ## renew requirements/*.txt after a change of pyproject.toml (needs uv; UPGRADE=--upgrade for newer ones)
	@command -v $(UV) >/dev/null || { echo 'uv not found: pip install uv, or name it: make UV=/path/to/uv lock' >&2; exit 1; }
	$(LOCK) $(UPGRADE) --extra dev pyproject.toml -o requirements/dev.txt
	$(LOCK) --constraint requirements/dev.txt pyproject.toml -o requirements/runtime.txt
	$(LOCK) --constraint requirements/dev.txt --extra bench pyproject.toml -o requirements/bench.txt
	echo setuptools | $(LOCK) --constraint requirements/dev.txt - -o requirements/build.txt

clean: ## remove .venv and everything built or cached in this folder (the jar cache stays)
	rm -rf $(VENV) .local build dist .coverage *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
