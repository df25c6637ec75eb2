package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/millrace/millrace/engine/checkpoint/setting"
)

// Mode says what a checkpoint promises for records that are replayed after a
// failure.
type Mode uint8

const (
	// ExactlyOnce lets barriers separate records strictly: state reflects each
	// record once.
	ExactlyOnce Mode = iota
	// AtLeastOnce never holds an input back: state may reflect records again
	// that were between the barriers of two inputs.
	AtLeastOnce
)

var modeNames = []string{"EXACTLY_ONCE", "AT_LEAST_ONCE"}

// String returns the mode as settings name it.
func (m Mode) String() string { return modeNames[m] }

// Retention says what becomes of the completed checkpoints when the job ends.
// The checkpoints of a job that finishes are always deleted: all it was asked
// to do is done and committed.
type Retention uint8

const (
	// NoneExternalized deletes them when the job is cancelled or fails.
	NoneExternalized Retention = iota
	// DeleteOnCancellation keeps them when the job fails.
	DeleteOnCancellation
	// RetainOnCancellation keeps them when the job is cancelled or fails.
	RetainOnCancellation
)

var retentionNames = []string{"NO_EXTERNALIZED_CHECKPOINTS", "DELETE_ON_CANCELLATION", "RETAIN_ON_CANCELLATION"}

// String returns the retention as settings name it.
func (r Retention) String() string { return retentionNames[r] }

// Never, as [Config.BacklogInterval], starts no periodic checkpoint during a
// backlog.
const Never time.Duration = -1

// Unlimited, as [Config.TolerableFailures], never fails the job because of
// failed checkpoints.
const Unlimited = math.MaxInt32

// Config says when checkpoints are taken, how, and what becomes of them.
// [Default] is what holds where nothing is set, [Parse] reads it from settings.
// It does not change while a job runs.
type Config struct {
	// Interval between the starts of periodic checkpoints, at least 10 ms.
	// 0 takes none but those asked for.
	Interval time.Duration
	// BacklogInterval holds instead of Interval while a source says that it
	// works on a backlog. 0 takes Interval; [Never] takes none.
	BacklogInterval time.Duration
	Mode            Mode
	// Timeout from the trigger to the last acknowledgement; and again from
	// there to the store's answer.
	Timeout time.Duration
	// MinPause from the completion of one checkpoint or savepoint to the next
	// periodic start.
	MinPause time.Duration
	// MaxConcurrent checkpoints may be under way; savepoints are not counted.
	MaxConcurrent int
	// TolerableFailures of checkpoints in a row before the job is failed.
	TolerableFailures int
	Retention         Retention
	// NumRetained is how many completed checkpoints are kept. Flink keeps one;
	// the second is what a job falls back to if the newest turns out damaged.
	NumRetained int
	// Unaligned lets a barrier overtake the records before it once it has
	// waited for AlignedTimeout in a task.
	Unaligned bool
	// AlignedTimeout of 0 lets barriers overtake at once. Flink's default.
	AlignedTimeout time.Duration
	// AfterTasksFinish goes on taking checkpoints when some tasks have
	// finished, and has every task wait for a last one before it ends.
	AfterTasksFinish bool
	// History is how many checkpoints the statistics show one by one.
	History int
	// Storage is for those who write and read snapshots; a coordinator does
	// not look at it.
	Storage Storage
}

// Storage is the part of the settings that says how snapshots are written.
type Storage struct {
	// Dir holds checkpoints; empty if none is set.
	Dir string
	// SavepointDir holds savepoints that name no directory of their own.
	SavepointDir string
	// CreateSubdir puts the job's id between Dir and the checkpoints.
	CreateSubdir bool
	// Kind is "filesystem" or "jobmanager"; empty if not set.
	Kind string
	// Incremental writes only what no earlier checkpoint has written.
	Incremental bool
	// Compression of everything written.
	Compression bool
	// FileMerging puts what one process writes for one checkpoint into few
	// files of at most MergedFileBytes, and rewrites them when they take more
	// than MaxSpaceAmplification times what is still needed.
	FileMerging           bool
	MergedFileBytes       int64
	MaxSpaceAmplification float64
	// InlineBytes: smaller pieces are put into the manifest.
	InlineBytes int64
	// WriteBufferBytes of each file being written.
	WriteBufferBytes int64
	// LocalBackup keeps a second copy of a task's snapshot on its machine,
	// FromLocal reads it first when restoring.
	LocalBackup, FromLocal bool
	// ParallelCleaning deletes the files of one checkpoint concurrently.
	ParallelCleaning bool
	// ForceUnaligned allows unaligned checkpoints with iterations.
	ForceUnaligned bool
	// ChannelStateSubtasks of one process may share a file of overtaken
	// records.
	ChannelStateSubtasks int
}

