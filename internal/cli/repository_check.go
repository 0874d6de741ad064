package cli

import (
	"context"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// problemDoc is a problem in --json of a check without a daemon.
type problemDoc struct {
	Kind     string        `json:"kind"`
	Pack     string        `json:"pack,omitempty"`
	Message  string        `json:"message"`
	Affected []affectedDoc `json:"affected,omitempty"`
}

type affectedDoc struct {
	Snapshot string `json:"snapshot_id"`
	Path     string `json:"path"`
}

func problemDocs(problems []repository.Problem) []problemDoc {
	docs := make([]problemDoc, 0, len(problems))
	for _, p := range problems {
		d := problemDoc{Kind: string(p.Kind), Message: p.Text}
		if !p.Pack.IsNull() {
			d.Pack = p.Pack.String()
		}
		for _, f := range p.Affected {
			d.Affected = append(d.Affected, affectedDoc{f.Snapshot.String(), f.Path})
		}
		docs = append(docs, d)
	}
	return docs
}

func ids(list []restic.ID) []string {
	out := make([]string, 0, len(list))
	for _, id := range list {
		out = append(out, id.String())
	}
	return out
}

// named says what a person knows a snapshot as, without a daemon.
func named(report repository.CheckReport) func(restic.ID) string {
	return func(id restic.ID) string {
		if at, ok := report.Times[id]; ok {
			return fmt.Sprintf("snapshot %s of %s", id.Short(), moment(at))
		}
		return "snapshot " + id.Short()
	}
}

// meterOf shows the progress of a check or repair.
func (a *app) meterOf(what string) (progress func(repository.CheckProgress), done func()) {
	m := a.newMeter(what)
	return func(p repository.CheckProgress) {
		m.update(envbackup.Progress{Phase: envbackup.PhaseVerify, FilesDone: p.Done, FilesTotal: p.Total, Current: p.Phase})
	}, m.done
}

// checkAlone checks a repository without a daemon.
func (a *app) checkAlone(ctx context.Context, which wholeRepository, level envbackup.VerifyLevel) error {
	repo, closeRepo, err := a.openRepository(ctx, which.repository, which.passwordFile, which.region)
	if err != nil {
		return err
	}
	defer closeRepo()
	lock, err := repo.Lock(ctx, false)
	if err != nil {
		return explainAlone(err, which.repository)
	}
	defer func() { _ = lock.Unlock() }() // a lock that stays is stale in half an hour
	progress, done := a.meterOf("check")
	opt := repository.CheckOptions{ReadData: level == envbackup.CheckData, Progress: progress}
	if part, of, ok := level.Share(); ok {
		opt.ReadShare = repository.Share{Part: part - 1, Of: of}
	}
	report, err := repo.Check(lock.Context(), opt)
	done()
	if err != nil {
		return explainAlone(err, which.repository)
	}
	if which.asJSON {
		err = a.printJSON(map[string]any{
			"clean": len(report.Problems) == 0, "snapshots": report.Snapshots, "packs": report.Packs, "packs_read": report.PacksRead,
			"bytes_read": report.BytesRead, "problems": problemDocs(report.Problems), "damaged_snapshots": ids(report.Hurt), "hints": problemDocs(report.Hints),
		})
		if err != nil {
			return err
		}
	} else {
		a.sayCheck(which.repository, report)
	}
	return whetherDamaged(report)
}

func (a *app) sayCheck(place string, report repository.CheckReport) {
	if len(report.Problems) == 0 {
		fmt.Fprintf(a.out, "The repository at %s is clean: %s, %s, %s read, %s.\n", place,
			count(int64(report.Snapshots), "snapshot"), count(int64(report.Packs), "pack"), count(int64(report.PacksRead), "pack"), size(report.BytesRead))
		return
	}
	fmt.Fprintf(a.out, "The repository at %s is damaged:\n", place)
	name := named(report)
	for _, p := range report.Problems {
		fmt.Fprintln(a.out, "  "+p.Say(name))
	}
	if len(report.Hurt) > 0 {
		fmt.Fprintf(a.out, "%s cannot be restored whole:\n", count(int64(len(report.Hurt)), "snapshot"))
		for _, id := range report.Hurt {
			fmt.Fprintln(a.out, "  "+name(id))
		}
	}
	fmt.Fprintf(a.out, "Set aside what is bad, so that the next backup stores it again: envbackup repair --read-data --repository %s --password-file FILE\n", place)
}

func whetherDamaged(report repository.CheckReport) error {
	if len(report.Problems) == 0 {
		return nil
	}
	return silentError{fmt.Errorf("the repository is damaged: %s", count(int64(len(report.Problems)), "problem"))}
}

// repairAlone repairs a repository without a daemon, and then checks it.
func (a *app) repairAlone(ctx context.Context, which wholeRepository, readData, dryRun bool) error {
	repo, closeRepo, err := a.openRepository(ctx, which.repository, which.passwordFile, which.region)
	if err != nil {
		return err
	}
	defer closeRepo()
	progress, done := a.meterOf("repair")
	report, err := repo.Repair(ctx, repository.RepairOptions{ReadData: readData, DryRun: dryRun, Progress: progress})
	done()
	if err != nil {
		return explainAlone(err, which.repository)
	}
	var after repository.CheckReport
	if !dryRun {
		if after, err = a.checkAfter(ctx, repo, which.repository); err != nil {
			return err
		}
	}
	lines := report.Lines(dryRun)
	if which.asJSON {
		err := a.printJSON(map[string]any{
			"dry_run": dryRun, "changed": report.Changes() && !dryRun, "actions": append([]string{}, lines...),
			"set_aside": ids(report.SetAside), "listed": ids(report.Listed), "lost": len(report.Lost),
			"problems_left": problemDocs(after.Problems), "damaged_snapshots": ids(after.Hurt),
		})
		if err != nil {
			return err
		}
		return whetherDamaged(after)
	}
	for _, line := range lines {
		fmt.Fprintln(a.out, line)
	}
	switch {
	case dryRun && len(lines) == 0:
		fmt.Fprintf(a.out, "There is nothing to repair at %s.\n", which.repository)
	case dryRun:
		fmt.Fprintln(a.out, "Nothing was changed.")
	case len(after.Problems) == 0:
		fmt.Fprintf(a.out, "The repository at %s is whole.\n", which.repository)
	default:
		name := named(after)
		fmt.Fprintf(a.out, "%s still cannot be restored whole; take a backup of the same source to store again what it still has:\n", count(int64(len(after.Hurt)), "snapshot"))
		for _, p := range after.Problems {
			fmt.Fprintln(a.out, "  "+p.Say(name))
		}
	}
	return whetherDamaged(after)
}

func (a *app) checkAfter(ctx context.Context, repo *repository.Repository, place string) (repository.CheckReport, error) {
	lock, err := repo.Lock(ctx, false)
	if err != nil {
		return repository.CheckReport{}, explainAlone(err, place)
	}
	defer func() { _ = lock.Unlock() }() // a lock that stays is stale in half an hour
	report, err := repo.Check(lock.Context(), repository.CheckOptions{})
	if err != nil {
		return report, explainAlone(err, place)
	}
	return report, nil
}
