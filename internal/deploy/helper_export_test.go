package deploy

import (
	"io"
	"os"
	"time"
)

// TrustedUID has trust open a file, and a folder, for uid.
func Trusted(uid uint32, file string) ([]byte, error) {
	text, _, err := trust{uid}.readFile(file)
	return text, err
}

// TrustedFolder opens a folder as the helper does.
func TrustedFolder(uid uint32, dir string) (*os.File, error) { return trust{uid}.openDir(dir) }

// ReadRequest returns what a request asks for.
func ReadRequest(r io.Reader) (verb string, orders []Order, err error) {
	q, err := readRequest(r)
	if err != nil {
		return "", nil, err
	}
	return q.Verb, q.Orders, nil
}

// ReadRecord returns what a request about a record asks for.
func ReadRecord(r io.Reader) (verb string, record *Record, err error) {
	q, err := readRequest(r)
	if err != nil {
		return "", nil, err
	}
	return q.Verb, q.Record, nil
}

// Requests returns how many orders each request holds into which orders are cut, and how long it is.
func Requests(encode func(v any) []byte, orders []Order) (counts, sizes []int) {
	for _, q := range split(verbDeploy, orders) {
		counts, sizes = append(counts, len(q.Orders)), append(sizes, len(encode(q)))
	}
	return counts, sizes
}

// EncodeReply encodes answers in so many bytes at most.
func EncodeReply(answers []Answer, most int) ([]byte, error) {
	return (&reply{Answers: answers}).encode(most)
}

// StepBy has every change of the helper's own folder go through step.
func (h *Helper) StepBy(step func(op, path string, do func() error) error) { h.step = step }

// WaitFor sets how long a request may take to come in, and an answer to go out.
func (h *Helper) WaitFor(d time.Duration) { h.patience = d }
