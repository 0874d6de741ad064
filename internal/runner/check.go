package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// inspection is one check or repair of a whole repository.
type inspection struct {
	*Runner
	verification envbackup.Verification
	env          envbackup.Environment
	dest         envbackup.Destination
	place        string
	repo         *repository.Repository
	rows         map[restic.ID]envbackup.Backup
	progress     func(envbackup.Progress)
}

// inspect executes a verification of a whole repository.
func (r *Runner) inspect(ctx context.Context, v envbackup.Verification, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
	failed := envbackup.Outcome{State: envbackup.RunFailed}
	env, err := r.store.Environment(ctx, v.Environment)
	if err != nil {
		return failed, err
	}
	dest, err := r.store.Destination(ctx, v.DestinationID)
	if err != nil {
		return failed, err
	}
	i := &inspection{Runner: r, verification: v, env: env, dest: dest, place: vault.Address(dest, env), progress: progress}
	if i.repo, err = r.vault.Repository(ctx, env.ID, dest.ID); err != nil {
		return failed, explain(ctx, err, i.place)
	}
	if err := i.loadRows(ctx); err != nil {
		return failed, err
	}
	if readData, dry, ok := v.Level.Repair(); ok {
		return i.repair(ctx, readData, dry)
	}
	return i.check(ctx)
}

func (i *inspection) loadRows(ctx context.Context) error {
	rows, err := i.rowsAt(ctx, i.env, i.dest, "")
	if err != nil {
		return err
	}
	i.rows = make(map[restic.ID]envbackup.Backup, len(rows))
	for _, b := range rows {
		if id, err := restic.ParseID(b.SnapshotID); err == nil {
			i.rows[id] = b
		}
	}
	return nil
}

// name says what a person knows a snapshot as.
func (i *inspection) name(id restic.ID) string {
	if b, ok := i.rows[id]; ok {
		return fmt.Sprintf("backup %s of %s", b.ID, b.Nominal.UTC().Format("2006-01-02 15:04 MST"))
	}
	return "snapshot " + id.Short()
}

func (i *inspection) report(p repository.CheckProgress) {
	i.progress(envbackup.Progress{
		Phase: envbackup.PhaseVerify, Destination: i.dest.Name,
		FilesDone: p.Done, FilesTotal: p.Total, Current: p.Phase,
	})
}

func (i *inspection) check(ctx context.Context) (envbackup.Outcome, error) {
	opt := repository.CheckOptions{ReadData: i.verification.Level == envbackup.CheckData, Progress: i.report}
	if part, of, ok := i.verification.Level.Share(); ok {
		opt.ReadShare = repository.Share{Part: part - 1, Of: of}
	}
	if i.verification.Level == envbackup.CheckDamaged {
		opt.Snapshots = i.damagedSnapshots()
	}
	return i.checkWith(ctx, opt)
}

func (i *inspection) damagedSnapshots() []restic.ID {
	var ids []restic.ID
	for id, b := range i.rows {
		if b.Status == envbackup.BackupDamaged {
			ids = append(ids, id)
		}
	}
	return ids
}

func (i *inspection) checkWith(ctx context.Context, opt repository.CheckOptions) (envbackup.Outcome, error) {
	out := envbackup.Outcome{State: envbackup.RunFailed}
	lock, err := i.lock(ctx, i.repo)
	if err != nil {
		return out, explain(ctx, err, i.place)
	}
	defer i.unlock(ctx, lock, i.place)
	report, err := i.repo.Check(lock.Context(), opt)
	if err == nil {
		// A disk that is not mounted or a bucket that was emptied lacks every
		// object: that says nothing about the backups.
		err = i.reachable(lock.Context())
	}
	if err != nil {
		return out, explain(ctx, err, i.place)
	}
	out.FilesDone, out.BytesDone = int64(report.PacksRead), report.BytesRead
	if err := i.addMissing(ctx, &report); err != nil {
		return out, err
	}
	if opt.ReadData || len(opt.Snapshots) > 0 || i.verification.Level == envbackup.CheckDamaged {
		if err := i.heal(ctx, report, opt, &out); err != nil {
			return out, err
		}
	}
	if len(report.Problems) == 0 {
		out.State = envbackup.RunSucceeded
		return out, nil
	}
	for n, p := range report.Problems {
		if n == maxNamed {
			out.Warnings = append(out.Warnings, fmt.Sprintf("and %d more", len(report.Problems)-maxNamed))
			break
		}
		out.Warnings = append(out.Warnings, p.Say(i.name))
	}
	hurt, err := i.markDamaged(ctx, report)
	if err != nil {
		return out, err
	}
	return out, i.say(report, hurt)
}

