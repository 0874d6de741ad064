//go:build !linux

package runner

import "time"

var processStart = time.Now()

// sinceBoot is the process's monotonic clock: the daemon is for Linux, and
// elsewhere this package is only compiled in.
func sinceBoot() time.Duration { return time.Since(processStart) }
