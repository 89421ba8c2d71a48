package spec

import (
	"errors"
	"io/fs"
)

// Beside is a file that the text of a spec names and that is a part of the spec, as its reader found it.
type Beside struct {
	Text          []byte
	Problem, Hint string // why there is no text; "": there is
}

// ReadBeside reads the files that the text of a spec names and that are a part of it, by their paths: csrFile. It reads
// them with the rights of this process, for a Draft in a process that has others.
func ReadBeside(text []byte) map[string]Beside {
	root, _ := (&document{}).parse(text)
	if root == nil || !root.has("csrFile") {
		return nil
	}
	path, wrong := parsePath(root.at("csrFile").Value)
	if wrong != nil {
		return nil
	}
	var b Beside
	var err error
	if b.Text, err = readText(path); err != nil {
		b.Text, b.Problem, b.Hint = nil, "does not exist", "put the CSR there"
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f := faultOf(err)
		b.Problem, b.Hint = f.problem, f.hint
	}
	if errors.Is(err, fs.ErrPermission) {
		b.Hint = "run the command as a user who may read it"
	}
	return map[string]Beside{path: b}
}

// passed reads from files that somebody else has read. Nothing on the disk is looked at: the answer would be about files
// that only this process may read.
func passed(files map[string]Beside) func(path string) ([]byte, stamp, error) {
	return func(path string) ([]byte, stamp, error) {
		b, ok := files[path]
		switch {
		case !ok:
			return nil, stamp{}, &refusal{"was not passed with the draft", "use acmed plan, which passes it"}
		case b.Problem != "":
			return nil, stamp{}, &refusal{b.Problem, b.Hint}
		case len(b.Text) > maxSize:
			return nil, stamp{}, &refusal{"over 64 KiB", "a file describes one thing only"}
		}
		return b.Text, stamp{}, nil
	}
}
