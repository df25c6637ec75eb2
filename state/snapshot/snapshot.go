// Package snapshot stores checkpoints and savepoints: which files they are made
// of, how a worker writes them, what makes one complete, how its bytes are
// checked when they are read again, and which files no checkpoint needs any
// more.
//
// A checkpoint is a manifest and the data files that it refers to; data files
// of earlier checkpoints are referred to again where their content has not
// changed. A checkpoint exists from the instant at which its manifest does, and
// the manifest is put in one step, last. docs/formats/snapshot.md in the
// project's documentation describes every byte.
//
// The life of a checkpoint:
//
//   - each worker makes a [Writer]; its subtasks hand their pieces to
//     [Writer.Write], and [Writer.Close] puts what is left. The worker then
//     acknowledges with the [Partial] of each subtask;
//   - the coordinator joins these by [Assemble] and calls [Folder.Publish];
//   - a restart finds it by [Folder.Newest] or [Open], and reads pieces by
//     [Snapshot.Load];
//   - [Folder.Clean] deletes what no retained checkpoint refers to.
//
// The package leaves to others when checkpoints are taken and which are
// retained (engine), what is in the pieces (runtime, state/table), where objects
// live (state/blob), and whether a failed call is made again. It reads no clock
// and starts no goroutine.
package snapshot

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Version is the newest format that this code reads, and the one it writes.
const Version = 1

// The names of things in a job's folder, and in that of a savepoint.
const (
	// ManifestName is the manifest's file in the folder of its checkpoint.
	ManifestName = "_metadata"

	dataDir     = "data/"
	attemptsDir = "attempts/"
	chkPrefix   = "chk-"
)

var (
	// ErrDamaged marks stored bytes that are not what was written: torn,
	// missing, cut short or changed. Trying again will not help; an older
	// checkpoint may. The error is a [DamageError].
	ErrDamaged = errors.New("snapshot damaged")
	// ErrVersion marks a file of a newer format than this code knows. The
	// engine that wrote it can read it.
	ErrVersion = errors.New("format version too new")
	// ErrFenced marks a write by an attempt of a job after a newer attempt has
	// begun. The older must end.
	ErrFenced = errors.New("a newer attempt of the job has begun")
	// ErrUncertain marks a publication of which nobody knows whether it was
	// done. Its id must not be used again; the checkpoint must be treated as
	// failed, and may nevertheless be the one a restart finds.
	ErrUncertain = errors.New("may have been published or not")
)

// A DamageError says what is wrong with which stored bytes and whose they are.
// It is [ErrDamaged].
type DamageError struct {
	// File is the object's name in its store.
	File string
	// Offset is where in the file, or -1 if it is about the file as a whole.
	Offset int64
	// Of says whose bytes they are, as in `operator "count", state "sum", key
	// group 7`; empty if they are nobody's in particular.
	Of string
	// Problem says what was expected and what was found.
	Problem string
	// Err is the store's error, if there was one.
	Err error
}

// Error implements error.
func (e *DamageError) Error() string {
	s := e.File
	if e.Offset >= 0 {
		s += fmt.Sprintf(" at offset %d", e.Offset)
	}
	if e.Of != "" {
		s += " (" + e.Of + ")"
	}
	s += ": " + e.Problem
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is makes every DamageError an ErrDamaged.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// Unwrap returns the store's error.
func (e *DamageError) Unwrap() error { return e.Err }

// dataName names a data file. The parts before the worker say when it may be
// deleted (see [Folder.Clean]).
func dataName(checkpoint, attempt uint64, worker string, seq int) string {
	return fmt.Sprintf("%sc%d-a%d-%s-%d", dataDir, checkpoint, attempt, worker, seq)
}

// parseDataName is the inverse of dataName for the parts that Clean needs.
func parseDataName(name string) (checkpoint, attempt uint64, ok bool) {
	base, ok := strings.CutPrefix(name, dataDir)
	if !ok {
		return 0, 0, false
	}
	c, rest, ok1 := strings.Cut(base, "-")
	a, _, ok2 := strings.Cut(rest, "-")
	checkpoint, ok3 := number(c, "c")
	attempt, ok4 := number(a, "a")
	return checkpoint, attempt, ok1 && ok2 && ok3 && ok4
}

// parseCheckpoint reads the id from "chk-<id>/_metadata".
func parseCheckpoint(name string) (id uint64, ok bool) {
	dir, file := path.Split(name)
	if file != ManifestName {
		return 0, false
	}
	return number(strings.TrimSuffix(dir, "/"), chkPrefix)
}

// number reads a decimal number without leading zeros behind prefix.
func number(s, prefix string) (uint64, bool) {
	s, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.ParseUint(s, 10, 64)
	return n, ok && err == nil && strconv.FormatUint(n, 10) == s
}

// checkWorker reports why worker cannot be part of a file's name.
func checkWorker(worker string) error {
	ok := worker != "" && len(worker) <= 200
	for _, r := range worker {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.' || r == '-')
	}
	if !ok {
		return fmt.Errorf("worker %q: want 1 to 200 of a-z A-Z 0-9 _ . -", worker)
	}
	return nil
}
