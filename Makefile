# Foretell in two commands: `make demo` and `make test`. Both do all the set-up that is missing; cmake/setup.sh says what that is.
#
#   FORETELL_DATA=dir      outside data, for the tests and studies that need it
#   FORETELL_WHEELS=dir    LibTorch's wheels, for a machine without a network
#   FORETELL_CUDA=1        link LibTorch's CUDA libraries
#   FORETELL_CACHE=dir     where LibTorch is kept (once for each machine)
#   BUILD=dir JOBS=n       the build folder; how many compilers and tests at once
#   ONLY=name,name         of `make mutants`: these faults alone

BUILD ?= build
JOBS  ?= $(shell nproc)
override CUDA := $(if $(filter 1 ON on TRUE true yes,$(FORETELL_CUDA)),ON,OFF)

.DEFAULT_GOAL := build
.PHONY: help setup configure build test demo mutants fuzz lint format docs asan tsan coverage clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## Debian packages and LibTorch, where they are missing
	@./cmake/setup.sh

configure: setup
	@cmake --preset release -B $(BUILD) -DFORETELL_CUDA=$(CUDA) --log-level=NOTICE >/dev/null

build: configure ## build/foretell
	@cmake --build $(BUILD) --parallel $(JOBS)

test: build ## build, then run all tests; the last line counts them
	@./.ci/test-summary $(BUILD) $(JOBS)

demo: build ## build, then compare drafters on the bundled models; with FORETELL_DATA also on recorded answers of a real one
	$(BUILD)/foretell run configs/studies/demo.yaml
	$(if $(FORETELL_DATA),$(BUILD)/foretell run configs/studies/specbench_replay.yaml)

mutants: setup ## plant each fault of tests/mutants in a build of its own: a test has to catch it
	@./tests/mutants/run.py --jobs $(JOBS) $(if $(ONLY),--only $(ONLY))

# SECONDS is a variable of some shells, so it must not come from the environment.
fuzz: SECONDS := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),20)
fuzz: ## build the fuzzers with clang and run each for SECONDS=20 from its seeds
	@./cmake/setup.sh clang
	@./.ci/fuzz $(BUILD)-fuzz $(SECONDS) $(JOBS)

lint: ## clang-format, clang-tidy over what differs from main or the last tag (ALL=1: everything), who includes whom
	@./cmake/setup.sh clang
	@./.ci/lint

asan: setup ## all tests with the address and undefined-behaviour sanitizers
	@cmake --preset asan --log-level=NOTICE >/dev/null
	@cmake --build build-asan --parallel $(JOBS)
	@FORETELL_TEST_PATIENCE=20 ./.ci/test-summary build-asan $(JOBS)

# libgomp is not instrumented, so its barriers cannot be seen: one OpenMP thread, and what is left are our own threads.
tsan: setup ## unit tests with the thread sanitizer
	@cmake --preset tsan --log-level=NOTICE >/dev/null
	@cmake --build build-tsan --parallel $(JOBS)
	@OMP_NUM_THREADS=1 TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1" FORETELL_TEST_PATIENCE=20 \
	  ./.ci/test-summary build-tsan $(JOBS) -LE cli

coverage: ## which lines the tests run, by room
	@./cmake/setup.sh coverage
	@cmake --preset coverage --log-level=NOTICE >/dev/null
	@cmake --build build-coverage --parallel $(JOBS)
	@./.ci/test-summary build-coverage $(JOBS) -LE cli
	@gcovr --root . --object-directory build-coverage --filter 'framework/|drafters/|verifiers/|policies/|experiments/' --print-summary

format: ## clang-format every file in place
	@git ls-files --cached --others --exclude-standard -- '*.h' '*.cpp' | xargs clang-format -i

docs: ## the API reference and all pages, as build/docs/html/index.html; a public name without a contract is an error
	@./cmake/setup.sh docs
	@./docs/build_reference.sh $(BUILD)

clean: ## remove the build folders; LibTorch's cache stays
	rm -rf $(BUILD) build-*
