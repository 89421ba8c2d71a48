package notify

import (
	"fmt"
	"time"
)

const (
	mostNews = 100      // in a message
	mostText = 64 << 10 // bytes of news in a message: an environment variable of a program may hold 128 KiB
)

// Message is what is sent, as JSON or in words. Chat systems that take {"text": …} show it as it is.
type Message struct {
	Host    string    `json:"host"`
	Time    time.Time `json:"time"`
	Subject string    `json:"subject"` // one line
	Text    string    `json:"text"`    // Subject, and a line or more for each of News
	News    []News    `json:"news"`
	More    int       `json:"more,omitzero"` // how many News leaves out
}

func newMessage(host string, news []News, now time.Time) Message {
	m := Message{Host: host, Time: now.Round(0), Subject: subject(host, news), News: news[:fitting(news)]}
	m.More = len(news) - len(m.News)
	m.Text = m.Subject + "\n" + text(m.News)
	if m.More > 0 {
		m.Text += fmt.Sprintf("and %d more: acmed list --failing\n", m.More)
	}
	return m
}

// fitting is how many of news a message lists, which is not none: details of a CA may have 4 KiB.
func fitting(news []News) int {
	size := 0
	for i, e := range news[:min(len(news), mostNews)] {
		if size += len(e.line()); i > 0 && size > mostText {
			return i
		}
	}
	return min(len(news), mostNews)
}

// subject counts what is bad, or tells of the one certificate that it is all about.
func subject(host string, news []News) string {
	if len(news) == 1 {
		return fmt.Sprintf("acmed on %s: %s is %s", host, news[0].Cert, news[0].Event)
	}
	bad := map[string]bool{}
	for _, e := range news {
		if e.Event != Recovered {
			bad[e.Cert] = true
		}
	}
	switch len(bad) {
	case 0:
		return fmt.Sprintf("acmed on %s: all is well again", host)
	case 1:
		return fmt.Sprintf("acmed on %s: 1 certificate needs you", host)
	default:
		return fmt.Sprintf("acmed on %s: %d certificates need you", host, len(bad))
	}
}
