package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"acmed/internal/acl"
	"acmed/internal/spec"
)

// TestCheckWarnsOfReadersThatAModeShutsOut is about keys in a directory whose default access control list lets in more
// than their owner.
func TestCheckWarnsOfReadersThatAModeShutsOut(t *testing.T) {
	dir := t.TempDir()
	list := acl.List{{Tag: acl.Owner, Perm: 7}, {Tag: acl.NamedUser, Perm: 4, ID: 4001}, {Tag: acl.Group, Perm: 5}, {Tag: acl.NamedGroup, Perm: 4, ID: 4002}, {Tag: acl.Mask, Perm: 5}, {Tag: acl.Other}}
	if err := unix.Setxattr(dir, "system.posix_acl_default", list.Encode(), 0); err != nil {
		t.Fatal(err)
	}
	file := dir + "/www.example.com.yaml"
	text := "deploy: {files: [{path: " + dir + "/key, content: privkey}, {path: " + dir + "/crt, content: cert}]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config := spec.DefaultConfig(dir + "/acmed.yaml")
	config.SpecDir, config.IssuerDir, config.DNSDir = dir+"/certs.d", dir+"/issuers.d", dir+"/dns.d"
	for _, files := range [][]string{{file}, {file, dir + "/missing.yaml"}} {
		got := shutOut(config, files)
		if len(got) != 1 || !strings.HasPrefix(got[0], "www.example.com: mode 0600 of "+dir+"/key shuts out user:4001, group:4002 of the default access control list of "+dir+": ") {
			t.Errorf("got %q", got)
		}
		shown := checkedText(checked{Files: 1, Warnings: got})
		if !strings.HasPrefix(shown, "1 file, all good\nwarnings:\n  www.example.com: mode 0600") {
			t.Errorf("it shows\n%s", shown)
		}
	}
}

// TestCheckOfAnOrdinaryUserBlamesNoStateThatItMayNotRead is about a group that may read the state directory, or a part of it.
func TestCheckOfAnOrdinaryUserBlamesNoStateThatItMayNotRead(t *testing.T) {
	denied := func(path string) error {
		return fmt.Errorf("reading %s: %w", path, &fs.PathError{Op: "open", Path: path, Err: syscall.EACCES})
	}
	damaged := errors.New("ledger/a.json: its checksum is wrong")
	for sentence, c := range map[string]struct {
		errs   []error
		want   []string
		hidden bool
	}{
		"nothing is hidden":                   {errs: nil},
		"a directory is hidden":               {errs: []error{denied("accounts")}, hidden: true},
		"a key is hidden":                     {errs: []error{denied("certs/a/rev/0001/privkey.pem")}, hidden: true},
		"a fault beside what is hidden stays": {errs: []error{denied("accounts"), damaged}, want: []string{damaged.Error()}, hidden: true},
	} {
		if got, hidden := stateFindings(c.errs); !slices.Equal(got, c.want) || hidden != c.hidden {
			t.Errorf("%s: got %q, %t", sentence, got, hidden)
		}
	}
}
