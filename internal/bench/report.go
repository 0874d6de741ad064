package main

import (
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// bar is a figure that a discipline promises.
type bar struct {
	name string
	// metric reads the figure of one contender.
	metric func(r *result, contender string) float64
	// against names the peers; empty means all, and the best of them counts.
	against []string
	value   float64
	unit    string
	// limit makes value a bound for our own figure in place of a ratio.
	limit bool
	// more says that more is better.
	more bool
	// timed says that the figure is the time of a discipline, so that best runs
	// and CPU time can be compared, too.
	timed bool
}

// wallBar is a bar on the time of a discipline against the best peer; its name
// is the discipline's with the suffix.
func wallBar(suffix string, value float64) bar {
	return bar{name: suffix, metric: wallSeconds, value: value, unit: "s", timed: true}
}

func wallBarAgainst(suffix, peer string, value float64) bar {
	b := wallBar(suffix, value)
	b.against = []string{peer}
	return b
}

func samplesOf[T int64 | time.Duration](r *result, contender string, field func(sample) T) T {
	var values []T
	for _, s := range r.samples[contender] {
		values = append(values, field(s))
	}
	return median(values)
}

func wallSeconds(r *result, contender string) float64 {
	return samplesOf(r, contender, func(s sample) time.Duration { return s.Wall }).Seconds()
}

// bestSeconds is the quickest run, which a busy machine disturbs least.
func bestSeconds(r *result, contender string) float64 {
	var best time.Duration
	for i, s := range r.samples[contender] {
		if i == 0 || s.Wall < best {
			best = s.Wall
		}
	}
	return best.Seconds()
}

func cpuSeconds(r *result, contender string) float64 {
	return samplesOf(r, contender, func(s sample) time.Duration { return s.CPU }).Seconds()
}

func peakRSS(r *result, contender string) float64 {
	return float64(samplesOf(r, contender, func(s sample) int64 { return s.RSS })) / (1 << 20)
}

func storedBytes(r *result, contender string) float64 {
	return float64(r.stored[contender].Bytes) / 1e6
}

func storedObjects(r *result, contender string) float64 {
	return float64(r.stored[contender].Objects)
}

func planRequests(r *result, contender string) float64 { return float64(r.requests[contender]) }

// rate is the throughput of a full backup, or of the stages alone, in MB of
// source a second.
func rate(r *result, contender string) float64 {
	if contender != stagesName {
		return float64(r.bytes) / 1e6 / wallSeconds(r, contender)
	}
	var rates []float64
	for _, s := range r.stages {
		rates = append(rates, float64(s.Bytes)/1e6/s.Wall.Seconds())
	}
	return median(rates)
}

// figure is a bar with what was measured.
type figure struct {
	bar
	ours, peer float64
	peerName   string
	// byBest and byCPU are the ratios of the best runs and of CPU times, each
	// against the peer that is best at it; 0 where there is no such thing.
	byBest, byCPU float64
}

// figureOf compares our figure with that of the best peer that was measured.
func figureOf(b bar, r *result) figure {
	f := figure{bar: b, ours: b.metric(r, oursName)}
	for _, name := range r.peers() {
		if len(b.against) > 0 && !slices.Contains(b.against, name) {
			continue
		}
		v := b.metric(r, name)
		if f.peerName == "" || b.more && v > f.peer || !b.more && v < f.peer {
			f.peer, f.peerName = v, name
		}
	}
	if b.timed && f.peerName != "" {
		f.byBest = figureOf(bar{metric: bestSeconds, against: b.against}, r).ratio()
		f.byCPU = figureOf(bar{metric: cpuSeconds, against: b.against}, r).ratio()
	}
	return f
}

// peers are the contenders beside ours that count.
func (r *result) peers() []string {
	if len(r.stages) > 0 {
		return []string{stagesName}
	}
	return slices.DeleteFunc(slices.Clone(r.order), func(name string) bool { return name == oursName || name == tarName })
}

// ratio says how many times better we are, in the two decimals that are
// printed: no line is to contradict itself.
func (f figure) ratio() float64 {
	ratio := f.peer / f.ours
	if f.more {
		ratio = f.ours / f.peer
	}
	return math.Round(ratio*100) / 100
}

// ok reports whether the bar is reached.
func (f figure) ok() bool {
	if f.limit {
		return f.ours <= f.value
	}
	return f.ratio() >= f.value
}

func (f figure) verdict() string {
	if f.ok() {
		return "ok"
	}
	return "short"
}

// line is what scripts read.
func (f figure) line() string {
	return fmt.Sprintf("BENCH %s ours=%s peer=%s unit=%s ratio=%.2f bar=%v %s",
		f.name, number(f.ours), number(f.peer), f.unit, f.ratio(), f.value, f.verdict())
}

// number prints three significant digits, and no exponent.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// figures are those of the results whose names match, in order. Where our
// engine ran alone there is nothing to compare and no figure.
func figures(results []*result, pattern *regexp.Regexp) []figure {
	var all []figure
	for _, r := range results {
		for _, b := range r.discipline.bars {
			if f := figureOf(b, r); f.peerName != "" && pattern.MatchString(b.name) {
				all = append(all, f)
			}
		}
	}
	return all
}

// writeLines prints the BENCH lines, and for each time a CPU line, which means
// more when the machine does other things besides.
func writeLines(w io.Writer, figures []figure, results []*result) error {
	var b strings.Builder
	for _, f := range figures {
		fmt.Fprintln(&b, f.line())
	}
	for _, r := range results {
		f := figureOf(bar{name: r.discipline.name, metric: cpuSeconds, unit: "s"}, r)
		if f.peerName != "" && f.peerName != stagesName {
			fmt.Fprintf(&b, "CPU %s ours=%s peer=%s unit=s ratio=%.2f\n", f.name, number(f.ours), number(f.peer), f.ratio())
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeTables prints everything that was measured as Markdown.
func writeTables(w io.Writer, m machine, figures []figure, results []*result) error {
	var b strings.Builder
	m.write(&b)
	fmt.Fprint(&b, "\n| figure | ours | peer | unit | ratio | bar | | the peer | best runs | CPU |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, f := range figures {
		value := fmt.Sprint(f.value)
		if f.limit {
			value = "at most " + value
		}
		others := "| |"
		if f.timed {
			others = fmt.Sprintf("%.2f | %.2f |", f.byBest, f.byCPU)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.2f | %s | %s | %s | %s\n",
			f.name, number(f.ours), number(f.peer), f.unit, f.ratio(), value, f.verdict(), escape(f.peerName), others)
	}
	for _, r := range results {
		r.write(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// write prints one discipline: medians, and the best time beside them.
func (r *result) write(b *strings.Builder) {
	if r.discipline.tree != "" {
		fmt.Fprintf(b, "\n**%s**: %d files, %s MB\n\n", r.discipline.name, r.files, number(float64(r.bytes)/1e6))
	} else {
		fmt.Fprintf(b, "\n**%s**: %d schedules\n\n", r.discipline.name, r.files)
	}
	fmt.Fprint(b, "| | runs | wall s: median | best | CPU s | peak MiB | stored MB | objects |\n|---|---|---|---|---|---|---|---|\n")
	for _, name := range r.order {
		stored, objects := "", ""
		if u, ok := r.stored[name]; ok {
			stored, objects = number(storedBytes(r, name)), fmt.Sprint(u.Objects)
		}
		fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %.0f | %s | %s |\n", escape(name), len(r.samples[name]),
			number(wallSeconds(r, name)), number(bestSeconds(r, name)), number(cpuSeconds(r, name)), peakRSS(r, name), stored, objects)
	}
	if len(r.stages) > 0 {
		fmt.Fprintf(b, "\n%s: %s MB/s; a full backup: %s MB/s\n", stagesName, number(rate(r, stagesName)), number(rate(r, oursName)))
	}
}

// escape keeps a name from ending a cell of a table.
func escape(name string) string { return strings.ReplaceAll(name, "|", `\|`) }
