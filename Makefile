# `make run` and `make test` work on a fresh machine: each makes its own virtual environment.
PYTHON ?= python3
TORCH ?= torch torchvision
OLDEST ?= torch==2.4.0 torchvision==0.19.0 timm==1.0.31 huggingface-hub==0.30.2 'numpy<2.3'

.PHONY: run test lint coverage bench docs package space test-gpu bench-gpu notebooks test-notebooks test-pipelines test-browser
.PHONY: test-oldest test-timm clean

COVERAGE_FLOOR ?= 94

run: .venv/demo/.complete
	.venv/demo/bin/python -m fpnas_timm demo

test: .venv/test/.complete lint
	.venv/test/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15

lint: .venv/test/.complete
	.venv/test/bin/ruff check .
	.venv/test/bin/mypy

# Lines that run in pytest's own processes; commands that tests start as subprocesses are not counted.
coverage: .venv/test/.complete
	.venv/test/bin/python -m pytest -n 2 --cov=fpnas_timm --cov-report=term-missing:skip-covered --cov-fail-under=$(COVERAGE_FLOOR)

# timm's own tests, also the slow ones that have no model in them; without a package index this fails.
test-timm: .venv/test/.complete
	TIMM_SUITE=full .venv/test/bin/python -m pytest -n 2 tests/timm_suite

# On a machine with a CUDA GPU; elsewhere all are skipped. FPNAS_GPU_TESTS=cpu rehearses them on the CPU.
test-gpu: .venv/test/.complete
	.venv/test/bin/python -m pytest -n 8 --dist worksteal --durations=10 tests/gpu

bench: .venv/test/.complete
	.venv/test/bin/python benchmarks/inference.py
	.venv/test/bin/python benchmarks/cost.py
	.venv/test/bin/python benchmarks/training.py step

# The figures of a CUDA GPU, in a minute and a quarter; `benchmarks/gpu.py --table output/gpu.json` shows them as Markdown.
bench-gpu: .venv/test/.complete
	mkdir -p output
	.venv/test/bin/python benchmarks/gpu.py -o output/gpu.json

docs: .venv/test/.complete
	.venv/test/bin/mkdocs build --strict
	@echo output/site/index.html

# Other people's packages, in an environment of their own; TIMM_SCRIPTS=FOLDER adds timm's scripts.
test-pipelines: .venv/pipelines/.complete
	HF_HUB_OFFLINE=1 .venv/pipelines/bin/python -m pytest tests/pipelines

# The explorer and the reports in Chromium (apt-get install chromium), with Playwright from PyPI.
test-browser: .venv/browser/.complete
	.venv/browser/bin/python -m pytest tests/browser

# The notebooks from start to end, in an environment of their own; the committed ones stay as they are.
test-notebooks: .venv/notebooks/.complete
	.venv/notebooks/bin/python -m pytest tests/notebooks

# Run the notebooks again and write the outputs into them.
notebooks: .venv/notebooks/.complete
	.venv/notebooks/bin/python notebooks/run.py

# The oldest torch, timm and Hub client that pyproject.toml allows.
test-oldest: .venv/oldest/.complete
	.venv/oldest/bin/python -m pytest -n 2

# Build, check the metadata, install into a clean environment, use it there.
package: .venv/release/.complete
	rm -rf output/dist .venv/clean
	.venv/release/bin/python -m build --outdir output/dist .
	.venv/release/bin/twine check --strict output/dist/*
	$(PYTHON) -m venv .venv/clean
	.venv/clean/bin/pip install -q --disable-pip-version-check output/dist/*.whl
	.venv/clean/bin/python tests/clean_install.py output/dist/*.whl

# What is uploaded to the Hub as a Space, in output/space; started there as the Hub would, without torch.
space: .venv/release/.complete
	rm -rf output/space .venv/space
	mkdir -p output && cp -r space output/space
	.venv/release/bin/python -m build --wheel --outdir output/space .
	$(PYTHON) -m venv .venv/space
	.venv/space/bin/pip install -q --disable-pip-version-check -r output/space/requirements.txt
	.venv/space/bin/pip install -q --disable-pip-version-check --no-deps output/space/*.whl
	.venv/space/bin/python tests/space_start.py output/space

.venv/release/.complete: pyproject.toml
	rm -rf .venv/release
	$(PYTHON) -m venv .venv/release
	.venv/release/bin/pip install -q --disable-pip-version-check 'build>=1.2' 'twine>=6'
	touch $@

.venv/oldest/.complete: pyproject.toml
	rm -rf .venv/oldest
	$(PYTHON) -m venv .venv/oldest
	.venv/oldest/bin/pip install -q --disable-pip-version-check $(OLDEST) -e '.[test]'
	touch $@

# An environment with the extra of its name. The mark comes last, so that one cut short is made again.
.venv/%/.complete: pyproject.toml
	rm -rf .venv/$*
	$(PYTHON) -m venv .venv/$*
	.venv/$*/bin/pip install -q --disable-pip-version-check $(TORCH)
	.venv/$*/bin/pip install -q --disable-pip-version-check -e '.[$*]'
	touch $@

clean:
	rm -rf .venv output
