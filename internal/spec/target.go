package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Stage is a part of a deployment. One begins when every target of those before it has accepted the certificate.
type Stage uint8

// The stages, in their order.
const (
	StageFiles Stage = iota
	StageCheck
	StageReload
	StageRun
	StageProbe
)

// Target is one consumer of a certificate: an element of its deploy block.
type Target struct {
	Key         string // unique in its certificate, for people and for records: "file /etc/tls.pem", "reload nginx.service", …
	Stage       Stage
	Index       int    // in the list of its stage; of StageReload, see Deploy.Unit
	Fingerprint string // changes whenever the target has to be served again
}

// maxTargetKey is the length in bytes from which a key is cut short.
const maxTargetKey = 200

// Targets lists who has to accept the certificate whose leaf has this SHA-256 checksum, in the order of the stages.
// Whoever reads the files is served again when one of them changes, and a probe looks again when anything does.
// What is listed twice is one target.
func (d *Deploy) Targets(leaf string) []Target {
	t := targets{leaf: leaf, seen: map[string]int{}}
	for i, f := range d.Files {
		t.add(StageFiles, i, "file "+f.Path, f, nil)
	}
	if len(d.Check) > 0 {
		t.add(StageCheck, 0, "check", d.Check, d.Files)
	}
	for i, unit := range d.Reload {
		t.add(StageReload, i, "reload "+unit, unit, d.Files)
	}
	for i, unit := range d.Restart {
		t.add(StageReload, len(d.Reload)+i, "restart "+unit, []string{"restart", unit}, d.Files)
	}
	for i, r := range d.Run {
		t.add(StageRun, i, "run "+strings.Join(r.Command, " "), r, d.Files)
	}
	for i, p := range d.Probe {
		t.add(StageProbe, i, probeKey(p), p, d.seen())
	}
	return t.list
}

// seen is what a probe may see a change of. A list that came later counts where it is not empty: what accepted a
// certificate before an upgrade has accepted it.
func (d *Deploy) seen() []any {
	seen := []any{d.Files, d.Reload, d.Run}
	if len(d.Restart) > 0 {
		seen = append(seen, d.Restart)
	}
	return seen
}

// Unit is the unit of a target of StageReload, and whether it is to be restarted.
func (d *Deploy) Unit(t Target) (unit string, restart bool) {
	if i := t.Index - len(d.Reload); i >= 0 {
		return d.Restart[i], true
	}
	return d.Reload[t.Index], false
}

func probeKey(p Probe) string {
	words := slices.DeleteFunc([]string{"probe", p.Address, p.StartTLS, p.ServerName}, func(s string) bool { return s == "" })
	return strings.Join(words, " ")
}

// ParseProbeKey returns the probe whose target has that key; false for the keys of other targets.
func ParseProbeKey(key string) (p Probe, ok bool) {
	words := strings.Fields(key)
	if len(words) < 2 || words[0] != "probe" || strings.Contains(key, "…") {
		return p, false
	}
	p.Address = words[1]
	for _, word := range words[2:] {
		switch {
		case strings.HasPrefix(word, "#"): // the key came up twice
		case slices.Contains(probeKind.schema.Properties["startTLS"].Enum, any(word)):
			p.StartTLS = word
		default:
			p.ServerName = word
		}
	}
	return p, true
}

// targets collects targets for one leaf.
type targets struct {
	leaf string
	list []Target
	seen map[string]int // fingerprints, and how often a key came up
}

// add adds a target that is what it says it is, and depends on something.
func (t *targets) add(stage Stage, index int, key string, is, on any) {
	text, _ := json.Marshal([]any{stage, is, on, t.leaf}) // of strings and numbers only: it cannot fail
	sum := sha256.Sum256(text)
	fingerprint := hex.EncodeToString(sum[:16])
	if t.seen[fingerprint]++; t.seen[fingerprint] > 1 {
		return
	}
	if len(key) > maxTargetKey {
		key = strings.ToValidUTF8(key[:maxTargetKey], "") + "…"
	}
	if t.seen[key]++; t.seen[key] > 1 {
		key += " #" + strconv.Itoa(t.seen[key])
	}
	t.list = append(t.list, Target{Key: key, Stage: stage, Index: index, Fingerprint: fingerprint})
}

// Next is when the window is open: now, or the next time that it opens. A nil window is always open.
func (w *Window) Next(now time.Time) time.Time {
	if w == nil {
		return now
	}
	zone := time.Local
	if w.Timezone != "" {
		if z, err := time.LoadLocation(w.Timezone); err == nil { // the parser has loaded it before
			zone = z
		}
	}
	clock, _ := time.Parse("15:04", w.Start) // the parser has seen to it
	day := now.In(zone)
	var opens []time.Time
	for d := -1; d <= 2; d++ {
		open := time.Date(day.Year(), day.Month(), day.Day()+d, clock.Hour(), clock.Minute(), 0, 0, zone)
		switch {
		case open.After(now):
			opens = append(opens, open)
		case now.Before(open.Add(w.Duration)):
			return now
		}
	}
	return slices.MinFunc(opens, time.Time.Compare)
}
