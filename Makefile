# `make` prints the targets: those with a ## line. `make test` is everything CI runs.

SHELL     := /bin/bash
PROGRAMS  := $(patsubst %/main.go,./%,$(wildcard cmd/*/main.go))
LINT      := go tool -modfile=.ci/tools/go.mod golangci-lint
FOLDERS   := $(filter-out build/,$(wildcard */))
RUNNER    := go run ./cmd/internal/repotest/runner
TAGS      := timed,system,e2e

SEEDS ?= 300
SEED  ?= 1
TIME  ?= 5s
CYCLES ?= 100

help: ## this list
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## /\1 ## /p' $(firstword $(MAKEFILE_LIST)) | awk -F' ## ' '{printf "  make %-12s %s\n", $$1, $$2}'

build: ## the programs, static and stripped, into build/
	@mkdir -p build
	$(if $(PROGRAMS),CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o build/ $(PROGRAMS))

run: build build/demo ## two servers and a target that reads for ever, live; FOR=5s ends by itself
	@build/demo -bin build -dir build/run $(if $(FOR),-for $(FOR))

build/demo: FORCE
	@go build -o build/demo ./cmd/internal/demo

chaos: build ## stop, kill, freeze and cut off servers under load, CYCLES=100 times; reports the read pauses
	@go run ./cmd/internal/chaos -bin build -cycles $(CYCLES)

chaos-check: build ## the 12 cycles of chaos that CI runs; fails above 10 times a figure
	@CI=true go run ./cmd/internal/chaos -bin build -cycles 12

bench: build ## Spate beside nbdkit, nbd-server and qemu-nbd on the same images; table and build/bench.json
	@go run ./cmd/internal/bench

demo-check: build build/demo ## what `make run FOR=5s` does, as an unprivileged user; leaves no process
	@.ci/demo-check

test: ## everything CI runs: format, vet, lint, all tests with and without -race, fuzz targets, timed tests
	@MAKE="$(MAKE)" .ci/steps fmt vet lint race plain system fuzz timed chaos-check demo-check

short: ## the minute while working: format, vet, and the tests of all packages, cached where nothing changed
	@$(MAKE) --no-print-directory fmt vet
	@$(RUNNER) test -short ./...

fmt: ## what gofmt and `go mod tidy` would change; fails when there is anything
	@out=$$(gofmt -l $(FOLDERS)) || exit 1; if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi
	@go mod tidy -diff

vet: ## go vet, with the build tags of the timed and the system tests too
	@go vet ./...
	@go vet -tags $(TAGS) ./...

lint: ## golangci-lint as pinned in .ci/tools/go.mod (the first run builds it, some two minutes)
	@$(LINT) run --build-tags $(TAGS)

race: ## first pass: all tests with -race, in random order
	@REQUIRE_RACE=1 $(RUNNER) test -race -shuffle=on ./...

plain: ## second pass: all tests without -race, those of allocations among them
	@FORBID_RACE=1 $(RUNNER) test -shuffle=on ./...

system: build ## tests with real processes and virtual machines (build tag system), one package at a time
	@$(RUNNER) tagged system -timeout 20m

e2e: build ## all real machines: every firmware, failures while they boot, bad networks (build tag e2e); half an hour
	@$(RUNNER) test -tags e2e,system -count 1 -p 1 -timeout 90m ./cmd/internal/e2e

bench-boot: build ## power-on to a working system beside dnsmasq, nbd-server and busybox; table and build/bench-boot.json
	@go run ./cmd/internal/bootbench

timed: build ## tests that measure time (build tag timed), alone on the machine
	@$(RUNNER) tagged timed -timeout 20m

sim: ## the simulated farm: SEEDS=300 worlds, the first of them SEED=1
	@$(RUNNER) test -count 1 -timeout 0 ./stream/engine -run Simulation -args -seeds $(SEEDS) -seed $(SEED)

fuzz: ## each fuzz target for TIME=5s
	@$(RUNNER) fuzz -time $(TIME) ./...

cover: ## test coverage by package and function, and build/cover.html
	@mkdir -p build
	@$(RUNNER) test -coverprofile build/cover.out -coverpkg ./... ./...
	@go tool cover -func build/cover.out | tail -1
	@go tool cover -html build/cover.out -o build/cover.html

generate: ## generated files, and the golden files of all tests (read the diff)
	@go generate ./...
	@go test $$(grep -rlE --include='*_test.go' 'flag\.Bool\("update"' . | xargs -rn1 dirname | sort -u) -update

FORCE:

.PHONY: FORCE help build run chaos chaos-check bench bench-boot run-vm demo-check test short fmt vet lint race plain system e2e timed sim fuzz cover generate
.DEFAULT_GOAL := help

run-vm: build build/vmdemo ## two servers and a machine that PXE-boots from them, its console live while servers die; FOR=60s ends by itself
	@build/vmdemo -bin build -dir build/run-vm $(if $(FOR),-for $(FOR))

build/vmdemo: FORCE
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o build/vmdemo ./cmd/internal/vmdemo
