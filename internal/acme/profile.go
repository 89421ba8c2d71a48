package acme

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// offering returns the directory, if the profile is in it or is none. One that is missing may be new: so the directory
// is read once more before the order is refused.
func (c *Client) offering(ctx context.Context, profile string) (*directory, error) {
	d, err := c.directory(ctx)
	if err != nil || d.offers(profile) {
		return d, err
	}
	c.doubtProfiles()
	if d, err = c.directory(ctx); err != nil || d.offers(profile) {
		return d, err
	}
	return nil, &Error{Kind: Permanent, Op: OpNewOrder, Problem: problemInvalidProfile,
		Detail: "the CA does not offer the profile " + profile, Hint: d.instead(profile)}
}

func (d *directory) offers(profile string) bool {
	_, ok := d.Profiles[profile]
	return ok || profile == ""
}

// instead says what to do about a profile that the CA has refused, by what it offers now if it tells, else by d.
func (c *Client) instead(ctx context.Context, d *directory, profile string) string {
	c.doubtProfiles()
	if now, err := c.directory(ctx); err == nil {
		d = now
	}
	return d.instead(profile)
}

// doubtProfiles has the directory read anew, unless that was done just now: many certificates may ask for one profile.
func (c *Client) doubtProfiles() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Until(c.until) < directoryLife-time.Minute {
		c.until = time.Time{}
	}
}

// instead lists what the CA offers but for the profile that it has refused.
func (d *directory) instead(profile string) string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(d.Profiles)), func(name string) bool { return name == profile })
	switch {
	case len(names) == 0 && d.offers(profile):
		return "remove profile from the spec: the CA lists this one alone, and refuses it to this account or for these names"
	case len(names) == 0:
		return "remove profile from the spec: the CA offers none"
	}
	const most, width = 8, 100
	var list []string
	for _, name := range names[:min(len(names), most)] {
		list = append(list, shortened(name, width)+described(d.Profiles[name], width))
	}
	if more := len(names) - most; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return "set profile in the spec to one that the CA offers, or remove it; it offers: " + strings.Join(list, ", ")
}

// described is the CA's description of a profile, in brackets.
func described(text string, width int) string {
	if text == "" {
		return ""
	}
	return " (" + shortened(text, width) + ")"
}

func shortened(text string, width int) string {
	if all := []rune(text); len(all) > width {
		return string(all[:width]) + "…"
	}
	return text
}
