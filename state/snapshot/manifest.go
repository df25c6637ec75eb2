package snapshot

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/state/blob"
	"github.com/millrace/millrace/state/keygroup"
)

// A Manifest says what a checkpoint or savepoint consists of. Whoever holds one
// must not change it.
type Manifest struct {
	Info
	// Files are the data files that chunks are in, sorted by name.
	Files []File `json:"files"`
	// Operators are sorted by UID.
	Operators []Operator `json:"operators"`
}

// Info is what a manifest says about the checkpoint as a whole.
type Info struct {
	JobName string `json:"job_name"`
	JobID   string `json:"job_id"`
	// Attempt is the attempt of the job that took it, see [Folder.Claim].
	Attempt uint64 `json:"attempt"`
	// Checkpoint is its id, from 1; ids of a job only grow.
	Checkpoint uint64 `json:"checkpoint"`
	Kind       Kind   `json:"kind"`
	// TriggerMillis is when it was triggered, in milliseconds since 1970.
	TriggerMillis int64 `json:"trigger_millis"`
	// Engine is the version of the engine that wrote it.
	Engine string `json:"engine"`
	// MaxParallelism is the job's number of key groups; operators may have
	// their own.
	MaxParallelism int `json:"max_parallelism"`
	// Properties are what else the engine wants to find again, such as the
	// fingerprint of the graph.
	Properties map[string]string `json:"properties,omitempty"`
}

// Kind says what a snapshot is for.
type Kind uint8

const (
	// Checkpoint is taken by the engine for itself; its files may be shared
	// with other checkpoints in the job's folder.
	Checkpoint Kind = 1
	// Savepoint is the user's, and needs nothing outside its folder.
	Savepoint Kind = 2
)

