package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
)

// sayDamage names the files that are hurt.
func (p *proof) sayDamage(report *restorer.Report, err error) string {
	if report == nil || report.FailedCount == 0 {
		return fmt.Sprintf("the backup is damaged: its snapshot cannot be read from %s: %s", p.place, why(err))
	}
	const show = 3
	var named []string
	for i, f := range report.Failed {
		if i == show {
			named = append(named, fmt.Sprintf("and %d more", report.FailedCount-show))
			break
		}
		named = append(named, sayProblem(f))
	}
	what := "1 entry"
	if report.FailedCount > 1 {
		what = fmt.Sprintf("%d entries", report.FailedCount)
	}
	return fmt.Sprintf("the backup is damaged: %s cannot be restored from %s: %s", what, p.place, strings.Join(named, "; "))
}

// repairHint says what to do about damage.
func (p *proof) repairHint() string {
	return "restore from another backup or destination: envbackup backups list --environment " + p.backup.Environment +
		"; the next backup stores again what the source still has, and what another destination still has comes from there with: envbackup repair --environment " +
		p.backup.Environment + " --destination " + p.backup.Destination
}

// sayProblem names an entry and what is wrong with it.
func sayProblem(f restorer.Problem) string {
	for _, b := range blobErrors(f.Err) {
		if b.Blob.Type == restic.TreeBlob {
			return fmt.Sprintf("/%s and everything below it: %s", f.Path, why(f.Err))
		}
	}
	return fmt.Sprintf("/%s: %s", f.Path, why(f.Err))
}

// why says in a few words what is wrong with stored content.
func why(err error) string {
	var reasons []string
	for _, b := range blobErrors(err) {
		state := "cannot be read"
		switch {
		case errors.Is(b, fs.ErrNotExist):
			state = "is lost"
		case errors.Is(b, backend.ErrRange):
			state = "is cut off"
		case errors.Is(b, repository.ErrDamaged):
			state = "is damaged"
		}
		reasons = append(reasons, fmt.Sprintf("pack %s %s", b.Pack.Short(), state))
	}
	switch {
	case len(reasons) > 0:
		return strings.Join(reasons, ", ")
	case errors.Is(err, fs.ErrNotExist):
		return "it is lost"
	default:
		return err.Error()
	}
}

// blobErrors returns the copies of content that err is about.
func blobErrors(err error) []*repository.BlobError {
	switch e := err.(type) { //nolint:errorlint // walks the tree itself
	case *repository.BlobError:
		return []*repository.BlobError{e}
	case interface{ Unwrap() error }:
		return blobErrors(e.Unwrap())
	case interface{ Unwrap() []error }:
		var all []*repository.BlobError
		for _, each := range e.Unwrap() {
			all = append(all, blobErrors(each)...)
		}
		return all
	default:
		return nil
	}
}

// badBlobs returns the content that the report found to be lost or damaged.
func badBlobs(report *restorer.Report) map[restic.BlobHandle]bool {
	bad := map[restic.BlobHandle]bool{}
	if report == nil {
		return bad
	}
	for _, f := range report.Failed {
		if transport(f.Err) {
			continue
		}
		for _, b := range blobErrors(f.Err) {
			bad[b.Blob] = true
		}
	}
	return bad
}

// badPacks returns the packs in which the report, or err, found damage.
func badPacks(report *restorer.Report, err error) []restic.ID {
	errs := []error{err}
	if report != nil {
		for _, f := range report.Failed {
			errs = append(errs, f.Err)
		}
	}
	var ids []restic.ID
	for _, each := range errs {
		if each == nil || transport(each) {
			continue
		}
		for _, b := range blobErrors(each) {
			if !b.Pack.IsNull() && !slices.Contains(ids, b.Pack) {
				ids = append(ids, b.Pack)
			}
		}
	}
	return ids
}