// Default returns the configuration that holds where nothing is set: Flink's,
// except that barriers may overtake after five seconds, that two checkpoints
// are retained, and that snapshots are incremental, compressed, merged into
// few files and kept locally as well. Periodic checkpoints are off.
func Default() Config {
	return Config{
		Timeout:          10 * time.Minute,
		MaxConcurrent:    1,
		NumRetained:      2,
		Unaligned:        true,
		AlignedTimeout:   5 * time.Second,
		AfterTasksFinish: true,
		History:          10,
		Storage: Storage{
			CreateSubdir:          true,
			Incremental:           true,
			Compression:           true,
			FileMerging:           true,
			MergedFileBytes:       32 << 20,
			MaxSpaceAmplification: 2,
			InlineBytes:           20 << 10,
			WriteBufferBytes:      4096,
			LocalBackup:           true,
			FromLocal:             true,
			ParallelCleaning:      true,
			ChannelStateSubtasks:  5,
		},
	}
}

const (
	prefix = "execution.checkpointing."

	leastInterval = 10 * time.Millisecond
	mostPause     = 365 * 24 * time.Hour
)

// Parse reads a configuration from settings by Flink's keys. Old names of keys
// are understood and noted. Keys under execution.checkpointing that do not
// exist are errors; others are not looked at. The error names every problem
// with its key, value and range.
func Parse(settings map[string]string) (c Config, notes []string, err error) {
	r := setting.Read(settings)
	c = Default()
	period := func(key string) time.Duration {
		d := r.Duration(key, 0, 0, mostPause)
		if d > 0 && d < leastInterval {
			r.Fail(key, "neither 0 nor in %v..%v", leastInterval, mostPause)
		}
		return d
	}
	c.Interval = period(prefix + "interval")
	if key := prefix + "interval-during-backlog"; r.Has(key) {
		if c.BacklogInterval = period(key); c.BacklogInterval == 0 {
			c.BacklogInterval = Never
		}
	}
	c.Mode = Mode(r.Choice(prefix+"mode", int(c.Mode), modeNames))
	c.Timeout = r.Duration(prefix+"timeout", c.Timeout, leastInterval, mostPause)
	c.MinPause = r.Duration(prefix+"min-pause", 0, 0, mostPause)
	c.MaxConcurrent = r.Int(prefix+"max-concurrent-checkpoints", c.MaxConcurrent, 1, math.MaxInt32)
	c.TolerableFailures = r.Int(prefix+"tolerable-failed-checkpoints", 0, 0, math.MaxInt32)
	c.Retention = Retention(r.Choice(prefix+"externalized-checkpoint-retention", int(c.Retention), retentionNames,
		"execution.checkpointing.externalized-checkpoint"))
	c.NumRetained = r.Int(prefix+"num-retained", c.NumRetained, 1, math.MaxInt32, "state.checkpoints.num-retained")
	c.AfterTasksFinish = r.Bool(prefix+"checkpoints-after-tasks-finish", c.AfterTasksFinish,
		"execution.checkpointing.checkpoints-after-tasks-finish.enabled")
	c.History = r.Int("web.checkpoints.history", c.History, 1, 10_000)
	parseUnaligned(r, &c)
	parseStorage(r, &c.Storage)
	r.Unknown(prefix)
	return c, r.Notes(), r.Err()
}

// parseUnaligned reads whether barriers may overtake. That is the default where
// it is possible; asked for where it is not, it is an error.
func parseUnaligned(r *setting.Reader, c *Config) {
	key, old := prefix+"unaligned.enabled", prefix+"unaligned"
	possible := c.Mode == ExactlyOnce && c.MaxConcurrent == 1
	c.Unaligned = r.Bool(key, possible, old)
	switch {
	case !c.Unaligned || possible:
	case c.Mode != ExactlyOnce:
		r.Fail(key, "needs mode %s", ExactlyOnce)
	default:
		r.Fail(key, "needs max-concurrent-checkpoints 1, which is %d", c.MaxConcurrent)
	}
	c.AlignedTimeout = r.Duration(prefix+"aligned-checkpoint-timeout", c.AlignedTimeout, 0, mostPause,
		prefix+"alignment-timeout")
}

