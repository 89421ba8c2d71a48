package reconcile

import (
	"context"
	"sync"
)

// turnstile counts who asks an issuer with the key of its account, and keeps them out while that changes. The zero
// turnstile is open.
type turnstile struct {
	mu     sync.Mutex
	inside int
	shut   chan struct{} // closed when it opens again; nil: it is open
	empty  chan struct{} // closed when the last one leaves; nil: nobody waits for that
}

// enter waits until it is open. Who gets no error leaves.
func (t *turnstile) enter(ctx context.Context) error {
	for {
		t.mu.Lock()
		opened := t.shut
		if opened == nil {
			t.inside++
		}
		t.mu.Unlock()
		if opened == nil {
			return nil
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *turnstile) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inside--; t.inside == 0 && t.empty != nil {
		close(t.empty)
		t.empty = nil
	}
}

// close lets nobody in and waits until nobody is inside. Unless it returns an error, open opens it again. One at a time
// may close it.
func (t *turnstile) close(ctx context.Context) error {
	t.mu.Lock()
	t.shut = make(chan struct{})
	empty := make(chan struct{})
	if t.inside > 0 {
		t.empty = empty
	} else {
		close(empty)
	}
	t.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		t.open()
		return ctx.Err()
	}
}

func (t *turnstile) open() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.shut)
	t.shut, t.empty = nil, nil
}
