package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	state "github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

const (
	preflightLimit = 100 * time.Millisecond
	// preflightCalls is how many calls make one run, which takes their median.
	preflightCalls = 5
)

// preflightHistory measures what a plan waits for when the retention of a schedule
// with very many backups is edited: the answer of a real daemon that judges all
// of them twice, through its API. There is no peer; the bar stands in its place.
func preflightHistory(b *bench, ctx context.Context, _ discipline, r *result) (err error) {
	home := filepath.Join(b.dir, "preflight")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	binary := filepath.Join(home, "envbackup")
	b.progress("  build the daemon")
	if err := buildProvider(ctx, binary); err != nil {
		return err
	}
	daemon, err := startDaemon(ctx, binary)
	if err != nil {
		return err
	}
	defer daemon.child.Stop()
	token, err := os.ReadFile(daemon.tokenFile)
	if err != nil {
		return err
	}
	c, err := client.New(client.Config{Endpoint: daemon.endpoint, Token: secret.New(strings.TrimSpace(string(token)))})
	if err != nil {
		return err
	}
	defer c.Close()
	b.progress("  make %d backups", b.extent.Backups)
	schedule, err := makeHistory(ctx, c, b.extent.Backups, home, filepath.Join(filepath.Dir(daemon.tokenFile), "state.db"))
	if err != nil {
		return err
	}
	r.files = 1
	before, err := readMetrics(ctx, daemon.endpoint, strings.TrimSpace(string(token)))
	if err != nil {
		return err
	}
	for round := range b.extent.Rounds {
		var walls []time.Duration
		for call := range preflightCalls {
			// Another policy in each call, so that no answer is the one before.
			keep := b.extent.Backups/2 + round*preflightCalls + call
			wall, err := askRemovals(ctx, c, schedule, keep, b.extent.Backups)
			if err != nil {
				return err
			}
			walls = append(walls, wall)
		}
		r.add(oursName, sample{Wall: median(walls)})
		r.add(barName, sample{Wall: preflightLimit, CPU: preflightLimit})
	}
	after, err := readMetrics(ctx, daemon.endpoint, strings.TrimSpace(string(token)))
	if err != nil {
		return err
	}
	calls := float64(b.extent.Rounds * preflightCalls)
	for i := range r.samples[oursName] {
		s := &r.samples[oursName][i]
		s.CPU, s.RSS = time.Duration((after.cpu-before.cpu)/calls*float64(time.Second)), int64(after.resident)
	}
	b.progress("  %.1f MB allocated a call, %.0f MiB resident afterwards", (after.allocated-before.allocated)/calls/1e6, after.resident/(1<<20))
	return nil
}

// askRemovals asks what keeping only the last minutes would remove, and checks
// the answer.
func askRemovals(ctx context.Context, c *client.Client, schedule wire.Schedule, keep, backups int) (time.Duration, error) {
	edit := wire.Preflight{ID: schedule.ID, Schedule: schedule.ScheduleSpec}
	edit.Schedule.Retention.Period = fmt.Sprintf("%dm", keep)
	settle()
	start := time.Now()
	answer, err := c.Preflight(ctx, edit)
	wall := time.Since(start)
	if err != nil {
		return 0, err
	}
	// The first one beyond the period stays, too.
	if want := int64(backups - keep - 1); answer.Removals == nil || answer.Removals.Count != want {
		return 0, fmt.Errorf("preflight of %s: removals %+v, want %d", edit.Schedule.Retention.Period, answer.Removals, want)
	}
	return wall, nil
}

// makeHistory makes a schedule that runs every minute and gives it a backup a
// minute, all through the store, as if that many runs had been.
func makeHistory(ctx context.Context, c *client.Client, backups int, home, database string) (schedule wire.Schedule, err error) {
	if _, err := c.CreateEnvironment(ctx, wire.EnvironmentInput{EnvironmentSpec: envbackup.EnvironmentSpec{
		Name: "shop", Files: map[string]envbackup.FilesSource{"app": {Path: home}},
	}}); err != nil {
		return schedule, err
	}
	no := false
	in := wire.ScheduleInput{ScheduleSpec: envbackup.ScheduleSpec{
		Name: "often", Environment: "shop", Destinations: []string{"local"}, Cron: "* * * * *", Paused: true, RunOnCreate: &no,
	}}
	in.Retention.Period = "90d"
	if schedule, err = c.CreateSchedule(ctx, in); err != nil {
		return schedule, err
	}
	s, err := state.Open(ctx, database)
	if err != nil {
		return schedule, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	stored, err := s.Schedule(ctx, schedule.ID)
	if err != nil {
		return schedule, err
	}
	newest := time.Now().UTC().Truncate(time.Minute)
	err = s.Tx(ctx, func(tx *state.Tx) error {
		for i := range backups {
			at := newest.Add(-time.Duration(i) * time.Minute)
			if err := tx.AddBackup(ctx, &envbackup.Backup{
				SnapshotID: fmt.Sprintf("%064x", i), ScheduleID: stored.ID, Schedule: stored.Name,
				EnvironmentID: stored.EnvironmentID, Environment: stored.Environment, DestinationID: stored.DestinationIDs[0], Destination: "local",
				Trigger: envbackup.TriggerSchedule, Status: envbackup.BackupComplete,
				Nominal: at, StartedAt: at, CompletedAt: at.Add(7 * time.Second), Size: 1<<30 + int64(i), Added: 1 << 20, Files: 1000,
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return schedule, err
}

// metrics are the daemon's own figures about its process.
type metrics struct{ cpu, resident, allocated float64 }

func readMetrics(ctx context.Context, endpoint, token string) (m metrics, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/metrics", nil)
	if err != nil {
		return m, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	wanted := map[string]*float64{
		"process_cpu_seconds_total": &m.cpu, "process_resident_memory_bytes": &m.resident, "go_memstats_alloc_bytes_total": &m.allocated,
	}
	found := 0
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if at := wanted[name]; at != nil {
			if *at, err = strconv.ParseFloat(value, 64); err != nil {
				return m, fmt.Errorf("read metric %s: %w", name, err)
			}
			found++
		}
	}
	if err := lines.Err(); err != nil {
		return m, err
	}
	if found != len(wanted) {
		return m, fmt.Errorf("read the daemon's metrics: status %s, %d of %d there", resp.Status, found, len(wanted))
	}
	return m, nil
}
