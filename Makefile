# The two commands: `make demo` runs the cell in its simulator, `make test` runs the tests. Both set up what is missing first.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= jobs
DEMO_ARGS ?=
BIN := $(VENV)/bin
# where a ROS distribution is sourced nothing else puts the environment's own libraries on the path
RUN := env LD_LIBRARY_PATH="$(abspath $(VENV))/lib$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: help setup demo test lint doctor clean

help:
	@echo "make demo     set up if needed, then run one spray and one grind job in the simulator; results in $(JOBS)/; DEMO_ARGS=--lockstep to repeat a run"
	@echo "make test     set up if needed, then run the tests"
	@echo "make lint     ruff, pyright and the import arrows"
	@echo "make doctor   say what is installed and what is missing"
	@echo "make clean    remove the environment and everything built or run"

setup:
	@$(PYTHON) tools/setup_venv.py --venv $(VENV)

demo: setup
	$(RUN) $(BIN)/cell demo spray $(DEMO_ARGS) --out $(JOBS)/demo_spray_$$(date +%Y%m%d_%H%M%S)
	$(RUN) $(BIN)/cell demo grind $(DEMO_ARGS) --out $(JOBS)/demo_grind_$$(date +%Y%m%d_%H%M%S)

# what starts nodes runs alone: they watch one another by the wall clock
NODE_TESTS := test/cell_nodes test/test_transport.py test/test_interfaces.py

test: setup
ifeq ($(strip $(PYTEST_ARGS)),)
	@status=0; \
	$(RUN) $(BIN)/python -m pytest -n 2 --dist loadfile $(addprefix --ignore=,$(NODE_TESTS)) || status=1; \
	$(RUN) $(BIN)/python -m pytest $(NODE_TESTS) || status=1; \
	exit $$status
else
	$(RUN) $(BIN)/python -m pytest $(PYTEST_ARGS)
endif

lint: setup
	$(RUN) $(BIN)/ruff check .
	$(RUN) $(BIN)/python -m pyright --pythonpath $(BIN)/python
	$(RUN) $(BIN)/lint-imports

doctor: setup
	$(RUN) $(BIN)/cell doctor

clean:
	rm -rf $(VENV) build install log $(JOBS) .pytest_cache .hypothesis .ruff_cache .import_linter_cache *.egg-info