// String is "checkpoint" or "savepoint".
func (k Kind) String() string {
	switch k {
	case Checkpoint:
		return "checkpoint"
	case Savepoint:
		return "savepoint"
	default:
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
}

// MarshalText implements [encoding.TextMarshaler].
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// A File is a data file that a manifest refers to.
type File struct {
	// Name is relative to the manifest's folder.
	Name string `json:"name"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// XXH64 is the checksum that the file ends with.
	XXH64 Sum `json:"xxh64"`
	// Checkpoint is the id of the checkpoint that wrote it.
	Checkpoint uint64 `json:"checkpoint"`
}

// Sum is an xxh64 checksum.
type Sum uint64

// String is 16 hexadecimal digits.
func (s Sum) String() string { return fmt.Sprintf("%016x", uint64(s)) }

// MarshalText implements [encoding.TextMarshaler].
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Hash tells contents apart: the first 16 bytes of their SHA-256.
type Hash [16]byte

// String is 32 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// A Chunk is some bytes and where they are.
type Chunk struct {
	// Bytes is their number.
	Bytes int64 `json:"bytes"`
	Hash  Hash  `json:"sha256"`
	// Inline are the bytes themselves, if File is empty.
	Inline []byte `json:"inline,omitempty"`
	// File is the name of the file they are in: in the blocks that take the
	// Stored bytes from Offset on, behind the first Skip bytes of what the
	// first block holds.
	File   string `json:"file,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	Stored int64  `json:"stored,omitempty"`
	Skip   int    `json:"skip,omitempty"`
}

// An Operator is one operator's part of a snapshot.
type Operator struct {
	UID            string `json:"uid"`
	Name           string `json:"name"`
	Parallelism    int    `json:"parallelism"`
	MaxParallelism int    `json:"max_parallelism"`
	// Subtasks has one element for each subtask, in order.
	Subtasks []Subtask `json:"subtasks"`
	// States are sorted by kind and name.
	States []State `json:"states,omitempty"`
	// Splits are the source's splits that were being read, or are finished,
	// as the source has it, by subtask.
	Splits []Split `json:"splits,omitempty"`
	// Channels is what was under way, for a checkpoint that did not align.
	Channels []Channel `json:"channels,omitempty"`
	// Commits are a sink's transactions that wait for this checkpoint.
	Commits []Commit `json:"commits,omitempty"`
	// Cold are the files of the cold tier.
	Cold []Cold `json:"cold,omitempty"`
	// Coordinator is the state of what stands beside the subtasks, such as a
	// source's enumerator; nil if there is none.
	Coordinator *Chunk `json:"coordinator,omitempty"`
}

// Subtask is what a snapshot says about a subtask as a whole.
type Subtask struct {
	Index int `json:"index"`
	// Finished: it had finished, and has no state.
	Finished bool `json:"finished,omitempty"`
	// EndedInputs are the inputs of which the end had come.
	EndedInputs []int `json:"ended_inputs,omitempty"`
	// Incarnation is the subtask's, see [Part.Incarnation].
	Incarnation uint64 `json:"incarnation,omitempty"`
}

// StateKind says how a state's pieces are shared out when it is restored.
type StateKind uint8

// The kinds of state.
const (
	// Keyed state belongs to key groups.
	Keyed StateKind = iota + 1
	// OperatorState belongs to a subtask and is shared out among all.
	OperatorState
	// Union is operator state that every subtask gets a copy of.
	Union
	// Broadcast state is the same in every subtask, and stored once.
	Broadcast
)

// String is the kind's name.
func (k StateKind) String() string {
	switch k {
	case Keyed:
		return "keyed"
	case OperatorState:
		return "operator"
	case Union:
		return "union"
	case Broadcast:
		return "broadcast"
	default:
		return fmt.Sprintf("StateKind(%d)", uint8(k))
	}
}

// MarshalText implements [encoding.TextMarshaler].
func (k StateKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// A State is one named state of an operator.
type State struct {
	Name string    `json:"name"`
	Kind StateKind `json:"kind"`
	// Schemas describe the entries' bytes; entries tell which by index.
	Schemas [][]byte `json:"schemas"`
	// Entries are sorted by key group if Keyed, else by subtask and in the
	// order in which it gave them.
	Entries []Entry `json:"entries"`
}

// An Entry is a state's bytes for one key group, or a piece of operator state.
type Entry struct {
	// Group is the key group; 0 unless the state is Keyed.
	Group int `json:"group"`
	// Subtask is who wrote it.
	Subtask int `json:"subtask"`
	// Schema is an index into the state's Schemas.
	Schema int `json:"schema,omitempty"`
	// Version is the piece's, see [Piece.Version].
	Version uint64 `json:"version,omitempty"`
	Chunk
}

// A Split is the part of a source that a subtask reads or has read.
type Split struct {
	Subtask int    `json:"subtask"`
	ID      string `json:"id"`
	// Data is what the source needs to open it.
	Data []byte `json:"data,omitempty"`
	// Position is where to go on; nil is its beginning.
	Position []byte `json:"position,omitempty"`
}

// A Channel is the records under way in one channel.
type Channel struct {
	Subtask int `json:"subtask"`
	// Output: they had left the subtask; else they had come to it.
	Output bool `json:"output,omitempty"`
	// Port is the subtask's input or output, Channel the channel in it.
	Port    int `json:"port"`
	Channel int `json:"channel"`
	Chunk
}

// A Commit is a transaction to be committed now that the checkpoint is there.
type Commit struct {
	Subtask int `json:"subtask"`
	// Checkpoint is the one that it was prepared for: this one, or an earlier
	// one whose commit has not been confirmed.
	Checkpoint uint64 `json:"checkpoint"`
	Chunk
}

// Cold is a file of the cold tier. It holds entries of key groups First to Last.
type Cold struct {
	Subtask int `json:"subtask"`
	// Store names the store within the operator that the file belongs to, Name
	// is the file's name there.
	Store string `json:"store"`
	Name  string `json:"name"`
	First int    `json:"first_group"`
	Last  int    `json:"last_group"`
	// Meta is for the store to read.
	Meta []byte `json:"meta,omitempty"`
	Chunk
}

// Trigger is the time at which the snapshot was triggered.
func (i *Info) Trigger() time.Time { return time.UnixMilli(i.TriggerMillis).UTC() }

// Operator returns the operator with this uid, or nil.
func (m *Manifest) Operator(uid string) *Operator {
	for i := range m.Operators {
		if m.Operators[i].UID == uid {
			return &m.Operators[i]
		}
	}
	return nil
}

// State returns the operator's state with this name and kind, or nil.
func (o *Operator) State(kind StateKind, name string) *State {
	for i := range o.States {
		if o.States[i].Kind == kind && o.States[i].Name == name {
			return &o.States[i]
		}
	}
	return nil
}

// Keyed iterates over the operator's keyed state in some key groups: what a
// subtask that owns them is to load.
func (o *Operator) Keyed(groups keygroup.Range) iter.Seq2[*State, *Entry] {
	return func(yield func(*State, *Entry) bool) {
		for i := range o.States {
			s := &o.States[i]
			if s.Kind != Keyed {
				continue
			}
			first, _ := slices.BinarySearchFunc(s.Entries, groups.Start, func(e Entry, g int) int { return cmp.Compare(e.Group, g) })
			for j := first; j < len(s.Entries) && groups.Contains(s.Entries[j].Group); j++ {
				if !yield(s, &s.Entries[j]) {
					return
				}
			}
		}
	}
}

// Sizes are how large a snapshot is.
type Sizes struct {
	// State is the number of bytes of state, before compression.
	State int64 `json:"state"`
	// Stored is the size of all files that it refers to, and Inline what is in
	// the manifest itself.
	Stored int64 `json:"stored"`
	Inline int64 `json:"inline"`
	// New is the size of the files that it wrote itself, NewFiles their number.
	New      int64 `json:"new"`
	NewFiles int   `json:"new_files"`
	Files    int   `json:"files"`
}

// Sizes adds up the snapshot's sizes.
func (m *Manifest) Sizes() Sizes {
	var s Sizes
	for _, c := range m.chunks() {
		s.State += c.Bytes
		s.Inline += int64(len(c.Inline))
	}
	for _, f := range m.Files {
		s.Stored += f.Size
		s.Files++
		if f.Checkpoint == m.Checkpoint {
			s.New += f.Size
			s.NewFiles++
		}
	}
	return s
}

// JSON is the manifest as JSON for people and scripts: the fields that the
// structs here show, bytes in base64, hashes in hexadecimal.
func (m *Manifest) JSON() ([]byte, error) {
	return json.MarshalIndent(struct {
		FormatVersion int       `json:"format_version"`
		TriggerTime   time.Time `json:"trigger_time"`
		Sizes         Sizes     `json:"sizes"`
		*Manifest
	}{Version, m.Trigger(), m.Sizes(), m}, "", "  ")
}

// A holder says whose a chunk is.
type holder struct {
	op   *Operator
	kind string // "state", "channel", …
	name string
	at   string // the rest: key group, subtask
}

// String is for errors.
func (h holder) String() string {
	s := fmt.Sprintf("operator %q", h.op.UID)
	if h.kind != "" {
		s += ", " + h.kind
	}
	if h.name != "" {
		s += fmt.Sprintf(" %q", h.name)
	}
	if h.at != "" {
		s += ", " + h.at
	}
	return s
}

func (o *Operator) entryHolder(s *State, e *Entry) holder {
	h := holder{op: o, kind: "state", name: s.Name}
	if s.Kind == Keyed {
		h.at = fmt.Sprintf("key group %d", e.Group)
	} else {
		h.at = fmt.Sprintf("%s piece of subtask %d", s.Kind, e.Subtask)
	}
	return h
}

// chunks iterates over all chunks of the manifest and whose they are.
func (m *Manifest) chunks() iter.Seq2[func() holder, *Chunk] {
	return func(yield func(func() holder, *Chunk) bool) {
		for i := range m.Operators {
			for w, c := range m.Operators[i].chunks() {
				if !yield(w, c) {
					return
				}
			}
		}
	}
}

// chunks iterates over the operator's chunks. Whose they are is told by a
// function, because it is asked for seldom and costs a string.
func (o *Operator) chunks() iter.Seq2[func() holder, *Chunk] {
	return func(yield func(func() holder, *Chunk) bool) {
		for i := range o.States {
			s := &o.States[i]
			for j := range s.Entries {
				e := &s.Entries[j]
				if !yield(func() holder { return o.entryHolder(s, e) }, &e.Chunk) {
					return
				}
			}
		}
		for i := range o.Channels {
			c := &o.Channels[i]
			side := "input"
			if c.Output {
				side = "output"
			}
			if !yield(func() holder {
				return holder{op: o, kind: "records under way", at: fmt.Sprintf("subtask %d, %s %d, channel %d", c.Subtask, side, c.Port, c.Channel)}
			}, &c.Chunk) {
				return
			}
		}
		for i := range o.Commits {
			c := &o.Commits[i]
			if !yield(func() holder {
				return holder{op: o, kind: "transaction", at: fmt.Sprintf("subtask %d, checkpoint %d", c.Subtask, c.Checkpoint)}
			}, &c.Chunk) {
				return
			}
		}
		for i := range o.Cold {
			c := &o.Cold[i]
			if !yield(func() holder {
				return holder{op: o, kind: "cold file", name: c.Store + "/" + c.Name, at: fmt.Sprintf("subtask %d", c.Subtask)}
			}, &c.Chunk) {
				return
			}
		}
		if o.Coordinator != nil {
			yield(func() holder { return holder{op: o, kind: "coordinator"} }, o.Coordinator)
		}
	}
}

// check reports everything that is inconsistent in a manifest. A manifest that
// passes can be used without further checks of its numbers.
func (m *Manifest) check() error {
	var errs []error
	bad := func(format string, args ...any) {
		if len(errs) < 20 {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	if m.Kind != Checkpoint && m.Kind != Savepoint {
		bad("kind %d: not known", m.Kind)
	}
	if m.Checkpoint == 0 {
		bad("checkpoint id 0: ids begin at 1")
	}
	if m.MaxParallelism < 1 || m.MaxParallelism > keygroup.MaxParallelism {
		bad("max parallelism %d: not in 1..%d", m.MaxParallelism, keygroup.MaxParallelism)
	}
	files := make(map[string]*File, len(m.Files))
	for i := range m.Files {
		f := &m.Files[i]
		if i > 0 && m.Files[i-1].Name >= f.Name {
			bad("file %q: not behind %q", f.Name, m.Files[i-1].Name)
		}
		if err := checkFileName(f.Name, m.Kind); err != nil {
			bad("file %q: %w", f.Name, err)
		}
		if f.Size < headBytes+footBytes {
			bad("file %q: size %d", f.Name, f.Size)
		}
		if f.Checkpoint > m.Checkpoint {
			bad("file %q: of checkpoint %d, later than this one", f.Name, f.Checkpoint)
		}
		files[f.Name] = f
	}
	for i := range m.Operators {
		o := &m.Operators[i]
		if i > 0 && m.Operators[i-1].UID >= o.UID {
			bad("operator %q: not behind %q", o.UID, m.Operators[i-1].UID)
		}
		o.check(func(format string, args ...any) {
			bad("operator %q: %w", o.UID, fmt.Errorf(format, args...))
		})
	}
	for who, c := range m.chunks() {
		if err := c.check(files); err != nil {
			bad("%s: %w", who(), err)
		}
	}
	return errors.Join(errs...)
}

// checkFileName allows a file in data/ beside a savepoint's manifest, or, for a
// checkpoint, in the data/ that the checkpoints of a job share.
func checkFileName(name string, kind Kind) error {
	want := dataDir
	if kind == Checkpoint {
		want = "../" + dataDir
	}
	base, ok := strings.CutPrefix(name, want)
	if _, _, isData := parseDataName(dataDir + base); !ok || !isData || strings.Contains(base, "/") || blob.CheckName(base) != nil {
		return fmt.Errorf("not the name of a data file; those of a %s are %sc<id>-a<attempt>-<worker>-<number>", kind, want)
	}
	return nil
}

func (o *Operator) check(bad func(format string, args ...any)) {
	if o.UID == "" {
		bad("no uid")
	}
	if err := keygroup.Validate(o.Parallelism, o.MaxParallelism); err != nil {
		bad("%w", err)
		return
	}
	if len(o.Subtasks) != o.Parallelism {
		bad("%d subtasks at parallelism %d", len(o.Subtasks), o.Parallelism)
	}
	for i, s := range o.Subtasks {
		if s.Index != i {
			bad("subtask %d in place of %d", s.Index, i)
		}
	}
	subtask := func(what string, i int) {
		if i < 0 || i >= o.Parallelism {
			bad("%s: subtask %d at parallelism %d", what, i, o.Parallelism)
		}
	}
	for i := range o.States {
		s := &o.States[i]
		if i > 0 && compareStates(&o.States[i-1], s) >= 0 {
			bad("state %q: not behind %q", s.Name, o.States[i-1].Name)
		}
		if s.Kind < Keyed || s.Kind > Broadcast {
			bad("state %q: kind %d: not known", s.Name, s.Kind)
		}
		for j := range s.Entries {
			e := &s.Entries[j]
			subtask("state "+s.Name, e.Subtask)
			if e.Schema < 0 || e.Schema >= len(s.Schemas) {
				bad("state %q: schema %d of %d", s.Name, e.Schema, len(s.Schemas))
			}
			var prev *Entry
			if j > 0 {
				prev = &s.Entries[j-1]
			}
			switch {
			case s.Kind == Keyed && e.Group >= o.MaxParallelism || e.Group < 0:
				bad("state %q: key group %d of %d", s.Name, e.Group, o.MaxParallelism)
			case s.Kind == Keyed && prev != nil && prev.Group >= e.Group:
				bad("state %q: key group %d behind %d", s.Name, e.Group, prev.Group)
			case s.Kind != Keyed && e.Group != 0:
				bad("state %q: key group %d of a state that has none", s.Name, e.Group)
			case s.Kind != Keyed && prev != nil && prev.Subtask > e.Subtask:
				bad("state %q: subtask %d behind %d", s.Name, e.Subtask, prev.Subtask)
			}
		}
	}
	for i := range o.Splits {
		subtask("split "+o.Splits[i].ID, o.Splits[i].Subtask)
	}
	for i := range o.Channels {
		subtask("channel", o.Channels[i].Subtask)
	}
	for i := range o.Commits {
		subtask("transaction", o.Commits[i].Subtask)
	}
	for i := range o.Cold {
		c := &o.Cold[i]
		subtask("cold file "+c.Name, c.Subtask)
		if c.First < 0 || c.First > c.Last || c.Last >= o.MaxParallelism {
			bad("cold file %q: key groups %d to %d of %d", c.Name, c.First, c.Last, o.MaxParallelism)
		}
	}
}

func compareStates(a, b *State) int {
	if a.Kind != b.Kind {
		return int(a.Kind) - int(b.Kind)
	}
	return strings.Compare(a.Name, b.Name)
}

func (c *Chunk) check(files map[string]*File) error {
	if c.File == "" {
		if int64(len(c.Inline)) != c.Bytes || c.Offset != 0 || c.Stored != 0 || c.Skip != 0 {
			return fmt.Errorf("%d bytes inline of %d", len(c.Inline), c.Bytes)
		}
		if hashOf(c.Inline) != c.Hash {
			return fmt.Errorf("inline bytes have hash %s, want %s", hashOf(c.Inline), c.Hash)
		}
		return nil
	}
	f := files[c.File]
	switch {
	case f == nil:
		return fmt.Errorf("file %q is not in the list", c.File)
	case c.Inline != nil || c.Bytes < 1:
		return fmt.Errorf("%d bytes in a file, %d inline", c.Bytes, len(c.Inline))
	case c.Offset < headBytes || c.Stored <= blockHeadBytes || c.Offset > f.Size-footBytes || c.Stored > f.Size-footBytes-c.Offset:
		return fmt.Errorf("%d bytes at offset %d of file %q, which has %d", c.Stored, c.Offset, c.File, f.Size)
	case c.Skip < 0 || c.Skip >= blockBytesMax:
		return fmt.Errorf("skip of %d bytes in a block", c.Skip)
	}
	return nil
}
