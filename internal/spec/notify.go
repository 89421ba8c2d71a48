package spec

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

var notifyKind = object(checkNotify,
	key("command", "a program, as a list of words, that gets each message as JSON on its standard input",
		func(n *Notify) *[]string { return &n.Command }, argvKind),
	key("url", "where each message is sent as JSON by POST",
		func(n *Notify) *string { return &n.URL }, webhookKind),
	key("urlFile", "a file that holds that URL, where it is a secret",
		func(n *Notify) *string { return &n.URLFile }, anyPathKind),
	key("tokenFile", "a file that holds a bearer token for the webhook",
		func(n *Notify) *string { return &n.TokenFile }, anyPathKind),
	key("events", "what is told: `failing`, `undelivered`, `expiring`, `recovered`",
		func(n *Notify) *[]string { return &n.Events }, list("a list of events", oneOf("failing", "undelivered", "expiring", "recovered"))),
	key("expiring", "shares of the lifetime left at which an end is told of",
		func(n *Notify) *[]float64 { return &n.Expiring }, list("a list of percentages", shareKind)),
)

func checkNotify(v value, n *Notify) {
	switch {
	case n.URL != "" && n.URLFile != "":
		v.at("urlFile").fault("there is a url already", "keep one of them")
	case v.has("tokenFile") && !n.webhook():
		v.at("tokenFile").fault("is for a webhook only", "give a url, or remove it")
	case !n.Wanted() && (v.has("events") || v.has("expiring")):
		v.fault("nobody is told", "give a command or a url")
	case n.TokenFile != "" && strings.HasPrefix(strings.ToLower(n.URL), "http://"):
		v.at("url").fault("a token would be sent unencrypted", "use https")
	}
}

var webhookKind = showing(shownWebhook, like(`^[Hh][Tt][Tt][Pp][Ss]?://.`, scalar("an http or https URL", "!!str", parseWebhook)))

func parseWebhook(s string) (string, *fault) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return "", &fault{fmt.Sprintf("%q is not an http or https URL", shorten(s)), "such as https://www.example.com/path"}
	}
	if u.User != nil {
		return "", &fault{"a password in a URL can be read by everybody", "write it to a file and name that in urlFile or tokenFile"}
	}
	return parseText(s)
}

var shareKind = like(percentText.String(), scalar("a percentage such as 20%", "!!str", parseShare))

// parseShare reads a percentage of a lifetime.
func parseShare(s string) (float64, *fault) {
	n, _ := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if !percentText.MatchString(s) || n < 1 || n > 99 {
		return 0, &fault{fmt.Sprintf("%q is not a percentage from 1%% to 99%%", shorten(s)), "such as 33%, the part of the lifetime that is left"}
	}
	return n / 100, nil
}
