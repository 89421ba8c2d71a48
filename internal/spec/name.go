package spec

// NameRule is what ValidName accepts, in words.
const NameRule = "up to 128 lower-case letters, digits, dots, _ and -, the first a letter or digit, no two dots in a row"

// ValidName reports whether name may be the name of a certificate, an issuer or a DNS provider. Such a name is part of
// paths: it is not hidden, leads nowhere else and has no meaning to a shell. docs/state-directory.md has it as a pattern.
func ValidName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '_' || c == '-' || c == '.' && name[i-1] != '.'):
		default:
			return false
		}
	}
	return name != "" && len(name) <= 128
}
