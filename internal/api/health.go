package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// defaultTimeout is S5's.
const defaultTimeout = 6 * time.Hour

// scheduleDoc makes the answer about a schedule: what was written, what it
// will do, and how it fares.
func (s *server) scheduleDoc(ctx context.Context, sch envbackup.Schedule) (wire.Schedule, error) {
	proof, err := s.Store.ScheduleProof(ctx, sch.ID)
	if err != nil {
		return wire.Schedule{}, err
	}
	set, err := s.obstacles(ctx)
	if err != nil {
		return wire.Schedule{}, err
	}
	return s.scheduleDocWith(ctx, sch, proof, set)
}

// scheduleDocWith is scheduleDoc for a list, whose proofs and obstacles are
// read at once.
func (s *server) scheduleDocWith(ctx context.Context, sch envbackup.Schedule, proof envbackup.ScheduleProof, set obstacleSet) (wire.Schedule, error) {
	f, err := s.forecasts.of(sch.ScheduleSpec)
	if err != nil {
		return wire.Schedule{}, err
	}
	body := wire.Schedule{
		Meta: metaOf(sch.Meta), ScheduleSpec: sch.ScheduleSpec, Forecast: f.doc,
		NextRunAt: optional(nextRun(sch)), DecidedUntil: optional(sch.DecidedUntil),
	}
	last, _, err := s.Store.Runs(ctx, envbackup.RunFilter{Schedule: sch.ID}, envbackup.Page{Limit: 1})
	if err != nil {
		return body, err
	}
	if len(last) > 0 {
		run := runDoc(last[0])
		body.LastRun = &run
	}
	good, err := s.Store.LastGood(ctx, sch.ID)
	switch {
	case err == nil:
		b := backupDoc(good)
		b.KeptBecause = []string{"newest good backup"}
		body.LastGoodBackup = &b
	case envbackup.CodeOf(err) != envbackup.CodeNotFound:
		return body, err
	}
	body.Health, body.HealthDetail = health(sch, f.gap, body.LastGoodBackup, body.LastRun, s.Now().UTC())
	addProof(&body, proof)
	addObstacles(set, sch, &body)
	return body, nil
}

// nextRun is when the schedule's next run starts: where the windows and its
// share of the jitter put the next slot that they leave. Zero while there is
// none.
func nextRun(sch envbackup.Schedule) time.Time {
	if sch.NextAt.IsZero() || len(sch.Blackout) == 0 && sch.Jitter == "" {
		return sch.NextAt
	}
	p := preflight.Of(sch.ScheduleSpec)
	p.ID = sch.ID
	// A slot that was due and is not decided waits for the end of a window.
	runs, ok, err := preflight.NextRuns(p, sch.DecidedUntil, 1)
	if err != nil || !ok || len(runs) == 0 {
		return time.Time{} // a schedule that cannot be read runs nothing
	}
	return runs[0].Start
}

// addProof adds what verifications found. A schedule whose newest verified
// backup at a destination is damaged is so itself, whatever else is well; late
// is worse, and paused says why nothing happens.
func addProof(body *wire.Schedule, proof envbackup.ScheduleProof) {
	body.LastVerifiedAt = optional(proof.VerifiedAt)
	if proof.Last != nil {
		last := verificationDoc(*proof.Last)
		body.LastVerification = &last
	}
	b := proof.Damaged
	if b == nil {
		return
	}
	detail := fmt.Sprintf("backup %s of %s at %s is damaged, and no newer one there is verified; see: envbackup backups show %s",
		b.ID, b.Nominal.UTC().Format(time.RFC3339), b.Destination, b.ID)
	runFailed := body.Health == "failed" && body.LastRun != nil && body.LastRun.Failure != nil
	switch body.Health {
	case "ok", "new", "failed":
		if runFailed {
			detail += "; " + body.HealthDetail
		}
		body.Health, body.HealthDetail = "damaged", detail
	default:
		body.HealthDetail += "; " + detail
	}
}

