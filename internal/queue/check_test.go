package queue

import (
	"context"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// repository enters the repository of s's environment at its destination.
func (f fixture) repository(s envbackup.Schedule, made time.Time) {
	f.t.Helper()
	r := envbackup.Repository{DestinationID: s.DestinationIDs[0], EnvironmentID: s.EnvironmentID, RepositoryID: "r", Location: "/tmp", CreatedAt: made}
	if err := f.store.SaveRepository(f.t.Context(), &r); err != nil {
		f.t.Fatal(err)
	}
}

func (f fixture) checks(environment string) []envbackup.Verification {
	f.t.Helper()
	list, _, err := f.store.Verifications(f.t.Context(), envbackup.VerificationFilter{Environment: environment}, envbackup.Page{})
	if err != nil {
		f.t.Fatal(err)
	}
	return list
}

// Issue 4, item 5: a check of a whole repository is asked for once, executed,
// cancelled and recorded like a verification; one without a repository is
// refused.
func TestACheckFromRequestToReport(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		began := make(chan struct{}, 1)
		q := f.queue(&fake{verify: func(ctx context.Context, v envbackup.Verification, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
			if v.BackupID != "" || v.Environment != "shop" || v.DestinationID != s.DestinationIDs[0] {
				t.Errorf("executed %+v", v)
			}
			if v.Level == envbackup.CheckData {
				began <- struct{}{}
				<-ctx.Done()
				return envbackup.Outcome{State: envbackup.RunFailed}, context.Cause(ctx)
			}
			return envbackup.Outcome{State: envbackup.RunFailed, Warnings: []string{"pack x"}}, &envbackup.Error{Code: envbackup.CodeDamaged, Message: "bit rot"}
		}}, nil)
		ask := func(level envbackup.VerifyLevel) (envbackup.Verification, error) {
			v := envbackup.Verification{Environment: "shop", DestinationID: s.DestinationIDs[0], Level: level, Trigger: envbackup.TriggerManual}
			err := q.EnqueueCheck(t.Context(), &v)
			return v, err
		}
		if _, err := ask(envbackup.CheckStructure); envbackup.CodeOf(err) != envbackup.CodeNotFound {
			t.Errorf("without a repository: %v", err)
		}
		f.repository(s, time.Now())
		v, err := ask(envbackup.CheckStructure)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ask(envbackup.CheckStructure); err != nil || again.ID != v.ID {
			t.Errorf("asked again: %s, %v; want the one that waits", again.ID, err)
		}
		f.start(q)
		got := f.verified(q, v.ID, isOver)
		if got.State != envbackup.RunFailed || got.Failure.Code != envbackup.CodeDamaged || len(got.Problems) != 1 {
			t.Errorf("the check = %+v", got)
		}
		if v, err = ask(envbackup.CheckData); err != nil {
			t.Fatal(err)
		}
		<-began
		if err := q.CancelVerification(t.Context(), v.ID); err != nil {
			t.Fatal(err)
		}
		if got := f.verified(q, v.ID, isOver); got.State != envbackup.RunCancelled {
			t.Errorf("cancelled = %+v", got)
		}
	})
}

// After a run, the next share is read when the time for it has come; what was
// not read to its end comes again, and after the last comes the first.
func TestSharesRotateAfterRuns(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		q := f.queue(&fake{}, func(c *Config) { c.CheckEvery, c.CheckShares = 24*time.Hour, 2 })
		now := time.Now()
		run := envbackup.Run{
			ScheduleID: s.ID, Environment: "shop", EnvironmentID: s.EnvironmentID, State: envbackup.RunSucceeded,
			Destinations: []envbackup.RunDestination{{DestinationID: s.DestinationIDs[0], Destination: s.Destinations[0], BackupID: "bkp_1"}},
		}
		after := func(at time.Time) []envbackup.Verification {
			t.Helper()
			if err := f.store.Tx(t.Context(), func(tx *store.Tx) error { return q.orderVerifications(t.Context(), tx, run, at) }); err != nil {
				t.Fatal(err)
			}
			return f.checks("shop")
		}
		end := func(v envbackup.Verification, state envbackup.RunState, failure *envbackup.Failure) {
			t.Helper()
			err := f.store.Tx(t.Context(), func(tx *store.Tx) error {
				v.State, v.Failure = state, failure
				_, err := tx.SaveVerification(t.Context(), v, v.JobID)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		f.repository(s, now)
		if got := after(now.Add(time.Hour)); len(got) != 0 {
			t.Fatalf("a new repository: %+v", got)
		}
		for i, step := range []struct {
			want    envbackup.VerifyLevel
			state   envbackup.RunState
			failure *envbackup.Failure
		}{
			{envbackup.CheckShare(1, 2), envbackup.RunSucceeded, nil},
			{envbackup.CheckShare(2, 2), envbackup.RunCancelled, nil},
			{envbackup.CheckShare(2, 2), envbackup.RunFailed, &envbackup.Failure{Code: envbackup.CodeDamaged}},
			{envbackup.CheckShare(1, 2), envbackup.RunFailed, &envbackup.Failure{Code: envbackup.CodeUnreachable}},
			{envbackup.CheckShare(1, 2), envbackup.RunSucceeded, nil},
		} {
			got := after(now.Add(25 * time.Hour))
			if len(got) != i+1 || got[0].Level != step.want || got[0].Trigger != envbackup.TriggerSchedule || got[0].BackupID != "" {
				t.Fatalf("step %d: %d checks, the newest %+v, want %s", i, len(got), got[0], step.want)
			}
			if again := after(now.Add(25 * time.Hour)); len(again) != i+1 {
				t.Fatalf("step %d: ordered again while one is open", i)
			}
			end(got[0], step.state, step.failure)
			if again := after(now.Add(time.Hour)); len(again) != i+1 {
				t.Fatalf("step %d: ordered too soon", i)
			}
		}
		run.Destinations[0].BackupID = ""
		if got := after(now.Add(25 * time.Hour)); len(got) != 5 {
			t.Error("a run that left no backup ordered a check")
		}
	})
}
