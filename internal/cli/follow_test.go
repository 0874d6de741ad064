package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func TestWhoFollowsARunIsToldWhyItWaits(t *testing.T) {
	t.Parallel()
	next := time.Date(2026, 11, 25, 6, 27, 42, 0, time.UTC)
	waiting := wire.Run{
		State: envbackup.RunQueued, Attempt: 2, NextAttemptAt: &next,
		Failure: &envbackup.Failure{Code: envbackup.CodeUnreachable, Message: "the store cannot be reached", Hint: "check the endpoint"},
	}
	why := waitsBecause(waiting)
	for _, part := range []string{"attempt 2 failed", "the store cannot be reached", moment(next), "check the endpoint"} {
		if !strings.Contains(why, part) {
			t.Errorf("%q does not say %q", why, part)
		}
	}
	goesOn := waiting
	goesOn.State = envbackup.RunRunning
	if why := waitsBecause(goesOn); why != "" {
		t.Errorf("a run that goes on is said to wait: %q", why)
	}
	if why := waitsBecause(wire.Run{State: envbackup.RunQueued}); why != "" {
		t.Errorf("a run before its first attempt is said to have failed: %q", why)
	}

	var errs bytes.Buffer
	m := (&app{err: &errs}).newMeter("run")
	m.note("")
	m.note("attempt 2 failed")
	if errs.String() != "attempt 2 failed\n" {
		t.Errorf("printed %q", errs.String())
	}
}
