// Package acl reads and writes the POSIX access control lists of files (acl(5)), which Linux keeps in extended
// attributes.
//
// It owns their format and the rules by which they let somebody in. It decides nothing about a file, and changes no list
// unless it is asked to.
package acl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Tag is the kind of an entry.
type Tag uint16

// The tags, as the kernel numbers them.
const (
	Owner      Tag = 0x01 // the owner of the file
	NamedUser  Tag = 0x02
	Group      Tag = 0x04 // the group of the file
	NamedGroup Tag = 0x08
	Mask       Tag = 0x10 // the most that Group and named entries allow
	Other      Tag = 0x20
)

// Read is the permission to read a file; Pass is the permission to go through a directory.
const (
	Read uint16 = 4
	Pass uint16 = 1
)

// Entry allows somebody something.
type Entry struct {
	Tag  Tag
	Perm uint16 // of rwx
	ID   uint32 // of a named user or group
}

// List is an access control list; nil: the file has none, and its mode says all.
type List []Entry

const (
	accessName  = "system.posix_acl_access"
	defaultName = "system.posix_acl_default"
	version     = 2
	header      = 4
	entrySize   = 8
	maxSize     = 64 << 10 // bytes; the kernel allows no longer attribute
)

// Access returns the list of the file at path, which may be a link to it.
func Access(path string) (List, error) { return get(path, accessName) }

// Default returns the list that new files in the directory at path get.
func Default(path string) (List, error) { return get(path, defaultName) }

func get(path, name string) (List, error) {
	data := make([]byte, maxSize)
	n, err := unix.Getxattr(path, name, data)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return nil, nil
	case err != nil:
		return nil, &os.PathError{Op: "getxattr", Path: path, Err: err}
	}
	l, err := parse(data[:n])
	if err != nil {
		return nil, fmt.Errorf("reading the access control list of %s: %w", path, err)
	}
	return l, nil
}

// Set gives an open file the list l, and with it a mode.
func Set(f *os.File, l List) error {
	if err := unix.Fsetxattr(int(f.Fd()), accessName, l.Encode(), 0); err != nil {
		return &os.PathError{Op: "setxattr", Path: f.Name(), Err: err}
	}
	return nil
}

func parse(data []byte) (List, error) {
	if len(data) < header || (len(data)-header)%entrySize != 0 {
		return nil, fmt.Errorf("%d bytes are no list", len(data))
	}
	if v := binary.LittleEndian.Uint32(data); v != version {
		return nil, fmt.Errorf("unknown version %d", v)
	}
	l := List{}
	for entry := range slices.Chunk(data[header:], entrySize) {
		l = append(l, Entry{Tag(binary.LittleEndian.Uint16(entry)), binary.LittleEndian.Uint16(entry[2:]), binary.LittleEndian.Uint32(entry[4:])})
	}
	return l, nil
}

// Encode returns the list as the kernel has it in an extended attribute.
func (l List) Encode() []byte {
	data := binary.LittleEndian.AppendUint32(nil, version)
	for _, e := range l {
		data = binary.LittleEndian.AppendUint16(data, uint16(e.Tag))
		data = binary.LittleEndian.AppendUint16(data, e.Perm)
		data = binary.LittleEndian.AppendUint32(data, e.ID)
	}
	return data
}

// perm returns what the entry of a tag that is there once allows; nothing when there is none.
func (l List) perm(tag Tag) uint16 {
	for _, e := range l {
		if e.Tag == tag {
			return e.Perm
		}
	}
	return 0
}

// mask returns the most that the group and named entries allow.
func (l List) mask() uint16 {
	if i := slices.IndexFunc(l, func(e Entry) bool { return e.Tag == Mask }); i >= 0 {
		return l[i].Perm
	}
	return 7
}

// OfMode returns a list that says no more than mode.
func OfMode(mode os.FileMode) List {
	return List{{Tag: Owner, Perm: uint16(mode >> 6 & 7)}, {Tag: Group, Perm: uint16(mode >> 3 & 7)}, {Tag: Other, Perm: uint16(mode & 7)}}
}

// Mode returns the mode of a file that has the list, as it is without named entries: with the permissions of its group,
// where a mode shows the mask.
func (l List) Mode() os.FileMode {
	return os.FileMode(l.perm(Owner)<<6 | l.perm(Group)<<3 | l.perm(Other))
}

// WithMode returns the list with what mode says of the owner and of others.
func (l List) WithMode(mode os.FileMode) List {
	l = slices.Clone(l)
	for i := range l {
		switch l[i].Tag {
		case Owner:
			l[i].Perm = uint16(mode >> 6 & 7)
		case Other:
			l[i].Perm = uint16(mode & 7)
		}
	}
	return l
}

// Named returns the entries of named users and groups with what the mask leaves of them.
func (l List) Named() (named []Entry) {
	mask := l.mask()
	for _, e := range l {
		if e.Tag == NamedUser || e.Tag == NamedGroup {
			e.Perm &= mask
			named = append(named, e)
		}
	}
	return named
}

// Allows returns what a user in these groups may do with a file of owner and group: acl(5), access check algorithm. A uid
// of -1 is nobody in particular.
func (l List) Allows(uid int, groups []int, owner, group uint32) uint16 {
	if uid == int(owner) {
		return l.perm(Owner)
	}
	mask := l.mask()
	var perm uint16
	member := false
	for _, e := range l {
		switch {
		case e.Tag == NamedUser && int(e.ID) == uid:
			return e.Perm & mask
		case e.Tag == Group && slices.Contains(groups, int(group)), e.Tag == NamedGroup && slices.Contains(groups, int(e.ID)):
			perm, member = perm|e.Perm&mask, true
		}
	}
	if member {
		return perm
	}
	return l.perm(Other)
}

// Readers names everybody who may read a file of owner and group besides root, such as "user:www-data".
func (l List) Readers(owner, group uint32) (names []string) {
	mask := l.mask()
	for _, e := range l {
		switch {
		case e.Tag == Mask, e.Tag == Owner && owner == 0:
			continue
		case e.Tag == Owner:
			e = Entry{NamedUser, e.Perm, owner}
		case e.Tag == Group:
			e = Entry{NamedGroup, e.Perm & mask, group}
		case e.Tag != Other:
			e.Perm &= mask
		}
		if e.Perm&Read != 0 {
			names = append(names, e.Who())
		}
	}
	return names
}

// String returns the named entries as setfacl(1) takes them.
func (l List) String() string {
	var words []string
	for _, e := range l.Named() {
		words = append(words, e.Who()+":"+Text(e.Perm))
	}
	return strings.Join(words, ",")
}

// Who names the user or group of a named entry, such as "user:www-data", or everybody.
func (e Entry) Who() string {
	if e.Tag == Other {
		return "everybody"
	}
	id := strconv.FormatUint(uint64(e.ID), 10)
	if e.Tag == NamedGroup {
		if g, err := user.LookupGroupId(id); err == nil {
			id = g.Name
		}
		return "group:" + id
	}
	if u, err := user.LookupId(id); err == nil {
		id = u.Username
	}
	return "user:" + id
}

// Text writes a permission as "rwx", "r--" and so on.
func Text(perm uint16) string {
	text := []byte("rwx")
	for i := range text {
		if perm>>(2-i)&1 == 0 {
			text[i] = '-'
		}
	}
	return string(text)
}
