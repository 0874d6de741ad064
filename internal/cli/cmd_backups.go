package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (a *app) backupsCommand() *cobra.Command {
	return group("backups", "List, show and verify backups, hold and release them, acknowledge a suspect one, delete one",
		a.backupsListCommand(), a.backupsShowCommand(), a.backupsVerifyCommand(), a.backupsHoldCommand(), a.backupsReleaseCommand(), a.backupsDeleteCommand(),
		a.backupsAcknowledgeCommand(), a.backupsForgetMissingCommand())
}

func (a *app) backupsListCommand() *cobra.Command {
	var (
		query         wire.BackupsQuery
		limit         int
		since, until  string
		quiet, asJSON bool
	)
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List backups, newest first, each with the reason why it is kept",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if query.Since, err = parseInstant("--since", since); err != nil {
				return err
			}
			if query.Until, err = parseInstant("--until", until); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			backups, err := firstItems(limit, func(cursor string, n int) ([]wire.Backup, string, error) {
				query.Cursor, query.Limit = cursor, n
				page, err := c.Backups(cmd.Context(), query)
				return page.Items, page.Cursor, err
			})
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				return a.printJSON(backups)
			case quiet:
				for _, b := range backups {
					fmt.Fprintln(a.out, b.ID)
				}
				return nil
			default:
				return a.backupTable(backups)
			}
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&query.Environment, "environment", "", "only this environment's")
	flags.StringVar(&query.Schedule, "schedule", "", "only this schedule's, ENVIRONMENT/NAME")
	flags.StringVar(&query.Destination, "destination", "", "only those at this destination")
	flags.StringVar(&query.Status, "status", "", "only complete, partial, suspect or damaged ones")
	flags.StringVar(&query.Verified, "verified", "", "only those that passed a verification (true) or did not (false)")
	flags.Lookup("verified").NoOptDefVal = "true"
	flags.StringVar(&query.Trigger, "trigger", "", "only those of this trigger: schedule, catch_up, create, manual, safety")
	flags.StringVar(&since, "since", "", "nominal time at or after this RFC 3339 instant")
	flags.StringVar(&until, "until", "", "nominal time before this RFC 3339 instant")
	flags.StringVar(&query.MaxAge, "max-age", "", "nominal time within this long, such as 26h or 7d")
	flags.IntVar(&limit, "limit", 100, "how many; 0 is all")
	flags.BoolVarP(&quiet, "quiet", "q", false, "print ids only")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("quiet", "json")
	a.completeFlag(cmd, "environment", a.environmentNames)
	a.completeFlag(cmd, "schedule", a.scheduleReferences)
	a.completeFlag(cmd, "destination", a.destinationNames)
	a.completeFlag(cmd, "verified", func(context.Context) []string { return []string{"true", "false"} })
	a.completeFlag(cmd, "status", func(context.Context) []string { return []string{"complete", "partial", "suspect", "damaged"} })
	return cmd
}

func (a *app) backupsShowCommand() *cobra.Command {
	var (
		which  selection
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:               "show BACKUP|latest",
		Short:             "Show one backup, by its id, its snapshot id or the beginning of that",
		Example:           "  envbackup backups show latest --environment shop-staging",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.restorable),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			b, err := which.backup(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(b)
			}
			return a.printBackup(b)
		},
	}
	which.flags(a, cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) backupsHoldCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:               "hold BACKUP",
		Short:             "Exempt a backup from every rule that removes, until it is released",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.backupIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			b, err := c.HoldBackup(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s is held\n", b.ID)
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who read the list later")
	return cmd
}

func (a *app) backupsReleaseCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "release BACKUP",
		Short:             "End a hold: the schedule's retention decides again",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.backupIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			b, err := c.ReleaseBackup(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s is no longer held\n", b.ID)
			return nil
		},
	}
}

func (a *app) backupsDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete BACKUP",
		Short: "Delete one backup for good, whatever the retention says (needs an admin's token)",
		Long: `Delete one backup for good, whatever the retention says. This is the only command
that deletes the last good backup of a schedule, and only because you name it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.backupIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			b, err := c.Backup(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !yes {
				if err := a.printBackup(b); err != nil {
					return err
				}
				return usageError{fmt.Errorf("nothing was deleted: repeat the command with --yes to delete %s for good", b.ID)}
			}
			if err := c.DeleteBackup(cmd.Context(), b.ID); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s is deleted\n", b.ID)
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "really delete it")
	return cmd
}

// backupTable lists backups with the verdict of their schedule's retention.
func (a *app) backupTable(backups []wire.Backup) error {
	var rows [][]string
	for _, b := range backups {
		rows = append(rows, []string{
			b.ID, b.Environment + "/" + b.Schedule, b.Destination, moment(b.NominalAt), string(b.Trigger), statusCell(b),
			size(b.Size), size(b.Added), verdict(b),
		})
	}
	return a.table([]string{"BACKUP", "SCHEDULE", "DESTINATION", "TIME", "TRIGGER", "STATUS", "SIZE", "ADDED", "KEPT BECAUSE"}, rows)
}

// statusCell is a backup's status, with its proof and whether it was left
// behind.
func statusCell(b wire.Backup) string {
	cell := string(b.Status)
	if b.VerifiedAt != nil {
		cell += ", verified"
	}
	if b.Detached {
		cell += ", detached"
	}
	return cell
}

// verdict says in a cell why a backup stays or goes.
func verdict(b wire.Backup) string {
	why := strings.Join(b.KeptBecause, ", ")
	if !b.Kept {
		return "goes: " + why
	}
	return why
}

func (a *app) printBackup(b wire.Backup) error {
	rows := [][]string{
		{"backup", b.ID}, {"snapshot", b.SnapshotID}, {"environment", b.Environment}, {"schedule", b.Schedule},
		{"destination", b.Destination}, {"time", moment(b.NominalAt) + " (" + ago(b.NominalAt) + ")"},
		{"trigger", string(b.Trigger)}, {"status", string(b.Status)}, {"run", b.RunID},
		{"size", size(b.Size)}, {"added", size(b.Added)}, {"files", fmt.Sprint(b.Files)},
		{"verified", momentOrDash(b.VerifiedAt)}, {"held", fmt.Sprint(b.Held)}, {"kept because", verdict(b)},
	}
	if b.LockedUntil != nil {
		rows = append(rows, []string{"locked until", moment(*b.LockedUntil)})
	}
	for _, missing := range b.Missing {
		rows = append(rows, []string{"missing", missing})
	}
	return a.table([]string{"FIELD", "VALUE"}, rows)
}

// parseInstant reads an optional RFC 3339 flag.
func parseInstant(flag, value string) (t time.Time, err error) {
	if value == "" {
		return t, nil
	}
	if t, err = time.Parse(time.RFC3339, value); err != nil {
		return t, usageError{fmt.Errorf("%s %q is not an RFC 3339 instant, such as 2026-03-28T00:00:00Z", flag, value)}
	}
	return t, nil
}
