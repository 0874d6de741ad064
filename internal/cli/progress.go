package cli

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// lineEvery is how often long work prints a line where there is no terminal:
// often enough to see that it lives, rare enough for a log.
const lineEvery = 10 * time.Second

// meter shows the progress of one run or restore: a bar with rate and time
// left on a terminal, lines elsewhere. It belongs to one goroutine.
type meter struct {
	app   *app
	title string
	bar   *progressbar.ProgressBar

	phase    envbackup.Phase
	lastLine time.Time
	started  time.Time
}

// newMeter starts a meter. Call done at the end.
func (a *app) newMeter(title string) *meter {
	m := &meter{app: a, title: title, started: time.Now()}
	if a.terminal {
		m.bar = progressbar.NewOptions64(-1,
			progressbar.OptionSetWriter(a.err),
			progressbar.OptionShowBytes(true),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionFullWidth(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetDescription(title),
		)
	}
	return m
}

// update shows p.
func (m *meter) update(p envbackup.Progress) {
	if m.bar != nil {
		if p.BytesTotal > 0 && p.BytesTotal != m.bar.GetMax64() {
			m.bar.ChangeMax64(max(p.BytesTotal, p.BytesDone))
		}
		m.bar.Describe(m.describe(p))
		// Drawing on a terminal that has gone is nothing to stop for.
		_ = m.bar.Set64(min(p.BytesDone, max(p.BytesTotal, p.BytesDone)))
		return
	}
	if p.Phase == m.phase && time.Since(m.lastLine) < lineEvery {
		return
	}
	m.phase, m.lastLine = p.Phase, time.Now()
	line := m.describe(p)
	if p.FilesDone > 0 || p.BytesDone > 0 { // before and after the work there is nothing to count
		line += fmt.Sprintf(": %s, %s", count(p.FilesDone, "file"), size(p.BytesDone))
		if p.BytesTotal > 0 {
			line += fmt.Sprintf(" of %s", size(p.BytesTotal))
		}
	}
	if seconds := time.Since(m.started).Seconds(); seconds > 1 && p.BytesDone > 0 {
		rate := float64(p.BytesDone) / seconds
		line += fmt.Sprintf(", %s/s", size(int64(rate)))
		if left := p.BytesTotal - p.BytesDone; left > 0 {
			line += fmt.Sprintf(", about %s left", time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second))
		}
	}
	fmt.Fprintln(m.app.err, line)
}

// note prints a line that stays above the bar; nothing for an empty one.
func (m *meter) note(text string) {
	if text == "" {
		return
	}
	if m.bar != nil {
		_ = m.bar.Clear() // see update
	}
	fmt.Fprintln(m.app.err, text)
}

func (m *meter) describe(p envbackup.Progress) string {
	text := m.title
	if p.Phase != "" {
		text += " " + string(p.Phase)
	}
	if p.Destination != "" {
		text += " (" + p.Destination + ")"
	}
	if p.Errors > 0 {
		text += fmt.Sprintf(" %d unreadable", p.Errors)
	}
	return text
}

// done removes the bar.
func (m *meter) done() {
	if m.bar != nil {
		_ = m.bar.Finish()
	}
}
