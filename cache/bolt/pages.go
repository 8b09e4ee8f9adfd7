package bolt

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"io"

	berrors "go.etcd.io/bbolt/errors"
)

// On a damaged page bbolt may silently use an older state of the file, overwrite
// pages in use, or panic in a goroutine of its own, which would end Caddy. So all
// pages are checked before bbolt may use them. The layout is that of bbolt's file
// format 2: a page is a head of id (8 bytes), flags (2), count (2) and overflow (4),
// followed by elements.
const (
	pageHead    = 16
	elementSize = 16
	branchFlag  = 1
	leafFlag    = 2
	bucketFlag  = 1
	metaSize    = 64
)

// checkPages reads all pages in use, and returns an error if one is damaged.
func checkPages(file io.ReaderAt) error {
	var newest []byte
	pageSize := int64(0)
	for n := range int64(2) {
		page := make([]byte, pageHead+metaSize)
		if _, err := file.ReadAt(page, n*pageSize); err != nil {
			return err
		}
		meta := page[pageHead:]
		if !isMeta(meta) {
			// the other meta page may be older, and would undo the last sign-out
			return berrors.ErrChecksum
		}
		if newest == nil || u64(meta[48:]) > u64(newest[48:]) {
			newest = meta
		}
		pageSize = int64(binary.NativeEndian.Uint32(meta[8:]))
	}
	w := &walk{file: file, pageSize: pageSize, seen: make([]bool, u64(newest[40:]))}
	return w.page(u64(newest[16:]), nil, nil)
}

// isMeta tells whether the checksum of a meta page is right.
func isMeta(meta []byte) bool {
	sum := fnv.New64a()
	_, _ = sum.Write(meta[:metaSize-8])
	return u64(meta[metaSize-8:]) == sum.Sum64()
}

func u64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }
func u32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func u16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }

// walk visits all pages in use. Each must be used once, and have its keys in order.
type walk struct {
	file     io.ReaderAt
	pageSize int64
	seen     []bool
}

// element is an element of a page: a key, and the page that it leads to, 0 for none.
type element struct {
	key  []byte
	next uint64
}

// page checks a page and the pages that it leads to. Its keys must be at least from,
// and less than before unless that is nil.
func (w *walk) page(id uint64, from, before []byte) error {
	page, err := w.read(id)
	if err != nil {
		return err
	}
	isBranch := u16(page[8:]) == branchFlag
	elements := make([]element, u16(page[10:]))
	for i := range elements {
		if elements[i], err = elementOf(page[pageHead+i*elementSize:], isBranch); err != nil {
			return err
		}
	}
	for i, e := range elements {
		if bytes.Compare(e.key, from) < 0 || (i > 0 && bytes.Equal(e.key, from)) || (before != nil && bytes.Compare(e.key, before) >= 0) {
			return berrors.ErrInvalid
		}
		from = e.key
		if e.next == 0 {
			continue
		}
		first, end := []byte(nil), []byte(nil) // of a bucket's own tree
		if isBranch {
			first, end = e.key, before
			if i+1 < len(elements) {
				end = elements[i+1].key
			}
		}
		if err := w.page(e.next, first, end); err != nil {
			return err
		}
	}
	return nil
}

// read returns a page, which must not have been read before.
func (w *walk) read(id uint64) ([]byte, error) {
	head := make([]byte, pageHead)
	if _, err := w.file.ReadAt(head, int64(id)*w.pageSize); err != nil {
		return nil, berrors.ErrInvalid
	}
	overflow, flags := uint64(u32(head[12:])), u16(head[8:])
	if u64(head) != id || id < 2 || id+overflow >= uint64(len(w.seen)) || (flags != branchFlag && flags != leafFlag) {
		return nil, berrors.ErrInvalid
	}
	for at := id; at <= id+overflow; at++ {
		if w.seen[at] {
			return nil, berrors.ErrInvalid
		}
		w.seen[at] = true
	}
	page := make([]byte, int64(overflow+1)*w.pageSize)
	if _, err := w.file.ReadAt(page, int64(id)*w.pageSize); err != nil {
		return nil, berrors.ErrInvalid
	}
	return page, nil
}

// elementOf reads the element at the start of b. It panics where the element points
// out of its page.
func elementOf(b []byte, isBranch bool) (element, error) {
	if isBranch {
		key := b[u32(b):][:u32(b[4:])]
		return element{key, u64(b[8:])}, nil
	}
	flags, rest := u32(b), b[u32(b[4:]):]
	key, value := rest[:u32(b[8:])], rest[u32(b[8:]):][:u32(b[12:])]
	switch flags {
	case 0:
		return element{key: key}, nil
	case bucketFlag:
		return element{key, u64(value)}, nil // 0 where its tree is within the page
	default:
		return element{}, berrors.ErrInvalid
	}
}
