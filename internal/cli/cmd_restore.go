package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// restoreFlags are the flags of restore. Some are for one of its two ways only.
type restoreFlags struct {
	target      string
	include     []string
	environment string
	overwrite   bool
	asJSON      bool

	// through the daemon
	destination string
	worker      string
	detach      bool

	// without it
	repository   string
	passwordFile string
	region       string
	exclude      []string
	verify       bool
	sparse       bool
	dryRun       bool
	noLock       bool
}

// onlyWithout names the flags that need --repository, onlyWith those that
// exclude it.
var (
	onlyWithout = []string{"password-file", "region", "exclude", "verify", "sparse", "dry-run", "no-lock"}
	onlyWith    = []string{"destination", "worker", "detach"}
)

func (a *app) restoreCommand() *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore BACKUP|latest --target DIR",
		Short: "Restore a backup, through the daemon or straight from its repository",
		Long: `Restore a backup, or with --include a part of it. The tree appears below the
target with its absolute path, as stock restic restores it: /srv/shop of the
backup is DIR/srv/shop.

Through the daemon the files are written on the worker's host, where the target
must be among its allow_restore directories. "latest" is the newest good backup
of --environment.

With --repository and --password-file no daemon is asked: the repository is read
from this machine and restored onto it. BACKUP is then a snapshot id or its
beginning, and "latest" the newest snapshot (of --environment, if given). S3
credentials come from the usual AWS variables and files.

A target that is not empty is refused without --overwrite; with it, files that
differ are put right and what is already right is not fetched again, so an
interrupted restore continues.

` + exitCodesHelp,
		Example: `  envbackup restore latest --environment shop-staging --target /srv/restore
  envbackup restore bkp_0193... --target /srv/restore --include '/srv/shop/etc/**'
  envbackup restore latest --repository s3:https://s3.eu-central-1.amazonaws.com/acme-backups/envbackup/shop-staging \
      --password-file password.txt --target ./restored`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFirst(a.restorable),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.target == "" {
				return usageError{fmt.Errorf("--target is required: the directory to restore to")}
			}
			wrong := onlyWithout
			if f.repository != "" {
				wrong = onlyWith
			}
			for _, name := range wrong {
				if !cmd.Flags().Changed(name) {
					continue
				}
				if f.repository != "" {
					return usageError{fmt.Errorf("--%s has no meaning with --repository: no daemon is asked", name)}
				}
				return usageError{fmt.Errorf("--%s needs --repository: a restore through the daemon does not have it", name)}
			}
			if f.repository != "" {
				return a.restoreRepository(cmd.Context(), args[0], f)
			}
			return a.restoreThroughDaemon(cmd.Context(), args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.target, "target", "", "directory to restore to (required)")
	flags.StringArrayVar(&f.include, "include", nil, "restore only what matches the pattern, such as '/srv/shop/etc/**' or '*.conf'; repeatable")
	flags.StringVar(&f.environment, "environment", "", "with latest: the environment whose newest backup is meant")
	flags.BoolVar(&f.overwrite, "overwrite", false, "allow a target that is not empty; files that differ are replaced")
	flags.BoolVar(&f.asJSON, "json", false, "print the outcome as JSON")
	flags.StringVar(&f.destination, "destination", "", "take the backup at this destination, where there are several")
	flags.StringVar(&f.worker, "worker", "", "restore on this worker instead of the environment's own")
	flags.BoolVar(&f.detach, "detach", false, "do not follow the restore; print it as it is queued")
	flags.StringVar(&f.repository, "repository", "", "read this restic repository instead of asking the daemon: s3:ENDPOINT/BUCKET/PATH or a directory")
	flags.StringVar(&f.passwordFile, "password-file", "", "file that holds the repository's password")
	flags.StringVar(&f.region, "region", "", "the bucket's region (default: AWS_REGION, AWS_DEFAULT_REGION or what the endpoint says)")
	flags.StringArrayVar(&f.exclude, "exclude", nil, "leave out what matches the pattern; repeatable")
	flags.BoolVar(&f.verify, "verify", false, "read every restored file again and compare it")
	flags.BoolVar(&f.sparse, "sparse", false, "leave holes where a file has blocks of zeros")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be restored, write nothing")
	flags.BoolVar(&f.noLock, "no-lock", false, "do not lock the repository, for credentials that may only read")
	a.completeFlag(cmd, "environment", a.environmentNames)
	a.completeFlag(cmd, "destination", a.destinationNames)
	return cmd
}

// restoreThroughDaemon asks the daemon and follows.
func (a *app) restoreThroughDaemon(ctx context.Context, backup string, f restoreFlags) error {
	if backup == "latest" && f.environment == "" {
		return usageError{fmt.Errorf("latest needs --environment")}
	}
	// The daemon may run on this very host, and then a relative path would
	// be taken from its working directory.
	target, err := filepath.Abs(f.target)
	if err != nil {
		return fmt.Errorf("resolve the target: %w", err)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	restore, err := c.CreateRestore(ctx, wire.RestoreRequest{
		Backup: backup, Environment: f.environment, Destination: f.destination,
		Target: target, Include: f.include, Overwrite: f.overwrite, Worker: f.worker,
	})
	if err != nil {
		return err
	}
	if !f.detach {
		if restore, err = a.followRestore(ctx, c, restore.ID); err != nil {
			return err
		}
	}
	return a.showRestore(restore, f.asJSON)
}

func (a *app) followRestore(ctx context.Context, c *client.Client, id string) (wire.Restore, error) {
	m := a.newMeter(id)
	defer m.done()
	return c.WatchRestore(ctx, id, func(r wire.Restore) error {
		if r.Progress != nil {
			m.update(*r.Progress)
		}
		return nil
	})
}

// showRestore prints a restore and fails when it did.
func (a *app) showRestore(r wire.Restore, asJSON bool) error {
	if asJSON {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.out, "Restore %s of %s to %s: %s", r.ID, r.BackupID, r.Target, r.State)
		if r.FinishedAt != nil && r.StartedAt != nil && r.Failure == nil {
			fmt.Fprintf(a.out, ", %s, %s in %s", count(r.FilesDone, "file"), size(r.BytesDone), r.FinishedAt.Sub(*r.StartedAt).Round(100*time.Millisecond))
		}
		fmt.Fprintln(a.out)
		if r.Failure != nil {
			printFailure(a, "  ", r.Failure)
		}
	}
	switch r.State {
	case envbackup.RunSucceeded, envbackup.RunQueued, envbackup.RunRunning:
		return nil
	default:
		return silentError{fmt.Errorf("restore %s %s", r.ID, r.State)}
	}
}
