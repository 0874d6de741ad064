package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (a *app) schedulesCommand() *cobra.Command {
	return group("schedules", "List, run, pause and resume schedules",
		a.schedulesListCommand(), a.schedulesRunCommand(),
		a.schedulesSwitchCommand("pause", "Stop a schedule's slots from running; they are recorded as paused", (*client.Client).PauseSchedule),
		a.schedulesSwitchCommand("resume", "End a pause; nothing is caught up", (*client.Client).ResumeSchedule),
	)
}

func (a *app) schedulesListCommand() *cobra.Command {
	var (
		query  wire.SchedulesQuery
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List schedules with their next run and health",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			schedules, err := allPages(func(cursor string) ([]wire.Schedule, string, error) {
				query.Cursor = cursor
				page, err := c.Schedules(cmd.Context(), query)
				return page.Items, page.Cursor, err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(schedules)
			}
			var rows [][]string
			for _, s := range schedules {
				last := "-"
				if s.LastRun != nil {
					last = string(s.LastRun.State) + " " + ago(s.LastRun.CreatedAt)
				}
				verified := "-"
				if s.LastVerifiedAt != nil {
					verified = ago(*s.LastVerifiedAt)
				}
				rows = append(rows, []string{s.Reference(), s.Cron + " " + s.Zone(), strings.Join(s.Destinations, ","), momentOrDash(s.NextRunAt), last, verified, s.Health})
			}
			if err := a.table([]string{"SCHEDULE", "CRON", "DESTINATIONS", "NEXT RUN", "LAST RUN", "VERIFIED", "HEALTH"}, rows); err != nil {
				return err
			}
			for _, s := range schedules {
				if s.HealthDetail != "" && !s.Paused && s.Health != "new" {
					fmt.Fprintf(a.out, "\n%s (%s): %s\n", s.Reference(), s.Health, s.HealthDetail)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&query.Environment, "environment", "", "only this environment's")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.completeFlag(cmd, "environment", a.environmentNames)
	return cmd
}

func (a *app) schedulesRunCommand() *cobra.Command {
	var wait, detach, asJSON bool
	cmd := &cobra.Command{
		Use:   "run ENVIRONMENT/NAME",
		Short: "Take a backup now, by hand, with a schedule's settings",
		Long: `Take a backup now, by hand, with a schedule's settings, and follow it to its end.
A manual run neither uses up nor shifts a slot of the schedule. A run that fails
exits with 1 and says why.`,
		Example:           "  envbackup schedules run shop-staging/nightly",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.scheduleReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			run, err := c.RunSchedule(cmd.Context(), args[0], wait)
			if err != nil {
				return err
			}
			if !detach {
				if run, err = a.followRun(cmd.Context(), c, run.ID); err != nil {
					return err
				}
			}
			return a.showRun(run, asJSON)
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for a run or restore of the environment that goes on, instead of refusing")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not follow the run; print it as it is queued")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the run as JSON")
	return cmd
}

// schedulesSwitchCommand makes pause and resume.
func (a *app) schedulesSwitchCommand(verb, short string, do scheduleCall) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               verb + " ENVIRONMENT/NAME",
		Short:             short,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.scheduleReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			schedule, err := do(c, cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(schedule)
			}
			if schedule.Paused {
				fmt.Fprintf(a.out, "%s is paused\n", schedule.Reference())
			} else {
				fmt.Fprintf(a.out, "%s runs next at %s\n", schedule.Reference(), momentOrDash(schedule.NextRunAt))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
