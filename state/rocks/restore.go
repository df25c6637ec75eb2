//go:build rocksdb && cgo

package rocks

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/linxGnu/grocksdb"

	"github.com/millrace/millrace/state/cold"
	"github.com/millrace/millrace/state/keygroup"
)

// familiesMost bounds the column families of a store: each has write buffers
// of its own. Each restore from several images adds some; beyond this the
// smallest are copied into the default family.
const familiesMost = 8

// Restore makes a store of images, as cold.Backend says. A single image is
// opened as it is, and what lies outside of groups is marked as deleted. Of
// several the files are taken over, each column family as one of the new
// store's; no entry is read but those of the smallest families beyond
// familiesMost.
func (b *Backend) Restore(dir string, groups keygroup.Range, o cold.Options, images ...cold.Image) (_ cold.Store, err error) {
	if err := cold.MakeDir(dir); err != nil {
		return nil, err
	}
	images, err = cold.Choose(groups, images)
	if err != nil {
		return nil, fmt.Errorf("restoring the store in %s: %w", dir, err)
	}
	switch len(images) {
	case 0:
		return b.open(dir, groups, o)
	case 1:
		return b.restoreOne(dir, groups, o, images[0])
	}
	s, err := b.open(dir, groups, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := s.takeOver(images); err != nil {
		return nil, fmt.Errorf("restoring the store in %s: %w", dir, err)
	}
	return s, nil
}

// restoreOne opens an image as a store.
func (b *Backend) restoreOne(dir string, groups keygroup.Range, o cold.Options, im cold.Image) (*Store, error) {
	if err := im.Place(dir); err != nil {
		return nil, fmt.Errorf("restoring the store in %s: %w", dir, err)
	}
	s, err := b.open(dir, groups, o)
	if err != nil {
		return nil, fmt.Errorf("restoring from %s: %w", im.Dir, err)
	}
	for _, f := range im.Files {
		if f.ID != "" {
			s.identities[f.Name] = f.ID
		}
	}
	for i := range s.place {
		if err := s.clip(i, groups.Intersect(im.Groups)); err != nil {
			return nil, errors.Join(fmt.Errorf("restoring from %s: %w", im.Dir, err), s.Close())
		}
	}
	return s, nil
}

// clip marks as deleted what the family at place i has outside of groups.
func (s *Store) clip(i int, groups keygroup.Range) error {
	least, most, _ := s.bounds(i)
	lower, upper := cold.Bounds(groups)
	for _, out := range [][2][]byte{{{}, lower}, {upper, {0xff, 0xff, 0xff}}} {
		if most == nil || slices.Compare(out[0], most) > 0 || slices.Compare(out[1], least) <= 0 {
			continue // no file has such keys
		}
		var message *C.char
		C.millrace_clip(s.view, C.size_t(i), char(out[0]), C.size_t(len(out[0])), char(out[1]), C.size_t(len(out[1])), &message)
		if message != nil {
			return wrap("clipping", s.dir, taken(message))
		}
	}
	return nil
}

// bounds are the least and the greatest key in the files of the family at
// place i, nil where it has none, and the size of the files.
func (s *Store) bounds(i int) (least, most []byte, bytes int64) {
	meta := s.db.GetColumnFamilyMetadataCF(s.place[i].handle)
	for _, l := range meta.LevelMetas() {
		for _, t := range l.SstMetas() {
			if a := t.SmallestKey(); least == nil || slices.Compare(a, least) < 0 {
				least = slices.Clone(a)
			}
			if b := t.LargestKey(); most == nil || slices.Compare(b, most) > 0 {
				most = slices.Clone(b)
			}
			bytes += int64(t.Size())
		}
	}
	return least, most, bytes
}

// A part is what one column family of an image has of the wanted groups.
type part struct {
	from   *Store
	family int
	groups keygroup.Range
	bytes  int64
}

// takeOver takes over the entries of images.
func (s *Store) takeOver(images []cold.Image) (err error) {
	var parts []part
	scratch := filepath.Join(s.dir, "from")
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	for i, im := range images {
		dir := filepath.Join(scratch, fmt.Sprint(i))
		if err := im.Place(dir); err != nil {
			return err
		}
		from, err := s.backend.open(dir, im.Groups, cold.Options{})
		if err != nil {
			return fmt.Errorf("opening %s: %w", im.Dir, err)
		}
		defer func() { _ = from.Close() }()
		parts = append(parts, from.parts(im.Groups.Intersect(s.groups))...)
	}
	slices.SortFunc(parts, func(a, b part) int { return int(b.bytes - a.bytes) })
	for i, p := range parts[:min(len(parts), familiesMost)] {
		if err := s.adopt(p, filepath.Join(scratch, fmt.Sprintf("export-%d", i))); err != nil {
			return fmt.Errorf("taking over key groups %v: %w", p.groups, err)
		}
	}
	slices.SortFunc(s.place[1:], func(a, b family) int { return a.groups.Start - b.groups.Start })
	s.look()
	for i := range s.place[1:] {
		if err := s.clip(i+1, s.place[i+1].groups); err != nil {
			return err
		}
	}
	if len(parts) > familiesMost {
		return s.copyOver(parts[familiesMost:])
	}
	return nil
}

// parts are what the store has of groups, by column family.
func (s *Store) parts(groups keygroup.Range) []part {
	var all []part
	first, in := s.spans()
	for i, f := range in {
		span := keygroup.Range{Start: int(first[i]), End: keygroup.MaxParallelism - 1}
		if i+1 < len(first) {
			span.End = int(first[i+1]) - 1
		}
		p := part{from: s, family: int(f), groups: span.Intersect(groups)}
		least, _, bytes := s.bounds(p.family)
		if p.bytes = bytes; least != nil && p.groups.Len() > 0 {
			all = append(all, p)
		}
	}
	return all
}

// adopt makes a column family of a part, by linking its files.
func (s *Store) adopt(p part, dir string) error {
	c, err := p.from.db.NewCheckpoint()
	if err != nil {
		return err
	}
	defer c.Destroy()
	files, err := c.ExportColumnFamily(p.from.place[p.family].handle, dir)
	if err != nil {
		return err
	}
	defer files.Destroy()
	list := files.GetFiles()
	defer list.Destroy()
	if list.Count() == 0 {
		return nil
	}
	opts := grocksdb.NewImportColumnFamilyOption()
	defer opts.Destroy()
	opts.SetMoveFiles(true)
	f := family{name: fmt.Sprintf(familyName, p.groups.Start, p.groups.End), groups: p.groups}
	f.handle, err = s.db.CreateColumnFamilyWithImport(s.opts, f.name, opts, files)
	if err != nil {
		return err
	}
	s.place = append(s.place, f)
	return nil
}

// copyOver copies parts into the default family, as one sorted run.
func (s *Store) copyOver(parts []part) error {
	slices.SortFunc(parts, func(a, b part) int { return a.groups.Start - b.groups.Start })
	run, err := s.NewRun()
	if err != nil {
		return err
	}
	defer run.Discard()
	for _, p := range parts {
		if err := p.copyTo(run); err != nil {
			return fmt.Errorf("copying key groups %v: %w", p.groups, err)
		}
	}
	return run.Ingest()
}

func (p part) copyTo(run cold.Run) (err error) {
	scan, err := p.from.Scan(cold.Bounds(p.groups))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scan.Close()) }()
	var b cold.Batch
	for {
		more, err := scan.Next(&b)
		if err != nil || !more {
			return err
		}
		if err := run.Add(&b); err != nil {
			return err
		}
	}
}
