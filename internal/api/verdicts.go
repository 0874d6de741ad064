package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// verdictFor is how long what retention said about a schedule's backups is
// reused: long enough for the pages of one listing, short enough that nobody
// sees yesterday's reasons.
const verdictFor = 2 * time.Second

// verdicts caches what retention says about all backups of a schedule at a
// destination, since the reason of one depends on the others. A backup that
// is not in it, because it is new, makes it void.
type verdicts struct {
	mu    sync.Mutex
	byKey map[verdictKey]decided
}

type verdictKey struct{ scheduleID, destinationID string }

type decided struct {
	at    time.Time
	items map[string]retention.Item // by backup id
	// detached are the backups that lie where the destination was before; they
	// are kept.
	detached map[string]bool
}

func newVerdicts() *verdicts { return &verdicts{byKey: map[verdictKey]decided{}} }

func (v *verdicts) get(key verdictKey, now time.Time) (decided, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	d, ok := v.byKey[key]
	return d, ok && now.Sub(d.at) < verdictFor && !now.Before(d.at)
}

// put keeps d and drops what has aged, so that only what is being listed
// stays in memory.
func (v *verdicts) put(key verdictKey, d decided) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for k, old := range v.byKey {
		if d.at.Sub(old.at) >= verdictFor {
			delete(v.byKey, k)
		}
	}
	v.byKey[key] = d
}

// changed forgets what is remembered about a schedule's backups.
func (s *server) changed(scheduleID string) {
	s.verdicts.drop(scheduleID)
}

// drop forgets a schedule, after a change that retention would judge anew.
func (v *verdicts) drop(scheduleID string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for k := range v.byKey {
		if k.scheduleID == scheduleID {
			delete(v.byKey, k)
		}
	}
}

// backupDocs makes the answers about backups, each with what the policy of its
// schedule says about it now.
func (s *server) backupDocs(ctx context.Context, backups []envbackup.Backup) ([]wire.Backup, error) {
	docs := make([]wire.Backup, 0, len(backups))
	fresh := map[verdictKey]decided{} // made for this call, complete whatever is missing
	for _, b := range backups {
		body := backupDoc(b)
		switch {
		case !b.RemovalMarkedAt.IsZero():
			body.Kept, body.KeptBecause = false, []string{"is being removed"}
		case b.ScheduleID == "":
			body.KeptBecause = []string{"belongs to no schedule, so nothing prunes it"}
		default:
			d, err := s.verdictOn(ctx, b, fresh)
			if err != nil {
				return nil, err
			}
			item, found := d.items[b.ID]
			switch {
			case d.detached[b.ID]:
				body.Detached = true
				body.KeptBecause = []string{"detached: it lies where the destination was before, and nothing prunes it there"}
			case found:
				body.Kept, body.KeptBecause = item.Keep, nonNil(item.Reasons)
			default:
				body.KeptBecause = []string{"its schedule is gone, so nothing prunes it"}
			}
		}
		docs = append(docs, body)
	}
	return docs, nil
}

// verdictOn returns what is decided about the backups among which b is; it is
// in none of them when its schedule is gone.
func (s *server) verdictOn(ctx context.Context, b envbackup.Backup, fresh map[verdictKey]decided) (decided, error) {
	key := verdictKey{b.ScheduleID, b.DestinationID}
	if d, ok := s.verdicts.get(key, s.Now()); ok && d.has(b.ID) {
		return d, nil
	}
	d, ok := fresh[key]
	if ok {
		return d, nil
	}
	d, err := s.decide(ctx, key)
	if err != nil {
		return decided{}, err
	}
	fresh[key] = d
	if d.items != nil {
		s.verdicts.put(key, d)
	}
	return d, nil
}

func (d decided) has(id string) bool {
	_, judged := d.items[id]
	return judged || d.detached[id]
}

// decide asks retention about all backups of a schedule at a destination; the
// items are nil when the schedule is gone.
func (s *server) decide(ctx context.Context, key verdictKey) (decided, error) {
	now := s.Now().UTC()
	sch, err := s.Store.Schedule(ctx, key.scheduleID)
	if envbackup.CodeOf(err) == envbackup.CodeNotFound {
		return decided{at: now}, nil
	}
	if err != nil {
		return decided{}, err
	}
	policy, err := sch.Retention.Policy()
	if err != nil {
		return decided{}, fmt.Errorf("read retention of schedule %s: %w", sch.ID, err)
	}
	loc, err := cron.LoadZone(sch.Zone())
	if err != nil {
		return decided{}, fmt.Errorf("read zone of schedule %s: %w", sch.ID, err)
	}
	backups, err := s.Store.AllBackups(ctx, key.scheduleID, key.destinationID)
	if err != nil {
		return decided{}, err
	}
	// What is older than the repository lies where the destination was before,
	// and retention does not count it.
	repository, err := s.Store.Repository(ctx, key.destinationID, sch.EnvironmentID)
	if err != nil && envbackup.CodeOf(err) != envbackup.CodeNotFound {
		return decided{}, err
	}
	points, detached := make([]retention.Point, 0, len(backups)), map[string]bool{}
	for _, b := range backups {
		if b.CompletedAt.Before(repository.CreatedAt) {
			detached[b.ID] = true
			continue
		}
		points = append(points, b.Point())
	}
	plan := retention.Plan(points, policy, loc, now)
	items := make(map[string]retention.Item, len(plan.Items))
	for _, item := range plan.Items {
		items[item.Point.ID] = item
	}
	return decided{at: now, items: items, detached: detached}, nil
}
