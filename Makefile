# Thin: each line runs a script or cargo. CARGO_TARGET_DIR is honoured everywhere.

.PHONY: help setup demo test check

help:   ## this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

setup:  ## what demo and test need beyond cargo: Postgres, Python venv
	@scripts/setup

demo:   ## two releases and a rollback under traffic, under two minutes; KEEP=1 leaves it running
	@scripts/setup --no-python
	@scripts/demo

test:   ## format, lints, docs, all tests, .sqlx and OpenAPI up to date
	@scripts/setup
	@scripts/test

check:  ## what takes seconds: format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
