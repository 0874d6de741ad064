package api

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// past says where the backups are that the proposal may remove, and fills in
// what else is known; nil where none can be removed. Those at a destination that
// an edit takes away are pruned no more.
func (s *server) past(ctx context.Context, p proposed, c *checked, e *preflight.Existing) (*history, error) {
	if p.old == nil {
		return s.inherited(ctx, p, c, e)
	}
	e.Before, e.Timezone = p.old.Retention, p.old.Timezone
	var err error
	if e.RunTimes, err = s.runTimes(ctx, p.old.ID); err != nil {
		return nil, err
	}
	// The same policy in the same zone removes nothing more than it does
	// already, so the backups, which may be many, are not read for it.
	if p.spec.Retention.Equal(p.old.Retention) && p.spec.Zone() == p.old.Zone() {
		return nil, nil
	}
	h := history{scheduleID: p.old.ID, environmentID: p.old.EnvironmentID}
	for i, name := range p.old.Destinations {
		if slices.Contains(p.spec.Destinations, name) {
			h.destinations = append(h.destinations, destinationRef{p.old.DestinationIDs[i], name})
		}
	}
	return &h, nil
}

// inherited finds the backups of a schedule that was here under the same name
// (S16).
func (s *server) inherited(ctx context.Context, p proposed, c *checked, e *preflight.Existing) (*history, error) {
	if c.environmentID == "" || len(c.destinationIDs) == 0 {
		return nil, nil
	}
	id, err := s.Store.FormerSchedule(ctx, p.spec.Reference())
	if envbackup.CodeOf(err) == envbackup.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := s.Store.Schedule(ctx, id); envbackup.CodeOf(err) != envbackup.CodeNotFound {
		return nil, err // it still has its own, and the name is taken
	}
	e.Inherited, e.Before = true, retention.Spec{KeepAll: true} // nothing prunes them now
	h := history{scheduleID: id, environmentID: c.environmentID}
	for _, known := range c.destinations {
		h.destinations = append(h.destinations, destinationRef{known.ID, known.Name})
	}
	return &h, nil
}

// history is where the backups of a schedule are.
type history struct {
	scheduleID, environmentID string
	destinations              []destinationRef
	failed                    error
}

type destinationRef struct{ id, name string }

// points yields them, one destination at a time. A failure ends it and is kept.
func (h *history) points(ctx context.Context, store Store, now time.Time) iter.Seq2[string, []retention.Point] {
	return func(yield func(string, []retention.Point) bool) {
		for _, d := range h.destinations {
			var points []retention.Point
			repository, err := store.Repository(ctx, d.id, h.environmentID)
			if err == nil || envbackup.CodeOf(err) == envbackup.CodeNotFound {
				// What is older than the repository lies where the destination was
				// before, and is never pruned.
				points, err = store.Points(ctx, h.scheduleID, d.id, repository.CreatedAt, now)
			}
			if err != nil {
				h.failed = err
				return
			}
			if !yield(d.name, points) {
				return
			}
		}
	}
}
