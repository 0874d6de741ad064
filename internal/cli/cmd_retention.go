package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

func (a *app) retentionCommand() *cobra.Command {
	return group("retention", "Try a retention policy out (needs no daemon)", a.retentionSimulateCommand())
}

// simulation is the document of retention simulate --json.
type simulation struct {
	Summary      string         `json:"summary"`
	WorstCaseGap string         `json:"worst_case_gap"`
	MaxBackups   int64          `json:"max_backups"` // 0: no bound
	Day          simulatedPoint `json:"day"`
	Month        simulatedPoint `json:"month"`
	Year         simulatedPoint `json:"year"`
	Steady       simulatedPoint `json:"steady"`
	Horizon      simulatedPoint `json:"horizon"`
	Unbounded    bool           `json:"unbounded"`
	// Findings are the warnings that a plan would show.
	Findings []envbackup.Finding `json:"findings"`
}

// simulatedPoint has the fields of the provider's function simulate_retention.
type simulatedPoint struct {
	At      time.Time  `json:"at"`
	Backups int        `json:"backups"`
	Oldest  *time.Time `json:"oldest"` // null while there is no backup
	Age     string     `json:"age"`    // of the oldest
}

func (a *app) retentionSimulateCommand() *cobra.Command {
	var (
		spec           retention.Spec
		expression     string
		timezone       string
		after, horizon string
		blackout       []string
		onCreate       bool
		asJSON         bool
	)
	counts := map[string]**int64{
		"keep-last": &spec.KeepLast, "keep-hourly": &spec.KeepHourly, "keep-daily": &spec.KeepDaily, "keep-weekly": &spec.KeepWeekly,
		"keep-monthly": &spec.KeepMonthly, "keep-yearly": &spec.KeepYearly, "keep-at-least": &spec.KeepAtLeast,
	}
	cmd := &cobra.Command{
		Use:   "simulate --cron EXPRESSION [rules]",
		Short: "Say how many restore points a retention leaves over time",
		Long: `Say how many restore points a schedule and a retention leave after a day, 30 days
and a year, in the steady state and at the horizon, if every run succeeds, and how
old the oldest is then. The rules are those of a schedule's retention, and what a
plan would say about them is said here. Each prune is taken to follow its run at
once: the grace in which removals wait after an edit (prune_grace) is left out.

A wrong expression, zone or rule prints why on standard error and exits with 2.`,
		Example: `  envbackup retention simulate --cron "30 2 * * *" --timezone Europe/Berlin --period 30d --keep-monthly 12
  envbackup retention simulate --cron "0 * * * *" --keep-hourly 24 --keep-daily 14 --horizon 2y --json
  envbackup retention simulate --cron "0 * * * *" --period 7d --blackout "MON-FRI 09:00-17:00 skip"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if expression == "" {
				return usageError{fmt.Errorf("--cron is required: when the backups are taken, such as \"30 2 * * *\"")}
			}
			for name, count := range counts {
				if cmd.Flags().Changed(name) {
					n, err := cmd.Flags().GetInt64(name)
					if err != nil {
						return err
					}
					*count = &n
				}
			}
			from := time.Now()
			if after != "" {
				var err error
				if from, err = parseInstant("--after", after); err != nil {
					return err
				}
			}
			far, err := parseHorizon(horizon)
			if err != nil {
				return err
			}
			proposal := preflight.Proposal{Cron: &expression, Timezone: &timezone, Retention: &spec, Jitter: new(string), RunOnCreate: &onCreate}
			if proposal.Blackout, err = parseBlackout(blackout); err != nil {
				return err
			}
			result, err := simulate(proposal, from, far)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(result)
			}
			return a.printSimulation(result)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&expression, "cron", "", "when backups are taken, five fields (required)")
	flags.StringVar(&timezone, "timezone", "UTC", "IANA time zone of the schedule")
	flags.StringVar(&spec.Period, "period", "", "keep everything this long, such as 30d")
	flags.Int64("keep-last", 0, "keep the newest backups")
	flags.Int64("keep-hourly", 0, "keep the newest of each of the last hours")
	flags.Int64("keep-daily", 0, "keep the newest of each of the last days")
	flags.Int64("keep-weekly", 0, "keep the newest of each of the last weeks")
	flags.Int64("keep-monthly", 0, "keep the newest of each of the last months")
	flags.Int64("keep-yearly", 0, "keep the newest of each of the last years")
	flags.Int64("keep-at-least", retention.DefaultAtLeast, "the floor, whatever the other rules say")
	flags.StringVar(&spec.MaxAge, "max-age", "", "remove what is older, such as 400d")
	flags.StringVar(&spec.ManualPeriod, "manual-period", "", "how long manual backups are kept (default "+retention.DefaultManualPeriod+")")
	flags.StringVar(&spec.PruneGrace, "prune-grace", "", "how long doubtful removals wait (default "+retention.DefaultPruneGrace+")")
	flags.BoolVar(&spec.KeepAll, "keep-all", false, "never remove anything")
	blackoutFlag(cmd, &blackout)
	flags.BoolVar(&onCreate, "run-on-create", false, "count the backup, too, that a new schedule takes at once")
	flags.StringVar(&after, "after", "", "begin at this RFC 3339 instant (default: now)")
	flags.StringVar(&horizon, "horizon", "2y", "how far to look ahead besides, at most 50y")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// parseHorizon reads the horizon; beyond 50 years a walk takes long and says
// nothing new.
func parseHorizon(text string) (retention.Duration, error) {
	d, err := retention.ParseDuration(text)
	if err != nil {
		return d, usageError{fmt.Errorf("--horizon: %w", err)}
	}
	if longest, _ := retention.ParseDuration("50y"); d.IsZero() || d.Compare(longest) > 0 {
		return d, usageError{fmt.Errorf("--horizon %q: it must be longer than nothing and at most 50y", text)}
	}
	return d, nil
}

// simulate judges the proposal as a plan does and walks it. Wrong input is
// CodeInvalid with its findings.
func simulate(proposal preflight.Proposal, from time.Time, horizon retention.Duration) (simulation, error) {
	findings := preflight.Check(proposal, nil, nil)
	if envbackup.HasError(findings) {
		return simulation{}, envbackup.Invalid(findings...)
	}
	forecast, _ := preflight.Describe(proposal)
	replay, _ := preflight.ReplayOf(proposal, from) // everything is known and valid
	s := replay.Simulate(horizon)
	if findings == nil {
		findings = []envbackup.Finding{} // a list in JSON
	}
	return simulation{
		Summary: forecast.Summary, WorstCaseGap: forecast.WorstCaseGap, MaxBackups: forecast.MaxBackups,
		Day: simulated(s.Day), Month: simulated(s.Month), Year: simulated(s.Year),
		Steady: simulated(s.Steady), Horizon: simulated(s.Horizon), Unbounded: s.Unbounded, Findings: findings,
	}, nil
}

func simulated(p retention.SimPoint) simulatedPoint {
	point := simulatedPoint{At: p.At.Truncate(time.Second), Backups: p.Backups, Age: cron.FormatGap(p.Age().Truncate(time.Minute))}
	if !p.Oldest.IsZero() {
		point.Oldest = &p.Oldest
	}
	return point
}

func (a *app) printSimulation(s simulation) error {
	fmt.Fprintf(a.out, "%s; at most %s between two runs\n\n", s.Summary, s.WorstCaseGap)
	steady := "steady state"
	if s.Unbounded {
		steady = "never steady"
	}
	var rows [][]string
	for _, r := range []struct {
		what  string
		point simulatedPoint
	}{{"1 day", s.Day}, {"30 days", s.Month}, {"1 year", s.Year}, {steady, s.Steady}, {"horizon", s.Horizon}} {
		oldest := "-"
		if r.point.Oldest != nil {
			oldest = r.point.Oldest.Format(time.RFC3339)
		}
		rows = append(rows, []string{r.what, r.point.At.Format(time.RFC3339), fmt.Sprint(r.point.Backups), oldest, r.point.Age})
	}
	if err := a.table([]string{"AFTER", "AT", "BACKUPS", "OLDEST", "AGE"}, rows); err != nil {
		return err
	}
	for _, f := range s.Findings {
		fmt.Fprintf(a.err, "\nWarning (%s): %s\n%s\n", f.Rule, f.Summary, indent(f.Detail, "  "))
	}
	return nil
}
