# Thin: each line runs a script or cargo. CARGO_TARGET_DIR is honoured everywhere.

.PHONY: help setup demo bench drift test soak check

help:   ## this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

setup:  ## what demo, drift and test need beyond cargo: Postgres, Python venv
	@scripts/setup

demo:   ## two releases and a rollback under traffic, under two minutes; KEEP=1 leaves it running
	@scripts/setup --no-python
	@scripts/demo

drift:  ## rules edited by hand with the AWS command line while a release runs: held, restored, adopted; under two minutes
	@scripts/setup
	@scripts/drift-demo

test:   ## format, lints, docs, all tests, .sqlx and OpenAPI up to date
	@scripts/setup
	@scripts/test

bench:  ## how often AWS is asked, and how long a rollback takes over the bare work: bench.json; with an optimised build of its own
	@scripts/setup --no-python
	@scripts/bench

soak:   ## every proof at full size, on one optimised build: about an hour; soak.json and docs/figures.md
	@scripts/setup
	@scripts/soak

check:  ## what takes seconds: format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
