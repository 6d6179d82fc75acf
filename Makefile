# Everything here runs with Go alone. With a C compiler the tests also run under the race detector.

# The tag chooses the pure Go implementation of Matrix encryption; without it a build with cgo wants a C library.
TAGS    := goolm
GO      := go
# Programs are built without C, so that they run anywhere.
NOCGO   := CGO_ENABLED=0
TOOLS   := .tools
PKGS    := ./...
# Whose tests wait the longest: begun first, they wait while the others compile.
SLOW    := ./test/crash ./bridge ./test/scenario ./cmd/mimird ./actors/node
FUZZTIME ?= 10s
# The Matrix client of make screenshots.
GOMUKS  := v0.2607.0
# What looks for barriers in the page, in make page-test.
AXE     := 4.14.1
# Without the tables that only debuggers read, a quarter of all compiling is saved. It
# is the same for all but make build, as what was compiled in another way cannot be
# used again; the go commands that tests run have it from the environment.
NODWARF := -dwarf=false
export GOFLAGS := $(shell $(GO) env GOFLAGS) -gcflags=all=$(NODWARF)
# What make run and make demo pass on, for example: make run ARGS="--data /srv/mimir"
ARGS    ?=

CC_FOUND := $(shell command -v "$$($(GO) env CC | cut -d' ' -f1)" 2>/dev/null)
ifneq ($(CC_FOUND),)
# A library brings SQLite in C, which nothing here uses; to optimise it takes a minute.
# Races of libraries that we know of are passed over.
RACE := CGO_ENABLED=1 CGO_CFLAGS=-O0 GORACE="suppressions='$(CURDIR)/test/races.txt'"
# SQLite is C in Go's clothes: the memory it works on is not Go's, of which alone the
# race detector knows. Ciphers and key derivations share nothing with anybody. To watch
# them all the same makes them several times slower. The store compresses as it does
# without C. What draws pictures runs in one goroutine.
UNWATCHED := modernc.org/... golang.org/x/crypto/... crypto/internal/fips140/... gonum.org/... codeberg.org/... git.sr.ht/... golang.org/x/image/...
RACEFLAG := -race -tags $(TAGS),pebblegozstd $(foreach p,$(UNWATCHED),'-gcflags=$p=-race=false $(NODWARF)')
else
RACE := CGO_ENABLED=0
RACEFLAG := -tags $(TAGS)
endif

.DEFAULT_GOAL := help
.PHONY: release release-check docs docs-check help run demo build test scenario budget e2e postgres-test crash bench bench-growth performance-pictures attack mutants page-test screenshots fuzz check fmt fmt-check commits-check lint vet tidy-check cover clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r t d; do printf '  make %-12s %s\n' "$$t" "$$d"; done

run: ## run the node; data in ./mimird-data
	$(NOCGO) $(GO) run -tags $(TAGS) ./cmd/mimird up $(ARGS)

demo: ## a whole Mimir world on this machine, with a real Matrix homeserver
	$(NOCGO) $(GO) run -tags $(TAGS) ./cmd/mimird-demo $(ARGS)

build: ## build ./bin/mimird
	$(NOCGO) $(GO) build -gcflags= -trimpath -tags $(TAGS) -o bin/mimird ./cmd/mimird

# The systems of a release. There is none of 32 bits: a library that the actors rest on panics there.
RELEASE_TARGETS ?= linux/amd64 linux/arm64 linux/riscv64 darwin/amd64 darwin/arm64 windows/amd64 freebsd/amd64
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)

release: $(TOOLS)/nfpm-v2.44.0 $(TOOLS)/cyclonedx-gomod-v1.10.0 ## binaries, packages, SBOM, checksums and signature of HEAD in ./dist
	RELEASE_TARGETS="$(RELEASE_TARGETS)" sh release/release.sh $(VERSION)

release-check: $(TOOLS)/nfpm-v2.44.0 $(TOOLS)/cyclonedx-gomod-v1.10.0 ## what a release needs beyond Go: alert rules, unit, built twice; needs Debian
	sh release/check.sh

docs: ## the documents as a web site in ./dist/site; fails when a link leads nowhere
	$(NOCGO) $(GO) run ./test/site

# The rest is in make test, too: that the documents name commands, flags, metrics, keys and tests that exist.
docs-check: docs ## the documents against the program: links, commands, metrics, configuration
	$(NOCGO) $(GO) test -tags $(TAGS) -count=1 ./test/site ./test/links ./test/wording ./test/status ./test/roadmap
	$(NOCGO) $(GO) test -tags $(TAGS) -count=1 -run 'TestDocs|TestDocuments|TestHelp|TestContrib|TestMetrics|Example' ./cmd/... ./config ./actors/eventlog

test: ## all tests: units, vectors, real networks, end to end against Dendrite
	$(RACE) $(GO) test $(RACEFLAG) -vet=off -ldflags=-w -shuffle=on -p 3 -timeout 40m $(SLOW) $(PKGS)

scenario: ## many nodes over real Yggdrasil networks; 1,000 crossing dials
	$(NOCGO) $(GO) test -tags $(TAGS) -count=1 -v -timeout 60m -run TestScenario ./test/scenario -all $(ARGS)
	$(NOCGO) $(GO) test -tags $(TAGS) -count=1 -v -run TestBothSidesDialAtOnce ./actors/node

budget: ## memory, goroutines and work of a node that has nothing to do; fails when over
	$(NOCGO) $(GO) test -tags $(TAGS) -count=1 -v -timeout 30m ./test/budget -all $(ARGS)

