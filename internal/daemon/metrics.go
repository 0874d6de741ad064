package daemon

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/queue"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// metricsStore is what the figures are read from, at each scrape: they are
// then right after a restart, too.
type metricsStore interface {
	RunStates(ctx context.Context) (map[envbackup.RunState]int64, error)
	Schedules(ctx context.Context, filter envbackup.ScheduleFilter, page envbackup.Page) ([]envbackup.Schedule, string, error)
	LastGood(ctx context.Context, scheduleID string) (envbackup.Backup, error)
	ScheduleProofs(ctx context.Context) (map[string]envbackup.ScheduleProof, error)
	BackupTotals(ctx context.Context) ([]store.BackupTotal, error)
}

// scrapeTime bounds a scrape; Prometheus gives up after ten seconds.
const scrapeTime = 8 * time.Second

var (
	runsMetric = prometheus.NewDesc("envbackup_runs",
		"Runs that have not ended, by state: the queue's depth.", []string{"state"}, nil)
	lastGoodMetric = prometheus.NewDesc("envbackup_last_good_backup_timestamp_seconds",
		"Nominal time of the newest complete backup of a schedule; absent before the first.", []string{"environment", "schedule"}, nil)
	lastVerifiedMetric = prometheus.NewDesc("envbackup_last_verified_timestamp_seconds",
		"When a backup of a schedule that is still there passed a verification last; absent before the first.", []string{"environment", "schedule"}, nil)
	damagedMetric = prometheus.NewDesc("envbackup_schedule_damaged",
		"1 when the newest backup of a schedule that was verified at a destination is damaged, else 0.", []string{"environment", "schedule"}, nil)
	nextRunMetric = prometheus.NewDesc("envbackup_next_run_timestamp_seconds",
		"Nominal time of the next slot of a schedule; absent while it is paused.", []string{"environment", "schedule"}, nil)
	backupsMetric = prometheus.NewDesc("envbackup_backups",
		"Backups that are listed.", []string{"environment", "destination"}, nil)
	bytesMetric = prometheus.NewDesc("envbackup_backups_added_bytes",
		"Bytes that were stored for the backups that are listed, after deduplication and compression.", []string{"environment", "destination"}, nil)
)

// newMetrics returns the handler of /metrics, with the figures of work and
// traffic too.
func newMetrics(s metricsStore, work *countedExecutor, traffic *traffic, log *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		figures{s}, work.attempts, work.seconds, work.bytes,
		traffic.requests, traffic.seconds, traffic.retries,
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ErrorHandling: promhttp.ContinueOnError, // the process's own figures help when the database does not answer
	})
}

// figures collects what the state knows.
type figures struct{ store metricsStore }

// Describe implements prometheus.Collector.
func (figures) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{runsMetric, lastGoodMetric, lastVerifiedMetric, damagedMetric, nextRunMetric, backupsMetric, bytesMetric} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (f figures) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if err := f.runs(ctx, gauge); err != nil {
		ch <- prometheus.NewInvalidMetric(runsMetric, err)
	}
	if err := f.schedules(ctx, gauge); err != nil {
		ch <- prometheus.NewInvalidMetric(lastGoodMetric, err)
	}
	if err := f.backups(ctx, gauge); err != nil {
		ch <- prometheus.NewInvalidMetric(backupsMetric, err)
	}
}

type gaugeFunc func(d *prometheus.Desc, value float64, labels ...string)

func (f figures) runs(ctx context.Context, gauge gaugeFunc) error {
	counts, err := f.store.RunStates(ctx)
	if err != nil {
		return err
	}
	for state, n := range counts {
		gauge(runsMetric, float64(n), string(state))
	}
	return nil
}

func (f figures) schedules(ctx context.Context, gauge gaugeFunc) error {
	proofs, err := f.store.ScheduleProofs(ctx)
	if err != nil {
		return err
	}
	page := envbackup.Page{Limit: 1000}
	for {
		schedules, next, err := f.store.Schedules(ctx, envbackup.ScheduleFilter{}, page)
		if err != nil {
			return err
		}
		for _, s := range schedules {
			if !s.NextAt.IsZero() {
				gauge(nextRunMetric, seconds(s.NextAt), s.Environment, s.Name)
			}
			b, err := f.store.LastGood(ctx, s.ID)
			switch envbackup.CodeOf(err) {
			case "":
				gauge(lastGoodMetric, seconds(b.Nominal), s.Environment, s.Name)
			case envbackup.CodeNotFound:
			default:
				return err
			}
			proofGauges(s, proofs[s.ID], gauge)
		}
		if next == "" {
			return nil
		}
		page.Cursor = next
	}
}

func proofGauges(s envbackup.Schedule, proof envbackup.ScheduleProof, gauge gaugeFunc) {
	if !proof.VerifiedAt.IsZero() {
		gauge(lastVerifiedMetric, seconds(proof.VerifiedAt), s.Environment, s.Name)
	}
	damaged := 0.0
	if proof.Damaged != nil {
		damaged = 1
	}
	gauge(damagedMetric, damaged, s.Environment, s.Name)
}

func (f figures) backups(ctx context.Context, gauge gaugeFunc) error {
	totals, err := f.store.BackupTotals(ctx)
	if err != nil {
		return err
	}
	for _, t := range totals {
		gauge(backupsMetric, float64(t.Count), t.Environment, t.Destination)
		gauge(bytesMetric, float64(t.Added), t.Environment, t.Destination)
	}
	return nil
}

// seconds is t as Prometheus writes instants.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// countedExecutor counts what the executor behind it does, since the start of
// this process.
type countedExecutor struct {
	queue.Executor
	attempts *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
}

func newCountedExecutor(e queue.Executor) *countedExecutor {
	return &countedExecutor{
		Executor: e,
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "envbackup_attempts_total", Help: "Attempts at runs, restores and verifications, by how they ended.",
		}, []string{"kind", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "envbackup_attempt_duration_seconds", Help: "Duration of attempts at runs, restores and verifications.",
			Buckets: prometheus.ExponentialBuckets(0.25, 4, 10), // a quarter of a second to 18 hours
		}, []string{"kind"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "envbackup_processed_bytes_total", Help: "Bytes that runs looked at, restores wrote and verifications proved.",
		}, []string{"kind"}),
	}
}

// ExecuteRun implements queue.Executor.
func (e *countedExecutor) ExecuteRun(ctx context.Context, run envbackup.Run, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
	started := time.Now()
	out, err := e.Executor.ExecuteRun(ctx, run, progress)
	e.count("run", started, out, err)
	return out, err
}

// ExecuteRestore implements queue.Executor.
func (e *countedExecutor) ExecuteRestore(ctx context.Context, r envbackup.Restore, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
	started := time.Now()
	out, err := e.Executor.ExecuteRestore(ctx, r, progress)
	e.count("restore", started, out, err)
	return out, err
}

// ExecuteVerification implements queue.Executor.
func (e *countedExecutor) ExecuteVerification(ctx context.Context, v envbackup.Verification, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
	started := time.Now()
	out, err := e.Executor.ExecuteVerification(ctx, v, progress)
	e.count("verification", started, out, err)
	return out, err
}

func (e *countedExecutor) count(kind string, started time.Time, out envbackup.Outcome, err error) {
	result := string(out.State)
	if err != nil {
		result = string(envbackup.CodeOf(err))
	}
	e.attempts.WithLabelValues(kind, result).Inc()
	e.seconds.WithLabelValues(kind).Observe(time.Since(started).Seconds())
	e.bytes.WithLabelValues(kind).Add(float64(out.BytesDone))
}
