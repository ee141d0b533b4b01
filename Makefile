# `make run` and `make test` work on a fresh machine: each makes its own virtual environment.
PYTHON ?= python3
TORCH ?= torch torchvision

.PHONY: run test lint bench clean

run: .venv/run
	.venv/run/bin/python -m fpnas_timm.demo

test: .venv/test lint
	.venv/test/bin/python -m pytest -n 2

lint: .venv/test
	.venv/test/bin/ruff check .

bench: .venv/test
	.venv/test/bin/python benchmarks/inference.py
	.venv/test/bin/python benchmarks/cost.py

# an environment is complete when its folder has got its final name; it is made again when the requirements change
.venv/run: pyproject.toml
	$(call environment,demo)

.venv/test: pyproject.toml
	$(call environment,test)

define environment
	rm -rf $@
	$(PYTHON) -m venv $@
	$@/bin/pip install -q --disable-pip-version-check $(TORCH) || (rm -rf $@; false)
	$@/bin/pip install -q --disable-pip-version-check -e '.[$(1)]' || (rm -rf $@; false)
	touch $@
endef

clean:
	rm -rf .venv output
