# GNU make and BSD make alike.  `make` alone lists the targets.
PYTHON = python3
VENV = .venv
RUN = $(VENV)/bin/python
READY = $(VENV)/.ready

help:
	@echo "make demo    set everything up and show a live capture of real traffic"
	@echo "make test    set everything up and run the tests"
	@echo "make lint    ruff and mypy --strict"
	@echo "make bench   measure against the peers (each in its own environment); plots in .venv/bench"
	@echo "make setup   set everything up"
	@echo "make clean   remove what these made"

demo: $(READY)
	@$(RUN) -m lab.demo

test: $(READY)
	@sh tools/test.sh $(RUN)

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: $(READY)
	-@$(RUN) -m pypcapzc build
	$(RUN) -m benchmarks.run --out $(VENV)/bench

setup: $(READY)

$(READY): pyproject.toml tools/setup.sh
	@sh tools/setup.sh $(PYTHON) $(VENV)
	@touch $(READY)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

.PHONY: help demo test lint bench setup clean
