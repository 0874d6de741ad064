package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// wholeRepository are the flags that check and repair have in common: which
// repository, through the daemon or without it.
type wholeRepository struct {
	environment  string
	destination  string
	repository   string
	passwordFile string
	region       string
	noWait       bool
	asJSON       bool
}

func (w *wholeRepository) flags(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&w.environment, "environment", "", "the environment whose repository is meant")
	flags.StringVar(&w.destination, "destination", "", "the destination where it lies")
	flags.StringVar(&w.repository, "repository", "", "open this restic repository instead of asking the daemon: s3:ENDPOINT/BUCKET/PATH or a directory")
	flags.StringVar(&w.passwordFile, "password-file", "", "with --repository: file that holds its password")
	flags.StringVar(&w.region, "region", "", "with --repository: the bucket's region (default: AWS_REGION, AWS_DEFAULT_REGION or what the endpoint says)")
	flags.BoolVar(&w.noWait, "no-wait", false, "do not follow the work; print it as it is queued")
	flags.BoolVar(&w.asJSON, "json", false, "print the outcome as JSON")
	a.completeFlag(cmd, "environment", a.environmentNames)
	a.completeFlag(cmd, "destination", a.destinationNames)
}

// alone reports whether no daemon is to be asked, and refuses flags that do not
// go together.
func (w *wholeRepository) alone(cmd *cobra.Command) (bool, error) {
	with := []string{"password-file", "region"}
	if w.repository != "" {
		with = []string{"environment", "destination", "no-wait"}
	}
	for _, name := range with {
		switch {
		case !cmd.Flags().Changed(name):
		case w.repository != "":
			return false, usageError{fmt.Errorf("--%s has no meaning with --repository: no daemon is asked", name)}
		default:
			return false, usageError{fmt.Errorf("--%s needs --repository", name)}
		}
	}
	if w.repository == "" && (w.environment == "" || w.destination == "") {
		return false, usageError{errors.New("say which repository: --environment and --destination, or --repository and --password-file")}
	}
	return w.repository != "", nil
}

func (a *app) checkCommand() *cobra.Command {
	var (
		which               wholeRepository
		readData, structure bool
		share               string
	)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look for damage in a repository, and name the backups and files that it hurts",
		Long: `Look for damage in the repository of an environment at a destination. The daemon
does it and makes way for every backup and restore of the environment meanwhile;
with --repository and --password-file this machine does it, without a daemon.

--structure    every snapshot, directory and index file, and that each pack is
               there in full length (the default)
--share N/M    and reads the Nth of M even shares of the packs
--read-data    and reads every pack

A damaged pack is named together with the backups and files that it hurts. Such
backups are marked damaged: they count as good ones no more. The next backup
stores again what the source still has; a backup of which everything is whole
again is complete again. The daemon also reads a share by itself after runs: see
check_every and check_shares of its configuration.

A check changes nothing in the repository. To interrupt this command does not end
the daemon's check; to end it: envbackup verifications cancel ID

Exit codes: 0 clean (or with --no-wait: queued), 1 damaged or failed, 2 wrong
usage or invalid input, 3 nothing found, 4 not allowed, 5 daemon unreachable.`,
		Example: `  envbackup check --environment shop-staging --destination primary --read-data
  envbackup check --repository s3:https://s3.eu-central-1.amazonaws.com/acme-backups/envbackup/shop-staging \
      --password-file password.txt --share 1/7`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n := count3(readData, structure, share != ""); n > 1 {
				return usageError{errors.New("write one of --structure, --share and --read-data")}
			}
			level := envbackup.CheckStructure
			request := wire.CheckRequest{Environment: which.environment, Destination: which.destination, Share: share}
			switch {
			case share != "":
				level = envbackup.VerifyLevel("share " + share)
				if part, of, ok := level.Share(); !ok || level != envbackup.CheckShare(part, of) {
					return usageError{fmt.Errorf("--share %q: write N/M with N from 1 to M and M at most %d", share, envbackup.MaxShares)}
				}
			case readData:
				level, request.Read = envbackup.CheckData, "data"
			}
			alone, err := which.alone(cmd)
			if err != nil {
				return err
			}
			if alone {
				return a.checkAlone(cmd.Context(), which, level)
			}
			return a.wholeThroughDaemon(cmd.Context(), which, func(c *client.Client) (wire.Verification, error) {
				return c.CheckRepository(cmd.Context(), request)
			})
		},
	}
	which.flags(a, cmd)
	flags := cmd.Flags()
	flags.BoolVar(&readData, "read-data", false, "read every pack")
	flags.BoolVar(&structure, "structure", false, "read no packs of content (the default)")
	flags.StringVar(&share, "share", "", "read a share of the packs, N/M: the Nth of M")
	return cmd
}

