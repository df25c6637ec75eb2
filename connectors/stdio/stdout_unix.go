//go:build unix

package stdio

import (
	"io"
	"os"
	"syscall"
)

// standardOutput is a second descriptor of standard output. A write to
// descriptor 1 itself whose reader has gone kills a Go program with SIGPIPE; a
// write to another descriptor returns the error.
func standardOutput() (io.WriteCloser, error) {
	fd, err := syscall.Dup(int(os.Stdout.Fd()))
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), os.Stdout.Name()), nil
}