// reachable tells an empty place from a damaged repository.
func (i *inspection) reachable(ctx context.Context) error {
	err := i.repo.LoadIndex(ctx)
	if errors.Is(err, repository.ErrNoRepository) || err != nil && transport(err) {
		return err
	}
	return nil
}

// addMissing adds the backups whose snapshot should be there and is not listed:
// those that were known before the check and that nobody has removed since.
// What lies where the destination was before is not expected here.
func (i *inspection) addMissing(ctx context.Context, report *repository.CheckReport) error {
	expected, err := i.expected(ctx, i.env, i.dest)
	if err != nil {
		return err
	}
	for _, id := range expected {
		_, known := i.rows[id]
		_, listed := report.Tags[id]
		if !known || listed || slices.ContainsFunc(report.Problems, func(p repository.Problem) bool { return p.Snapshot == id }) {
			continue
		}
		report.Problems = append(report.Problems, repository.Problem{
			Kind: repository.ProblemSnapshot, Snapshot: id, Text: i.name(id) + ": its snapshot " + id.Short() + " is not in the repository any more",
		})
	}
	return nil
}

// markDamaged records what a check found: the backups that are hurt, and the
// packs for the next backup to set aside. It returns the backups.
func (i *inspection) markDamaged(ctx context.Context, report repository.CheckReport) ([]string, error) {
	ctx = context.WithoutCancel(ctx) // it is found, whatever comes now
	if err := i.noteDamage(ctx, i.env.ID, i.dest.ID, report.DamagedPacks()); err != nil {
		return nil, err
	}
	var hurt []string
	for _, id := range report.Hurt {
		b, ok := i.rows[id]
		if !ok {
			continue
		}
		hurt = append(hurt, b.ID)
		if b.Status == envbackup.BackupDamaged {
			continue
		}
		if err := i.store.SetStatus(ctx, b.ID, envbackup.BackupDamaged); err != nil {
			return hurt, err
		}
		i.cfg.Log.ErrorContext(ctx, "a backup is damaged", "backup", b.ID, "repository", i.place, "snapshot", b.SnapshotID)
	}
	return hurt, nil
}

// heal gives damaged backups back the status of their snapshot, where a check
// that read all that they need found nothing wrong. When nothing is left to
// look at, the note about damage goes.
func (i *inspection) heal(ctx context.Context, report repository.CheckReport, opt repository.CheckOptions, out *envbackup.Outcome) error {
	ctx = context.WithoutCancel(ctx)
	var healed []string
	for id, b := range i.rows {
		read := opt.ReadData || slices.Contains(opt.Snapshots, id)
		if b.Status != envbackup.BackupDamaged || !read || slices.Contains(report.Hurt, id) {
			continue
		}
		tags, ok := readTags(report.Tags[id])
		if !ok {
			continue // it is not in the repository any more
		}
		if err := i.store.SetStatus(ctx, b.ID, tags.status); err != nil {
			return err
		}
		healed = append(healed, b.ID)
		i.cfg.Log.InfoContext(ctx, "a damaged backup is whole again", "backup", b.ID, "repository", i.place, "snapshot", b.SnapshotID)
	}
	if len(healed) > 0 {
		slices.Sort(healed)
		out.Warnings = append(out.Warnings, "damaged backups that are whole again: "+strings.Join(healed, ", "))
	}
	note, err := i.damage(ctx, i.env.ID, i.dest.ID)
	if err != nil {
		return err
	}
	if _, _, repair := i.verification.Level.Repair(); !repair {
		note.SetAside = false // else a backup is still to come
	}
	if len(report.DamagedPacks()) == 0 && opt.ReadData {
		note.Packs = nil // they read right now
	}
	return i.saveDamage(ctx, i.env.ID, i.dest.ID, note)
}

// namedBackups is how many backups a message lists.
const namedBackups = 10

