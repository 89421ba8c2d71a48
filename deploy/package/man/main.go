// Command man writes the man pages of the files and units into man5 and man8 of a folder. Those of the commands are
// written by `acmed man`.
//
// The pages are Markdown in this folder. {{keys "HEADING"}} in them stands for the tables below that heading of
// docs/spec.md, which a test keeps equal to what acmed reads.
package main

import (
	"bytes"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

//go:embed *.md
var pages embed.FS

const reference = "docs/spec.md"

func main() {
	date := flag.Int64("date", time.Now().Unix(), "`SECONDS` since 1970 that the pages are dated")
	version := flag.String("version", "", "`VERSION` of the program")
	flag.Parse()
	if err := write(flag.Arg(0), *version, time.Unix(*date, 0).UTC()); err != nil {
		fmt.Fprintln(os.Stderr, "writing man pages:", err)
		os.Exit(1)
	}
}

func write(dir, version string, date time.Time) error {
	if dir == "" {
		return errors.New("into which folder? give it as the argument")
	}
	spec, err := os.ReadFile(reference)
	if err != nil {
		return err
	}
	names, err := fs.Glob(pages, "*.md")
	if err != nil {
		return err
	}
	for _, name := range names {
		page := strings.TrimSuffix(name, ".md")
		section := strings.TrimPrefix(filepath.Ext(page), ".")
		text, err := render(name, string(spec))
		if err != nil {
			return err
		}
		title := fmt.Sprintf("%% %s %s %q %q %q\n", strings.ToUpper(strings.TrimSuffix(page, "."+section)), section,
			date.Format("January 2006"), "acmed "+version, "acmed")
		folder := filepath.Join(dir, "man"+section)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, page), md2man.Render([]byte(title+text)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render fills in the keys.
func render(name, spec string) (string, error) {
	t, err := template.New(name).Funcs(template.FuncMap{"keys": func(heading string) (string, error) {
		return keys(spec, heading)
	}}).ParseFS(pages, name)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = t.Execute(&out, nil)
	return out.String(), err
}

// keys makes a list of definitions of the rows below a heading.
func keys(spec, heading string) (string, error) {
	_, section, found := strings.Cut(spec, "\n## "+heading)
	if !found {
		return "", fmt.Errorf("%s has no heading %q", reference, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var out strings.Builder
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if !strings.HasPrefix(line, "| `") || len(cells) != 5 {
			continue
		}
		name, usual, meaning := strings.Trim(cells[1], " `"), strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])
		switch {
		case usual == "required":
			usual = "Required."
		case usual != "":
			usual = "Default: " + usual + "."
		}
		fmt.Fprintf(&out, "**%s**\n: %s. %s\n\n", name, upper(strings.TrimSuffix(meaning, ".")), usual)
	}
	if out.Len() == 0 {
		return "", fmt.Errorf("%s has no keys below %q", reference, heading)
	}
	return out.String(), nil
}

func upper(s string) string {
	if s == "" || s[0] == '`' {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
