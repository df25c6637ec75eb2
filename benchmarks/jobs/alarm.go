package jobs

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm lets a goroutine sleep for well under a millisecond. The timers of Go
// cannot: a process with nothing else to do waits for them in epoll_wait, in
// whole milliseconds. A blocking nanosleep is exact but keeps a processor from
// other goroutines. The alarm is a timer of the system that the poller waits
// for as it does for a socket.
type alarm struct {
	fd   int
	file *os.File
	buf  [8]byte
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create timer: %w", err)
	}
	return &alarm{fd: fd, file: os.NewFile(uintptr(fd), "timer")}, nil
}

// sleep returns after d.
func (a *alarm) sleep(d time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if err := unix.TimerfdSettime(a.fd, 0, &spec, nil); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	if _, err := a.file.Read(a.buf[:]); err != nil {
		return fmt.Errorf("wait for timer: %w", err)
	}
	return nil
}

func (a *alarm) close() error { return a.file.Close() }
