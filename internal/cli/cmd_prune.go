package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (a *app) pruneCommand() *cobra.Command {
	var dryRun, reclaim, asJSON bool
	cmd := &cobra.Command{
		Use:   "prune ENVIRONMENT/NAME",
		Short: "Apply a schedule's retention now; --dry-run shows every backup with its reason",
		Long: `Apply a schedule's retention now, as it is applied after each good run. With
--dry-run nothing is removed and every backup is listed with the reason why it is
kept or would go.

The newest good backup always stays. Removals that may not be meant (more than
half of the backups, or the first after an edit of the policy) are set aside for
the schedule's prune_grace, here as well; prune confirm and prune cancel decide
about them sooner.

The space of what is removed is reclaimed when nothing else works on the
repository, and a backup that comes due interrupts that. Where backups follow
each other so closely that nothing is ever reclaimed, the schedule's health says
so after 7 days; --reclaim then grants a window: it waits until it has the
repository for itself, and backups that come due wait until it has ended (up to
2 minutes, then their retries go on). Interrupting the command ends the window.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.scheduleReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			if dryRun && reclaim {
				return usageError{errors.New("a dry run reclaims nothing: write one of --dry-run and --reclaim")}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			var result wire.PruneResult
			if reclaim {
				result, err = c.ReclaimSchedule(cmd.Context(), args[0])
			} else {
				result, err = c.PruneSchedule(cmd.Context(), args[0], dryRun)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(result)
			}
			return a.printPrune(args[0], result)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would go, remove nothing")
	cmd.Flags().BoolVar(&reclaim, "reclaim", false, "grant a window: reclaim space now, while backups wait")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(a.pruneConfirmCommand(), a.pruneCancelCommand())
	return cmd
}

func (a *app) pruneConfirmCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "confirm ENVIRONMENT/NAME",
		Short: "Remove now what is set aside, without waiting for the grace period",
		Long: `Remove now what a prune has set aside, without waiting for the grace period. What
is held, or kept by the retention again, stays.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.scheduleReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if _, err := c.ConfirmPrune(cmd.Context(), args[0]); err != nil {
				return err
			}
			result, err := c.PruneSchedule(cmd.Context(), args[0], false)
			if err != nil {
				return fmt.Errorf("the removals are confirmed and go with the next prune, but this one failed: %w", err)
			}
			if asJSON {
				return a.printJSON(result)
			}
			return a.printPrune(args[0], result)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) pruneCancelCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "cancel ENVIRONMENT/NAME",
		Short:             "Keep what is set aside until the schedule's retention changes",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.scheduleReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			decided, err := c.CancelPrune(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(decided)
			}
			for _, l := range decided.Lists {
				fmt.Fprintf(a.out, "%s at %s stay until the retention changes.\n", count(int64(len(l.Backups)), "backup"), l.Destination)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printPrune lists every backup with its verdict, then what was done.
func (a *app) printPrune(schedule string, result wire.PruneResult) error {
	backups := slices.Clone(result.Backups)
	for i, b := range backups {
		for _, l := range result.SetAsideLists {
			if slices.Contains(l.Backups, b.ID) {
				backups[i].KeptBecause = append([]string{waits(l)}, b.KeptBecause...)
				backups[i].Kept = true
			}
		}
	}
	if err := a.backupTable(backups); err != nil {
		return err
	}
	if result.DryRun {
		fmt.Fprintf(a.out, "\n%d of %s would go now. Nothing was removed.\n", result.Removed, count(int64(len(backups)), "backup"))
	} else {
		fmt.Fprintf(a.out, "\n%d of %s removed, %s reclaimed.\n", result.Removed, count(int64(len(backups)), "backup"), size(result.Reclaimed))
	}
	for _, l := range result.SetAsideLists {
		fmt.Fprintf(a.out, "%s at %s set aside (%s): %s.\n", count(int64(len(l.Backups)), "removal"), l.Destination, waits(l), l.Reason)
	}
	if slices.ContainsFunc(result.SetAsideLists, func(l wire.SetAside) bool { return l.Decision == "" }) {
		fmt.Fprintf(a.out, "Decide sooner with: envbackup prune confirm %s, or prune cancel\n", schedule)
	}
	if result.Note != "" {
		fmt.Fprintln(a.out, "Note: "+result.Note+".")
	}
	return nil
}

// waits says until when a list is set aside.
func waits(l wire.SetAside) string {
	switch {
	case l.Decision == envbackup.DecisionCancelled:
		return "cancelled, stays"
	case l.Until != nil:
		return "waits until " + moment(*l.Until)
	default:
		return "waits"
	}
}
