package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

const (
	// stepBack is how far the clock may go back unnoticed: daemons that are
	// minutes apart must not undo each other's slots (S12).
	stepBack = 5 * time.Minute
	// recordEvery is how often the last tick is stored.
	recordEvery = time.Minute
)

// clockWatch remembers the newest instant that this daemon has seen.
type clockWatch struct {
	key string // of the setting

	mu       sync.Mutex
	loaded   bool
	newest   time.Time
	recorded time.Time
}

// watchClock notices a clock that went back since this daemon's last tick or
// edit, also over a restart, and undoes what was decided for instants that now lie
// in the future (S12).
func (s *Service) watchClock(ctx context.Context, now time.Time) error {
	c := &s.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loaded {
		if err := s.loadClock(ctx); err != nil {
			return err
		}
	}
	if now.Before(c.newest.Add(-stepBack)) {
		s.cfg.Log.WarnContext(ctx, "the clock went back", "from", c.newest, "to", now)
		if err := s.undoFuture(ctx, now); err != nil {
			return err
		}
		c.newest, c.recorded = now, time.Time{}
	}
	if now.After(c.newest) {
		c.newest = now
	}
	if now.Sub(c.recorded) >= recordEvery {
		if err := s.store.SetSetting(ctx, c.key, now.Format(time.RFC3339Nano)); err != nil {
			return err
		}
		c.recorded = now
	}
	return nil
}

// loadClock reads the last recorded tick, with the lock held.
func (s *Service) loadClock(ctx context.Context) error {
	text, ok, err := s.store.Setting(ctx, s.clock.key)
	if err != nil {
		return err
	}
	if last, parseErr := time.Parse(time.RFC3339Nano, text); ok && parseErr == nil {
		s.clock.newest = last
	}
	s.clock.loaded = true
	return nil
}

// undoFuture turns the slots after now into "clock" and lets every schedule
// go on from now.
func (s *Service) undoFuture(ctx context.Context, now time.Time) error {
	return s.store.Tx(ctx, func(tx *store.Tx) error {
		ahead, err := tx.SchedulesDecidedAfter(ctx, now)
		if err != nil {
			return err
		}
		var errs []error
		for _, sched := range ahead {
			if err := s.undoSchedule(ctx, tx, sched, now); err != nil {
				errs = append(errs, fmt.Errorf("schedule %s: %w", sched.Reference(), err))
			}
		}
		return errors.Join(errs...)
	})
}

func (s *Service) undoSchedule(ctx context.Context, tx *store.Tx, sched envbackup.Schedule, now time.Time) error {
	timing, err := slots.Of(sched)
	if err != nil {
		return err
	}
	straddling, era, err := tx.VoidSlots(ctx, sched.ID, now, "the clock went back to "+now.Format(time.RFC3339))
	if err != nil {
		return err
	}
	if straddling != nil {
		counted, err := timingOf(era)
		if err != nil {
			return err
		}
		past := counted.Between(straddling.Nominal, now)
		straddling.Until, straddling.Count = straddling.Nominal, past.Count+1
		if past.Count > 0 {
			straddling.Until = past.Last
		}
		if err := tx.CutSlots(ctx, *straddling); err != nil {
			return err
		}
	}
	sched.DecidedUntil = now
	return s.moveOn(ctx, tx, &sched, timing)
}

// era is what the slots between two edits are counted with.
type era struct {
	Cron  string    `json:"cron"`
	Zone  string    `json:"zone"`
	Since time.Time `json:"since"`
}

func eraOf(sched envbackup.Schedule) string {
	text, err := json.Marshal(era{Cron: sched.Cron, Zone: sched.Zone(), Since: sched.UpdatedAt})
	if err != nil {
		panic(err) // two strings and a time of this age always have a JSON form
	}
	return string(text)
}

// timingOf returns the timing of an era, without jitter: for counting only.
func timingOf(text string) (*slots.Timing, error) {
	var e era
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return nil, fmt.Errorf("read era of slots: %w", err)
	}
	return slots.Of(envbackup.Schedule{ScheduleSpec: envbackup.ScheduleSpec{Cron: e.Cron, Timezone: e.Zone}})
}
