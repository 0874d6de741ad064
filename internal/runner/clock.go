package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// clockSetting holds what the daemon knows about time from tick to tick.
const clockSetting = "runner.clock"

const (
	tickEvery = time.Minute
	// tickGap is the longest distance of two ticks that counts as running
	// time. After a longer one no daemon ran in between.
	tickGap = 3 * tickEvery
	// stepLimit, absenceLimit and skewLimit are R7's and S12's.
	stepLimit    = time.Hour
	absenceLimit = 7 * 24 * time.Hour
	skewLimit    = 5 * time.Minute
)

// clockState is stored as JSON. Daemons that share a state share it.
type clockState struct {
	LastAt time.Time `json:"last_at"`
	// Doubt says why the clock is doubtful; empty when it is not.
	Doubt string `json:"doubt,omitempty"`
}

func (r *Runner) clock(ctx context.Context) (clockState, error) {
	var state clockState
	text, ok, err := r.store.Setting(ctx, clockSetting)
	if err != nil || !ok {
		return state, err
	}
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		return state, fmt.Errorf("read clock state: %w", err)
	}
	return state, nil
}

func (r *Runner) saveClock(ctx context.Context, state clockState) error {
	text, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("save clock state: %w", err)
	}
	return r.store.SetSetting(ctx, clockSetting, string(text))
}

// agedEvery is the number of ticks between two looks for backups beyond their
// max_age.
const agedEvery = 60

// KeepTime lets the running time pass, watches the wall clock and removes what
// is beyond its max_age and what verifications left behind, until ctx is done,
// which it reports as success.
func (r *Runner) KeepTime(ctx context.Context) error {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	var elapsed time.Duration // since the tick before; 0 at the start
	for n, last := 0, sinceBoot(); ; n++ {
		if err := r.Tick(ctx, r.now(), elapsed); err != nil && ctx.Err() == nil {
			r.cfg.Log.ErrorContext(ctx, "cannot record the time", "error", err)
		}
		r.clearScratch(ctx)
		if n%agedEvery == agedEvery-1 {
			if err := r.RemoveAged(ctx); err != nil && ctx.Err() == nil {
				r.cfg.Log.ErrorContext(ctx, "cannot remove aged backups", "error", err)
			}
		}
		if !r.waitTick(ctx, ticker.C) {
			return nil
		}
		now := sinceBoot()
		elapsed, last = now-last, now
	}
}

// waitTick clears the scratch directory when it is asked to until the next
// tick, and returns false when ctx is done.
func (r *Runner) waitTick(ctx context.Context, tick <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-r.unscratched:
			r.clearScratch(ctx)
		case <-tick:
			return true
		}
	}
}

// Tick records the instant. elapsed is how much time really passed since this
// daemon's tick before, and 0 at its start.
func (r *Runner) Tick(ctx context.Context, now time.Time, elapsed time.Duration) error {
	state, err := r.clock(ctx)
	if err != nil {
		return err
	}
	gap := now.Sub(state.LastAt)
	switch {
	case state.LastAt.IsZero():
	case elapsed == 0 && gap > absenceLimit:
		state.Doubt = fmt.Sprintf("the daemon started more than 7 days after it was last seen running (%s)", state.LastAt.Format(time.RFC3339))
	case elapsed > 0 && gap-elapsed > stepLimit:
		state.Doubt = fmt.Sprintf("the clock jumped forward by %s at %s", (gap - elapsed).Round(time.Second), now.Format(time.RFC3339))
	}
	// R4's grace is counted in running time, so that a daemon which is off
	// does not let a person's time to object pass.
	if gap > 0 && gap <= tickGap {
		if err := r.store.AddWaited(ctx, gap); err != nil {
			return err
		}
	}
	state.LastAt = now
	return r.saveClock(ctx, state)
}

// ConfirmClock is the operator's word that the clock is right (R7).
func (r *Runner) ConfirmClock(ctx context.Context) error {
	state, err := r.clock(ctx)
	if err != nil {
		return err
	}
	state.Doubt, state.LastAt = "", r.now()
	return r.saveClock(ctx, state)
}
