package boulder

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"acmed/test/process"
)

// programs are the paths of what tools/boulder builds, and of the source, in which the database schema is.
type programs struct{ boulder, ctTestSrv, challTestSrv, source string }

// Build compiles Boulder at the version that tools/boulder/go.mod pins. It does so once a process. The first build on a
// machine takes minutes, and downloads the Go release that Boulder needs.
func Build() error {
	_, err := build()
	return err
}

// Version names Boulder and its version.
func Version(t testing.TB) string {
	t.Helper()
	p, err := build()
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(filepath.Base(p.source), "@")
	return "Boulder " + version
}

var build = sync.OnceValues(func() (p programs, err error) {
	// Boulder talks to hardware keys by cgo, even where there are none. It needs a newer Go than the daemon.
	env := []string{"CGO_ENABLED=1", "GOTOOLCHAIN=auto"}
	for name, path := range map[string]*string{"boulder": &p.boulder, "ct-test-srv": &p.ctTestSrv, "chall-test-srv": &p.challTestSrv} {
		if *path, err = process.Tool("boulder", name, env...); err != nil {
			return p, err
		}
	}
	p.source, err = process.Source("boulder", "github.com/letsencrypt/boulder", env...)
	return p, err
})
