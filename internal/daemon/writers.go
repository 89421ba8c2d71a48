package daemon

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"acmed/internal/spec"
)

// writerEvents are the events that show whether somebody is writing a file.
const writerEvents = unix.IN_CREATE | unix.IN_OPEN | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE

// createdFor is how long the event of opening may come after the event of creating that the same call causes.
const createdFor = 100 * time.Millisecond

// writers knows which files are being written. fsnotify does not report that a file was closed, hence an inotify instance of
// its own. Of a file whose writer it has not seen, it knows nothing.
type writers struct {
	file *os.File
	raw  syscall.RawConn
	done chan struct{} // is closed when no event is awaited any more
	news chan struct{} // has room for one: some files were closed

	mu     sync.Mutex // guards the following
	dirs   map[int32]string
	wds    map[string]int32
	files  map[string]writing
	closed []string // files that were closed since take
}

// writing is what the last event of a file shows.
type writing struct {
	state writeState
	at    time.Time // of the event
}

type writeState uint8

const (
	created writeState = iota // opened for writing if an event of opening follows, else a link
	opened
	whole
)

// newWriters returns nil and an error when the system has no inotify left.
func newWriters() (*writers, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	w := &writers{
		file: os.NewFile(uintptr(fd), "inotify"), done: make(chan struct{}), news: make(chan struct{}, 1),
		dirs: map[int32]string{}, wds: map[string]int32{}, files: map[string]writing{},
	}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, w.file.Close())
	}
	go w.run()
	return w, nil
}

// run reads events until close.
func (w *writers) run() {
	defer close(w.done)
	_ = w.raw.Read(func(fd uintptr) bool { // it fails when the file is closed
		w.drain(fd)
		return false
	})
}

func (w *writers) close() {
	if w != nil {
		_ = w.file.Close() // nothing was written
		<-w.done
	}
}

// watch begins with the events of a directory.
func (w *writers) watch(dir string) error {
	if w == nil {
		return nil
	}
	var err error
	control := w.raw.Control(func(fd uintptr) {
		w.mu.Lock()
		defer w.mu.Unlock()
		var wd int
		if wd, err = unix.InotifyAddWatch(int(fd), dir, writerEvents|unix.IN_ONLYDIR); err == nil {
			w.dirs[int32(wd)], w.wds[dir] = dir, int32(wd)
		}
	})
	return errors.Join(control, err)
}

// forget ends the watch of a directory.
func (w *writers) forget(dir string) {
	if w == nil {
		return
	}
	_ = w.raw.Control(func(fd uintptr) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if wd, known := w.wds[dir]; known {
			_, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) // the directory may be gone already
			w.drop(wd)
		}
	})
}

func (w *writers) drop(wd int32) {
	delete(w.wds, w.dirs[wd])
	delete(w.dirs, wd)
}

// state reports what is known about the writer of a file that changed last at that time. All events until now count.
func (w *writers) state(path string, changed time.Time) spec.Writing {
	if w == nil {
		return spec.Unseen
	}
	_ = w.raw.Control(w.drain) // it fails after close only
	w.mu.Lock()
	defer w.mu.Unlock()
	f, known := w.files[path]
	switch {
	case !known, f.state != opened && changed.After(f.at): // somebody on another machine has changed the file since
		return spec.Unseen
	case f.state == opened, f.state == created && time.Since(f.at) < createdFor:
		return spec.Open
	}
	if f.state == created { // by a link: whoever opens it now reads it
		w.files[path] = writing{whole, f.at}
	}
	return spec.Whole
}

// take returns the files that were closed since the last time.
func (w *writers) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	closed := w.closed
	w.closed = nil
	return closed
}

// tidy forgets the files whose last event is old: they have been read.
func (w *writers) tidy(now time.Time) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for path, f := range w.files {
		if f.state != opened && now.Sub(f.at) > time.Hour {
			delete(w.files, path)
		}
	}
}

// drain reads the events that there are.
func (w *writers) drain(fd uintptr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for buffer := make([]byte, 64<<10); ; {
		n, err := unix.Read(int(fd), buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		w.note(buffer[:n], time.Now())
	}
	if len(w.closed) > 0 {
		select {
		case w.news <- struct{}{}:
		default:
		}
	}
}

// note takes events, as inotify(7) lays them out.
func (w *writers) note(events []byte, now time.Time) {
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(events))
		mask, size := binary.NativeEndian.Uint32(events[4:]), binary.NativeEndian.Uint32(events[12:])
		end := min(unix.SizeofInotifyEvent+int(size), len(events))
		name := strings.TrimRight(string(events[unix.SizeofInotifyEvent:end]), "\x00")
		events = events[end:]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0: // events were lost: nothing is known any more
			clear(w.files)
		case mask&unix.IN_IGNORED != 0:
			w.drop(wd)
		case name != "" && mask&unix.IN_ISDIR == 0 && w.dirs[wd] != "":
			w.noteFile(strings.TrimSuffix(w.dirs[wd], "/")+"/"+name, mask, now)
		}
	}
}

func (w *writers) noteFile(path string, mask uint32, now time.Time) {
	f, known := w.files[path]
	switch {
	case mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0:
		delete(w.files, path)
	case mask&unix.IN_CREATE != 0:
		w.files[path] = writing{created, now}
	case mask&unix.IN_MODIFY != 0, mask&unix.IN_OPEN != 0 && known && f.state == created:
		w.files[path] = writing{opened, now}
	case mask&(unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO) != 0:
		w.files[path] = writing{whole, now}
		w.closed = append(w.closed, path)
	case mask&unix.IN_ATTRIB != 0 && f.state != opened:
		if !known || f.state == whole {
			w.files[path] = writing{whole, now}
		}
	}
}
