# What there is to run. Each line calls what exists: nothing is decided here.
.PHONY: help demo simulate build test lint bench ci

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

demo: ## run the demonstration on http://localhost:8080
	go run ./examples/demo

simulate: ## run the simulator of DQE and an operator alone
	go run ./examples/simulate

build: ## build Caddy with this module into ./caddy
	.ci/build ./caddy

test: ## pass all tests
	.ci/test

lint: ## run the linters
	.ci/lint

bench: ## measure what a verified request costs
	go test -run '^$$' -bench Verified -benchmem .

ci: ## do all that a change has to pass
	.ci/run
