# The commands of README.md. GOTOOLCHAIN=auto lets an older Go fetch the
# version that go.mod asks for.
export GOTOOLCHAIN := auto

.PHONY: flights test race lint fuzz build nexmark clean rocksdb test-rocksdb

flights: ## run the main job on six months of real flights
	go -C examples run ./flights

test: ## everything that must hold, without the race detector
	go vet ./...
	go test ./...
	go -C examples vet ./...
	go -C examples test ./...

race: ## the same tests under the race detector
	go test -race ./...
	go -C examples test -race ./...

lint: ## staticcheck, and govulncheck where its database can be reached
	go tool staticcheck -tests=false ./...
	@if curl -sfI -m 10 https://vuln.go.dev/index/modules.json >/dev/null; then \
		go tool govulncheck ./...; \
	else echo "govulncheck skipped: vuln.go.dev cannot be reached"; fi

fuzz: ## each fuzzer for ten seconds
	@for p in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$p | grep ^Fuzz); do \
			echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime 10s $$p || exit 1; \
		done; \
	done

build: ## the benchmark command and the examples, as static binaries in bin/
	CGO_ENABLED=0 go build -o bin/ ./benchmarks
	CGO_ENABLED=0 go -C examples build -o ../bin/ ./...

rocksdb: ## build RocksDB for -tags rocksdb, once, into ~/.cache/millrace
	state/rocks/build.sh

test-rocksdb: rocksdb ## the tests of the store on RocksDB
	eval "$$(state/rocks/build.sh env)" && \
		go vet -tags rocksdb ./state/rocks && go test -tags rocksdb ./state/rocks

clean:
	rm -rf bin out examples/out
