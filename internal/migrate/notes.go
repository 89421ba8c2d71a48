package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// This file makes notes and errors of another client's settings. Any value may be a secret: only keys are shown.

// What an operator does about keys that are not imported.
const (
	checkNeed   = "check whether it is still needed"
	stopsServer = "check whether it is still needed: acmed stops no server to answer a challenge, and deploy.run comes after a renewal"
	ownAccount  = "acmed makes an account of its own"
)

// keyPattern is a key that can be shown. Where a file is not what it should be, a key may hold anything.
var keyPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)

// keyName is a key as notes show it.
func keyName(key string) string {
	if keyPattern.MatchString(key) {
		return key
	}
	return "a key with an unusual name"
}

// isSet notes that a key has a value that is not imported.
func (c *Certificate) isSet(key, do string) { c.note(do, "%s is set", keyName(key)) }

// unreadable notes the lines of a file that were not read.
func unreadable(note func(do, what string, args ...any), errs []error) {
	for _, err := range errs {
		note("check what it does: acmed executes no shell code", "%v", err)
	}
}

// valueFault is a fault of a value, without that value.
func valueFault(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(e.Value, " ") // a number may follow
		return fmt.Errorf("json: cannot unmarshal %s into %s", kind, e.Type)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok && !strings.HasPrefix(e.Error(), "unexpected end") {
		return fmt.Errorf("not JSON at byte %d", e.Offset)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		return e.Err
	}
	return err
}
