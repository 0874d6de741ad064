package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/runner"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// trouble is what goes wrong at present.
type trouble struct {
	unreachable error         // of the destination
	lists       string        // "fail" or "empty": the listings of snapshots
	deletes     int           // of snapshots that fail from now on
	crashes     int           // backups whose rows are not written
	ahead       time.Duration // of the host's clock
}

func (t *trouble) calm() { *t = trouble{ahead: t.ahead} }

type troubledStore struct {
	*store.Store
	trouble *trouble
}

var _ runner.Store = troubledStore{}

// AddBackup fails as where the power goes between snapshot and row.
func (s troubledStore) AddBackup(ctx context.Context, b *envbackup.Backup) error {
	if s.trouble.crashes > 0 {
		s.trouble.crashes--
		return fmt.Errorf("enter backup: the power is gone")
	}
	return s.Store.AddBackup(ctx, b)
}

type troubledBackend struct {
	backend.Backend
	trouble *trouble
}

func (b troubledBackend) List(ctx context.Context, kind backend.Kind, fn func(name string, size int64, modified time.Time) error) error {
	if kind == backend.KindSnapshot {
		switch b.trouble.lists {
		case "fail":
			return &backend.Error{Op: "list", Handle: backend.Handle{Kind: kind}, Kind: backend.Temporary, Message: "503 slow down"}
		case "empty":
			return nil
		}
	}
	return b.Backend.List(ctx, kind, fn)
}

func (b troubledBackend) Delete(ctx context.Context, handles ...backend.Handle) error {
	if len(handles) > 0 && handles[0].Kind == backend.KindSnapshot && b.trouble.deletes > 0 {
		b.trouble.deletes--
		// Some of them may be gone.
		half := handles[:len(handles)/2]
		if err := b.Backend.Delete(ctx, half...); err != nil {
			return err
		}
		return &backend.Error{Op: "delete", Handle: handles[0], Kind: backend.Temporary, Message: "500 internal error"}
	}
	return b.Backend.Delete(ctx, handles...)
}

// holding is what there is of a schedule at its destination.
type holding struct {
	sched  envbackup.Schedule
	rows   []envbackup.Backup
	aside  store.SetAside
	doubt  bool
	edited bool // its retention, and no prune was judged since
}

