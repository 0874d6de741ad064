package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (s *server) scheduleRoutes() {
	const tag = "schedules"
	handle(s, route{http.MethodGet, "/schedules", "list-schedules", "List schedules", tag, envbackup.RoleViewer, 0}, s.listSchedules)
	handle(s, route{http.MethodPost, "/schedules", "create-schedule", "Create a schedule", tag, envbackup.RoleOperator, http.StatusCreated}, s.createSchedule)
	handle(s, route{http.MethodPost, "/schedules/preflight", "preflight-schedule", "Say what would be said about a schedule; changes nothing", tag, envbackup.RoleViewer, 0}, s.preflight)
	handle(s, route{http.MethodGet, "/schedules/{id}", "get-schedule", "Show a schedule", tag, envbackup.RoleViewer, 0}, s.getSchedule)
	handle(s, route{http.MethodPut, "/schedules/{id}", "update-schedule", "Replace a schedule", tag, envbackup.RoleOperator, 0}, s.updateSchedule)
	handle(s, route{http.MethodDelete, "/schedules/{id}", "delete-schedule", "Delete a schedule", tag, envbackup.RoleOperator, 0}, s.deleteSchedule)
	handle(s, route{http.MethodPost, "/schedules/{id}/run", "run-schedule", "Take a backup now", tag, envbackup.RoleOperator, http.StatusAccepted}, s.runSchedule)
	handle(s, route{http.MethodPost, "/schedules/{id}/pause", "pause-schedule", "Pause a schedule", tag, envbackup.RoleOperator, 0}, s.pauseSchedule)
	handle(s, route{http.MethodPost, "/schedules/{id}/resume", "resume-schedule", "End a pause; nothing is caught up", tag, envbackup.RoleOperator, 0}, s.resumeSchedule)
	handle(s, route{http.MethodPost, "/schedules/{id}/prune", "prune-schedule", "Apply the retention now, or say what it would do", tag, envbackup.RoleOperator, 0}, s.pruneSchedule)
	handle(s, route{http.MethodPost, "/schedules/{id}/prune/confirm", "confirm-prune", "Let what is set aside go with the next prune", tag, envbackup.RoleOperator, 0}, s.decidePrune(envbackup.DecisionConfirmed))
	handle(s, route{http.MethodPost, "/schedules/{id}/prune/cancel", "cancel-prune", "Keep what is set aside until the retention changes", tag, envbackup.RoleOperator, 0}, s.decidePrune(envbackup.DecisionCancelled))
	handle(s, route{http.MethodPost, "/schedules/{id}/forget-missing", "forget-missing", "Take backups off the list that are gone from their repository for good", tag, envbackup.RoleAdmin, 0}, s.forgetMissing)
	handle(s, route{http.MethodGet, "/schedules/{id}/slots", "list-slots", "List a schedule's slots, newest first", tag, envbackup.RoleViewer, 0}, s.listSlots)
}

func (s *server) listSchedules(ctx context.Context, in *struct{ wire.SchedulesQuery }) (*plain[wire.SchedulePage], error) {
	environment, err := s.environmentName(ctx, in.Environment)
	if err != nil {
		return nil, err
	}
	items, next, err := s.Store.Schedules(ctx, envbackup.ScheduleFilter{Environment: environment}, pageOf(in.Page))
	if err != nil {
		return nil, err
	}
	proofs, err := s.Store.ScheduleProofs(ctx)
	if err != nil {
		return nil, err
	}
	set, err := s.obstacles(ctx)
	if err != nil {
		return nil, err
	}
	page := wire.SchedulePage{Items: make([]wire.Schedule, 0, len(items)), Cursor: next}
	for _, sch := range items {
		body, err := s.scheduleDocWith(ctx, sch, proofs[sch.ID], set)
		if err != nil {
			return nil, err
		}
		page.Items = append(page.Items, body)
	}
	return &plain[wire.SchedulePage]{page}, nil
}

