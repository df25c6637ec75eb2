// Package blob stores whole objects under names: the files of checkpoints, and
// whatever else must outlive a process.
//
// It decides what an object store has to promise so that a checkpoint can be
// trusted to it, and which failures a caller can tell apart. [File] keeps the
// promises on a local or mounted disk, [Memory] for tests and simulations. What
// is in the objects, when they are written and when they may be deleted is left
// to state/snapshot; whether a failed call is made again is left to the caller.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"time"
)

var (
	// ErrNotExist marks an object that is not there.
	ErrNotExist = fs.ErrNotExist
	// ErrExists marks a [Store.PutNew] of a name that is taken.
	ErrExists = fs.ErrExist
	// ErrTransient marks a failure that may go away by itself: the call may be
	// made again unchanged. A Put that failed so may nevertheless have been
	// done.
	ErrTransient = errors.New("transient")
)

// A Store holds objects. Names are paths with "/" between their elements, as
// [CheckName] has them. All methods are safe for concurrent use, and return
// ctx.Err() soon after ctx has ended.
//
// An object appears whole or not at all, and stays when the machine fails right
// after Put has returned nil. A Put that returns an error may have been done or
// not, never by half. What has been put is seen by every later Get, Stat and
// List. Errors name the operation, the store and the object.
type Store interface {
	// Put makes everything that r holds the object name, in place of one that
	// is there.
	Put(ctx context.Context, name string, r io.Reader) error
	// PutNew is Put for a name that must not be there yet: of several calls
	// for one name at most one succeeds, the others get ErrExists.
	PutNew(ctx context.Context, name string, r io.Reader) error
	// Get returns n bytes from offset off on; n < 0 means to the end. An
	// object that ends earlier gives fewer bytes: the caller checks. The caller
	// closes the reader. ErrNotExist if there is no such object.
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
	// Stat tells about one object. ErrNotExist if there is none.
	Stat(ctx context.Context, name string) (Info, error)
	// List yields the objects whose names begin with prefix, in the order of
	// their names. An error is the last thing it yields.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
	// Delete removes objects. Names that are not there are no error. After an
	// error some may be gone.
	Delete(ctx context.Context, names ...string) error
	// String is the store's URL.
	String() string
}

// A Sweeper is a Store whose interrupted Puts leave something behind that List
// does not show: temporary files, parts of uploads.
type Sweeper interface {
	// Sweep removes the leavings of Puts to names that begin with prefix and
	// for which stale reports true; begun is when the Put began. It returns how
	// many there were.
	Sweep(ctx context.Context, prefix string, stale func(name string, begun time.Time) bool) (int, error)
}

// Info tells about an object.
type Info struct {
	Name string
	// Size is in bytes.
	Size int64
	// Modified is when it was put, by the store's clock; zero if unknown.
	Modified time.Time
}

// ReadAll returns n bytes of an object from offset off on, or all of the rest
// if n < 0. An object that holds fewer than n gives [io.ErrUnexpectedEOF] and
// what there is.
func ReadAll(ctx context.Context, s Store, name string, off, n int64) ([]byte, error) {
	r, err := s.Get(ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	var data []byte
	if n < 0 {
		data, err = io.ReadAll(r)
	} else {
		// n comes from the caller, who may have it from a damaged file:
		// grow with what is there.
		data, err = readUpTo(r, n)
	}
	err = errors.Join(err, r.Close())
	if err == nil && n >= 0 && int64(len(data)) < n {
		err = fmt.Errorf("get %s: %d of %d bytes at offset %d: %w", name, len(data), n, off, io.ErrUnexpectedEOF)
	}
	return data, err
}

func readUpTo(r io.Reader, n int64) ([]byte, error) {
	const first = 1 << 20
	data := make([]byte, min(n, first))
	at := 0
	for {
		k, err := io.ReadFull(r, data[at:])
		at += k
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return data[:at], nil
		}
		if err != nil || int64(at) == n {
			return data[:at], err
		}
		more := make([]byte, min(n, 4*int64(len(data))))
		copy(more, data)
		data = more
	}
}

// tempPrefix begins the last element of names that [File] uses for itself.
const tempPrefix = ".tmp-"

// CheckName reports why name cannot be an object's: it is empty, longer than
// 1000 bytes, has an empty element or one that is "." or ".." or begins with
// ".tmp-", or a control character.
func CheckName(name string) error {
	if name == "" || len(name) > 1000 {
		return fmt.Errorf("object name of %d bytes: want 1 to 1000", len(name))
	}
	for i := range len(name) {
		if name[i] < ' ' || name[i] == 0x7f || name[i] == '\\' {
			return fmt.Errorf("object name %q: character %q", name, name[i])
		}
	}
	for e := range strings.SplitSeq(name, "/") {
		if e == "" || e == "." || e == ".." || strings.HasPrefix(e, tempPrefix) {
			return fmt.Errorf("object name %q: element %q", name, e)
		}
	}
	return nil
}

// contextReader ends when its context does, so that a long copy can be
// cancelled.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
