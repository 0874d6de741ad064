package api

import (
	"context"
	"net/http"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (s *server) runRoutes() {
	const tag = "runs"
	handle(s, route{http.MethodGet, "/runs", "list-runs", "List runs, newest first", tag, envbackup.RoleViewer, 0}, s.listRuns)
	handle(s, route{http.MethodGet, "/runs/{id}", "get-run", "Show a run with its attempts", tag, envbackup.RoleViewer, 0}, s.getRun)
	handle(s, route{http.MethodPost, "/runs/{id}/cancel", "cancel-run", "Cancel a run", tag, envbackup.RoleOperator, 0}, s.cancelRun)
	events(s, route{http.MethodGet, "/runs/{id}/events", "watch-run", "Follow a run until it is over", tag, envbackup.RoleViewer, 0},
		"run", s.runNow, func(r wire.Run) bool { return r.State.Final() })
}

func (s *server) listRuns(ctx context.Context, in *struct{ wire.RunsQuery }) (*plain[wire.RunPage], error) {
	items, next, err := s.Store.Runs(ctx, envbackup.RunFilter{
		Schedule: in.Schedule, Environment: in.Environment, States: states(in.State), Since: in.Since, Until: in.Until,
	}, pageOf(in.Page))
	if err != nil {
		return nil, err
	}
	return &plain[wire.RunPage]{wire.RunPage{Items: convert(items, runDoc), Cursor: next}}, nil
}

func (s *server) getRun(ctx context.Context, in *Keyed) (*plain[wire.Run], error) {
	body, err := s.runNow(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	return &plain[wire.Run]{body}, nil
}

// runNow is a run as it is now, with its attempts.
func (s *server) runNow(ctx context.Context, id string) (wire.Run, error) {
	run, err := s.Store.Run(ctx, id)
	if err != nil {
		return wire.Run{}, err
	}
	attempts, err := s.Store.Attempts(ctx, run.ID)
	if err != nil {
		return wire.Run{}, err
	}
	body := runDoc(run)
	body.Attempts = convert(attempts, attemptDoc)
	return body, nil
}

func (s *server) cancelRun(ctx context.Context, in *Keyed) (*plain[wire.Run], error) {
	run, err := s.Store.Run(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if run.State.Final() {
		return nil, over("run", string(run.State))
	}
	if err := s.Queue.CancelRun(ctx, run.ID); err != nil {
		return nil, err
	}
	s.audit(ctx, "cancel", "run", run.ID, run.Environment+"/"+run.Schedule)
	return s.getRun(ctx, in)
}

func over(kind, state string) error {
	return &envbackup.Error{Code: envbackup.CodeConflict, Message: "the " + kind + " is over: it has " + state}
}

func states(names []string) []envbackup.RunState {
	var out []envbackup.RunState
	for _, n := range names {
		out = append(out, envbackup.RunState(n))
	}
	return out
}
