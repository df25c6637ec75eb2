package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	pb "github.com/millrace/millrace/state/snapshot/internal/manifestpb"
)

// A manifest file is a head of 24 bytes, the protobuf message and 8 bytes of
// checksum. Head and checksum stay as they are in all versions, so that every
// engine can tell a newer manifest from a damaged one.
//
//	magic "MRMANI\r\n", u32 version, u32 zero, u64 length of the message
const (
	manifestMagic     = "MRMANI\r\n"
	manifestHeadBytes = 24
	sumBytes          = 8
)

// hashOf is the identity of some content. It is cryptographic because what
// users store decides whether two contents are taken for one.
func hashOf(p []byte) Hash {
	sum := sha256.Sum256(p)
	return Hash(sum[:16])
}

// Encode returns the manifest as a file.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("manifest of checkpoint %d: %w", m.Checkpoint, err)
	}
	msg, err := toProto(m)
	if err != nil {
		return nil, fmt.Errorf("manifest of checkpoint %d: %w", m.Checkpoint, err)
	}
	opts := proto.MarshalOptions{Deterministic: true}
	n := opts.Size(msg)
	dst := make([]byte, 0, manifestHeadBytes+n+sumBytes)
	dst = append(dst, manifestMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, Version)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(n))
	if dst, err = opts.MarshalAppend(dst, msg); err != nil {
		return nil, fmt.Errorf("manifest of checkpoint %d: %w", m.Checkpoint, err)
	}
	return binary.LittleEndian.AppendUint64(dst, xxhash.Sum64(dst)), nil
}

// Decode reads a manifest file, of which name is used in errors. The manifest
// shares nothing with data. Errors are [ErrDamaged] or [ErrVersion].
func Decode(name string, data []byte) (*Manifest, error) {
	damage := func(offset int64, format string, args ...any) error {
		return &DamageError{File: name, Offset: offset, Problem: fmt.Sprintf(format, args...)}
	}
	if len(data) < manifestHeadBytes+sumBytes {
		return nil, damage(-1, "%d bytes; a manifest has at least %d", len(data), manifestHeadBytes+sumBytes)
	}
	if string(data[:8]) != manifestMagic {
		return nil, damage(0, "begins with %q, not with a manifest's %q", data[:8], manifestMagic)
	}
	body, want := data[:len(data)-sumBytes], binary.LittleEndian.Uint64(data[len(data)-sumBytes:])
	if got := xxhash.Sum64(body); got != want {
		return nil, damage(-1, "checksum of its %d bytes is %s, want %s", len(body), Sum(got), Sum(want))
	}
	version, zero := binary.LittleEndian.Uint32(data[8:]), binary.LittleEndian.Uint32(data[12:])
	if version > Version {
		return nil, fmt.Errorf("%s: %w: it has version %d, this engine reads up to %d", name, ErrVersion, version, Version)
	}
	if version == 0 || zero != 0 {
		return nil, damage(8, "version %d, %d", version, zero)
	}
	body = body[manifestHeadBytes:]
	if n := binary.LittleEndian.Uint64(data[16:]); n != uint64(len(body)) {
		return nil, damage(16, "message of %d bytes, want %d", len(body), n)
	}
	var msg pb.Manifest
	if err := proto.Unmarshal(body, &msg); err != nil {
		return nil, damage(manifestHeadBytes, "%v", err)
	}
	m, err := fromProto(&msg)
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return nil, damage(manifestHeadBytes, "%v", err)
	}
	return m, nil
}

