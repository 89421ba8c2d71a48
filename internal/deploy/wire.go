package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"acmed/internal/spec"
)

// The verbs of a request.
const (
	verbAccept = "accept" // read these specs, and keep them as the last good ones
	verbDeploy = "deploy" // deliver these certificates

	verbPresent = "present" // have a provider's program set this record
	verbCleanUp = "cleanup" // have it take the record away
)

const (
	maxRequest = 1 << 20  // bytes; 256 orders with a hundred fingerprints each need less
	maxReply   = 32 << 20 // bytes
)

// A request is all that the daemon says in one connection: one JSON value, then EOF.
type request struct {
	Verb   string  `json:"verb"`
	Orders []Order `json:"orders,omitempty"`
	Record *Record `json:"record,omitempty"` // of verbPresent and verbCleanUp, which have no orders
}

// A reply is all that the helper says: one JSON value, then EOF. Its answers are in the order of the request; one about a
// record has none.
type reply struct {
	Answers []Answer `json:"answers,omitempty"`
	// Problem is why the request as a whole was refused; "": see Answers.
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

var (
	orderFingerprint = regexp.MustCompile(`^[0-9a-f]{32}$`) // of a spec.Target
)

// readRequest reads a request to its end. What it returns names certificates, each once, and nothing else.
func readRequest(r io.Reader) (*request, error) {
	text, err := readAll(r, maxRequest)
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	var q request
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&q); err != nil {
		return nil, fmt.Errorf("decoding the request: %.200s", err.Error()) // which may quote all of it
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decoding the request: something follows it")
	}
	return &q, q.check()
}

// readAll reads to the end, which must come within so many bytes.
func readAll(r io.Reader, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("over %d bytes", most)
	}
	return text, err
}

func (q *request) check() error {
	switch q.Verb {
	case verbAccept, verbDeploy:
	case verbPresent, verbCleanUp:
		return q.checkRecord()
	default:
		return fmt.Errorf("checking the request: unknown verb %.40q", q.Verb)
	}
	if q.Record != nil {
		return errors.New("checking the request: a record is for " + verbPresent + " and " + verbCleanUp + " only")
	}
	if n := len(q.Orders); n == 0 || n > MaxOrders {
		return fmt.Errorf("checking the request: %d orders, and it takes 1 to %d", n, MaxOrders)
	}
	seen := make(map[string]bool, len(q.Orders))
	for i := range q.Orders {
		o := &q.Orders[i]
		if err := o.check(q.Verb); err != nil {
			return fmt.Errorf("checking the request: order %d: %w", i, err)
		}
		if seen[o.Name] {
			return fmt.Errorf("checking the request: order %d: %s is named twice", i, o.Name)
		}
		seen[o.Name] = true
	}
	return nil
}

func (q *request) checkRecord() error {
	if q.Record == nil || len(q.Orders) > 0 {
		return errors.New("checking the request: " + q.Verb + " takes one record, and nothing else")
	}
	if err := q.Record.check(q.Verb); err != nil {
		return fmt.Errorf("checking the request: %w", err)
	}
	return nil
}

func (o *Order) check(verb string) error {
	if !spec.ValidName(o.Name) {
		return fmt.Errorf("%.140q is not the name of a certificate", o.Name)
	}
	lists := [][]string{o.Done, o.Wait, o.Ended, o.Again}
	if verb == verbAccept && len(slices.Concat(lists...)) > 0 {
		return errors.New("done, wait, ended and again are for " + verbDeploy + " only")
	}
	for _, list := range lists {
		for _, f := range list {
			if !orderFingerprint.MatchString(f) {
				return fmt.Errorf("%.40q is not a fingerprint", f)
			}
		}
	}
	return nil
}

// size is at least how many bytes the order takes in a request.
func (o *Order) size() int {
	const fields, each = 64, 35 // the keys and their punctuation; a fingerprint with quotes and comma
	return fields + len(o.Name) + each*(len(o.Done)+len(o.Wait)+len(o.Ended)+len(o.Again))
}

// split cuts orders into requests. They have passed check, for one that has not spoils its request for the others.
func split(verb string, orders []Order) (requests []*request) {
	var q *request
	size := 0
	for _, o := range orders {
		n := o.size()
		if q == nil || len(q.Orders) == MaxOrders || size+n > maxRequest {
			q, size = &request{Verb: verb}, 64
			requests = append(requests, q)
		}
		q.Orders, size = append(q.Orders, o), size+n
	}
	return requests
}

// encode makes a reply of at most so many bytes, for which what commands said is cut short, at the beginning.
func (p *reply) encode(most int) ([]byte, error) {
	for keep := 64 << 10; ; keep /= 4 {
		text, err := json.Marshal(p)
		if err != nil || len(text) <= most {
			return text, err
		}
		if keep == 0 {
			return json.Marshal(&reply{Problem: "the answer is too long", Hint: "ask about fewer certificates at once"})
		}
		p.shorten(keep / 4)
	}
}

// shorten leaves so many bytes of what each command said.
func (p *reply) shorten(keep int) {
	for i := range p.Answers {
		for j := range p.Answers[i].Results {
			output := &p.Answers[i].Results[j].Output
			*output = strings.ToValidUTF8((*output)[max(0, len(*output)-keep):], "")
		}
	}
}
