package queue

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// childDSN makes this test binary a worker on that database.
const childDSN = "ENVBACKUP_TEST_QUEUE_DSN"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childDSN); dsn != "" {
		if err := work(dsn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// fast are settings under which a dead process is noticed soon.
func fast(c *Config) {
	c.Heartbeat, c.TTL = 100*time.Millisecond, 2*time.Second
}

// work executes runs that never end by themselves; when one is cancelled, it
// claims success, as a zombie would that was just done.
func work(dsn string) error {
	st, err := store.Open(context.Background(), dsn)
	if err != nil {
		return err
	}
	cfg := Config{Worker: "db1.example", Log: slog.New(slog.NewTextHandler(os.Stdout, nil))}
	fast(&cfg)
	q, err := New(st, &fake{run: func(ctx context.Context, r envbackup.Run, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
		fmt.Println("executing", r.ID)
		<-ctx.Done()
		return envbackup.Outcome{State: envbackup.RunSucceeded, Warnings: []string{"from the zombie"}}, nil
	}, verify: func(ctx context.Context, v envbackup.Verification, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
		fmt.Println("verifying", v.ID)
		<-ctx.Done()
		return envbackup.Outcome{State: envbackup.RunSucceeded}, nil
	}}, cfg)
	if err != nil {
		return err
	}
	return q.Run(context.Background())
}

// child is a worker process. Its lines of output come one by one.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
}

func startChild(t *testing.T, dsn string) *child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDSN+"="+dsn)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: cmd, lines: make(chan string, 1000)}
	go func() {
		defer close(c.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			c.lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be dead already
		_ = cmd.Wait()
	})
	return c
}

// expect waits for a line that holds text.
func (c *child) expect(text string) {
	c.t.Helper()
	for line := range c.lines {
		if strings.Contains(line, text) {
			return
		}
	}
	c.t.Fatalf("the worker ended without saying %q", text)
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// freeze stops the process at a moment at which it holds no lock of the
// database.
func (c *child) freeze(f fixture) {
	c.t.Helper()
	for range 20 {
		c.signal(syscall.SIGSTOP)
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		err := f.store.SetSetting(ctx, "probe", "x")
		cancel()
		if err == nil {
			return
		}
		c.signal(syscall.SIGCONT)
	}
	c.t.Fatal("the worker always held the database")
}

func TestKilledWorkersRunIsFailedAndRetriedAtOnce(t *testing.T) { // S5, S13
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		q := f.queue(&fake{}, fast)
		r := f.enqueue(q, s, nil)
		c := startChild(t, f.dsn)
		c.expect("executing " + r.ID)
		c.signal(syscall.SIGKILL)
		_ = c.cmd.Wait()

		f.start(q)
		got := f.ended(q, r.ID)
		if got.State != envbackup.RunSucceeded || got.Attempt != 2 {
			t.Errorf("run = %s in attempt %d %+v, want succeeded in 2", got.State, got.Attempt, got.Failure)
		}
		attempts, err := f.store.Attempts(t.Context(), r.ID)
		if err != nil || len(attempts) != 2 || attempts[0].Failure == nil || attempts[0].Failure.Code != envbackup.CodeWorkerLost {
			t.Errorf("Attempts() = %+v, %v; want the first lost", attempts, err)
		}
		if slot := f.slot(s); slot.Outcome != envbackup.SlotRan || slot.RunID != r.ID {
			t.Errorf("slot = %+v", slot)
		}
	})
}

