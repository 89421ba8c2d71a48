package newfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"acmed/internal/newfile"
)

func TestAFileAppearsWholeOrNotAtAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new.d")
	file := filepath.Join(dir, "a.yaml")
	for _, step := range []struct {
		sentence, text string
		replace        bool
		want           string // of the file afterwards
		fails          error
	}{
		{"the directory is created", "one", false, "one", nil},
		{"another file is not replaced", "two", false, "one", fs.ErrExist},
		{"unless the caller allows it", "three", true, "three", nil},
	} {
		if err := newfile.Put(file, []byte(step.text), 0o640, step.replace); !errors.Is(err, step.fails) {
			t.Errorf("%s: the error is %v", step.sentence, err)
		}
		text, err := os.ReadFile(file)
		if err != nil || string(text) != step.want {
			t.Errorf("%s: the file holds %q, error %v", step.sentence, text, err)
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("temporary files stay: %v, error %v", left, err)
	}
	if err := newfile.Put(filepath.Join(file, "below"), nil, 0o600, true); err == nil {
		t.Error("a file is a directory")
	}
}

func TestADirectoryThatDoesNotExistIsWritableIfItsParentIs(t *testing.T) {
	dir := t.TempDir()
	if err := newfile.Writable(filepath.Join(dir, "a", "b")); err != nil {
		t.Error(err)
	}
	if err := newfile.Writable("/proc/self/nothing"); err == nil {
		t.Error("/proc can be written to")
	}
}
