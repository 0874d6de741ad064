package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/local"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/retry"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// restoreRepository restores from a repository without a daemon: the way out
// on the night when the daemon's host is gone.
func (a *app) restoreRepository(ctx context.Context, snapshot string, f restoreFlags) error {
	repo, closeRepo, err := a.openRepository(ctx, f.repository, f.passwordFile, f.region)
	if err != nil {
		return err
	}
	defer closeRepo()
	if !f.noLock && !f.dryRun {
		// A shared lock keeps stock restic's prune, and ours, from removing
		// what is being read.
		lock, err := repo.Lock(ctx, false)
		if err != nil {
			return explainAlone(err, f.repository)
		}
		defer func() { _ = lock.Unlock() }() // a lock that stays is stale in half an hour
		ctx = lock.Context()
	}
	sn, err := chooseSnapshot(ctx, repo, snapshot, f.environment)
	if err != nil {
		return explainAlone(err, f.repository)
	}
	if err := repo.LoadIndex(ctx); err != nil {
		return explainAlone(err, f.repository)
	}
	return a.restoreSnapshot(ctx, repo, sn, f)
}

// openRepository opens a repository without a daemon. Call close when it is no
// longer needed.
func (a *app) openRepository(ctx context.Context, place, passwordFile, region string) (repo *repository.Repository, closeRepo func(), err error) {
	if passwordFile == "" {
		return nil, nil, usageError{fmt.Errorf("--repository needs --password-file")}
	}
	password, err := readSecretFile(passwordFile, "password")
	if err != nil {
		return nil, nil, err
	}
	be, err := openBackend(ctx, place, region)
	if err != nil {
		return nil, nil, err
	}
	be = retry.New(be, retry.Options{})

	repo, err = repository.Open(ctx, be, password)
	if err != nil {
		_ = be.Close() // nothing was written
	}
	if errors.Is(err, repository.ErrWrongPassword) {
		return nil, nil, &envbackup.Error{Code: envbackup.CodeWrongPassword, Err: err,
			Message: fmt.Sprintf("the repository at %s does not open with the password in %s", place, passwordFile),
			Hint:    "the password is what `envbackup key show` printed, or the destination's recovery password"}
	}
	if errors.Is(err, repository.ErrNoRepository) {
		return nil, nil, &envbackup.Error{Code: envbackup.CodeNotFound, Err: err,
			Message: fmt.Sprintf("there is no repository at %s", place),
			Hint:    "the address ends with the environment's name: the destination's place, a slash, the environment"}
	}
	if err != nil {
		return nil, nil, explainAlone(err, place)
	}
	return repo, func() { _ = repo.Close() }, nil
}

// chooseSnapshot finds a snapshot by the beginning of its id, or the newest.
func chooseSnapshot(ctx context.Context, repo *repository.Repository, which, environment string) (*restic.Snapshot, error) {
	if which != "latest" {
		sn, err := repo.FindSnapshot(ctx, which)
		if errors.Is(err, backend.ErrNotExist) {
			return nil, &envbackup.Error{Code: envbackup.CodeNotFound, Message: fmt.Sprintf("the repository has no snapshot %q", which),
				Hint: "list them with restic snapshots, or write latest", Err: err}
		}
		return sn, err
	}
	snapshots, err := repo.Snapshots(ctx, func(sn *restic.Snapshot) bool {
		name, _ := sn.Tags.Value("environment")
		return environment == "" || name == environment
	})
	if err != nil {
		return nil, err
	}
	if len(snapshots) == 0 {
		what := "the repository has no snapshot"
		if environment != "" {
			what += fmt.Sprintf(" of environment %q", environment)
		}
		return nil, notFound(what, "check the repository's address, or leave --environment out")
	}
	newest := snapshots[0]
	for _, sn := range snapshots[1:] {
		if sn.Time.After(newest.Time) {
			newest = sn
		}
	}
	return newest, nil
}

// restoreSnapshot writes the files and says what came of it.
func (a *app) restoreSnapshot(ctx context.Context, repo *repository.Repository, sn *restic.Snapshot, f restoreFlags) error {
	fmt.Fprintf(a.err, "snapshot %s of %s, taken %s on %s\n", sn.ID.Short(), strings.Join(sn.Paths, ", "), moment(sn.Time), sn.Hostname)
	m := a.newMeter("snapshot " + sn.ID.Short())
	began := time.Now()
	report, err := restorer.Restore(ctx, repo, sn, restorer.Options{
		Target: f.target, Include: f.include, Exclude: f.exclude,
		Overwrite: f.overwrite, Sparse: f.sparse, Verify: f.verify, DryRun: f.dryRun,
		Progress: func(p restorer.Progress) {
			m.update(envbackup.Progress{
				Phase: envbackup.PhaseRestore, FilesDone: int64(p.Files), FilesTotal: int64(p.TotalFiles),
				BytesDone: int64(p.Bytes), BytesTotal: int64(p.TotalBytes), Errors: int64(p.Failed), Current: p.Current,
			})
		},
	})
	m.done()
	for _, w := range report.Warnings {
		fmt.Fprintf(a.err, "warning: /%s: %v\n", w.Path, w.Err)
	}
	if err != nil {
		return explainRestore(err, f.repository)
	}
	if f.asJSON {
		return a.printJSON(map[string]any{
			"snapshot_id": sn.ID.String(), "target": f.target, "dry_run": f.dryRun,
			"files": report.Files, "directories": report.Dirs, "others": report.Others,
			"bytes": report.Bytes, "kept": report.Kept, "verified_files": report.Checked, "warnings": report.WarningCount,
		})
	}
	verb := "Restored"
	if f.dryRun {
		verb = "Would restore"
	}
	fmt.Fprintf(a.out, "%s %d files, %d directories and %d other entries, %s, to %s in %s.\n", verb,
		report.Files, report.Dirs, report.Others, size(int64(report.Bytes)), f.target, time.Since(began).Round(10*time.Millisecond))
	if report.Kept > 0 {
		fmt.Fprintf(a.out, "%s of it was right already.\n", size(int64(report.Kept)))
	}
	return nil
}

