# Each target is one command a person could type. Go fetches the pinned tools.
FUZZTIME ?= 10s
SIMULATED ?= 10000
CAS ?= Pebble,step-ca,Caddy,Vault
DURATION ?= 2h
LINT = go tool -modfile=tools/golangci-lint/go.mod golangci-lint

.PHONY: build demo test sim fuzz bench lint fmt deb rpm e2e e2e-full boulder boulder-soak cas cas-full soak clean

build: # a static binary in bin/
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/ ./cmd/acmed

demo: # the main job against a local test CA; needs neither root nor a C compiler
	CGO_ENABLED=0 go run ./test/demo

test: # needs a C compiler, for the race detector; the year of a thousand certificates goes without it
	go test -race -shuffle=on -timeout=30m ./...
	go test -timeout=30m -run='^TestSimulation' ./internal/reconcile -sim.certificates=1000

sim: # many certificates through a simulated year; eight minutes or so on two cores
	go test -timeout=60m -run='^TestSimulation' ./internal/reconcile -sim.certificates=$(SIMULATED)

fuzz: # each target for a while
	go run ./test/fuzz -time=$(FUZZTIME)

bench: # every figure in one table, see docs/performance.md; takes half an hour and 6 GB of disk
	go test -run='^$$' -bench=. -benchmem -timeout=2h ./... | go run ./test/table

lint:
	@test -z "$$(gofmt -l cmd internal test | tee /dev/stderr)"
	go vet ./... && go vet -tags=e2e ./test/e2e ./test/matrix ./test/cas ./test/boulder
	go mod tidy -diff
	@! grep -rniE '"[^"]*failed to ' --include='*.go' --exclude='*_test.go' cmd internal test || { echo 'errors name the operation, see CONTRIBUTING.md'; exit 1; }
	$(LINT) run

fmt:
	gofmt -w cmd internal test

deb: # dist/acmed_VERSION_ARCH.deb, the same bytes for the same commit
	deploy/package/build

rpm: # dist/acmed-VERSION.ARCH.rpm, likewise
	deploy/package/build rpm

e2e: deb # needs root on Debian: the package in containers with a real systemd; DEBIAN=trixie is one release only
	go test -tags=e2e -count=1 -v -timeout=60m ./test/e2e
	go test -tags=e2e -count=1 -v -timeout=30m ./test/matrix

e2e-full: # every challenge with all identifiers, keys and CAs, see docs/compatibility.md; UPDATE=1 writes its table
	go test -tags=e2e -count=1 -v -timeout=60m ./test/matrix -matrix.full

cas: # all that acmed does at four CAs; CAS=Pebble,step-ca is two only; see docs/compatibility.md
	go test -tags=e2e -count=1 -v -timeout=30m -parallel=32 ./test/cas -cas.only=$(CAS)

cas-full: # those features too whose tests wait for many minutes; UPDATE=1 writes the table
	go test -tags=e2e -count=1 -v -timeout=60m -parallel=32 ./test/cas -cas.only=$(CAS) -cas.full

soak: # two of ten minutes: 200 certificates of five minutes, without and with kill -9 every 30 s
	go test -count=1 -v -timeout=40m -parallel=1 ./test/soak -soak.duration=10m -soak.certificates=200 -soak.kill=30s

boulder: # needs root on Debian: against the software of Let's Encrypt; SHORT=1 is an issuance by each challenge and orders that fail
	go test -tags=e2e -count=1 -v -timeout=40m -run='^TestBoulder$$' ./test/boulder $(if $(SHORT),-boulder.short)

boulder-soak: # 200 certificates for DURATION, while each part of Boulder is down three times; needs root on Debian
	go test -tags=e2e -count=1 -v -timeout=0 -run='^TestSoak$$' ./test/boulder -boulder.soak=$(DURATION)

clean:
	rm -rf bin dist
