# The commands of this project. Each installs what it needs first (tools/setup) and does nothing twice.
.DEFAULT_GOAL := all
.PHONY: all demo test fuzz sanitize neon soak lint clean help

all: ## build the command line (build/release/bifocal) and the default bundle (build/bundles/default)
	@tools/build

demo: all ## embed the photographs and captions of examples/ and print what is near what
	@.venv/bin/python tools/demo.py

test: ## every test: C++, parity with other programs, installed package, sanitizers, ARM, fuzzing, lint
	@tools/test

fuzz: ## each fuzz target for FUZZ_SECONDS (default 600)
	@tools/setup --tests && fuzz/run.sh $${FUZZ_SECONDS:-600}

sanitize: ## the tests that need no LibTorch under ASan+UBSan and under ThreadSanitizer
	@tools/setup --tests && tools/sanitize address thread

neon: ## the tests of the kernels for ARM, emulated
	@tools/setup --tests && tools/neon

soak: ## load a server for SOAK_SECONDS (default 3600) and print the slope of its memory
	@tools/build --tests && .venv/bin/python tests/serving/soak.py --seconds $${SOAK_SECONDS:-3600}

lint: ## formatting and static analysis
	@tools/build --tests && .venv/bin/python tools/lint.py --all

clean: ## remove everything that was built; .venv stays
	@rm -rf build

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 8