// explainRestore gives the errors of a restore their code and next step.
func explainRestore(err error, place string) error {
	hint := restorer.Hint(err)
	var code envbackup.Code
	switch {
	case errors.Is(err, restorer.ErrTargetNotEmpty):
		code = envbackup.CodeTargetNotEmpty
	case errors.Is(err, restorer.ErrNothingFound):
		code = envbackup.CodeNotFound
	case errors.Is(err, restorer.ErrDiskFull):
		code = envbackup.CodeDiskFull
	case errors.Is(err, restorer.ErrIncomplete):
		code = envbackup.CodeDamaged
	default:
		return explainAlone(err, place)
	}
	return &envbackup.Error{Code: code, Message: err.Error(), Hint: hint, Err: err}
}

// explainAlone is vault.Explain with the next steps of someone who has no
// daemon: nothing is tried again, and the credentials are this shell's.
func explainAlone(err error, place string) error {
	err = vault.Explain(err, place)
	var e *envbackup.Error
	if !errors.As(err, &e) {
		return err
	}
	hint := e.Hint
	switch e.Code {
	case envbackup.CodeCredentials:
		hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to credentials that may read there"
	case envbackup.CodeWrongRegion:
		hint = "name the bucket's region with --region"
	case envbackup.CodeUntrusted:
		hint = "if a private authority signed it, set AWS_CA_BUNDLE to a file with the authority's certificate"
	case envbackup.CodeBucketMissing:
		hint = "correct the bucket's name: s3:https://HOST/BUCKET/PATH"
	case envbackup.CodeUnreachable, envbackup.CodeThrottled:
		hint = "check the address and the network, and run the command again: an interrupted restore continues with --overwrite"
	case envbackup.CodeRepositoryLocked:
		hint = "run the command again when that has ended; restic unlock removes a lock whose owner is gone, and --no-lock reads without one"
	}
	return &envbackup.Error{Code: e.Code, Message: e.Message, Hint: hint, Err: err}
}

// openBackend opens the store of a repository by the address that restic -r
// takes: s3:https://HOST/BUCKET/PATH, s3:HOST/BUCKET/PATH or a directory.
func openBackend(ctx context.Context, address, region string) (backend.Backend, error) {
	rest, isS3 := strings.CutPrefix(address, "s3:")
	if !isS3 {
		if scheme, _, found := strings.Cut(address, ":"); found && !strings.ContainsAny(scheme, "/.") {
			return nil, usageError{fmt.Errorf("--repository %q: only s3: and directories can be read without the daemon; for %s: use stock restic", address, scheme)}
		}
		be, err := local.Open(address)
		if err != nil {
			return nil, explainAlone(err, address)
		}
		return be, nil
	}
	options, err := parseS3Address(rest)
	if err != nil {
		return nil, usageError{fmt.Errorf("--repository %q: %w; write s3:https://HOST/BUCKET/PATH", address, err)}
	}
	options.Region = firstOf(region, options.Region) // else the environment, the profile, us-east-1
	be, err := s3.Open(ctx, options)
	if err != nil {
		return nil, explainAlone(err, address)
	}
	return be, nil
}

// parseS3Address reads what stands behind "s3:". Path-style requests work on
// every server, so they are what is used.
func parseS3Address(address string) (s3.Options, error) {
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return s3.Options{}, fmt.Errorf("it is not a URL")
	}
	if u.User != nil {
		return s3.Options{}, fmt.Errorf("credentials do not belong in the address; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return s3.Options{}, fmt.Errorf("it names no server")
	}
	bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if bucket == "" {
		return s3.Options{}, fmt.Errorf("it names no bucket")
	}
	options := s3.Options{Endpoint: u.Scheme + "://" + u.Host, Bucket: bucket, Prefix: prefix, ForcePathStyle: true}
	// Amazon's own host names carry the region.
	if rest, ok := strings.CutSuffix(u.Hostname(), ".amazonaws.com"); ok {
		if named, ok := strings.CutPrefix(rest, "s3."); ok {
			options.Region = named
		}
	}
	return options, nil
}
