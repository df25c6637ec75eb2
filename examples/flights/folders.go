package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
	"github.com/millrace/millrace/connectors/format"
)

// dataFolder is where the data is for a program started in examples, in the
// folder above it, or in its own.
func dataFolder() string {
	for _, dir := range []string{"flights/data", "examples/flights/data", "data"} {
		if _, err := os.Stat(filepath.Join(dir, "flights-3m.parquet")); err == nil {
			return dir
		}
	}
	return "flights/data"
}

// read is the source of one file of the data folder.
func read[T any](data, name string, f format.Format[T]) millrace.Source[T] {
	return dataFile[T]{files.Read(filepath.Join(data, name), f)}
}

// dataFile adds to the error of a file that is not there how to say where it
// is.
type dataFile[T any] struct{ millrace.Source[T] }

// Splits lists the parts of the file.
func (d dataFile[T]) Splits(ctx context.Context, parallelism int) ([]millrace.Split, error) {
	splits, err := d.Source.Splits(ctx, parallelism)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w (give the folder with the data as --data)", err)
	}
	return splits, err
}

// write is a sink into one file of the output folder, which is made if it is
// missing. The file has its name only once it is whole.
func write[T any](out, name string, f format.Format[T]) millrace.Sink[T] {
	return outFile[T]{out, files.WriteFile(filepath.Join(out, name), f)}
}

type outFile[T any] struct {
	folder string
	sink   millrace.Sink[T]
}

// OpenWriter makes the folder and opens the file.
func (o outFile[T]) OpenWriter(ctx context.Context, sub millrace.Subtask) (millrace.Writer[T], error) {
	err := os.MkdirAll(o.folder, 0o777)
	if err == nil {
		var w millrace.Writer[T]
		if w, err = o.sink.OpenWriter(ctx, sub); err == nil {
			return w, nil
		}
	}
	return nil, fmt.Errorf("%w (give a folder that can be written as --out)", err)
}

// replaceFile writes a file that has its name only once it is whole, as the
// engine's sinks do.
func replaceFile(name string, content []byte) error {
	hidden := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".inprogress")
	if err := os.WriteFile(hidden, content, 0o666); err != nil {
		return errors.Join(err, os.Remove(hidden))
	}
	return os.Rename(hidden, name)
}
