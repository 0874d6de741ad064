package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// selection says which backup "latest" means: the newest complete one that all
// of its fields allow.
type selection struct {
	environment string
	schedule    string
	destination string
}

func (s *selection) flags(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&s.environment, "environment", "", "with latest: the environment whose newest complete backup is meant")
	flags.StringVar(&s.schedule, "schedule", "", "with latest: the schedule whose newest complete backup is meant, ENVIRONMENT/NAME")
	flags.StringVar(&s.destination, "destination", "", "with latest: the newest one at this destination, where there are several")
	a.completeFlag(cmd, "environment", a.environmentNames)
	a.completeFlag(cmd, "schedule", a.scheduleReferences)
	a.completeFlag(cmd, "destination", a.destinationNames)
}

// backup returns the backup that a person means: its id, its snapshot id, the
// beginning of that, or "latest".
func (s *selection) backup(ctx context.Context, c *client.Client, arg string) (wire.Backup, error) {
	if arg != "latest" {
		return c.Backup(ctx, arg)
	}
	if s.environment == "" && s.schedule == "" {
		return wire.Backup{}, usageError{fmt.Errorf("latest needs --environment, or --schedule")}
	}
	page, err := c.Backups(ctx, wire.BackupsQuery{
		Page: wire.Page{Limit: 1}, Environment: s.environment, Schedule: s.schedule, Destination: s.destination, Status: string(envbackup.BackupComplete),
	})
	if err != nil {
		return wire.Backup{}, err
	}
	if len(page.Items) == 0 {
		what := "environment " + s.environment
		if s.schedule != "" {
			what = "schedule " + s.schedule
		}
		if s.destination != "" {
			what += " at " + s.destination
		}
		return wire.Backup{}, &envbackup.Error{
			Code: envbackup.CodeNotFound, Message: "there is no complete backup of " + what,
			Hint: "list what there is with: envbackup backups list",
		}
	}
	return page.Items[0], nil
}

