package migrate

import (
	"regexp"
	"strings"
)

// shellName is what can be assigned to.
var shellName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// tooLong is what variables in variables can become.
const tooLong = "a value that is too long"

// parseShell reads the assignments of a file that a shell was to read: NAME=VALUE, with quotes, and variables that were
// set before. All else would have to be executed, which is not done: each such line is an error, and the rest is read.
// vars are set, and what is read is added to them.
func parseShell(file, text string, vars map[string]string) (errs []error) {
	at := 0
	for line := range strings.Lines(text) {
		at++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, found := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		problem := "not an assignment"
		if found && shellName.MatchString(name) {
			value, problem = shellWord(value, vars)
		}
		if problem != "" {
			errs = append(errs, &SyntaxError{file, at, problem})
			continue
		}
		vars[name] = value
	}
	return errs
}

// shellWord reads the word of an assignment; what follows it may be a comment.
func shellWord(s string, vars map[string]string) (word, problem string) {
	var b strings.Builder
	for s != "" && problem == "" {
		if b.Len() > maxText {
			return "", tooLong
		}
		var part, rest string
		switch c := s[0]; {
		case c == ' ' || c == '\t':
			if rest = strings.TrimSpace(s); rest != "" && rest[0] != '#' {
				return "", "a word behind the value"
			}
			return b.String(), ""
		case c == '\'':
			end := strings.IndexByte(s[1:], '\'')
			if end < 0 {
				return "", "a quote without its end"
			}
			part, rest = s[1:end+1], s[end+2:]
		case c == '"':
			part, rest, problem = shellQuoted(s[1:], vars)
		case c == '$':
			part, rest, problem = shellVariable(s, vars)
		case c == '\\' && len(s) > 1:
			part, rest = s[1:2], s[2:]
		case strings.IndexByte("`;&|<>()\\", c) >= 0:
			return "", "shell code"
		default:
			part, rest = s[:1], s[1:]
		}
		b.WriteString(part)
		s = rest
	}
	return b.String(), problem
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
		case c == '\\' && len(s) > 1 && strings.IndexByte("\"\\$`", s[1]) >= 0:
			s = s[1:]
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return "", "", "a quote without its end"
}

var variable = regexp.MustCompile(`^\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})`)

// shellVariable reads $NAME or ${NAME}.
func shellVariable(s string, vars map[string]string) (value, rest, problem string) {
	m := variable.FindStringSubmatch(s)
	if m == nil {
		return "", "", "shell code"
	}
	value, known := vars[m[1]+m[2]]
	if !known {
		return "", "", "$" + m[1] + m[2] + " is not known here"
	}
	return value, s[len(m[0]):], ""
}
