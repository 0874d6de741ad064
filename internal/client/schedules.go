package client

import (
	"context"
	"net/http"

	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// Schedules lists schedules by name.
func (c *Client) Schedules(ctx context.Context, query wire.SchedulesQuery) (wire.SchedulePage, error) {
	return list[wire.SchedulePage](ctx, c, "/schedules", query.Values())
}

// Schedule returns one schedule. The key is its id or ENVIRONMENT/NAME.
func (c *Client) Schedule(ctx context.Context, key string) (wire.Schedule, error) {
	return get[wire.Schedule](ctx, c, "/schedules/"+segment(key))
}

// CreateSchedule makes a schedule; a name that is taken is CodeConflict.
func (c *Client) CreateSchedule(ctx context.Context, in wire.ScheduleInput) (wire.Schedule, error) {
	return post[wire.Schedule](ctx, c, "/schedules", in)
}

// UpdateSchedule replaces a schedule. A non-zero ifVersion that is no longer its
// version is CodeStale, and nothing is written.
func (c *Client) UpdateSchedule(ctx context.Context, key string, in wire.ScheduleInput, ifVersion int64) (wire.Schedule, error) {
	return put[wire.Schedule](ctx, c, "/schedules/"+segment(key), in, ifVersion)
}

// DeleteSchedule deletes a schedule; its backups stay unless it says on_destroy =
// "delete", and then it takes as long as that takes. ifVersion is as for
// UpdateSchedule.
func (c *Client) DeleteSchedule(ctx context.Context, key string, ifVersion int64) error {
	return c.removeData(ctx, "/schedules/"+segment(key), ifVersion)
}

// Preflight returns what would be said about a schedule; wrong input is an
// answer with findings here, not an error.
func (c *Client) Preflight(ctx context.Context, in wire.Preflight) (wire.PreflightResult, error) {
	return post[wire.PreflightResult](ctx, c, "/schedules/preflight", in)
}

// RunSchedule asks for a manual run and returns it, queued. Without wait, an
// environment in which another run or restore goes on is CodeBusy.
func (c *Client) RunSchedule(ctx context.Context, key string, wait bool) (wire.Run, error) {
	return post[wire.Run](ctx, c, "/schedules/"+segment(key)+"/run", wire.RunRequest{Wait: wait})
}

// PauseSchedule stops a schedule's slots from running; pausing twice is no
// error.
func (c *Client) PauseSchedule(ctx context.Context, key string) (wire.Schedule, error) {
	return post[wire.Schedule](ctx, c, "/schedules/"+segment(key)+"/pause", nil)
}

// ResumeSchedule ends a pause; nothing is caught up (S9).
func (c *Client) ResumeSchedule(ctx context.Context, key string) (wire.Schedule, error) {
	return post[wire.Schedule](ctx, c, "/schedules/"+segment(key)+"/resume", nil)
}

// PruneSchedule applies a schedule's retention now, or says with dryRun what
// it would do. It returns when that is done, however long it takes.
func (c *Client) PruneSchedule(ctx context.Context, key string, dryRun bool) (wire.PruneResult, error) {
	return c.prune(ctx, key, wire.PruneRequest{DryRun: dryRun})
}

// ReclaimSchedule is PruneSchedule in a window in which backups wait: data
// that no backup needs are removed whatever else goes on.
func (c *Client) ReclaimSchedule(ctx context.Context, key string) (wire.PruneResult, error) {
	return c.prune(ctx, key, wire.PruneRequest{Reclaim: true})
}

func (c *Client) prune(ctx context.Context, key string, in wire.PruneRequest) (wire.PruneResult, error) {
	return fetch[wire.PruneResult](ctx, c, call{
		method: http.MethodPost, path: root + "/schedules/" + segment(key) + "/prune", body: in, once: true, unbounded: true,
	})
}

// ForgetMissing takes backups of a schedule off the list that are gone from
// their repository, as an admin; with dryRun it only lists them.
func (c *Client) ForgetMissing(ctx context.Context, key string, dryRun bool) (wire.Forgotten, error) {
	return fetch[wire.Forgotten](ctx, c, call{
		method: http.MethodPost, path: root + "/schedules/" + segment(key) + "/forget-missing",
		body: wire.ForgetRequest{DryRun: dryRun}, once: true, unbounded: true,
	})
}

// ConfirmPrune lets what is set aside for a schedule go with its next prune
// (R4). CodeNotFound: nothing is set aside.
func (c *Client) ConfirmPrune(ctx context.Context, key string) (wire.PruneDecision, error) {
	return c.decidePrune(ctx, key, "confirm")
}

// CancelPrune keeps what is set aside for a schedule until its retention
// changes. CodeNotFound: nothing is set aside.
func (c *Client) CancelPrune(ctx context.Context, key string) (wire.PruneDecision, error) {
	return c.decidePrune(ctx, key, "cancel")
}

// decidePrune waits as long as a prune of the schedule that goes on.
func (c *Client) decidePrune(ctx context.Context, key, verb string) (wire.PruneDecision, error) {
	return fetch[wire.PruneDecision](ctx, c, call{
		method: http.MethodPost, path: root + "/schedules/" + segment(key) + "/prune/" + verb, unbounded: true,
	})
}

// Slots lists a schedule's slots, newest first.
func (c *Client) Slots(ctx context.Context, key string, page wire.Page) (wire.SlotPage, error) {
	return list[wire.SlotPage](ctx, c, "/schedules/"+segment(key)+"/slots", page.Values())
}
