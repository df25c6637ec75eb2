package pebble

import "github.com/cockroachdb/pebble/v2/vfs"

// A disk is the file system without waiting for the disk: a store is lost with
// its process or its machine anyway, and who keeps a checkpoint brings it to
// where it is durable. On a slow disk waiting was most of the cost of small
// flushes and ingestions.
type disk struct{ vfs.FS }

func (d disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return unsynced(d.FS.Create(name, c))
}

func (d disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return unsynced(d.FS.OpenReadWrite(name, c, opts...))
}

func (d disk) OpenDir(name string) (vfs.File, error) { return unsynced(d.FS.OpenDir(name)) }

func (d disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return unsynced(d.FS.ReuseForWrite(from, to, c))
}

func (d disk) Unwrap() vfs.FS { return d.FS }

type file struct{ vfs.File }

func unsynced(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (file) Sync() error     { return nil }
func (file) SyncData() error { return nil }