func count3(set ...bool) (n int) {
	for _, is := range set {
		if is {
			n++
		}
	}
	return n
}

func (a *app) repairCommand() *cobra.Command {
	var (
		which            wholeRepository
		readData, dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Mend a damaged repository, as far as copies of what was lost are to be had",
		Long: `Mend the repository of an environment at a destination: packs that are damaged or
gone are set aside after what is whole in them was copied out; packs that a lost
index file listed are listed again; and what another destination of the
environment still has is fetched from there. Backups of which everything is
whole again are complete again.

What no copy is found of, the next backup stores again if the source still has
it. Nothing is removed that could still be restored: what is left of damaged
packs stays until a prune finds every backup whole.

Without --read-data, what checks and verifications have found is mended, and what
the structure shows. With --repository and --password-file this machine does it,
without a daemon and so without other destinations.

Exit codes: 0 nothing is damaged any more (or with --dry-run or --no-wait: said
what would be done, or queued), 1 something still is, or failed, 2 wrong usage or
invalid input, 3 nothing found, 4 not allowed, 5 daemon unreachable.`,
		Example: `  envbackup repair --environment shop-staging --destination primary --dry-run
  envbackup repair --repository /mnt/nas/backups/shop-staging --password-file password.txt --read-data`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			alone, err := which.alone(cmd)
			if err != nil {
				return err
			}
			if alone {
				return a.repairAlone(cmd.Context(), which, readData, dryRun)
			}
			return a.wholeThroughDaemon(cmd.Context(), which, func(c *client.Client) (wire.Verification, error) {
				return c.RepairRepository(cmd.Context(), wire.RepairRequest{
					Environment: which.environment, Destination: which.destination, ReadData: readData, DryRun: dryRun,
				})
			})
		},
	}
	which.flags(a, cmd)
	flags := cmd.Flags()
	flags.BoolVar(&readData, "read-data", false, "read every pack to find what is damaged")
	flags.BoolVar(&dryRun, "dry-run", false, "say what would be done and change nothing")
	return cmd
}

// wholeThroughDaemon asks for work on a whole repository and follows it.
func (a *app) wholeThroughDaemon(ctx context.Context, which wholeRepository, ask func(*client.Client) (wire.Verification, error)) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	v, err := ask(c)
	if err != nil {
		return err
	}
	if !which.noWait {
		if v, err = a.followVerification(ctx, c, v.ID); err != nil {
			return err
		}
	}
	return a.showVerification(v, wire.Backup{}, which.asJSON)
}

// sayWhole prints work on a whole repository.
func (a *app) sayWhole(v wire.Verification) {
	what := fmt.Sprintf("The repository of %s at %s", v.Environment, v.Destination)
	_, dry, repair := v.Level.Repair()
	switch {
	case !v.State.Final():
		fmt.Fprintf(a.out, "%s: %s (%s) is %s; follow it with: envbackup verifications show %s --follow\n", what, v.ID, v.Level, v.State, v.ID)
	case v.State == envbackup.RunSucceeded && dry && len(v.Problems) > 0:
		fmt.Fprintf(a.out, "%s: this is what a repair would do; nothing was changed\n", what)
	case v.State == envbackup.RunSucceeded && dry:
		fmt.Fprintf(a.out, "%s: there is nothing to repair\n", what)
	case v.State == envbackup.RunSucceeded && repair:
		fmt.Fprintf(a.out, "%s is whole%s\n", what, verificationTook(v))
	case v.State == envbackup.RunSucceeded:
		fmt.Fprintf(a.out, "%s is clean (%s): %s read, %s%s\n", what, v.Level, count(v.FilesDone, "pack"), size(v.BytesDone), verificationTook(v))
	case v.Failure != nil && v.Failure.Code == envbackup.CodeDamaged:
		fmt.Fprintf(a.out, "%s is damaged\n", what)
	default:
		fmt.Fprintf(a.out, "%s: %s %s\n", what, v.ID, v.State)
	}
	if v.Failure != nil {
		printFailure(a, "  ", v.Failure)
	}
	for _, p := range v.Problems {
		fmt.Fprintln(a.out, "  "+p)
	}
}
