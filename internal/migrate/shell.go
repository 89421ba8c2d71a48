package migrate

import (
	"errors"
	"regexp"
	"strings"
)

// shellName is what can be assigned to.
var shellName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// tooLong is what variables in variables can become.
const tooLong = "a value that is too long"

// parseShell reads the assignments of a file that a shell was to read: NAME=VALUE, with quotes that may go on over
// further lines, and variables that were set before. All else would have to be executed, which is not done: each such
// line is an error without any value, and the rest is read. vars are set, and what is read is added to them. A variable
// whose value cannot be read is set no more.
func parseShell(file, text string, vars map[string]string) (errs []error) {
	at := 0
	for text != "" {
		at++
		line, _, _ := strings.Cut(text, "\n")
		assignment := strings.TrimPrefix(strings.TrimLeft(text, " \t\r"), "export ")
		name, value, found := strings.Cut(assignment, "=")
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
			text = text[min(len(line)+1, len(text)):]
			continue
		}
		if !found || !shellName.MatchString(name) {
			errs = append(errs, &SyntaxError{File: file, Line: at, Problem: "not an assignment"})
			text = text[min(len(line)+1, len(text)):]
			continue
		}
		word, rest, problem := shellWord(value, vars)
		if problem != "" {
			errs = append(errs, &SyntaxError{file, at, name, problem})
			delete(vars, name)
			text = text[min(len(line)+1, len(text)):]
			continue
		}
		vars[name] = word
		at += strings.Count(text[:len(text)-len(rest)], "\n") - 1
		text = rest
	}
	return errs
}

// shellWord reads the word of an assignment, and returns what begins on the line after it. A comment may follow the word.
func shellWord(s string, vars map[string]string) (word, rest, problem string) {
	var b strings.Builder
	for s != "" {
		if b.Len() > maxText {
			return "", "", tooLong
		}
		var part string
		switch c := s[0]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			line, rest, _ := strings.Cut(s, "\n")
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				return "", "", "a word behind the value"
			}
			return b.String(), rest, ""
		case c == '\'':
			end := strings.IndexByte(s[1:], '\'')
			if end < 0 {
				return "", "", "a quote without its end"
			}
			part, s = s[1:end+1], s[end+2:]
		case c == '"':
			part, s, problem = shellQuoted(s[1:], vars)
		case c == '$':
			part, s, problem = shellVariable(s, vars)
		case strings.HasPrefix(s, "\\\n"):
			s = s[2:]
		case c == '\\' && len(s) > 1:
			part, s = s[1:2], s[2:]
		case strings.IndexByte("`;&|<>()\\", c) >= 0:
			return "", "", "shell code"
		default:
			part, s = s[:1], s[1:]
		}
		if problem != "" {
			return "", "", problem
		}
		b.WriteString(part)
	}
	return b.String(), "", ""
}

// shellQuoted reads up to the end of double quotes.
func shellQuoted(s string, vars map[string]string) (part, rest, problem string) {
	var b strings.Builder
	for s != "" {
		switch c := s[0]; {
		case b.Len() > maxText:
			return "", "", tooLong
		case c == '"':
			return b.String(), s[1:], ""
		case c == '`':
			return "", "", "shell code"
		case c == '$':
			if part, s, problem = shellVariable(s, vars); problem != "" {
				return "", "", problem
			}
			b.WriteString(part)
			continue
		case strings.HasPrefix(s, "\\\n"):
			s = s[2:]
			continue
		case c == '\\' && len(s) > 1 && strings.IndexByte("\"\\$`", s[1]) >= 0:
			s = s[1:]
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return "", "", "a quote without its end"
}

var variable = regexp.MustCompile(`^\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})`)

// shellVariable reads $NAME or ${NAME}. An unknown name is not shown: it may be a part of a password.
func shellVariable(s string, vars map[string]string) (value, rest, problem string) {
	m := variable.FindStringSubmatch(s)
	if m == nil {
		return "", "", "shell code"
	}
	value, known := vars[m[1]+m[2]]
	if !known {
		return "", "", "a variable that is not set here"
	}
	return value, s[len(m[0]):], ""
}

// unread returns the keys that parseShell could not read.
func unread(errs []error) map[string]bool {
	keys := map[string]bool{}
	for _, err := range errs {
		if e, ok := errors.AsType[*SyntaxError](err); ok && e.Key != "" {
			keys[e.Key] = true
		}
	}
	return keys
}