func (i *inspection) say(report repository.CheckReport, hurt []string) error {
	message := fmt.Sprintf("the repository at %s is damaged: %d problems", i.place, len(report.Problems))
	if len(report.Problems) == 1 {
		message = fmt.Sprintf("the repository at %s is damaged: %s", i.place, report.Problems[0].Say(i.name))
	}
	switch {
	case len(hurt) > namedBackups:
		message += fmt.Sprintf("; damaged backups: %s and %d more", strings.Join(hurt[:namedBackups], ", "), len(hurt)-namedBackups)
	case len(hurt) > 0:
		message += "; damaged backups: " + strings.Join(hurt, ", ")
	default:
		message += "; no backup is hurt by it"
	}
	return &envbackup.Error{
		Code: envbackup.CodeDamaged, Message: message,
		Hint: fmt.Sprintf("the next backup stores again what the source still has; for what another destination still has: envbackup repair --environment %s --destination %s", i.env.Name, i.dest.Name),
	}
}

// repair mends what can be mended now.
func (i *inspection) repair(ctx context.Context, readData, dry bool) (envbackup.Outcome, error) {
	out := envbackup.Outcome{State: envbackup.RunFailed}
	note, err := i.damage(ctx, i.env.ID, i.dest.ID)
	if err != nil {
		return out, err
	}
	packs, err := note.packs()
	if err != nil {
		return out, err
	}
	donors, release, err := i.donors(ctx, &out)
	defer release()
	if err != nil {
		return out, err
	}
	report, err := i.repo.Repair(ctx, repository.RepairOptions{Packs: packs, ReadData: readData, DryRun: dry, Donors: donors, Progress: i.report})
	if err != nil {
		return out, explain(ctx, err, i.place)
	}
	out.FilesDone, out.BytesDone = int64(report.Before.PacksRead), report.Before.BytesRead
	out.Warnings = append(report.Lines(dry), out.Warnings...)
	out.State = envbackup.RunSucceeded
	if dry {
		return out, nil
	}
	if err := i.saveDamage(ctx, i.env.ID, i.dest.ID, damageNote{SetAside: report.Changes() || note.SetAside || len(packs) > 0}); err != nil {
		return out, err
	}
	// What is still wrong is said by the check that follows.
	if err := i.loadRows(ctx); err != nil {
		return out, err
	}
	checked, err := i.checkWith(ctx, repository.CheckOptions{Snapshots: i.damagedSnapshots(), Progress: i.report})
	checked.Warnings = append(out.Warnings, checked.Warnings...)
	return checked, err
}

// donors opens the repositories of the environment at its other destinations,
// as far as they can be had. Call release in any case.
func (i *inspection) donors(ctx context.Context, out *envbackup.Outcome) (donors []*repository.Repository, release func(), err error) {
	var locks []func()
	release = func() {
		for _, unlock := range locks {
			unlock()
		}
	}
	others, err := i.otherDestinations(ctx)
	if err != nil {
		return nil, release, err
	}
	for _, id := range others {
		dest, err := i.store.Destination(ctx, id)
		if envbackup.CodeOf(err) == envbackup.CodeNotFound {
			continue
		}
		if err != nil {
			return nil, release, err
		}
		donor, err := i.vault.Repository(ctx, i.env.ID, id)
		var lock *repository.Lock
		if err == nil {
			lock, err = i.lock(ctx, donor)
		}
		if err == nil {
			locks = append(locks, func() { i.unlock(ctx, lock, dest.Name) })
			err = donor.LoadIndex(lock.Context())
		}
		if ctx.Err() != nil {
			return nil, release, context.Cause(ctx)
		}
		if err != nil {
			out.Warnings = append(out.Warnings, fmt.Sprintf("nothing is fetched from %s: %v", dest.Name, explain(ctx, err, dest.Name)))
			continue
		}
		donors = append(donors, donor)
	}
	return donors, release, nil
}

// otherDestinations returns the ids of those where the environment's schedules
// have backups too.
func (i *inspection) otherDestinations(ctx context.Context) ([]string, error) {
	var ids []string
	for page := (envbackup.Page{Limit: 1000}); ; {
		items, next, err := i.store.Schedules(ctx, envbackup.ScheduleFilter{Environment: i.env.Name}, page)
		if err != nil {
			return nil, err
		}
		for _, s := range items {
			for _, id := range s.DestinationIDs {
				if id != i.dest.ID && !slices.Contains(ids, id) {
					ids = append(ids, id)
				}
			}
		}
		if page.Cursor = next; next == "" {
			return ids, nil
		}
	}
}