// health judges a schedule: it is late when its last good backup, or else its
// creation, lies further back than the worst-case gap plus the timeout. A gap
// of 0 is unknown or beyond measure, and nothing is ever late then. Without a
// good backup it has failed once its last run has, and is new until then.
//
// The detail is for people: it names the age, the limit and the last error, and
// goes on behind the schedule's name.
func health(sch envbackup.Schedule, gap time.Duration, good *wire.Backup, last *wire.Run, now time.Time) (verdict, detail string) {
	if sch.Paused {
		return "paused", "no slot runs until it is resumed"
	}
	since := sch.CreatedAt
	if good != nil {
		since = good.NominalAt
	}
	timeout := lengthOr(sch.Timeout, defaultTimeout)
	age, limit := now.Sub(since), gap+timeout
	late := gap > 0 && age > limit
	limits := fmt.Sprintf("%s (%s between two runs and %s for one)", ageText(limit), ageText(gap), ageText(timeout))
	switch {
	case late && good != nil:
		verdict, detail = "late", fmt.Sprintf("its last good backup is %s old; it should never be older than %s", ageText(age), limits)
	case late:
		verdict, detail = "late", fmt.Sprintf("it has had no good backup since its creation %s ago; one should never take longer than %s", ageText(age), limits)
	case good != nil:
		return "ok", ""
	case last != nil && (last.Failure != nil || last.State.Final() && last.State != envbackup.RunSucceeded):
		verdict, detail = "failed", "it has no good backup yet"
	default:
		verdict, detail = "new", "it has no good backup yet"
	}
	return verdict, detail + lastWords(verdict, good, last, now)
}

// lastWords says what the last run came to, where that explains a verdict.
func lastWords(verdict string, good *wire.Backup, last *wire.Run, now time.Time) string {
	switch {
	case last == nil && verdict == "late":
		return "; no run has been made since, so look whether the daemon was running"
	case last == nil:
		return ""
	case last.Failure != nil:
		at := last.CreatedAt
		if last.FinishedAt != nil {
			at = *last.FinishedAt
		}
		said := fmt.Sprintf("; its last run failed %s ago: %s", ageText(now.Sub(at)), last.Failure.Message)
		if !last.State.Final() {
			said = fmt.Sprintf("; its run has failed so far and is tried again: %s", last.Failure.Message)
		}
		if last.Failure.Hint != "" {
			said += " (" + last.Failure.Hint + ")"
		}
		return said
	case good != nil && last.ID == good.RunID:
		return "; no run has been made since, so look whether the daemon was running"
	case last.State.Final():
		return fmt.Sprintf("; its last run, %s ago, ended as %s", ageText(now.Sub(last.CreatedAt)), last.State)
	default:
		return "; a run is " + string(last.State)
	}
}

// ageText rounds an age down to minutes, for people.
func ageText(d time.Duration) string {
	if d < time.Minute {
		return "less than a minute"
	}
	return cron.FormatGap(d.Truncate(time.Minute))
}

// lengthOr reads a duration as a length; an empty or invalid one is def.
func lengthOr(text string, def time.Duration) time.Duration {
	d, err := retention.ParseDuration(text)
	if err != nil {
		return def
	}
	return d.Approx()
}

// forecasts caches what the configuration alone says about a schedule. It is
// pure, so the key is what it depends on: schedules of many environments share
// one rhythm, and one forecast.
type forecasts struct {
	mu     sync.Mutex
	byText map[string]forecast
}

type forecast struct {
	doc wire.Forecast
	gap time.Duration // 0 when unknown or over 24 years
}

const maxForecasts = 10_000

func newForecasts() *forecasts { return &forecasts{byText: map[string]forecast{}} }

func (f *forecasts) of(spec envbackup.ScheduleSpec) (forecast, error) {
	text, err := json.Marshal(envbackup.ScheduleSpec{
		Cron: spec.Cron, Timezone: spec.Timezone, Retention: spec.Retention, Jitter: spec.Jitter, Blackout: spec.Blackout,
	})
	if err != nil {
		return forecast{}, fmt.Errorf("encode schedule: %w", err)
	}
	key := string(text)
	f.mu.Lock()
	known, ok := f.byText[key]
	f.mu.Unlock()
	if ok {
		return known, nil
	}
	made := forecastOf(spec)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.byText) >= maxForecasts {
		clear(f.byText)
	}
	f.byText[key] = made
	return made, nil
}

func forecastOf(spec envbackup.ScheduleSpec) forecast {
	pure, ok := preflight.Describe(preflight.Of(spec))
	if !ok {
		return forecast{}
	}
	return forecast{
		doc: wire.Forecast{Summary: pure.Summary, WorstCaseGap: pure.WorstCaseGap, MaxBackups: pure.MaxBackups},
		gap: lengthOr(strings.TrimPrefix(pure.WorstCaseGap, "over "), 0),
	}
}
