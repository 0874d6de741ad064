package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine says where and with what figures were made.
type machine struct {
	Date     string
	CPU      string
	Cores    int
	MemoryGB float64
	Kernel   string
	Versions []string
	Extent   extent
	Whole    bool
	// Load is the one-minute load average before and after the run. One that
	// was high before means that others were at work on the same cores.
	LoadBefore, LoadAfter string
}

// survey describes this machine and the programs at the paths.
func survey(ctx context.Context, programs map[string]string, x extent, whole bool) machine {
	m := machine{
		Date: time.Now().UTC().Format(time.DateOnly), Cores: runtime.GOMAXPROCS(0), Extent: x, Whole: whole,
		CPU: "unknown processor", LoadBefore: loadAverage(),
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				m.CPU = strings.Trim(name, "\t :\n")
				break
			}
		}
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		m.MemoryGB = float64(info.Totalram) * float64(info.Unit) / 1e9
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		m.Kernel = unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
	}
	m.Versions = append(m.Versions, runtime.Version())
	for _, label := range []string{"restic", "kopia", "versitygw", "zstd"} {
		if path := programs[label]; path != "" {
			m.Versions = append(m.Versions, label+" "+version(ctx, path))
		}
	}
	return m
}

// version is the one that a Go program was built from, and of another program
// the first word of its answer that looks like a version.
func version(ctx context.Context, path string) string {
	if info, err := buildinfo.ReadFile(path); err == nil && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	_, out, err := run(ctx, command{args: []string{path, "--version"}, env: environment(os.TempDir())})
	if err != nil {
		return "of unknown version"
	}
	for _, word := range bytes.Fields(out) {
		w := strings.Trim(strings.TrimPrefix(string(word), "v"), ",*")
		if len(w) > 2 && w[0] >= '0' && w[0] <= '9' && strings.Contains(w, ".") {
			return w
		}
	}
	return "of unknown version"
}

func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

func (m machine) write(b *strings.Builder) {
	kind := "reduced data (`make bench`)"
	if m.Whole {
		kind = "whole data (`make bench WHOLE=1`)"
	}
	fmt.Fprintf(b, "%s, %s, %d cores, %.0f GB of memory, %s; %s. Load average before the run %s, after it %s.\n",
		m.Date, m.CPU, m.Cores, m.MemoryGB, m.Kernel, strings.Join(m.Versions, ", "), m.LoadBefore, m.LoadAfter)
	fmt.Fprintf(b, "%s, %d rounds.\n", kind, m.Extent.Rounds)
}