// MarshalBinary encodes the partial, for a worker's acknowledgement.
func (p *Partial) MarshalBinary() ([]byte, error) {
	msg, err := toProto(&Manifest{Files: p.Files, Operators: []Operator{p.Operator}})
	if err != nil {
		return nil, fmt.Errorf("operator %q: %w", p.Operator.UID, err)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(msg)
}

// UnmarshalBinary is the inverse of MarshalBinary. What it accepts is checked
// when it is assembled.
func (p *Partial) UnmarshalBinary(data []byte) error {
	var msg pb.Manifest
	if err := proto.Unmarshal(data, &msg); err != nil {
		return fmt.Errorf("partial snapshot: %w", err)
	}
	m, err := fromProto(&msg)
	if err != nil {
		return fmt.Errorf("partial snapshot: %w", err)
	}
	if len(m.Operators) != 1 {
		return fmt.Errorf("partial snapshot: of %d operators", len(m.Operators))
	}
	p.Operator, p.Files = m.Operators[0], m.Files
	return nil
}

func toProto(m *Manifest) (*pb.Manifest, error) {
	e := encoder{files: make(map[string]uint32, len(m.Files))}
	out := &pb.Manifest{
		JobName: m.JobName, JobId: m.JobID, Attempt: m.Attempt, Checkpoint: m.Checkpoint,
		Kind: pb.Manifest_Kind(m.Kind), TriggerMillis: m.TriggerMillis, Engine: m.Engine, MaxParallelism: e.u32(m.MaxParallelism),
	}
	for _, k := range slices.Sorted(maps.Keys(m.Properties)) {
		out.Properties = append(out.Properties, &pb.Property{Key: k, Value: m.Properties[k]})
	}
	for i := range m.Files {
		f := &m.Files[i]
		e.files[f.Name] = uint32(i + 1)
		out.Files = append(out.Files, &pb.File{Name: f.Name, Size: uint64(f.Size), Xxh64: uint64(f.XXH64), Checkpoint: f.Checkpoint})
	}
	for i := range m.Operators {
		out.Operators = append(out.Operators, e.operator(&m.Operators[i]))
	}
	return out, e.err
}

type encoder struct {
	files map[string]uint32
	err   error
}

func (e *encoder) u32(n int) uint32 {
	if n < 0 || n > math.MaxInt32 {
		e.err = fmt.Errorf("number %d: not in 0..%d", n, math.MaxInt32)
	}
	return uint32(n)
}

func (e *encoder) operator(o *Operator) *pb.Operator {
	out := &pb.Operator{Uid: o.UID, Name: o.Name, Parallelism: e.u32(o.Parallelism), MaxParallelism: e.u32(o.MaxParallelism)}
	for i := range o.Subtasks {
		s := &o.Subtasks[i]
		t := &pb.Subtask{Index: e.u32(s.Index), Finished: s.Finished, Incarnation: s.Incarnation}
		for _, n := range s.EndedInputs {
			t.EndedInputs = append(t.EndedInputs, e.u32(n))
		}
		out.Subtasks = append(out.Subtasks, t)
	}
	for i := range o.States {
		s := &o.States[i]
		t := &pb.State{Name: s.Name, Kind: pb.State_Kind(s.Kind), Schemas: s.Schemas, Entries: make([]*pb.Entry, 0, len(s.Entries))}
		for j := range s.Entries {
			x := &s.Entries[j]
			t.Entries = append(t.Entries, &pb.Entry{
				Group: e.u32(x.Group), Subtask: e.u32(x.Subtask), Schema: e.u32(x.Schema), Version: x.Version, Chunk: e.chunk(&x.Chunk),
			})
		}
		out.States = append(out.States, t)
	}
	for i := range o.Splits {
		s := &o.Splits[i]
		out.Splits = append(out.Splits, &pb.Split{Subtask: e.u32(s.Subtask), Id: s.ID, Data: s.Data, Position: s.Position})
	}
	for i := range o.Channels {
		c := &o.Channels[i]
		out.Channels = append(out.Channels, &pb.Channel{
			Subtask: e.u32(c.Subtask), Output: c.Output, Port: e.u32(c.Port), Channel: e.u32(c.Channel), Chunk: e.chunk(&c.Chunk),
		})
	}
	for i := range o.Commits {
		c := &o.Commits[i]
		out.Commits = append(out.Commits, &pb.Commit{Subtask: e.u32(c.Subtask), Checkpoint: c.Checkpoint, Chunk: e.chunk(&c.Chunk)})
	}
	for i := range o.Cold {
		c := &o.Cold[i]
		out.Cold = append(out.Cold, &pb.Cold{
			Subtask: e.u32(c.Subtask), Store: c.Store, Name: c.Name, FirstGroup: e.u32(c.First), LastGroup: e.u32(c.Last),
			Meta: c.Meta, Chunk: e.chunk(&c.Chunk),
		})
	}
	if o.Coordinator != nil {
		out.Coordinator = e.chunk(o.Coordinator)
	}
	return out
}

func (e *encoder) chunk(c *Chunk) *pb.Chunk {
	out := &pb.Chunk{
		Bytes: uint64(c.Bytes), Sha: c.Hash[:], Inline: c.Inline,
		Offset: uint64(c.Offset), Stored: uint64(c.Stored), Skip: e.u32(c.Skip),
	}
	if c.File != "" {
		if out.File = e.files[c.File]; out.File == 0 {
			e.err = fmt.Errorf("file %q is not in the list", c.File)
		}
	}
	return out
}

func fromProto(msg *pb.Manifest) (*Manifest, error) {
	var d decoder
	m := &Manifest{Info: Info{
		JobName: msg.GetJobName(), JobID: msg.GetJobId(), Attempt: msg.GetAttempt(), Checkpoint: msg.GetCheckpoint(),
		Kind: Kind(d.enum(int32(msg.GetKind()))), TriggerMillis: msg.GetTriggerMillis(), Engine: msg.GetEngine(),
		MaxParallelism: d.int(msg.GetMaxParallelism()),
	}}
	last := ""
	for i, p := range msg.GetProperties() {
		if m.Properties == nil {
			m.Properties = make(map[string]string, len(msg.GetProperties()))
		}
		if i > 0 && p.GetKey() <= last {
			d.fail("property %q: not behind %q", p.GetKey(), last)
		}
		last = p.GetKey()
		m.Properties[last] = p.GetValue()
	}
	m.Files = make([]File, len(msg.GetFiles()))
	for i, f := range msg.GetFiles() {
		m.Files[i] = File{Name: f.GetName(), Size: d.int64(f.GetSize()), XXH64: Sum(f.GetXxh64()), Checkpoint: f.GetCheckpoint()}
	}
	d.files = m.Files
	m.Operators = make([]Operator, len(msg.GetOperators()))
	for i, o := range msg.GetOperators() {
		m.Operators[i] = d.operator(o)
	}
	return m, d.err
}

type decoder struct {
	files []File
	err   error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *decoder) int(n uint32) int {
	if n > math.MaxInt32 {
		d.fail("number %d: not in 0..%d", n, math.MaxInt32)
		return 0
	}
	return int(n)
}

func (d *decoder) int64(n uint64) int64 {
	if n > math.MaxInt64 {
		d.fail("number %d: not in 0..%d", n, int64(math.MaxInt64))
		return 0
	}
	return int64(n)
}

func (d *decoder) enum(n int32) uint8 {
	if n < 0 || n > math.MaxUint8 {
		d.fail("kind %d: not known", n)
		return 0
	}
	return uint8(n)
}

func (d *decoder) operator(o *pb.Operator) Operator {
	out := Operator{UID: o.GetUid(), Name: o.GetName(), Parallelism: d.int(o.GetParallelism()), MaxParallelism: d.int(o.GetMaxParallelism())}
	for _, s := range o.GetSubtasks() {
		t := Subtask{Index: d.int(s.GetIndex()), Finished: s.GetFinished(), Incarnation: s.GetIncarnation()}
		for _, n := range s.GetEndedInputs() {
			t.EndedInputs = append(t.EndedInputs, d.int(n))
		}
		out.Subtasks = append(out.Subtasks, t)
	}
	for _, s := range o.GetStates() {
		t := State{Name: s.GetName(), Kind: StateKind(d.enum(int32(s.GetKind()))), Schemas: s.GetSchemas(), Entries: make([]Entry, len(s.GetEntries()))}
		for i, e := range s.GetEntries() {
			t.Entries[i] = Entry{
				Group: d.int(e.GetGroup()), Subtask: d.int(e.GetSubtask()), Schema: d.int(e.GetSchema()), Version: e.GetVersion(), Chunk: d.chunk(e.GetChunk()),
			}
		}
		out.States = append(out.States, t)
	}
	for _, s := range o.GetSplits() {
		out.Splits = append(out.Splits, Split{Subtask: d.int(s.GetSubtask()), ID: s.GetId(), Data: s.GetData(), Position: s.Position})
	}
	for _, c := range o.GetChannels() {
		out.Channels = append(out.Channels, Channel{
			Subtask: d.int(c.GetSubtask()), Output: c.GetOutput(), Port: d.int(c.GetPort()), Channel: d.int(c.GetChannel()), Chunk: d.chunk(c.GetChunk()),
		})
	}
	for _, c := range o.GetCommits() {
		out.Commits = append(out.Commits, Commit{Subtask: d.int(c.GetSubtask()), Checkpoint: c.GetCheckpoint(), Chunk: d.chunk(c.GetChunk())})
	}
	for _, c := range o.GetCold() {
		out.Cold = append(out.Cold, Cold{
			Subtask: d.int(c.GetSubtask()), Store: c.GetStore(), Name: c.GetName(), First: d.int(c.GetFirstGroup()), Last: d.int(c.GetLastGroup()),
			Meta: c.GetMeta(), Chunk: d.chunk(c.GetChunk()),
		})
	}
	if o.GetCoordinator() != nil {
		c := d.chunk(o.GetCoordinator())
		out.Coordinator = &c
	}
	return out
}

var errNoChunk = errors.New("a chunk is missing or has no hash")

func (d *decoder) chunk(c *pb.Chunk) Chunk {
	if len(c.GetSha()) != len(Hash{}) {
		d.fail("%w", errNoChunk)
		return Chunk{}
	}
	out := Chunk{
		Bytes: d.int64(c.GetBytes()), Hash: Hash(c.GetSha()), Inline: c.GetInline(),
		Offset: d.int64(c.GetOffset()), Stored: d.int64(c.GetStored()), Skip: d.int(c.GetSkip()),
	}
	if f := c.GetFile(); f > 0 {
		if uint64(f) > uint64(len(d.files)) {
			d.fail("file %d of %d", f, len(d.files))
			return Chunk{}
		}
		out.File = d.files[f-1].Name
	}
	return out
}
