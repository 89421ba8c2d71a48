package doctor

// Reader is a reader for tests.
type Reader struct {
	UID    int
	Groups []int
}

// Barrier tells what keeps a reader from a file.
func Barrier(path string, r Reader) (string, error) {
	return barrier(path, reader{uid: r.UID, groups: r.Groups})
}

// Answering returns where a server is reached that listens on that port.
func Answering(port uint16) []string { return answering("", port) }
