package control

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// This file owns how the words of others, such as an error of a CA or of a hook, become a part of one line.

// Reasons that say no more than the phase of their certificate does.
const (
	AttemptFailed = "last attempt failed"
	RetriedDaily  = "permanent error; retried once a day"
	DeployBroken  = "deployment failed"
	CheckRefused  = "check failed with the newest revision; the previous one is active"
	NeverValid    = "invalid spec; no earlier valid version"
)

// Standing is the end of the Reason of a certificate with a placeholder.
const Standing = "placeholder until the first certificate"

// lineBreak is what would end a line or a cell, with the white space around it.
var lineBreak = regexp.MustCompile(`\s*[\n\r\t\v\f\x{85}\x{2028}\x{2029}]\s*`)

// OneLine returns s without line breaks, tabs or anything else that moves a terminal's cursor.
func OneLine(s string) string {
	s = lineBreak.ReplaceAllString(strings.Trim(s, "\n\r\t\v\f\u0085\u2028\u2029"), " ")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// target is the beginning of an error of a target, up to the last part of its path, which says enough.
var target = regexp.MustCompile(`^((?:file|run) )/[^ :]*/`)

var (
	// tried is what a program did, before what came of it. The name is in the line already, and a token means nothing.
	tried = regexp.MustCompile(`\b(?:Get|Head|Post|Fetching) "?https?://[^\s"]*[^\s":]"?: | from "?https?://[^\s"]*/\.well-known/acme-challenge/[^\s":]*[^\s":.]"?`)
	// connecting is how Go calls that, around the address that it is about.
	connecting = regexp.MustCompile(`\bdial (?:tcp|udp)[46]?:? (?:([^\s]+: )connect: )?`)
)

// Cause returns in one line why the certificate is in its phase: the error first, and nothing that the phase or the name
// beside it says.
func (s *Summary) Cause() string {
	cause, reason := s.withoutName(OneLine(s.Error)), OneLine(s.Reason)
	cause = target.ReplaceAllString(cause, "$1")
	cause = connecting.ReplaceAllString(tried.ReplaceAllString(cause, ""), "$1")
	switch why := strings.TrimSuffix(reason, "; "+Standing); {
	case cause == "":
		return reason
	case s.Phase == Valid, strings.Contains(cause, why),
		slices.Contains([]string{AttemptFailed, RetriedDaily, DeployBroken, CheckRefused, NeverValid}, why):
		return cause
	case strings.Contains(why, cause):
		return reason
	}
	return cause + "; " + reason
}

// withoutName is an error without the name that it is about, where that is the only one.
func (s *Summary) withoutName(cause string) string {
	if len(s.Names) != 1 || s.MoreNames > 0 {
		return cause
	}
	cause = strings.TrimPrefix(cause, s.Names[0]+": ")
	return strings.Replace(cause, ": "+s.Names[0]+": ", ": ", 1)
}
