package pebble

import (
	"sync"

	"acmed/test/process"
)

// Tools are the paths of the two programs, statically linked.
type Tools struct {
	Pebble, ChallTestSrv string
}

// Build compiles the programs at the versions that tools/pebble/go.mod pins
// and returns their paths in Go's build cache. It does so once a process; with
// a warm cache that takes half a second.
func Build() (Tools, error) { return build() }

var build = sync.OnceValues(func() (Tools, error) {
	pebble, err := process.Tool("pebble", "pebble")
	if err != nil {
		return Tools{}, err
	}
	chall, err := process.Tool("pebble", "pebble-challtestsrv")
	return Tools{Pebble: pebble, ChallTestSrv: chall}, err
})
