package cold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/millrace/millrace/state/keygroup"
)

// GroupKey is the least key of a key group: what a scan of the group begins
// with. That of the group after the last one is an upper bound of all keys.
func GroupKey(group int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(group)) }

// Bounds are the lower and the upper bound of the keys of a range of groups.
func Bounds(groups keygroup.Range) (lower, upper []byte) {
	return GroupKey(groups.Start), GroupKey(groups.End + 1)
}

// MakeDir makes the folder of a new store. One that exists must be empty.
func MakeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder of a store: %w", err)
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("making the folder of a store: %w", err)
	}
	if len(there) > 0 {
		return fmt.Errorf("making a store in %s: the folder is not empty", dir)
	}
	return nil
}

// Check reports files of the image that are missing or are not what they were
// when it was made, as ErrCorrupt. Of files with an ID it looks at the size
// only: the blocks in them have checksums of their own.
func (im *Image) Check() error {
	for _, f := range im.Files {
		path := filepath.Join(im.Dir, f.Name)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%w: %s is missing", ErrCorrupt, path)
		case err != nil:
			return fmt.Errorf("checking an image: %w", err)
		case info.Size() != f.Size:
			return fmt.Errorf("%w: %s has %d bytes instead of %d", ErrCorrupt, path, info.Size(), f.Size)
		case f.ID != "":
			continue
		}
		if crc, err := checksum(path); err != nil {
			return fmt.Errorf("checking an image: %w", err)
		} else if crc != f.CRC {
			return fmt.Errorf("%w: %s has checksum %08x instead of %08x", ErrCorrupt, path, crc, f.CRC)
		}
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(path string) (uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	h := crc32.New(castagnoli)
	_, err = io.Copy(h, f)
	return h.Sum32(), err
}

// Place checks the image and puts its files into dir, which it makes: files
// that never change are linked where that can be done, others copied.
func (im *Image) Place(dir string) error {
	if err := im.Check(); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("placing the files of %s: %w", im.Dir, err)
	}
	for _, f := range im.Files {
		from, to := filepath.Join(im.Dir, f.Name), filepath.Join(dir, f.Name)
		if f.ID != "" && os.Link(from, to) == nil {
			continue
		}
		if err := copyFile(from, to); err != nil {
			return fmt.Errorf("placing the files of %s: %w", im.Dir, err)
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// List makes the image of the files in dir. Identity answers the ID of a file,
// or "" for one that belongs to the image.
func List(dir string, groups keygroup.Range, identity func(name string) (string, error)) (Image, error) {
	im := Image{Dir: dir, Groups: groups}
	there, err := os.ReadDir(dir)
	if err != nil {
		return im, fmt.Errorf("listing a checkpoint: %w", err)
	}
	for _, e := range there {
		info, err := e.Info()
		if err != nil {
			return im, fmt.Errorf("listing a checkpoint: %w", err)
		}
		id, err := identity(e.Name())
		if err != nil {
			return im, fmt.Errorf("listing a checkpoint: %s: %w", filepath.Join(dir, e.Name()), err)
		}
		f := File{Name: e.Name(), Size: info.Size(), ID: id}
		if id == "" {
			if f.CRC, err = checksum(filepath.Join(dir, f.Name)); err != nil {
				return im, fmt.Errorf("listing a checkpoint: %w", err)
			}
		}
		im.Files = append(im.Files, f)
	}
	return im, nil
}

// Choose picks the images that answer for any of groups, in the order of
// their groups, and reports those that answer for the same group.
func Choose(groups keygroup.Range, images []Image) ([]Image, error) {
	var chosen []Image
	for _, im := range images {
		if im.Groups.Intersect(groups).Len() > 0 {
			chosen = append(chosen, im)
		}
	}
	slices.SortFunc(chosen, func(a, b Image) int { return a.Groups.Start - b.Groups.Start })
	for i := 1; i < len(chosen); i++ {
		if a, b := chosen[i-1], chosen[i]; b.Groups.Start <= a.Groups.End {
			return nil, fmt.Errorf("the images %s (key groups %v) and %s (%v) overlap", a.Dir, a.Groups, b.Dir, b.Groups)
		}
	}
	return chosen, nil
}

// Bytes is the size of all files of the image.
func (im *Image) Bytes() int64 {
	var n int64
	for _, f := range im.Files {
		n += f.Size
	}
	return n
}
