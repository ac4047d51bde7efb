# The main jobs. Everything is done by ./dev, so that a machine without make can type it.
.DEFAULT_GOAL := help
.PHONY: help setup demo test chaos soak lint bench wheel lock clean

help:   ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile
setup:  ## .venv with the locked requirements
	@./dev setup
demo:   ## set up everything and deploy a real application (ONCE=1: and stop)
	@./dev demo
test:   ## set up everything and run all tests, on real RabbitMQ, PostgreSQL and Chromium
	@./dev test
chaos:  ## the fault tests that take longer than a suite may
	@./dev chaos
soak:   ## faults at random for a while, then everything is compared (MINUTES=60 SEED=7)
	@./dev soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))
lint:   ## ruff and mypy
	@./dev lint
bench:  ## every figure as a ratio to a floor of the same run
	@./dev bench
wheel:  ## the wheel that targets install
	@./dev wheel
lock:   ## the pins with hashes, from requirements*.in
	@./dev lock
clean:  ## everything that was made here, but .venv
	@./dev clean