func TestKilledWorkersRestoreFails(t *testing.T) { // S5: a restore is not repeated unasked
	f := sqliteFixture(t)
	f.schedule("shop", nil)
	dead := f.queue(&fake{}, nil)
	r := envbackup.Restore{BackupID: "bkp_1", Environment: "shop", Target: "/tmp/x"}
	if err := dead.EnqueueRestore(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Heartbeat(t.Context(), dead.node, "db1.example"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := dead.claimRestore(t.Context(), r.ID, r.JobID, time.Now()); err != nil || !ok {
		t.Fatalf("claimRestore() = %v, %v", ok, err)
	}
	q := f.queue(&fake{}, nil)
	f.start(q)
	states, err := q.WatchRestore(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	var got envbackup.Restore
	for got = range states {
	}
	if got.State != envbackup.RunFailed || got.Failure.Code != envbackup.CodeWorkerLost {
		t.Errorf("restore = %s %+v, want failed with worker_lost", got.State, got.Failure)
	}
}

// A verification whose worker is killed goes on elsewhere; one of which three
// workers die is given up.
func TestKilledWorkersVerificationGoesOn(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		b := f.backup(s, 0, nil)
		q := f.queue(&fake{}, fast) // only takes requests, and later heirs
		kill := func(id string) {
			c := startChild(t, f.dsn)
			c.expect("verifying " + id)
			c.signal(syscall.SIGKILL)
			_ = c.cmd.Wait()
		}
		deadly := f.verify(q, b, envbackup.VerifyRestore)
		for range maxLost {
			kill(deadly.ID) // the next child takes it over from the one before
		}
		v := f.verify(q, b, envbackup.VerifyRead)
		f.start(q)
		got := f.verified(q, deadly.ID, isOver)
		if got.State != envbackup.RunFailed || got.Failure.Code != envbackup.CodeWorkerLost || got.Lost != maxLost {
			t.Errorf("killed %d times: %s %+v", got.Lost, got.State, got.Failure)
		}
		if got := f.verified(q, v.ID, isOver); got.State != envbackup.RunSucceeded {
			t.Errorf("the next one: %s %+v", got.State, got.Failure)
		}
	})
}

func TestKilledVerificationIsTakenOver(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		q := f.queue(&fake{}, fast)
		v := f.verify(q, f.backup(s, 0, nil), envbackup.VerifyRead)
		c := startChild(t, f.dsn)
		c.expect("verifying " + v.ID)
		c.signal(syscall.SIGKILL)
		_ = c.cmd.Wait()
		f.start(q)
		if got := f.verified(q, v.ID, isOver); got.State != envbackup.RunSucceeded || got.Attempt != 2 || got.Lost != 1 || got.Failure != nil {
			t.Errorf("taken over: %s in attempt %d, lost %d, %+v", got.State, got.Attempt, got.Lost, got.Failure)
		}
	})
}

func TestFrozenWorkerCannotFinishWhatWasTakenOver(t *testing.T) { // S5: fencing
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		began, release := make(chan struct{}), make(chan struct{})
		q := f.queue(&fake{run: func(context.Context, envbackup.Run, func(envbackup.Progress)) (envbackup.Outcome, error) {
			close(began)
			<-release
			return envbackup.Outcome{State: envbackup.RunSucceeded, Warnings: []string{"from the heir"}}, nil
		}}, fast)
		r := f.enqueue(q, s, nil)
		c := startChild(t, f.dsn)
		c.expect("executing " + r.ID)
		c.freeze(f)

		f.start(q)
		<-began
		c.signal(syscall.SIGCONT)
		c.expect("run was taken over")
		if got, err := f.store.Run(t.Context(), r.ID); err != nil || got.State != envbackup.RunRunning || got.Attempt != 2 {
			t.Errorf("run after the zombie's end = %s in attempt %d, %v; want running in 2", got.State, got.Attempt, err)
		}
		close(release)
		if got := f.ended(q, r.ID); got.State != envbackup.RunSucceeded || got.Warnings[0] != "from the heir" {
			t.Errorf("run = %s %v", got.State, got.Warnings)
		}
	})
}

