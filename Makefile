# make demo   from a crawl made here to an explained corpus and a judged model; leaves runs/demo/report.html
# make test   lint, types, tests
PYTHON ?= python3
BIN := .venv/bin
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
PYTEST := $(BIN)/python -m pytest -q

.PHONY: demo smoke test test-quick bench-engine install lock clean

demo: .venv/installed
	$(BIN)/python jobs/hare.py --scale demo --root runs/demo

smoke: .venv/installed
	rm -rf runs/smoke
	$(BIN)/python jobs/hare.py --scale smoke --root runs/smoke

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(PYTEST)
	$(PYTEST) -m "ray or slow"

test-quick: .venv/installed
	$(PYTEST)

install: .venv/installed

# torch+cpu is on no public registry but PyTorch's own; a mirror or wheel folder that pip is set up for is asked first.
.venv/installed: locks/cpu.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		(echo "hare_ray's lock is for Python 3.11; set PYTHON=/path/to/python3.11"; exit 1)
	$(PYTHON) -m venv .venv
	grep '^torch==' locks/cpu.txt > .venv/torch.txt
	$(PIP) --require-hashes -r .venv/torch.txt 2> .venv/torch.log || \
		$(PIP) --require-hashes -r .venv/torch.txt --index-url $(TORCH_INDEX)
	$(PIP) --require-hashes -r locks/cpu.txt
	$(PIP) --no-build-isolation -e .
	touch $@

bench-engine: .venv/installed
	$(BIN)/python -m tests.bench.engine_overhead

lock:
	TORCH_INDEX=$(TORCH_INDEX) $(BIN)/python locks/lock.py

clean:
	rm -rf .venv runs build *.egg-info
