package spec

import (
	"errors"
	"time"
)

// LoaderConfig says what a Loader reads and what it knows of earlier runs.
type LoaderConfig struct {
	// Config is required.
	Config *Config
	// Recall returns the last good text of an earlier run for a key such as "certs/NAME.yaml" or "issuers/NAME.yaml",
	// or an error that wraps fs.ErrNotExist. Nil: nothing is remembered.
	Recall func(key string) ([]byte, error)
	// Known holds, for each key that Recall knows, the modification time that its file had. Nil: nothing is remembered.
	Known map[string]time.Time
}

// Loader reads issuerDir and specDir again and again, and only what changed. It is for one goroutine.
type Loader struct{}

// LoadOptions say how much a load may take away. The zero value is that of a load nobody asked for.
type LoadOptions struct {
	Now            bool // an explicit reload: removals take effect at once
	AcceptRemovals bool // lets go of what Set.Held names
}

// Loaded is the outcome of one load.
type Loaded struct {
	Set   *Set      // the same pointer as the load before when nothing changed
	Again time.Time // when to load again at the latest; zero: nothing pends
	Good  []Source  // to be remembered for Recall and Known of the next run
	Gone  []string  // keys to be forgotten
}

// Source is the text of a good file.
type Source struct {
	Key     string // "certs/NAME.yaml" or "issuers/NAME.yaml"
	Text    []byte
	ModTime time.Time
}

// NewLoader does not touch the disk yet.
func NewLoader(c LoaderConfig) (*Loader, error) { return nil, errors.New("not built yet") }

// SetConfig replaces the configuration.
func (l *Loader) SetConfig(c *Config) {}

// Load never fails as a whole.
func (l *Loader) Load(now time.Time, o LoadOptions) *Loaded { return nil }

// LoadConfig reads acmed.yaml.
func LoadConfig(file string) (*Config, error) { return nil, errors.New("not built yet") }

// DefaultConfig returns what an empty file would mean.
func DefaultConfig(file string) *Config { return nil }

// CheckFiles lints.
func CheckFiles(c *Config, files []string) []*Problem { return nil }

// ParseCertificate parses one spec.
func ParseCertificate(c *Config, file string, text []byte) (*Certificate, error) {
	return nil, errors.New("not built yet")
}
