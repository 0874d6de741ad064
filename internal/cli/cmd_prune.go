package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) pruneCommand() *cobra.Command {
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "prune ENVIRONMENT/NAME",
		Short: "Apply a schedule's retention now; --dry-run shows every backup with its reason",
		Long: `Apply a schedule's retention now, as it is applied after each good run. With
--dry-run nothing is removed and every backup is listed with the reason why it is
kept or would go.

The newest good backup always stays. Removals that may not be meant (more than
half of the backups, or the first after an edit of the policy) are set aside for
the schedule's prune_grace, here as well.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.scheduleReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			result, err := c.PruneSchedule(cmd.Context(), args[0], dryRun)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(result)
			}
			if err := a.backupTable(result.Backups); err != nil {
				return err
			}
			switch {
			case dryRun:
				fmt.Fprintf(a.out, "\n%d of %d backups would go now. Nothing was removed.\n", result.Removed, len(result.Backups))
			default:
				fmt.Fprintf(a.out, "\n%d of %d backups removed, %s reclaimed.\n", result.Removed, len(result.Backups), size(result.Reclaimed))
			}
			if result.SetAside > 0 {
				fmt.Fprintf(a.out, "%d more wait for the grace period.\n", result.SetAside)
			}
			if result.Note != "" {
				fmt.Fprintln(a.out, result.Note)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would go, remove nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
