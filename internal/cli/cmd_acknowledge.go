package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (a *app) backupsAcknowledgeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "acknowledge BACKUP",
		Short: "Say that a suspect backup is good: what it holds is all there is",
		Long: `Say that a suspect backup is good. A backup is suspect when it holds nothing, or
less than a fifth of what the ones before it held; it is kept, and counts as no
good backup until a person looks at it.

From then on it is a good backup, and the next ones are compared with it instead
of with the larger ones before it. The removals of the next prune wait for the
schedule's prune_grace, so that a mistake can still be mended.`,
		Example: `  envbackup backups list --status suspect
  envbackup backups acknowledge bkp_019acbd0`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.suspectIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			b, err := c.AcknowledgeBackup(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s is good: %s is what the next backups are compared with\n", b.ID, size(b.Size))
			if b.RunID == "" {
				return nil
			}
			// The same run's backups elsewhere are judged by themselves.
			page, err := c.Backups(cmd.Context(), wire.BackupsQuery{Schedule: b.ScheduleID, Status: "suspect"})
			if err != nil {
				return err
			}
			for _, other := range page.Items {
				if other.RunID == b.RunID {
					fmt.Fprintf(a.out, "The one at %s is still suspect: envbackup backups acknowledge %s\n", other.Destination, other.ID)
				}
			}
			return nil
		},
	}
}

func (a *app) backupsForgetMissingCommand() *cobra.Command {
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "forget-missing ENVIRONMENT/NAME",
		Short: "Take backups off the list that somebody removed from the repository by hand (needs an admin's token)",
		Long: `Take backups of a schedule off the list whose snapshots are gone from their
repository, as after "restic forget" by hand. While one is missing, nothing is
removed there: a listing that lacks a backup may be a fault of the store, and a
fault must never remove another one.

Without --yes the missing ones are only shown. The store is asked for each of
them by its name, and a repository that shows no snapshot at all is refused.

Forgetting also lets go of the data that only they needed: a snapshot that turns
up later is listed again, but may no longer be whole.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.scheduleReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			result, err := c.ForgetMissing(cmd.Context(), args[0], !yes)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(result)
			}
			if len(result.Backups) == 0 {
				fmt.Fprintf(a.out, "No backup of %s is missing.\n", args[0])
				return nil
			}
			if err := a.backupTable(result.Backups); err != nil {
				return err
			}
			n := count(int64(len(result.Backups)), "backup")
			if !yes {
				return usageError{fmt.Errorf("nothing was forgotten: repeat the command with --yes to take %s off the list", n)}
			}
			fmt.Fprintf(a.out, "\n%s forgotten. The next prune goes on with what is left.\n", n)
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "really forget them")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
