# The commands of this project. Each installs what it needs first (tools/setup) and does nothing twice.
.DEFAULT_GOAL := all
.PHONY: all demo test fuzz lint clean help

all: ## build the command line (build/release/bifocal) and the default bundle (build/bundles/default)
	@tools/build

demo: all ## embed the photographs and captions of examples/ and print what is near what
	@.venv/bin/python tools/demo.py

test: ## every test: C++, parity with other programs, installed package, sanitizers, fuzzing, lint
	@tools/test

fuzz: ## each fuzz target for FUZZ_SECONDS (default 600)
	@tools/setup --tests && fuzz/run.sh $${FUZZ_SECONDS:-600}

lint: ## formatting and static analysis
	@tools/build --tests && .venv/bin/python tools/lint.py --all

clean: ## remove everything that was built; .venv stays
	@rm -rf build

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 8