func (a *app) backupsVerifyCommand() *cobra.Command {
	var (
		which          selection
		level          string
		noWait, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "verify BACKUP|latest",
		Short: "Prove that a backup can be restored",
		Long: `Prove that a backup can be restored. The daemon does it, on the environment's
worker, and makes way for every backup and restore of the environment meanwhile.

--level read      reads everything that the backup needs from its destination
                  and checks it against its hashes
--level restore   restores the backup into a scratch directory of the worker,
                  compares what is there with what was stored, and removes it

A backup that passes is verified: retention keeps the newest verified one. One
that does not is damaged, and the files that cannot be restored are named. When
only the way to the destination fails, the backup stays as it was.

To interrupt this command does not end the verification; to end it:
  envbackup verifications cancel ID

Exit codes: 0 verified (or with --no-wait: queued), 1 damaged or failed, 2 wrong
usage or invalid input, 3 nothing found, 4 not allowed, 5 daemon unreachable.`,
		Example: `  envbackup backups verify latest --environment shop-staging
  envbackup backups verify bkp_0193... --level restore`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.restorable),
		RunE: func(cmd *cobra.Command, args []string) error {
			if level != string(envbackup.VerifyRead) && level != string(envbackup.VerifyRestore) {
				return usageError{fmt.Errorf("--level %q is neither read nor restore", level)}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			b, err := which.backup(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			v, err := c.VerifyBackup(cmd.Context(), b.ID, envbackup.VerifyLevel(level))
			if err != nil {
				return err
			}
			if !noWait {
				if v, err = a.followVerification(cmd.Context(), c, v.ID); err != nil {
					return err
				}
			}
			return a.showVerification(v, b, asJSON)
		},
	}
	which.flags(a, cmd)
	flags := cmd.Flags()
	flags.StringVar(&level, "level", string(envbackup.VerifyRead), "how thoroughly: read or restore")
	flags.BoolVar(&noWait, "no-wait", false, "do not follow the verification; print it as it is queued")
	flags.BoolVar(&asJSON, "json", false, "print the outcome as JSON")
	a.completeFlag(cmd, "level", func(context.Context) []string {
		return []string{"read\tread and check everything it needs", "restore\trestore it into a scratch directory and compare"}
	})
	return cmd
}

func (a *app) followVerification(ctx context.Context, c *client.Client, id string) (wire.Verification, error) {
	m := a.newMeter(id)
	defer m.done()
	waits := ""
	return c.WatchVerification(ctx, id, func(v wire.Verification) error {
		if v.Progress == nil {
			return nil
		}
		if v.State != envbackup.RunQueued {
			waits = ""
		} else if v.Progress.Current != waits {
			waits = v.Progress.Current
			m.note("the verification waits, and then goes on: " + waits)
		}
		m.update(*v.Progress)
		return nil
	})
}

// showVerification prints a verification and fails unless the backup is
// verified or the verification has not ended.
func (a *app) showVerification(v wire.Verification, b wire.Backup, asJSON bool) error {
	if asJSON {
		if err := a.printJSON(v); err != nil {
			return err
		}
	} else {
		a.sayVerification(v, b)
	}
	switch v.State {
	case envbackup.RunSucceeded, envbackup.RunQueued, envbackup.RunRunning:
		return nil
	default:
		return silentError{fmt.Errorf("verification %s %s", v.ID, v.State)}
	}
}

func (a *app) sayVerification(v wire.Verification, b wire.Backup) {
	if v.Level.OfRepository() {
		a.sayWhole(v)
		return
	}
	what := fmt.Sprintf("Backup %s of %s, %s, at %s", v.BackupID, v.Environment, moment(b.NominalAt), v.Destination)
	switch {
	case v.State == envbackup.RunSucceeded:
		fmt.Fprintf(a.out, "%s is verified (%s): %s, %s%s\n", what, v.Level, count(v.FilesDone, "file"), size(v.BytesDone), verificationTook(v))
	case !v.State.Final():
		fmt.Fprintf(a.out, "%s: verification %s (%s) is %s; follow it with: envbackup verifications show %s --follow\n", what, v.ID, v.Level, v.State, v.ID)
	case v.Failure != nil && v.Failure.Code == envbackup.CodeDamaged:
		fmt.Fprintf(a.out, "%s is damaged\n", what)
	default:
		fmt.Fprintf(a.out, "%s is not verified: verification %s %s\n", what, v.ID, v.State)
	}
	if v.Failure != nil {
		printFailure(a, "  ", v.Failure)
	}
	if v.Failure != nil && len(v.Problems) <= namedInFailure {
		return
	}
	for _, p := range v.Problems {
		fmt.Fprintln(a.out, "  "+p)
	}
}

// namedInFailure is how many problems a failure's message names itself.
const namedInFailure = 3

func verificationTook(v wire.Verification) string {
	if v.StartedAt == nil || v.FinishedAt == nil {
		return ""
	}
	return " in " + v.FinishedAt.Sub(*v.StartedAt).Round(100*time.Millisecond).String()
}

func (a *app) verificationsCommand() *cobra.Command {
	return group("verifications", "List, show, follow and cancel verifications of backups",
		a.verificationsListCommand(), a.verificationsShowCommand(), a.verificationsCancelCommand())
}

func (a *app) verificationsListCommand() *cobra.Command {
	var (
		query  wire.VerificationsQuery
		limit  int
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List verifications, newest first",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			list, err := firstItems(limit, func(cursor string, n int) ([]wire.Verification, string, error) {
				query.Cursor, query.Limit = cursor, n
				page, err := c.Verifications(cmd.Context(), query)
				return page.Items, page.Cursor, err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(list)
			}
			var rows [][]string
			for _, v := range list {
				why := ""
				if v.Failure != nil {
					why = v.Failure.Message
				}
				rows = append(rows, []string{v.ID, v.BackupID, v.Environment, v.Destination, string(v.Level), string(v.Trigger), moment(v.CreatedAt), string(v.State), why})
			}
			return a.table([]string{"VERIFICATION", "BACKUP", "ENVIRONMENT", "DESTINATION", "LEVEL", "TRIGGER", "TIME", "STATE", "WHY"}, rows)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&query.Environment, "environment", "", "only this environment's")
	flags.StringVar(&query.Schedule, "schedule", "", "only those of this schedule's backups, ENVIRONMENT/NAME")
	flags.StringVar(&query.Backup, "backup", "", "only those of this backup")
	flags.StringSliceVar(&query.State, "state", nil, "only those in these states: queued, running, succeeded, failed, cancelled")
	flags.IntVar(&limit, "limit", 50, "how many; 0 is all")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	a.completeFlag(cmd, "environment", a.environmentNames)
	a.completeFlag(cmd, "schedule", a.scheduleReferences)
	a.completeFlag(cmd, "backup", a.backupIDs)
	a.completeFlag(cmd, "state", func(context.Context) []string {
		return []string{"queued", "running", "succeeded", "failed", "cancelled"}
	})
	return cmd
}

func (a *app) verificationsShowCommand() *cobra.Command {
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:               "show VERIFICATION",
		Short:             "Show one verification and what it found; exit with 1 if it failed",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.verificationIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			v, err := c.Verification(cmd.Context(), args[0])
			if err == nil && follow {
				v, err = a.followVerification(cmd.Context(), c, v.ID)
			}
			if err != nil {
				return err
			}
			if v.BackupID == "" {
				return a.showVerification(v, wire.Backup{}, asJSON)
			}
			b, err := c.Backup(cmd.Context(), v.BackupID)
			if err != nil && envbackup.CodeOf(err) != envbackup.CodeNotFound {
				return err
			}
			return a.showVerification(v, b, asJSON)
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "show progress until it is over")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) verificationsCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "cancel VERIFICATION",
		Short:             "Cancel a verification; the backup stays as it was",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.verificationIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			v, err := c.CancelVerification(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if v.State.Final() {
				fmt.Fprintf(a.out, "Verification %s is cancelled\n", v.ID)
				return nil
			}
			fmt.Fprintf(a.out, "Verification %s is asked to end\n", v.ID)
			return nil
		},
	}
}

func (a *app) verificationIDs(ctx context.Context) []string {
	return complete(a, func(c *client.Client) ([]string, error) {
		page, err := c.Verifications(ctx, wire.VerificationsQuery{Page: wire.Page{Limit: 100}})
		var names []string
		for _, v := range page.Items {
			names = append(names, v.ID+"\t"+v.Environment+" "+string(v.State))
		}
		return names, err
	})
}