func parseStorage(r *setting.Reader, s *Storage) {
	s.Dir = r.String(prefix+"dir", "", "state.checkpoints.dir")
	s.SavepointDir = r.String(prefix+"savepoint-dir", "", "state.savepoints.dir")
	kinds := []string{"filesystem", "jobmanager"}
	if key, old := prefix+"storage", []string{"state.checkpoint-storage"}; r.Has(key, old...) {
		s.Kind = kinds[r.Choice(key, 0, kinds, old...)]
	}
	s.CreateSubdir = r.Bool(prefix+"create-subdir", s.CreateSubdir, "state.checkpoints.create-subdir")
	s.Incremental = r.Bool(prefix+"incremental", s.Incremental, "state.backend.incremental")
	s.Compression = r.Bool(prefix+"snapshot-compression", s.Compression, "execution.checkpointing.compression")
	s.FileMerging = r.Bool(prefix+"file-merging.enabled", s.FileMerging)
	s.MergedFileBytes = r.Bytes(prefix+"file-merging.max-file-size", s.MergedFileBytes, 1, math.MaxInt64)
	s.MaxSpaceAmplification = r.Float(prefix+"file-merging.max-space-amplification", s.MaxSpaceAmplification, 1, math.Inf(1))
	s.InlineBytes = r.Bytes(prefix+"data-inline-threshold", s.InlineBytes, 0, 1<<20, "state.storage.fs.memory-threshold")
	s.WriteBufferBytes = r.Bytes(prefix+"write-buffer-size", s.WriteBufferBytes, 1, 1<<30, "state.storage.fs.write-buffer-size")
	s.LocalBackup = r.Bool(prefix+"local-backup.enabled", s.LocalBackup)
	s.FromLocal = r.Bool("execution.state-recovery.from-local", s.FromLocal, "state.backend.local-recovery")
	s.ParallelCleaning = r.Bool(prefix+"cleaner.parallel-mode", s.ParallelCleaning, "state.checkpoint.cleaner.parallel-mode")
	s.ForceUnaligned = r.Bool(prefix+"unaligned.forced", false)
	s.ChannelStateSubtasks = r.Int(prefix+"unaligned.max-subtasks-per-channel-state-file", s.ChannelStateSubtasks, 1, math.MaxInt32)
}

// Validate reports every field that is out of its range, or nil.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("checkpoint.Config: "+format, args...))
		}
	}
	check(c.Interval == 0 || c.Interval >= leastInterval, "Interval %v is neither 0 nor %v or more", c.Interval, leastInterval)
	check(c.BacklogInterval == 0 || c.BacklogInterval == Never || c.BacklogInterval >= leastInterval,
		"BacklogInterval %v is neither 0, Never nor %v or more", c.BacklogInterval, leastInterval)
	check(int(c.Mode) < len(modeNames), "Mode %d is unknown", uint8(c.Mode))
	check(int(c.Retention) < len(retentionNames), "Retention %d is unknown", uint8(c.Retention))
	check(c.Timeout >= leastInterval, "Timeout %v is not %v or more", c.Timeout, leastInterval)
	check(c.MinPause >= 0, "MinPause %v is negative", c.MinPause)
	check(c.AlignedTimeout >= 0, "AlignedTimeout %v is negative", c.AlignedTimeout)
	check(c.MaxConcurrent >= 1, "MaxConcurrent %d is not 1 or more", c.MaxConcurrent)
	check(c.TolerableFailures >= 0, "TolerableFailures %d is negative", c.TolerableFailures)
	check(c.NumRetained >= 1, "NumRetained %d is not 1 or more", c.NumRetained)
	check(c.History >= 1, "History %d is not 1 or more", c.History)
	check(!c.Unaligned || c.Mode == ExactlyOnce, "Unaligned needs Mode %s", ExactlyOnce)
	check(!c.Unaligned || c.MaxConcurrent == 1, "Unaligned needs MaxConcurrent 1, which is %d", c.MaxConcurrent)
	return errors.Join(errs...)
}

// Final reports whether tasks that have reached the end of their input wait
// for one more checkpoint before they end. Where they do not, sinks commit at
// the end of input.
func (c Config) Final() bool { return c.Interval > 0 && c.AfterTasksFinish }

// interval between periodic starts now; 0 if there are none.
func (c *Config) interval(backlog bool) time.Duration {
	d := c.Interval
	if backlog && d > 0 && c.BacklogInterval != 0 {
		d = c.BacklogInterval
	}
	if d <= 0 {
		return 0
	}
	return max(d, c.MinPause)
}
