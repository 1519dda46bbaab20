# make demo   from a crawl made here to an explained corpus and a judged model; leaves runs/demo/report.html
# make test   lint, types, tests
PYTHON ?= python3
BIN := .venv/bin
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
PYTEST := $(BIN)/python -m pytest -q

.PHONY: demo smoke test test-quick install lock clean
.PHONY: bench-engine bench-extract bench-filters bench-language bench-corpus bench-dedup
.PHONY: bench-dedup-scale bench-decontam bench-embed bench-cluster bench-quality bench-synth
.PHONY: bench-train bench-learn bench-data-pipeline
.PHONY: page-model fuzz-pages fuzz-readers fuzz-rows

demo: .venv/installed
	$(BIN)/python jobs/hare.py --scale demo --root runs/demo

smoke: .venv/installed
	rm -rf runs/smoke
	$(BIN)/python jobs/hare.py --scale smoke --root runs/smoke

test: .venv/installed
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(PYTEST) -n 2 --dist loadfile -m "not ray and not gpu"
	$(PYTEST) -m "ray and not gpu"

test-quick: .venv/installed
	$(PYTEST) -n 2

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

# These read real data in the folder HARE_DATA; what they compare with has an environment of its own in .bench.
bench-extract: .venv/installed .bench/extract/installed
	$(BIN)/python -m tests.bench.extract

bench-filters: .venv/installed .bench/datatrove/installed
	$(BIN)/python -m tests.bench.filters

bench-language: .venv/installed
	$(BIN)/python -m tests.bench.language

bench-corpus: .venv/installed .bench/datatrove/installed
	$(BIN)/python -m tests.bench.corpus

bench-dedup: .venv/installed .bench/datatrove/installed .bench/datajuicer/installed .bench/textdedup/installed .bench/sketches/installed
	$(BIN)/python -m tests.bench.dedup

bench-dedup-scale: .venv/installed
	$(BIN)/python -m tests.bench.dedup_scale

bench-decontam: .venv/installed .bench/datatrove/installed
	$(BIN)/python -m tests.bench.decontam

bench-embed: .venv/installed .bench/embed/installed
	$(BIN)/python -m tests.bench.embed

bench-cluster: .venv/installed
	$(BIN)/python -m tests.bench.cluster

bench-quality: .venv/installed .bench/quality/installed
	$(BIN)/python -m tests.bench.quality

# vLLM by itself, through Ray Data and through Ray Serve, on the same prompts; then with engines killed, and overloaded.
bench-synth: .venv/installed
	$(BIN)/python -m tests.bench.synth

# Ours against Hugging Face's Trainer, on this machine's cores; bits per byte after the same tokens; reading alone.
bench-train: .venv/installed
	$(BIN)/python -m tests.bench.train

bench-learn: .venv/installed
	$(BIN)/python -m tests.bench.learn

bench-data-pipeline: .venv/installed
	$(BIN)/python -m tests.bench.data_pipeline

.bench/%/installed: tests/bench/peers/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(@D)/bin/python -m pip install --quiet -r $<
	touch $@

# The model that finds main text, taught anew from pages whose main text people have marked.
page-model: .venv/installed
	$(BIN)/python -m hare_ray.corpus.page_training --gold $(HARE_DATA)/web/wcxb_dev_gold.jsonl.gz $(HARE_DATA)/web/wcxb_dev_*.warc.gz

# Damaged files until the time is over; what is found is printed with its seed.
fuzz-pages: .venv/installed
	$(BIN)/python -m tests.bench.fuzz_pages --seconds 120

fuzz-readers: .venv/installed
	$(BIN)/python -m tests.bench.fuzz_readers --seconds 120

fuzz-rows: .venv/installed
	$(BIN)/python -m tests.bench.fuzz_rows 60

lock:
	TORCH_INDEX=$(TORCH_INDEX) $(BIN)/python locks/lock.py

clean:
	rm -rf .venv .bench runs build *.egg-info