func (s *server) getSchedule(ctx context.Context, in *Keyed) (*doc[wire.Schedule], error) {
	sch, err := s.Store.Schedule(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	return s.answerSchedule(ctx, sch, nil)
}

// answerSchedule makes the answer about one schedule.
func (s *server) answerSchedule(ctx context.Context, sch envbackup.Schedule, findings []envbackup.Finding) (*doc[wire.Schedule], error) {
	body, err := s.scheduleDoc(ctx, sch)
	if err != nil {
		return nil, err
	}
	body.Findings = findings
	return &doc[wire.Schedule]{etagOf(sch.Version), body}, nil
}

func (s *server) createSchedule(ctx context.Context, in *struct{ Body wire.ScheduleInput }) (*made[wire.Schedule], error) {
	sch := envbackup.Schedule{Meta: envbackup.Meta{Owner: in.Body.Owner}, ScheduleSpec: in.Body.ScheduleSpec}
	checked, err := s.check(ctx, proposed{spec: sch.ScheduleSpec})
	if err != nil {
		return nil, err
	}
	if envbackup.HasError(checked.findings) {
		return nil, envbackup.Invalid(checked.findings...)
	}
	sch.EnvironmentID, sch.DestinationIDs = checked.environmentID, checked.destinationIDs
	if err := s.Scheduler.Create(ctx, &sch, s.Now().UTC()); err != nil {
		return nil, err
	}
	s.audit(ctx, "create", "schedule", sch.Reference(), "")
	body, err := s.scheduleDoc(ctx, sch)
	if err != nil {
		return nil, err
	}
	body.Findings = checked.findings
	return &made[wire.Schedule]{etagOf(sch.Version), root + "/schedules/" + sch.ID, body}, nil
}

func (s *server) updateSchedule(ctx context.Context, in *struct {
	Versioned
	Body wire.ScheduleInput
}) (*doc[wire.Schedule], error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	sch, err := s.Store.Schedule(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if version != 0 && version != sch.Version {
		// Before the findings: they would judge an edit of something else.
		return nil, stale("schedule", sch.Reference())
	}
	checked, err := s.check(ctx, proposed{spec: in.Body.ScheduleSpec, old: &sch})
	if err != nil {
		return nil, err
	}
	if in.Body.Environment != sch.Environment {
		checked.findings = append(checked.findings, envbackup.Finding{
			Severity: envbackup.SeverityError, Path: "environment", Summary: "Environment cannot change",
			Detail: fmt.Sprintf("The schedule backs up %q. For %q, create another one: the backups of this one stay.", sch.Environment, in.Body.Environment),
		})
	}
	if envbackup.HasError(checked.findings) {
		return nil, envbackup.Invalid(checked.findings...)
	}
	sch.ScheduleSpec, sch.Owner = in.Body.ScheduleSpec, in.Body.Owner
	sch.EnvironmentID, sch.DestinationIDs = checked.environmentID, checked.destinationIDs
	if err := s.Scheduler.Update(ctx, &sch, version, s.Now().UTC()); err != nil {
		return nil, err
	}
	s.verdicts.drop(sch.ID)
	s.audit(ctx, "update", "schedule", sch.Reference(), "")
	return s.answerSchedule(ctx, sch, checked.findings)
}

func (s *server) deleteSchedule(ctx context.Context, in *Versioned) (*none, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	sch, err := s.Store.Schedule(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	switch {
	case version != 0 && version != sch.Version:
		return nil, stale("schedule", sch.Reference())
	case sch.DeletionProtection:
		return nil, &envbackup.Error{
			Code: envbackup.CodeConflict, Message: fmt.Sprintf("schedule %q is protected from deletion", sch.Reference()),
			Hint: "set deletion_protection = false and apply that first",
		}
	}
	if sch.OnDestroy == "delete" {
		if err := s.removeAll(ctx, sch); err != nil {
			return nil, err
		}
	}
	if err := s.Scheduler.Delete(ctx, sch.ID, version); err != nil {
		return nil, err
	}
	s.verdicts.drop(sch.ID)
	s.audit(ctx, "delete", "schedule", sch.Reference(), "on_destroy "+orDefault(sch.OnDestroy, "keep"))
	return nil, nil
}

// removeAll removes every backup of a schedule that says on_destroy =
// "delete" (R11). It comes before the schedule's own deletion: when it fails
// half-way, the schedule is still there to try again.
func (s *server) removeAll(ctx context.Context, sch envbackup.Schedule) error {
	var ids []string
	page := envbackup.Page{Limit: 1000}
	for {
		items, next, _, err := s.Store.Backups(ctx, envbackup.BackupFilter{ScheduleID: sch.ID}, page)
		if err != nil {
			return err
		}
		for _, b := range items {
			ids = append(ids, b.ID)
		}
		if next == "" {
			break
		}
		page.Cursor = next
	}
	if len(ids) == 0 {
		return nil
	}
	// What the object store retains is no failure: it stays listed, with the
	// end of its lock, until a person deletes it.
	retained, err := s.Pruner.RemoveUnlocked(ctx, ids, actorOf(ctx).name)
	if err != nil {
		return err
	}
	detail := fmt.Sprintf("%d backups, on_destroy delete", len(ids)-len(retained))
	if len(retained) > 0 {
		detail += fmt.Sprintf("; retained by lock: %d", len(retained))
	}
	s.audit(ctx, "delete", "backups", sch.Reference(), detail)
	return nil
}

func (s *server) runSchedule(ctx context.Context, in *struct {
	Keyed
	Body *wire.RunRequest
}) (*made[wire.Run], error) {
	sch, err := s.Store.Schedule(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	wait := in.Body != nil && in.Body.Wait
	run, err := s.Scheduler.RunNow(ctx, sch.ID, wait, actorOf(ctx).name, s.Now().UTC())
	if err != nil {
		return nil, err
	}
	s.audit(ctx, "run", "schedule", sch.Reference(), run.ID)
	return &made[wire.Run]{Location: root + "/runs/" + run.ID, Body: runDoc(run)}, nil
}

func (s *server) pauseSchedule(ctx context.Context, in *Keyed) (*doc[wire.Schedule], error) {
	sch, err := s.Store.Schedule(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if !sch.Paused {
		if err := s.Scheduler.Pause(ctx, sch.ID, s.Now().UTC()); err != nil {
			return nil, err
		}
		s.audit(ctx, "pause", "schedule", sch.Reference(), "")
	}
	return s.getSchedule(ctx, &Keyed{sch.ID})
}

func (s *server) resumeSchedule(ctx context.Context, in *Keyed) (*doc[wire.Schedule], error) {
	sch, err := s.Store.Schedule(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if sch.Paused {
		if err := s.Scheduler.Resume(ctx, sch.ID, s.Now().UTC()); err != nil {
			return nil, err
		}
		s.audit(ctx, "resume", "schedule", sch.Reference(), "")
	}
	return s.getSchedule(ctx, &Keyed{sch.ID})
}

func (s *server) listSlots(ctx context.Context, in *struct {
	Keyed
	wire.Page
}) (*plain[wire.SlotPage], error) {
	sch, err := s.Store.Schedule(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	items, next, err := s.Store.Slots(ctx, sch.ID, pageOf(in.Page))
	if err != nil {
		return nil, err
	}
	return &plain[wire.SlotPage]{wire.SlotPage{Items: convert(items, slotDoc), Cursor: next}}, nil
}

func stale(kind, name string) error {
	return &envbackup.Error{
		Code: envbackup.CodeStale, Message: fmt.Sprintf("%s %q has changed since it was read", kind, name),
		Hint: "read it again and repeat the change if it is still wanted; nothing was written",
	}
}

// environmentName turns an id into a name for filters. What is not known stays
// as it is: the backups of a deleted environment are listed by its name.
func (s *server) environmentName(ctx context.Context, key string) (string, error) {
	if key == "" {
		return "", nil
	}
	e, err := s.Store.Environment(ctx, key)
	switch {
	case err == nil:
		return e.Name, nil
	case envbackup.CodeOf(err) == envbackup.CodeNotFound:
		return key, nil
	default:
		return "", err
	}
}

func orDefault(value, def string) string {
	if value == "" {
		return def
	}
	return value
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