func (w *world) holding(p *plan) holding {
	w.t.Helper()
	h := holding{sched: w.schedule(p)}
	destination := h.sched.DestinationIDs[0]
	var err error
	if h.rows, err = w.store.AllBackups(w.ctx, h.sched.ID, destination); err != nil {
		w.t.Fatal(err)
	}
	// A row whose snapshot is gone is what an interrupted removal left: the
	// backup went before. One that nobody wanted to remove is missed (R5).
	listed := w.listed(h.sched)
	h.rows = slices.DeleteFunc(h.rows, func(b envbackup.Backup) bool {
		if !listed[b.SnapshotID] && b.RemovalMarkedAt.IsZero() {
			w.t.Errorf("%s: the backup of %s is listed and not in the repository (R5)", h.sched.Reference(), b.Nominal)
		}
		return !listed[b.SnapshotID]
	})
	if h.aside, err = w.store.SetAside(w.ctx, h.sched.ID, destination); err != nil {
		w.t.Fatal(err)
	}
	var clock struct{ Doubt string }
	text, ok, err := w.store.Setting(w.ctx, "runner.clock")
	if err == nil && ok {
		err = json.Unmarshal([]byte(text), &clock)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	h.doubt = clock.Doubt != ""
	h.edited = h.sched.PolicyEditedAt.After(h.aside.JudgedAt)
	return h
}

// has reports whether one of the backups has this id.
func has(rows []envbackup.Backup, id string) bool {
	return slices.ContainsFunc(rows, func(b envbackup.Backup) bool { return b.ID == id })
}

// watch does something that may remove backups and holds it to R1 to R4 and
// R7. asked says that a person asked for a prune.
func (w *world) watch(asked bool, do func()) {
	w.t.Helper()
	p := w.plans[0]
	before := w.holding(p)
	lists := w.trouble.lists
	do()
	after := w.holding(p)
	now := w.now()
	policy, err := before.sched.Retention.Policy()
	if err != nil {
		w.t.Fatal(err)
	}
	_, loc := w.parse(before.sched.ScheduleSpec)

	var points []retention.Point
	var madeAny, madeCandidate bool
	for _, b := range after.rows {
		if !has(before.rows, b.ID) {
			points = append(points, b.Point())
			madeAny = true
			madeCandidate = madeCandidate || b.Status == envbackup.BackupComplete && b.Trigger.OfSlot()
		}
	}
	for _, b := range before.rows {
		points = append(points, b.Point())
	}
	// R1 by itself, whatever package retention says.
	if newest := newestGood(points, now); newest.ID != "" && !has(after.rows, newest.ID) {
		w.t.Errorf("%s: the newest good backup, of %s, is gone at %s (R1)", p.sched.Reference(), newest.Nominal, now)
	}
	total, unmeant := 0, 0
	for _, it := range retention.Plan(points, policy, loc, now).Items {
		pt := it.Point
		if it.List == retention.ListCandidates {
			total++
		}
		if has(after.rows, pt.ID) {
			continue
		}
		what := fmt.Sprintf("%s: the %s backup of %s (%s) is gone at %s", p.sched.Reference(), pt.Status, pt.Nominal, pt.Trigger, now)
		aged := !policy.MaxAge.IsZero() && pt.Nominal.Before(policy.MaxAge.Before(now, loc))
		waited := slices.Contains(before.aside.IDs, pt.ID)
		switch {
		case it.Keep:
			w.t.Errorf("%s, and is to be kept: %s (R1, R2)", what, strings.Join(it.Reasons, ", "))
		case lists == "empty":
			w.t.Errorf("%s, by a listing that was empty (R7)", what)
		case before.doubt:
			w.t.Errorf("%s, while the clock is doubtful (R7)", what)
		case before.edited && !policy.PruneGrace.IsZero():
			w.t.Errorf("%s, by the first prune after an edit (R4)", what)
		case waited && (before.aside.Decision == "cancelled" || before.aside.Decision == "" && before.aside.Waited < policy.PruneGrace.Approx()):
			w.t.Errorf("%s after waiting %s (R4)", what, before.aside.Waited)
		case !asked && !aged && it.List == retention.ListCandidates && !madeCandidate:
			w.t.Errorf("%s, and no run made a good one (R3)", what)
		case !asked && !aged && !madeAny:
			w.t.Errorf("%s, and no run left a backup (R3)", what)
		}
		if it.List == retention.ListCandidates && !waited {
			unmeant++
		}
	}
	if unmeant > 3 && 2*unmeant > total {
		w.t.Errorf("%s: %d of %d good backups went at once at %s (R4)", p.sched.Reference(), unmeant, total, now)
	}
	w.removed += len(points) - len(after.rows)
}

// newestGood is the newest complete backup that is not dated in the future.
func newestGood(points []retention.Point, now time.Time) (newest retention.Point) {
	for _, pt := range points {
		if pt.Status == retention.StatusComplete && pt.Nominal.After(newest.Nominal) && !pt.Nominal.After(now.Add(5*time.Minute)) {
			newest = pt
		}
	}
	return newest
}

// listed returns the snapshots that are in the repository, whatever trouble
// there is.
func (w *world) listed(s envbackup.Schedule) map[string]bool {
	w.t.Helper()
	present := *w.trouble
	w.trouble.calm()
	defer func() { *w.trouble = present }()
	repo, err := w.vault.Repository(w.ctx, s.EnvironmentID, s.DestinationIDs[0])
	must(w, err)
	snapshots, err := repo.Snapshots(w.ctx, nil)
	must(w, err)
	ids := map[string]bool{}
	for _, sn := range snapshots {
		ids[sn.ID.String()] = true
	}
	return ids
}
