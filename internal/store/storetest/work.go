package storetest

import (
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

func slotAt(t time.Time, outcome envbackup.SlotOutcome) envbackup.Slot {
	return envbackup.Slot{ScheduleID: "sch_1", Nominal: t, Until: t, Count: 1, Outcome: outcome, DecidedAt: noon}
}

func (b *bench) slots() []envbackup.Slot {
	b.Helper()
	list, _, err := b.s.Slots(b.Context(), "sch_1", envbackup.Page{})
	b.ok(err)
	return list
}

func slots(b *bench) {
	ctx := b.Context()
	b.tx(func(tx *store.Tx) error {
		slot := slotAt(noon, "")
		slot.RunID = "run_1"
		for _, want := range []bool{true, false} {
			if ok, err := tx.InsertSlot(ctx, slot); ok != want || err != nil {
				b.Errorf("InsertSlot() = %v, %v; want %v", ok, err, want)
			}
		}
		got, err := tx.SlotOfRun(ctx, "run_1")
		b.same("slot of its run", slot, got)
		return err
	})
	b.tx(func(tx *store.Tx) error { return tx.EndSlot(ctx, "run_1", envbackup.SlotRan, "") })
	b.tx(func(tx *store.Tx) error { return tx.EndSlot(ctx, "run_1", envbackup.SlotMissed, "too late") })
	if got := b.slots(); len(got) != 1 || got[0].Outcome != envbackup.SlotRan {
		b.Errorf("slots = %+v, want the first outcome to stay", got)
	}
}

func stretches(b *bench) {
	ctx := b.Context()
	add := func(outcome envbackup.SlotOutcome, reason, era string, at int, n int64, want bool) {
		b.Helper()
		b.tx(func(tx *store.Tx) error {
			s := slotAt(noon.Add(time.Duration(at)*time.Minute), outcome)
			s.Until, s.Count, s.Reason = s.Nominal.Add(time.Duration(n-1)*time.Minute), n, reason
			if ok, err := tx.AppendSlots(ctx, s, era); ok != want || err != nil {
				b.Errorf("AppendSlots(%s) = %v, %v; want %v", outcome, ok, err, want)
			}
			return nil
		})
	}
	add(envbackup.SlotPaused, "p", "e1", 1, 10, true)
	add(envbackup.SlotPaused, "p", "e1", 11, 5, true)
	add(envbackup.SlotPaused, "p", "e2", 16, 1, true)  // another era
	add(envbackup.SlotMissed, "p", "e2", 17, 1, true)  // another outcome
	add(envbackup.SlotMissed, "q", "e2", 18, 1, true)  // another reason
	add(envbackup.SlotMissed, "q", "e2", 18, 1, false) // decided already
	var told []string
	for _, s := range b.slots() {
		told = append(told, fmt.Sprintf("%s x%d until %s", s.Outcome, s.Count, s.Until.Sub(noon)))
	}
	b.same("ledger", []string{"missed x1 until 18m0s", "missed x1 until 17m0s", "paused x1 until 16m0s", "paused x15 until 15m0s"}, told)
}

func voids(b *bench) {
	ctx := b.Context()
	run := b.run("shop", nil)
	kept := b.backup(1, func(k *envbackup.Backup) { k.RunID = run.ID })
	b.tx(func(tx *store.Tx) error {
		stretch := slotAt(noon, envbackup.SlotPaused)
		stretch.Until, stretch.Count = noon.Add(10*time.Minute), 11
		if _, err := tx.AppendSlots(ctx, stretch, "era"); err != nil {
			return err
		}
		slot := slotAt(noon.Add(11*time.Minute), envbackup.SlotRan)
		slot.RunID = run.ID
		_, err := tx.InsertSlot(ctx, slot)
		return err
	})
	for round := range 2 {
		b.tx(func(tx *store.Tx) error {
			straddling, era, err := tx.VoidSlots(ctx, "sch_1", noon.Add(4*time.Minute), "the clock")
			if err != nil {
				return err
			}
			if round == 1 {
				if straddling != nil {
					b.Errorf("straddling again: %+v", straddling)
				}
				return nil
			}
			if straddling == nil || straddling.Count != 11 || era != "era" {
				b.Fatalf("straddling = %+v, %q", straddling, era)
			}
			straddling.Until, straddling.Count = noon.Add(4*time.Minute), 5
			return tx.CutSlots(ctx, *straddling)
		})
		// The same instant comes again, and may be voided again.
		b.tx(func(tx *store.Tx) error {
			ok, err := tx.InsertSlot(ctx, slotAt(noon.Add(11*time.Minute), envbackup.SlotMissed))
			if !ok {
				b.Error("a voided instant cannot come again")
			}
			return err
		})
	}
	var told []string
	for _, s := range b.slots() {
		told = append(told, fmt.Sprintf("%s x%d until %s", s.Outcome, s.Count, s.Until.Sub(noon)))
	}
	b.same("ledger", []string{"clock x1 until 11m0s", "clock x1 until 11m0s", "missed x1 until 11m0s", "paused x5 until 4m0s"}, told)
	if got, err := b.s.Run(ctx, run.ID); err != nil || got.Trigger != envbackup.TriggerManual {
		b.Errorf("run = %s, %v; want manual", got.Trigger, err)
	}
	if got, err := b.s.Backup(ctx, kept.ID); err != nil || got.Trigger != envbackup.TriggerManual {
		b.Errorf("backup = %s, %v; want manual", got.Trigger, err)
	}
}

func runs(b *bench) {
	ctx := b.Context()
	r := b.run("shop", nil)
	got, err := b.s.Run(ctx, r.ID)
	b.ok(err)
	b.same("run", r, got)
	_, err = b.s.Run(ctx, "run_x")
	b.code(err, envbackup.CodeNotFound)

	r.State, r.Attempt, r.JobID, r.Node, r.ExecutedBy, r.StartedAt = envbackup.RunRunning, 1, 7, "node-1", "db1", noon
	r.Failure = &envbackup.Failure{Code: envbackup.CodeThrottled, Message: "slow", Hint: "wait"}
	r.Destinations = []envbackup.RunDestination{{Destination: "s3", State: envbackup.RunRunning}}
	r.Warnings, r.NextAttemptAt, r.FinishedAt = []string{"ünïcode\n"}, noon, noon
	save := func(r envbackup.Run, fence int64, want bool) {
		b.Helper()
		b.tx(func(tx *store.Tx) error {
			if ok, err := tx.SaveRun(ctx, r, fence); ok != want || err != nil {
				b.Errorf("SaveRun(fence %d) = %v, %v; want %v", fence, ok, err, want)
			}
			return nil
		})
	}
	save(r, 0, true)
	got, err = b.s.Run(ctx, r.ID)
	b.ok(err)
	b.same("saved run", r, got)
	zombie := r
	zombie.State = envbackup.RunSucceeded
	save(zombie, 6, false)

	p := envbackup.Progress{Phase: envbackup.PhaseBackup, FilesDone: 3, Current: "/srv/x"}
	for fence, want := range map[int64]bool{7: true, 6: false} {
		if mine, cancel, err := b.s.SaveRunProgress(ctx, r.ID, fence, p); mine != want || cancel || err != nil {
			b.Errorf("SaveRunProgress(fence %d) = %v, %v, %v", fence, mine, cancel, err)
		}
	}
	b.tx(func(tx *store.Tx) error { return tx.RequestCancelRun(ctx, r.ID) })
	if mine, cancel, err := b.s.RunControl(ctx, r.ID, 7); !mine || !cancel || err != nil {
		b.Errorf("RunControl() = %v, %v, %v", mine, cancel, err)
	}
	if got, err := b.s.Run(ctx, r.ID); err != nil || got.Progress != p {
		b.Errorf("progress = %+v, %v", got.Progress, err)
	}

	a := envbackup.Attempt{RunID: r.ID, Number: 1, Worker: "db1", StartedAt: noon}
	b.tx(func(tx *store.Tx) error { return tx.SaveAttempt(ctx, a) })
	a.FinishedAt, a.Failure = noon.Add(time.Minute), r.Failure
	b.tx(func(tx *store.Tx) error {
		if err := tx.SaveAttempt(ctx, a); err != nil {
			return err
		}
		in, err := tx.Attempts(ctx, r.ID)
		b.same("attempts in a transaction", []envbackup.Attempt{a}, in)
		return err
	})
	tries, err := b.s.Attempts(ctx, r.ID)
	b.ok(err)
	b.same("attempts", []envbackup.Attempt{a}, tries)

	other := b.run("mail", func(r *envbackup.Run) { r.ScheduleID = "sch_2" })
	for name, f := range map[string]envbackup.RunFilter{
		"schedule id": {Schedule: "sch_2"}, "reference": {Schedule: "mail/nightly"}, "environment": {Environment: "mail"},
		"state": {States: []envbackup.RunState{envbackup.RunQueued, envbackup.RunFailed}}, "since": {Environment: "mail", Since: other.CreatedAt},
	} {
		list, _, err := b.s.Runs(ctx, f, envbackup.Page{})
		if err != nil || len(list) != 1 || list[0].ID != other.ID {
			b.Errorf("runs by %s = %+v, %v", name, list, err)
		}
	}
	if list, _, err := b.s.Runs(ctx, envbackup.RunFilter{Until: r.CreatedAt}, envbackup.Page{}); err != nil || len(list) != 0 {
		b.Errorf("runs before the first = %v, %v", list, err)
	}
	counts, err := b.s.RunStates(ctx)
	b.ok(err)
	b.same("states", map[envbackup.RunState]int64{envbackup.RunQueued: 1, envbackup.RunRunning: 1}, counts)
	b.tx(func(tx *store.Tx) error {
		open, err := tx.OpenRuns(ctx, "sch_2")
		b.same("open runs", []envbackup.Run{other}, open)
		return err
	})
	b.tx(func(tx *store.Tx) error {
		overdue, err := tx.OverdueRuns(ctx, noon.Add(2*time.Hour))
		b.same("overdue", []string{other.ID}, overdue)
		return err
	})
}

func oneWriter(b *bench) {
	ctx := b.Context()
	b.run("shop", func(r *envbackup.Run) { r.State = envbackup.RunRunning })
	b.run("mail", func(r *envbackup.Run) { r.State = envbackup.RunRunning })
	err := b.s.Tx(ctx, func(tx *store.Tx) error {
		return tx.InsertRun(ctx, &envbackup.Run{Environment: "shop", State: envbackup.RunRunning})
	})
	b.code(err, envbackup.CodeConflict)
	b.tx(func(tx *store.Tx) error {
		if err := tx.LockEnvironment(ctx, "shop"); err != nil {
			return err
		}
		w, busy, err := tx.Writer(ctx, "shop")
		if !busy || w.Kind != store.WorkRun {
			b.Errorf("Writer() = %+v, %v", w, busy)
		}
		_, free, err2 := tx.Writer(ctx, "other")
		if free {
			b.Error("another environment is busy")
		}
		if err == nil {
			err = err2
		}
		return err
	})
}

func waiting(b *bench) {
	ctx := b.Context()
	young := b.run("shop", func(r *envbackup.Run) { r.DueAt = noon.Add(time.Hour) })
	old := b.run("shop", func(r *envbackup.Run) { r.JobID, r.Worker = 5, "db2" })
	b.run("shop", func(r *envbackup.Run) { r.DueAt, r.NextAttemptAt = noon.Add(-time.Hour), noon.Add(time.Hour) })
	restore := envbackup.Restore{BackupID: "bkp_1", Environment: "shop", State: envbackup.RunQueued, CreatedAt: noon.Add(time.Minute)}
	b.tx(func(tx *store.Tx) error { return tx.InsertRestore(ctx, &restore) })
	find := func(what string, fn func(tx *store.Tx) (store.Work, bool, error), want string) {
		b.Helper()
		b.tx(func(tx *store.Tx) error {
			w, ok, err := fn(tx)
			if err != nil || ok != (want != "") || w.ID != want {
				b.Errorf("%s = %+v, %v, %v; want %s", what, w, ok, err, want)
			}
			return nil
		})
	}
	find("next for all", func(tx *store.Tx) (store.Work, bool, error) { return tx.NextWaiting(ctx, "shop", "*", noon) }, old.ID)
	find("next for another worker", func(tx *store.Tx) (store.Work, bool, error) { return tx.NextWaiting(ctx, "shop", "db1", noon) }, restore.ID)
	find("next without a job", func(tx *store.Tx) (store.Work, bool, error) { return tx.NextWithoutJob(ctx, "shop", noon) }, restore.ID)
	find("nothing elsewhere", func(tx *store.Tx) (store.Work, bool, error) { return tx.NextWithoutJob(ctx, "mail", noon) }, "")
	environments := func(want ...string) {
		b.Helper()
		b.tx(func(tx *store.Tx) error {
			got, err := tx.WaitingEnvironments(ctx, noon)
			b.same("waiting environments", want, got)
			return err
		})
	}
	environments("shop")
	b.tx(func(tx *store.Tx) error {
		young.State = envbackup.RunRunning
		_, err := tx.SaveRun(ctx, young, 0)
		return err
	})
	environments()
}

func restores(b *bench) {
	ctx := b.Context()
	r := envbackup.Restore{BackupID: "bkp_1", Environment: "shop", Worker: "db1", Target: "/tmp/x", Include: []string{"*.go"}, Overwrite: true, State: envbackup.RunQueued}
	b.tx(func(tx *store.Tx) error { return tx.InsertRestore(ctx, &r) })
	got, err := b.s.Restore(ctx, r.ID)
	b.ok(err)
	b.same("restore", r, got)
	r.State, r.JobID, r.Node, r.StartedAt, r.FilesDone, r.BytesDone = envbackup.RunRunning, 3, "node-1", noon, 4, 5
	r.Failure = &envbackup.Failure{Code: envbackup.CodeDiskFull, Message: "full"}
	b.tx(func(tx *store.Tx) error {
		if ok, err := tx.SaveRestore(ctx, r, 0); !ok || err != nil {
			b.Errorf("SaveRestore() = %v, %v", ok, err)
		}
		if ok, err := tx.SaveRestore(ctx, r, 9); ok || err != nil {
			b.Errorf("fenced SaveRestore() = %v, %v", ok, err)
		}
		in, err := tx.Restore(ctx, r.ID)
		b.same("saved restore", r, in)
		return err
	})
	if mine, cancel, err := b.s.SaveRestoreProgress(ctx, r.ID, 3, envbackup.Progress{FilesDone: 1}); !mine || cancel || err != nil {
		b.Errorf("SaveRestoreProgress() = %v, %v, %v", mine, cancel, err)
	}
	b.tx(func(tx *store.Tx) error { return tx.RequestCancelRestore(ctx, r.ID) })
	if mine, cancel, err := b.s.RestoreControl(ctx, r.ID, 3); !mine || !cancel || err != nil {
		b.Errorf("RestoreControl() = %v, %v, %v", mine, cancel, err)
	}
	for _, f := range []envbackup.RestoreFilter{{Environment: "shop"}, {States: []envbackup.RunState{envbackup.RunRunning}}, {}} {
		if list, _, err := b.s.Restores(ctx, f, envbackup.Page{}); err != nil || len(list) != 1 {
			b.Errorf("Restores(%+v) = %v, %v", f, list, err)
		}
	}
	if list, _, err := b.s.Restores(ctx, envbackup.RestoreFilter{Environment: "mail"}, envbackup.Page{}); err != nil || len(list) != 0 {
		b.Errorf("Restores(mail) = %v, %v", list, err)
	}
	b.tx(func(tx *store.Tx) error {
		w, busy, err := tx.Writer(ctx, "shop")
		if !busy || w.Kind != store.WorkRestore || w.ID != r.ID {
			b.Errorf("Writer() = %+v, %v", w, busy)
		}
		return err
	})
}

func nodes(b *bench) {
	ctx := b.Context()
	for _, node := range []string{"node-1", "node-2"} {
		if alive, err := b.s.Heartbeat(ctx, node, "db1"); !alive || err != nil {
			b.Errorf("Heartbeat() = %v, %v", alive, err)
		}
	}
	dead := func(ttl time.Duration) (found []string) {
		b.Helper()
		b.tx(func(tx *store.Tx) (err error) { found, err = tx.DeadNodes(ctx, ttl); return err })
		return found
	}
	b.same("dead at once", []string(nil), dead(time.Hour))
	workers := func() []string {
		b.Helper()
		names, err := b.s.Workers(ctx)
		b.ok(err)
		return names
	}
	if alive, err := b.s.Heartbeat(ctx, "node-0", "db0"); !alive || err != nil {
		b.Errorf("Heartbeat() = %v, %v", alive, err)
	}
	b.same("workers", []string{"db0", "db1"}, workers())
	b.ok(b.s.StopNode(ctx, "node-0"))
	b.same("workers after one has stopped", []string{"db1"}, workers())
	b.tx(func(tx *store.Tx) error { return tx.ForgetNode(ctx, "node-0") })
	b.ok(b.s.StopNode(ctx, "node-1"))
	b.same("dead after a stop", []string{"node-1"}, dead(time.Hour))
	if alive, err := b.s.Heartbeat(ctx, "node-1", "db1"); alive || err != nil {
		b.Errorf("Heartbeat() of a dead node = %v, %v", alive, err)
	}
	b.ok(b.s.StopOtherNodes(ctx, "node-1"))
	b.same("dead after a takeover", []string{"node-1", "node-2"}, dead(time.Hour))

	r := b.run("shop", func(r *envbackup.Run) { r.State, r.Node = envbackup.RunRunning, "node-2" })
	lost := b.run("mail", func(r *envbackup.Run) { r.JobID = 4711 })
	b.tx(func(tx *store.Tx) error {
		left, err := tx.ExecutedOn(ctx, "node-2")
		b.same("left by node-2", []store.Work{{Kind: store.WorkRun, ID: r.ID}}, left)
		if err != nil {
			return err
		}
		work, err := tx.LostWork(ctx)
		b.same("lost work", []store.Work{{Kind: store.WorkRun, ID: lost.ID}}, work)
		if err != nil {
			return err
		}
		return tx.ForgetNode(ctx, "node-2")
	})
	b.same("dead after being forgotten", []string{"node-1"}, dead(time.Hour))
	if alive, err := b.s.Heartbeat(ctx, "node-2", "db1"); !alive || err != nil {
		b.Errorf("Heartbeat() after being forgotten = %v, %v", alive, err)
	}
	b.same("silent for longer than nothing", []string{"node-1", "node-2"}, dead(-time.Hour))
}

// giveWay is what makes a prune give way.
func giveWay(b *bench) {
	ctx := b.Context()
	want := func(what, except string, want bool) {
		b.Helper()
		got, err := b.s.WorkWaits(ctx, "shop", except, noon)
		b.ok(err)
		if got != want {
			b.Errorf("%s: WorkWaits() = %t", what, got)
		}
	}
	want("nothing", "", false)
	b.run("mail", nil)
	b.run("shop", func(r *envbackup.Run) { r.State = envbackup.RunSucceeded })
	b.run("shop", func(r *envbackup.Run) { r.DueAt = noon.Add(time.Minute) })
	b.run("shop", func(r *envbackup.Run) { r.NextAttemptAt = noon.Add(time.Minute) })
	want("others, an old one and later ones", "", false)
	own := b.run("shop", func(r *envbackup.Run) { r.State = envbackup.RunRunning })
	want("one that goes on", "", true)
	want("one's own", own.ID, false)
	b.run("shop", nil)
	want("one that is due", own.ID, true)
}