func TestSweepLeavesLiveWorkersAlone(t *testing.T) { // S5
	f := sqliteFixture(t)
	s := f.schedule("shop", nil)
	live, other := f.queue(&fake{}, nil), f.queue(&fake{}, nil)
	r := f.enqueue(live, s, nil)
	if _, err := f.store.Heartbeat(t.Context(), live.node, "db1.example"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := live.claimRun(t.Context(), r.ID, r.JobID, time.Now()); err != nil || !ok {
		t.Fatalf("claimRun() = %v, %v", ok, err)
	}
	if _, ok, err := other.claimRun(t.Context(), r.ID, r.JobID, time.Now()); err != nil || ok {
		t.Errorf("second claim = %v, %v; want refused", ok, err)
	}
	if err := other.Sweep(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if got, err := f.store.Run(t.Context(), r.ID); err != nil || got.State != envbackup.RunRunning {
		t.Errorf("run = %s, %v; want running", got.State, err)
	}
}

func TestPlanRetry(t *testing.T) { // S6, S13
	f := sqliteFixture(t)
	off := false
	daily := f.schedule("daily", nil)
	weekly := f.schedule("weekly", func(s *envbackup.ScheduleSpec) { s.Cron = "0 0 * * 1" })
	strict := f.schedule("strict", func(s *envbackup.ScheduleSpec) { s.Cron = "0 0 * * 1"; s.CatchUp = &off })
	paused := f.schedule("paused", func(s *envbackup.ScheduleSpec) { s.Paused = true })
	q := f.queue(&fake{}, func(c *Config) { c.Backoff = func(n int64) time.Duration { return time.Duration(n) * time.Minute } })
	monday := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		schedule envbackup.Schedule
		trigger  envbackup.Trigger
		code     envbackup.Code
		failed   int64
		after    time.Duration
		want     time.Duration // from monday; negative for none
	}{
		"the first retries back off":                 {daily, "schedule", envbackup.CodeUnreachable, 2, time.Hour, time.Hour + 2*time.Minute},
		"a lost worker's run goes on at once":        {daily, "schedule", envbackup.CodeWorkerLost, 1, time.Hour, time.Hour},
		"a fourth failure waits six hours":           {daily, "schedule", envbackup.CodeThrottled, 4, time.Hour, 7 * time.Hour},
		"not past the next slot":                     {daily, "schedule", envbackup.CodeThrottled, 4, 19 * time.Hour, -1},
		"nor a first retry past it":                  {daily, "schedule", envbackup.CodeThrottled, 1, 24*time.Hour - time.Second, -1},
		"a weekly slot is tried for half the week":   {weekly, "schedule", envbackup.CodeThrottled, 9, 77 * time.Hour, 83 * time.Hour},
		"and no longer":                              {weekly, "schedule", envbackup.CodeThrottled, 9, 78 * time.Hour, -1},
		"a shutdown is retried if it can be caught":  {weekly, "schedule", envbackup.CodeShutDown, 0, time.Hour, time.Hour},
		"and not where nothing is caught up":         {strict, "schedule", envbackup.CodeShutDown, 0, time.Hour, -1},
		"nor is a fourth failure there":              {strict, "schedule", envbackup.CodeThrottled, 4, time.Hour, -1},
		"a paused schedule retries nothing":          {paused, "schedule", envbackup.CodeThrottled, 1, time.Hour, -1},
		"a manual run has its retries and no more":   {daily, "manual", envbackup.CodeThrottled, 3, 30 * time.Hour, 30*time.Hour + 3*time.Minute},
		"so a fourth failure of a manual run is all": {daily, "manual", envbackup.CodeThrottled, 4, time.Hour, -1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := f.store.Tx(t.Context(), func(tx *store.Tx) error {
				r := envbackup.Run{ScheduleID: tt.schedule.ID, Trigger: tt.trigger, Nominal: monday, DueAt: monday}
				timing, err := timingOf(t.Context(), tx, r)
				if err != nil {
					return err
				}
				got, again := q.planRetry(timing, r, tt.code, tt.failed, monday.Add(tt.after))
				if again != (tt.want >= 0) || again && got.Sub(monday) != tt.want {
					t.Errorf("planRetry() = %s, %v; want %s", got.Sub(monday), again, tt.want)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for n := int64(1); n < 20; n++ {
		if d := backoff(n); d <= 0 || d > 30*time.Minute+time.Second {
			t.Errorf("backoff(%d) = %s", n, d)
		}
	}
}
