# What there is to do here, by name. `make` alone lists it.
SHELL    := bash -o pipefail
TOOL     := go tool -modfile=$(CURDIR)/tools/go.mod
EXAMPLE  := examples/exchange
NESTED   := $(EXAMPLE) simulations/anchors
FUZZTIME ?= 20s
SOAK     ?= 11m

# The race detector pays where goroutines share memory. It does not in code that is pure, in the
# command, spawn and source, whose tests start other processes, or in tests about the tree itself. It makes signatures
# twenty times slower, so under it the tests whose time is all signatures run short; `plain` runs
# every test in full.
PLAIN    := /(manifest|codegen|cmd|examples|simulations|spawn|testnet|internal/lint|internal/record|internal/source)(/|$$)
RACE     := $(filter 1,$(shell go env CGO_ENABLED))
# Tests with many processes that watch the clock: they have the machine to themselves, as its users would.
ALONE    := /(examples/datapath|testnet)(/|$$)

.PHONY: bench-choice bench-datapath bench-liveness help build check test fmt format vet staticcheck race plain example cross demo sim fuzz slow soak test-long test-netns generate clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile

build: ## bin/cellnode, and that everything else compiles
	go build ./...
	@if [ -d cmd/cellnode ]; then go build -trimpath -o bin/ ./cmd/cellnode; fi

check: format vet staticcheck build ## what each commit passes, in under two minutes once caches are warm
	go test -short -vet=off ./...

test: format vet staticcheck build race plain example cross ## everything that continuous integration asks for

fmt: ## format the code
	$(TOOL) gofumpt -w .

format: ## name the files that are not formatted
	@files=$$($(TOOL) gofumpt -l .); [ -z "$$files" ] || { echo "not formatted, run make fmt:" $$files; exit 1; }

vet: ## go vet, here and in the modules of their own
	go vet ./...
	@for m in $(NESTED); do go -C $$m vet ./... || exit 1; done

staticcheck: ## staticcheck as staticcheck.conf says
	$(TOOL) staticcheck ./...
	@for m in $(NESTED); do (cd $$m && $(TOOL) staticcheck ./...) || exit 1; done

race: ## tests of the packages with goroutines, under the race detector
	@$(if $(RACE),true,echo "no C compiler or CGO_ENABLED=0: these tests run in full under plain, without the race detector")
	$(if $(RACE),tools/race.sh -short -vet=off -timeout 10m -- $$(go list ./... | grep -vE '$(PLAIN)'))

plain: ## every test in full, without the race detector
	go test -vet=off -timeout 10m $$(go list ./... | grep -vE '$(ALONE)')
	go test -vet=off -timeout 10m -p 1 $$(go list ./... | grep -E '$(ALONE)')

example: ## tests of the modules of their own: the example, and liveness beside memberlist
	@for m in $(NESTED); do go -C $$m test -vet=off ./... || exit 1; done

cross: ## that clients build for macOS and Windows too
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 go build ./client/... ./examples/trader/...
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 go build ./client/... ./examples/trader/...

demo: ## a whole network on this machine: announced, found, dialled, killed, healed
	go run ./examples/demo

sim: ## the simulations at full size: real nodes, then the study, to be continued (results in study.jsonl)
	go test -count=1 -timeout 30m -vet=off -v -run TestRealNodes ./simulations -args -full
	go run ./simulations/study -results study.jsonl -seeds 3

bench-%: ## benchmarks of one room, such as bench-gossip
	go test -run '^$$' -bench . -benchmem -vet=off ./$*/...

bench-choice: ## choice of instance: a pick, gRPC's own policies beside ours, scaling out and back; two minutes
	go test -run '^$$' -bench . -benchmem -vet=off ./internal/choice
	go test -run '^$$' -bench 'Choice|Scale' -benchtime 3x -timeout 20m -vet=off -v ./client/cellgrpc

bench-liveness: ## liveness beside memberlist: the rows that are missing, then table and plot in docs; an hour
	go -C simulations/anchors run . -write ../../docs

bench-datapath: build ## calls on each path beside plain gRPC: the rounds that are missing, then tables in docs; 10 min
	go build -o bin/ ./examples/datapath && bin/datapath -results datapath.jsonl -rounds 30 -write docs

fuzz: ## every fuzz test for FUZZTIME (20s)
	tools/fuzz.sh $(FUZZTIME)

slow: ## fifteen cells that start slowly and need each other, on a machine with nothing else to do
	go test -count=1 -timeout 10m -vet=off -v -run TestSlowCells ./testnet -args -cells 15

soak: ## what 64 idle instances cost, for SOAK (11m)
	go build -o bin/ ./cmd/cellnode ./examples/soak && tools/soak.sh $(SOAK)

test-long: ## the real command in scripts that take minutes, and all that may be killed, killed 1,000 times
	go test -count=1 -timeout 60m -vet=off -v -run 'TestLongScripts|KilledAtAnyChange' ./cmd/cellnode -args -long
	go test -count=1 -timeout 60m -vet=off -v -p 1 -run 'TestAKilledBuilder|TestKillsOf|TestKilledProxies' ./spawn ./overlay/sidecar -args -kills 1000

test-netns: ## tests in Linux network namespaces, with delay, loss and partitions
	@unshare -Urn true || { echo "network namespaces are not allowed here: see man unshare"; exit 1; }
	go test -count=1 -timeout 20m -vet=off -v -tags netns -run Netns ./testnet/netns

generate: ## everything generated, again; needs protoc 3.21 on the PATH
	GOBIN=$(CURDIR)/bin go -C tools install tool && go build -trimpath -o bin/ ./cmd/cellnode
	PATH=$(CURDIR)/bin:$$PATH go generate ./... && PATH=$(CURDIR)/bin:$$PATH go -C $(EXAMPLE) generate ./...

clean: ## remove what the targets above made in this folder
	rm -rf bin
