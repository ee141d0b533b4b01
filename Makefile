# `make run` and `make test` work on a fresh machine: each makes its own virtual environment.
PYTHON ?= python3
TORCH ?= torch torchvision

.PHONY: run test lint bench clean

run: .venv/demo/.complete
	.venv/demo/bin/python -m fpnas_timm.demo

test: .venv/test/.complete lint
	.venv/test/bin/python -m pytest -n 2

lint: .venv/test/.complete
	.venv/test/bin/ruff check .

bench: .venv/test/.complete
	.venv/test/bin/python benchmarks/inference.py
	.venv/test/bin/python benchmarks/cost.py
	.venv/test/bin/python benchmarks/training.py step

# An environment with the extra of its name. The mark comes last, so that one cut short is made again.
.venv/%/.complete: pyproject.toml
	rm -rf .venv/$*
	$(PYTHON) -m venv .venv/$*
	.venv/$*/bin/pip install -q --disable-pip-version-check $(TORCH)
	.venv/$*/bin/pip install -q --disable-pip-version-check -e '.[$*]'
	touch $@

clean:
	rm -rf .venv output
