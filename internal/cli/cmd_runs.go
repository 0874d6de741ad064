package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (a *app) runsCommand() *cobra.Command {
	return group("runs", "List, show, follow and cancel runs",
		a.runsListCommand(), a.runsShowCommand(), a.runsWaitCommand(), a.runsCancelCommand())
}

func (a *app) runsListCommand() *cobra.Command {
	var (
		query  wire.RunsQuery
		limit  int
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List runs, newest first",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			runs, err := firstItems(limit, func(cursor string, n int) ([]wire.Run, string, error) {
				query.Cursor, query.Limit = cursor, n
				page, err := c.Runs(cmd.Context(), query)
				return page.Items, page.Cursor, err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(runs)
			}
			var rows [][]string
			for _, r := range runs {
				rows = append(rows, []string{r.ID, r.Environment + "/" + r.Schedule, string(r.Trigger), moment(r.NominalAt), string(r.State), took(r), reason(r)})
			}
			return a.table([]string{"RUN", "SCHEDULE", "TRIGGER", "TIME", "STATE", "TOOK", "WHY"}, rows)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&query.Schedule, "schedule", "", "only this schedule's, ENVIRONMENT/NAME")
	flags.StringVar(&query.Environment, "environment", "", "only this environment's")
	flags.StringSliceVar(&query.State, "state", nil, "only runs in these states: queued, running, succeeded, partial, failed, cancelled")
	flags.IntVar(&limit, "limit", 50, "how many; 0 is all")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	a.completeFlag(cmd, "schedule", a.scheduleReferences)
	a.completeFlag(cmd, "environment", a.environmentNames)
	a.completeFlag(cmd, "state", func(context.Context) []string {
		return []string{"queued", "running", "succeeded", "partial", "failed", "cancelled"}
	})
	return cmd
}

func (a *app) runsShowCommand() *cobra.Command {
	var (
		schedule       string
		follow, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "show RUN|latest",
		Short: "Show one run: its attempts, destinations and why it failed",
		Example: `  envbackup runs show latest --schedule shop-staging/nightly
  envbackup runs show run_0193... --follow`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			id := args[0]
			if id == "latest" {
				run, err := latestRun(cmd.Context(), c, schedule)
				if err != nil {
					return err
				}
				id = run.ID
			}
			var run wire.Run
			if follow {
				run, err = a.followRun(cmd.Context(), c, id)
			} else {
				run, err = c.Run(cmd.Context(), id)
			}
			if err != nil {
				return err
			}
			if !follow {
				return a.printRun(run, asJSON)
			}
			return a.showRun(run, asJSON)
		},
	}
	cmd.Flags().StringVar(&schedule, "schedule", "", "with latest: the schedule whose newest run is meant")
	cmd.Flags().BoolVar(&follow, "follow", false, "show progress until the run is over; exit with 1 if it failed")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.completeFlag(cmd, "schedule", a.scheduleReferences)
	return cmd
}