e2e: ## the Matrix bridge against a real homeserver and a real client, line by line of ROADMAP.md, unencrypted and encrypted
	sh test/nginx/fetch.sh
	$(NOCGO) $(GO) run ./test/roadmap

# Tests of the tables' file itself are left out.
postgres-test: ## the bridge with its tables in PostgreSQL; needs initdb and postgres in PATH
	$(NOCGO) $(GO) test -tags $(TAGS),postgres -vet=off -ldflags=-w -count=1 -timeout 30m ./bridge $(ARGS)

crash: ## kill -9 at every named point and at random moments
	$(NOCGO) $(GO) test -tags $(TAGS) -count=1 -v -timeout 40m ./test/crash -kills 20 -together 30 -waiting 10000 $(ARGS)

bench: ## speed as ratios against a baseline of the same run; ARGS selects figures
	$(NOCGO) $(GO) run -tags $(TAGS) ./test/bench $(ARGS)

bench-growth: ## what a message costs at 10,000, 100,000 and 1,000,000 of them; fails when it grows; not in CI
	$(NOCGO) $(GO) run -tags $(TAGS) ./test/growth $(ARGS)

performance-pictures: ## the pictures in docs/performance.md, from the results kept in docs/measured
	$(NOCGO) $(GO) run -tags $(TAGS) ./test/plots $(ARGS)

attack: ## what strangers can do, at full size over real Yggdrasil nodes; fails when a bound is missed
	$(NOCGO) $(GO) run -tags $(TAGS) ./test/attack $(ARGS)

mutants: ## put defects into the code and see that the tests notice; ARGS selects
	$(NOCGO) $(GO) run ./test/mutants $(ARGS)

page-test: ## the page for browsers in Chromium, with axe; fails when there is none; needs npm
	sh test/screenshots/axe.sh $(AXE)
	$(NOCGO) $(GO) test -tags $(TAGS),browser -count=1 -v -timeout 20m -run TestBrowser ./actors/page -args -axe $(CURDIR)/.cache/axe-$(AXE).min.js $(ARGS)

screenshots: build ## the pictures in docs/pictures, and the capture in docs/chat.md, with a real client in a real browser; needs npm, gcc, tmux and Chromium
	sh test/screenshots/client.sh $(GOMUKS)
	$(NOCGO) $(GO) run -tags $(TAGS) ./test/screenshots -gomuks .cache/gomuks-$(GOMUKS) $(ARGS)
	$(MAKE) page-test ARGS="-pictures $(CURDIR)/docs/pictures"

fuzz: ## every fuzz target for FUZZTIME
	@for pkg in $$($(NOCGO) $(GO) list -tags $(TAGS) $(PKGS)); do \
		for target in $$($(NOCGO) $(GO) test -tags $(TAGS) -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "== $$pkg $$target"; \
			$(NOCGO) $(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

check: fmt-check tidy-check commits-check vet lint ## everything but the tests

vet: ## go build and go vet, with and without a C compiler, with and without the tag
	CGO_ENABLED=0 $(GO) build $(PKGS) && CGO_ENABLED=0 $(GO) vet $(PKGS)
	$(if $(CC_FOUND),CGO_ENABLED=1 $(GO) build $(PKGS) && CGO_ENABLED=1 $(GO) vet $(PKGS))
	$(NOCGO) $(GO) vet -tags $(TAGS) $(PKGS)

fmt: $(TOOLS)/gofumpt-v0.9.2 ## format the code
	$< -w .

fmt-check: $(TOOLS)/gofumpt-v0.9.2 ## fail when something is not formatted
	@out=$$($< -l .); test -z "$$out" || { echo "not formatted:"; echo "$$out"; exit 1; }

lint: $(TOOLS)/golangci-lint-v2.7.2 ## run the linters
	$(NOCGO) $< run $(PKGS)

tidy-check: ## fail when go.mod or go.sum are not tidy
	$(GO) mod tidy -diff
	$(GO) mod verify

# The commits after the one that added this line; in a shallow clone without it, HEAD.
commits-check: ## fail when the subject of a commit is over 72 characters
	@first=$$(git log --format=%H -S'commits-check: ##' -- Makefile 2>/dev/null | tail -n 1); \
	long=$$(git log --format='%h %s' $$(test -n "$$first" && echo "$$first..HEAD" || echo -1) 2>/dev/null | \
		awk '{ subject = substr($$0, index($$0, " ") + 1); if (length(subject) > 72) print }'); \
	test -z "$$long" || { echo "subjects over 72 characters:"; echo "$$long"; exit 1; }

cover: ## coverage of the unit tests, by package
	$(NOCGO) $(GO) test -tags $(TAGS) -cover ./proto/... ./actors/... ./bridge/... ./config/...

clean: ## remove what was built here; data stays
	rm -rf bin dist $(TOOLS) .cache

$(TOOLS)/golangci-lint-v2.7.2:
	GOBIN=$(CURDIR)/$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.7.2
	mv $(TOOLS)/golangci-lint $@

$(TOOLS)/gofumpt-v0.9.2:
	GOBIN=$(CURDIR)/$(TOOLS) $(GO) install mvdan.cc/gofumpt@v0.9.2
	mv $(TOOLS)/gofumpt $@

$(TOOLS)/nfpm-v2.44.0:
	GOBIN=$(CURDIR)/$(TOOLS) $(NOCGO) $(GO) install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.44.0
	mv $(TOOLS)/nfpm $@

$(TOOLS)/cyclonedx-gomod-v1.10.0:
	GOBIN=$(CURDIR)/$(TOOLS) $(NOCGO) $(GO) install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
	mv $(TOOLS)/cyclonedx-gomod $@
