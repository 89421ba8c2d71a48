package sd_test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"acmed/internal/sd"
)

// childEnv makes the test binary report what it inherits instead of running tests.
const childEnv = "SD_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		reportListeners()
		return
	}
	os.Exit(m.Run())
}

// reportListeners prints one sorted line per socket, then what is left of the environment.
func reportListeners() {
	listeners, err := sd.Listeners()
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	var lines []string
	for name, group := range listeners {
		for _, l := range group {
			lines = append(lines, name+" "+l.Addr().String())
		}
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
	for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} {
		if value, ok := os.LookupEnv(name); ok {
			fmt.Println("left:", name, value)
		}
	}
}
