# The few commands people type. Build output stays out of the clone, so that a second clone builds quickly.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sluice/target
export PATH := $(HOME)/.cargo/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help quickstart test bench build check clean

help:         ## says what there is
	@sed -n 's/^\([a-z]*\): .*## /\1\t/p' Makefile | expand -t 14

quickstart:   ## sets up, builds, and runs a live sync to try things on (QUICKSTART_SECONDS=N: ends by itself and compares)
	@scripts/setup
	@scripts/quickstart

test:         ## sets up and runs every test
	@scripts/setup test
	cargo test --workspace
	scripts/test-guests
# What may differ from one version of PostgreSQL to the next, on the newest that is here.
	SLUICE_POSTGRES=newest cargo test --workspace --test source --test sink
	SLUICE_POSTGRES=newest cargo test --workspace --test e2e -- pairs::postgres values preflight

bench:        ## measures, in one run, against limits measured beside it
	@scripts/setup test
	cargo run --release -p sluice-bench

build:        ## builds the release binary
	@scripts/setup
	cargo build --release -p sluice
	@echo "$(CARGO_TARGET_DIR)/release/sluice"

check:        ## formatting and lints, as CI wants them
	@scripts/setup test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

clean:        ## removes the build output and what quickstart made
	rm -rf quickstart "$(CARGO_TARGET_DIR)"