func (a *app) runsWaitCommand() *cobra.Command {
	var (
		schedule     string
		next, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "wait --schedule ENVIRONMENT/NAME",
		Short: "Wait until a schedule's newest run is over, or with --next for the one after it",
		Long: `Wait until a schedule's newest run is over; with --next, wait for a run that does
not exist yet and follow it. Exits with 1 if the run failed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if schedule == "" {
				return usageError{fmt.Errorf("--schedule is required")}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			run, err := latestRun(cmd.Context(), c, schedule)
			if err != nil && (!next || envbackup.CodeOf(err) != envbackup.CodeNotFound) {
				return err
			}
			if next {
				if run, err = a.nextRun(cmd.Context(), c, schedule, run.ID); err != nil {
					return err
				}
			}
			if run, err = a.followRun(cmd.Context(), c, run.ID); err != nil {
				return err
			}
			return a.showRun(run, asJSON)
		},
	}
	cmd.Flags().StringVar(&schedule, "schedule", "", "the schedule, ENVIRONMENT/NAME (required)")
	cmd.Flags().BoolVar(&next, "next", false, "wait for the run after the newest one")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.completeFlag(cmd, "schedule", a.scheduleReferences)
	return cmd
}

func (a *app) runsCancelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel RUN",
		Short: "End a run that is queued or goes on; what it has stored is reused by the next one",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			run, err := c.CancelRun(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s is being cancelled (%s)\n", run.ID, run.State)
			return nil
		},
	}
	return cmd
}

// latestRun returns the newest run, of one schedule if it is named.
func latestRun(ctx context.Context, c *client.Client, schedule string) (wire.Run, error) {
	page, err := c.Runs(ctx, wire.RunsQuery{Page: wire.Page{Limit: 1}, Schedule: schedule})
	if err != nil {
		return wire.Run{}, err
	}
	if len(page.Items) == 0 {
		return wire.Run{}, notFound("there is no run yet", "Start one with: envbackup schedules run ENVIRONMENT/NAME")
	}
	return page.Items[0], nil
}

// nextRunPoll is how often nextRun asks; runs are at least a minute apart.
const nextRunPoll = time.Second

// nextRun waits until a schedule has a run newer than the one with id last.
func (a *app) nextRun(ctx context.Context, c *client.Client, schedule, last string) (wire.Run, error) {
	s, err := c.Schedule(ctx, schedule)
	if err != nil {
		return wire.Run{}, err
	}
	if s.NextRunAt != nil {
		fmt.Fprintf(a.err, "waiting for the run of %s\n", moment(*s.NextRunAt))
	}
	ticker := time.NewTicker(nextRunPoll)
	defer ticker.Stop()
	for {
		run, err := latestRun(ctx, c, schedule)
		switch {
		case err != nil && envbackup.CodeOf(err) != envbackup.CodeNotFound:
			return wire.Run{}, err
		case err == nil && run.ID != last:
			return run, nil
		}
		select {
		case <-ctx.Done():
			return wire.Run{}, context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// followRun shows a run's progress until it is over.
func (a *app) followRun(ctx context.Context, c *client.Client, id string) (wire.Run, error) {
	m := a.newMeter(id)
	defer m.done()
	said := ""
	return c.WatchRun(ctx, id, func(run wire.Run) error {
		// A run may wait half an hour between two attempts: whoever follows it
		// is told why, once for each attempt.
		if why := waitsBecause(run); why != said {
			said = why
			m.note(why)
		}
		if run.Progress != nil {
			m.update(*run.Progress)
		}
		return nil
	})
}

// waitsBecause says why a run waits for its next attempt; empty when it does
// not.
func waitsBecause(run wire.Run) string {
	if run.State != envbackup.RunQueued || run.Failure == nil || run.NextAttemptAt == nil {
		return ""
	}
	why := fmt.Sprintf("attempt %d failed: %s\nnext attempt at %s", run.Attempt, run.Failure.Message, moment(*run.NextAttemptAt))
	if run.Failure.Hint != "" {
		why += "; " + run.Failure.Hint
	}
	return why
}

// showRun prints a run and fails when the run did.
func (a *app) showRun(run wire.Run, asJSON bool) error {
	if err := a.printRun(run, asJSON); err != nil {
		return err
	}
	switch run.State {
	case envbackup.RunFailed, envbackup.RunCancelled:
		// The run's own account has been printed.
		return silentError{fmt.Errorf("run %s %s", run.ID, run.State)}
	default:
		return nil
	}
}

func (a *app) printRun(run wire.Run, asJSON bool) error {
	if asJSON {
		return a.printJSON(run)
	}
	w := a.out
	fmt.Fprintf(w, "Run %s of %s/%s: %s\n", run.ID, run.Environment, run.Schedule, run.State)
	fmt.Fprintf(w, "  %s for %s", run.Trigger, moment(run.NominalAt))
	if run.FinishedAt != nil {
		fmt.Fprintf(w, ", took %s", took(run))
	}
	if run.Worker != "" {
		fmt.Fprintf(w, " on %s", run.Worker)
	}
	fmt.Fprintln(w)
	if run.Failure != nil {
		printFailure(a, "  ", run.Failure)
	}
	if run.NextAttemptAt != nil {
		fmt.Fprintf(w, "  next attempt at %s\n", moment(*run.NextAttemptAt))
	}
	for _, d := range run.Destinations {
		fmt.Fprintf(w, "  %s: %s", d.Destination, d.State)
		if d.BackupID != "" {
			fmt.Fprintf(w, ", backup %s", d.BackupID)
		}
		if d.Removed > 0 {
			fmt.Fprintf(w, "; pruned %d", d.Removed)
			if d.Reclaimed > 0 {
				fmt.Fprintf(w, ", reclaimed %s", size(d.Reclaimed))
			}
		}
		fmt.Fprintln(w)
		if d.Failure != nil {
			printFailure(a, "    ", d.Failure)
		}
	}
	if p := run.Progress; p != nil && p.FilesDone > 0 {
		fmt.Fprintf(w, "  %s, %s read\n", count(p.FilesDone, "file"), size(p.BytesDone))
	}
	for _, at := range run.Attempts {
		if len(run.Attempts) > 1 || at.Failure != nil {
			fmt.Fprintf(w, "  attempt %d at %s", at.Number, moment(at.StartedAt))
			if at.Failure != nil {
				fmt.Fprintf(w, ": %s", at.Failure.Message)
			}
			fmt.Fprintln(w)
		}
	}
	for _, warning := range run.Warnings {
		fmt.Fprintln(w, "  warning:", warning)
	}
	return nil
}

func printFailure(a *app, prefix string, f *envbackup.Failure) {
	fmt.Fprintln(a.out, indent(f.Message, prefix))
	if f.Hint != "" {
		fmt.Fprintln(a.out, indent(f.Hint, prefix))
	}
}

// took is how long a run went on, or goes on.
func took(r wire.Run) string {
	if r.StartedAt == nil {
		return "-"
	}
	end := time.Now()
	if r.FinishedAt != nil {
		end = *r.FinishedAt
	}
	return end.Sub(*r.StartedAt).Round(100 * time.Millisecond).String()
}

// reason is the first line of why a run failed or left something out, for a
// table.
func reason(r wire.Run) string {
	text := ""
	switch {
	case r.Failure != nil:
		text = r.Failure.Message
	case r.State == envbackup.RunPartial && len(r.Warnings) > 0:
		text = r.Warnings[0]
		if more := len(r.Warnings) - 1; more > 0 {
			text += fmt.Sprintf(" (and %d more)", more)
		}
	}
	line, _, _ := strings.Cut(text, "\n")
	return line
}
