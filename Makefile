# weibowatch: type `make` for the list. Needs python3 (3.10 or newer, with venv) and make; everything else is installed.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without --no-compile pip compiles every file of every library; Python compiles what is used when it is first used,
# and keeps it unless this is set, as it is in many images. Tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
STORE ?= weibowatch-data
# Tests side by side; they share one set of servers, and often wait for one. Three are as fast as two cores can be.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup setup-cluster setup-test run run-cluster services test lint train bench soak clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

$(VENV)/.run: pyproject.toml
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Installing weibowatch into $(VENV) ..."
	@$(PIP) install --no-compile -e .
	@touch $@

$(VENV)/.test: pyproject.toml
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Installing weibowatch with everything that tests need into $(VENV) (a few minutes) ..."
	@# The pip of Python 3.10 builds seqeval in an old way that fails; --use-pep517 is the new one.
	@$(PIP) install --use-pep517 --no-compile -e '.[train,cluster,transfer,dev]'
	@touch $@ $(VENV)/.run $(VENV)/.cluster

setup: $(VENV)/.run ## make .venv and install weibowatch into it

$(VENV)/.cluster: pyproject.toml
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Installing weibowatch with the cluster mode into $(VENV) ..."
	@$(PIP) install --no-compile -e '.[cluster]'
	@touch $@ $(VENV)/.run

setup-cluster: $(VENV)/.cluster ## the same with the cluster mode, and Java where it may be installed
	@bash deploy/install_java.sh

setup-test: ## the same with training, cluster and test tools; a browser and Java where they may be installed
	@(bash deploy/install_browser.sh && bash deploy/install_java.sh) & packages=$$!; \
		$(MAKE) -s $(VENV)/.test; made=$$?; wait $$packages && exit $$made

run: setup ## watch the built-in demo corpus; dashboard at http://127.0.0.1:8765, Ctrl-C stops
	@$(BIN)/weibowatch run --source demo --store $(STORE)

run-cluster: setup-cluster ## the same on a local Kafka and Elasticsearch: worker, dashboard, demo corpus; Ctrl-C stops all
	@WEIBOWATCH=$(BIN)/weibowatch bash deploy/run_cluster.sh

services: setup-cluster ## start a local Kafka and Elasticsearch in weibowatch-services, and print their addresses
	@$(BIN)/weibowatch services up

lint: setup-test ## types and style of code and tests: mypy --strict, ruff
	@$(BIN)/ruff check .
	@$(BIN)/mypy

test: setup-test ## everything that CI runs: lint and all tests
	@$(BIN)/ruff check .
	@# Checking types takes one core for more than a minute, of which tests on servers leave something.
	@$(BIN)/mypy & types=$$!; \
		$(BIN)/python -m pytest -m "not soak" -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
			--max-worker-restart=0 --durations=25; tests=$$?; wait $$types && exit $$tests

train: setup-test ## train the tagger that ships, from ../shared/data/cmner, into var/train; goes on where it was stopped
	@$(BIN)/weibowatch train --config nlp/configs/towers.yaml --out var/train \
		$(if $(wildcard var/train/*/checkpoint.pt),--resume)

bench: setup-test ## measure: the pipeline against the bare tagger, the tagger, search
	@$(BIN)/python -m benchmarks

soak: setup-test ## the long runs: kill -9 fifty times embedded, twenty times in the cluster
	@$(BIN)/python -m pytest -m soak

clean: ## remove what make made here, but no data
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis var
