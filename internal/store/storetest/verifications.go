package storetest

import (
	"slices"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

func verifications(b *bench) {
	ctx := b.Context()
	v := envbackup.Verification{
		BackupID: "bkp_1", ScheduleID: "sch_1", Schedule: "nightly", Environment: "shop", DestinationID: "dst_1", Destination: "s3", Worker: "db1",
		Level: envbackup.VerifyRestore, Trigger: envbackup.TriggerSchedule, State: envbackup.RunQueued, MaxDuration: 2 * time.Hour,
	}
	b.tx(func(tx *store.Tx) error { return tx.InsertVerification(ctx, &v) })
	got, err := b.s.Verification(ctx, v.ID)
	b.ok(err)
	b.same("verification", v, got)
	_, err = b.s.Verification(ctx, "vrf_x")
	b.code(err, envbackup.CodeNotFound)
	b.verifying("shop", "", v.ID)

	v.State, v.JobID, v.Node, v.StartedAt, v.FilesDone, v.BytesDone = envbackup.RunRunning, 3, "node-1", noon, 4, 5
	v.Spent, v.Attempt, v.Lost, v.Problems = time.Minute, 2, 1, []string{"/srv/x: gone"}
	v.Failure = &envbackup.Failure{Code: envbackup.CodeDamaged, Message: "pack"}
	b.tx(func(tx *store.Tx) error {
		if ok, err := tx.SaveVerification(ctx, v, 0); !ok || err != nil {
			b.Errorf("SaveVerification() = %v, %v", ok, err)
		}
		if ok, err := tx.SaveVerification(ctx, v, 9); ok || err != nil {
			b.Errorf("fenced SaveVerification() = %v, %v", ok, err)
		}
		in, err := tx.Verification(ctx, v.ID)
		b.same("saved verification", v, in)
		return err
	})
	b.verifying("shop", v.ID, "")
	if mine, cancel, err := b.s.SaveVerificationProgress(ctx, v.ID, 3, envbackup.Progress{FilesDone: 1}); !mine || cancel || err != nil {
		b.Errorf("SaveVerificationProgress() = %v, %v, %v", mine, cancel, err)
	}
	control := func(fence int64, want ...bool) {
		b.Helper()
		mine, cancel, yield, err := b.s.VerificationControl(ctx, v.ID, fence)
		b.ok(err)
		b.same("control: mine, cancel, yield", want, []bool{mine, cancel, yield})
	}
	control(3, true, false, false)
	control(4, false, false, false)
	b.tx(func(tx *store.Tx) error {
		asked, err := tx.AskToYield(ctx, "shop")
		b.same("asked to make way", []string{v.ID}, asked)
		return err
	})
	control(3, true, false, true)
	b.tx(func(tx *store.Tx) error { return tx.RequestCancelVerification(ctx, v.ID) })
	control(3, true, true, false)
	b.tx(func(tx *store.Tx) error {
		left, err := tx.ExecutedOn(ctx, "node-1")
		b.same("left by its node", []store.Work{{Kind: store.WorkVerify, ID: v.ID}}, left)
		if err != nil {
			return err
		}
		// A verification is no writer: backups and restores begin beside it.
		_, busy, err := tx.Writer(ctx, "shop")
		if busy {
			b.Error("a verification holds its environment")
		}
		return err
	})

	other := v
	other.ID, other.BackupID, other.ScheduleID, other.Environment, other.State, other.JobID = "", "bkp_2", "sch_2", "mail", envbackup.RunQueued, 4711
	other.CreatedAt = noon
	restore := envbackup.Restore{BackupID: "bkp_9", Environment: "tea", State: envbackup.RunRunning}
	fresh := other
	fresh.BackupID, fresh.Attempt = "bkp_3", 0
	b.tx(func(tx *store.Tx) error {
		if err := tx.InsertRestore(ctx, &restore); err != nil {
			return err
		}
		if err := tx.InsertVerification(ctx, &fresh); err != nil {
			return err
		}
		return tx.InsertVerification(ctx, &other)
	})
	b.tx(func(tx *store.Tx) error {
		lost, err := tx.LostWork(ctx)
		if !slices.Contains(lost, store.Work{Kind: store.WorkVerify, ID: other.ID}) {
			b.Errorf("lost work = %v, want the one whose job is gone", lost)
		}
		if err != nil {
			return err
		}
		open, err := tx.OpenVerifications(ctx, "bkp_2")
		b.same("open of a backup", []envbackup.Verification{other}, open)
		if err != nil {
			return err
		}
		open, err = tx.OpenVerificationsAt(ctx, "sch_1", "dst_1")
		if len(open) != 1 || open[0].ID != v.ID {
			b.Errorf("open of a schedule at a destination = %+v", open)
		}
		return err
	})
	used, err := b.s.BackupsInUse(ctx)
	b.ok(err)
	b.same("in use: running, or making way", map[string]bool{"bkp_1": true, "bkp_2": true, "bkp_9": true}, used)
	for name, f := range map[string]envbackup.VerificationFilter{
		"environment": {Environment: "shop"}, "backup": {BackupID: "bkp_1"}, "schedule": {ScheduleID: "sch_1"},
		"state": {States: []envbackup.RunState{envbackup.RunRunning}},
	} {
		if list, _, err := b.s.Verifications(ctx, f, envbackup.Page{}); err != nil || len(list) != 1 || list[0].ID != v.ID {
			b.Errorf("verifications by %s = %+v, %v", name, list, err)
		}
	}
}

// verifying checks what executes and what waits in an environment.
func (b *bench) verifying(environment, running, waiting string) {
	b.Helper()
	ctx := b.Context()
	b.tx(func(tx *store.Tx) error {
		w, _, err := tx.Verifying(ctx, environment)
		b.same("verifying", running, w.ID)
		if err != nil {
			return err
		}
		for worker, want := range map[string]string{"db1": waiting, "db2": ""} {
			found, err := tx.WaitingVerifications(ctx, worker)
			if err != nil {
				return err
			}
			got := ""
			if len(found) > 0 {
				got = found[0].ID
			}
			b.same("waiting for "+worker, want, got)
		}
		return nil
	})
}

func newestVerified(b *bench) {
	ctx := b.Context()
	find := func(verified bool, want string) {
		b.Helper()
		b.tx(func(tx *store.Tx) error {
			got, ok, err := tx.NewestComplete(ctx, "sch_1", "dst_1", verified)
			if ok != (want != "") || got.ID != want {
				b.Errorf("NewestComplete(verified %v) = %s, %v; want %q", verified, got.ID, ok, want)
			}
			return err
		})
	}
	last := func(want time.Time, verification, damaged string) {
		b.Helper()
		p, err := b.s.ScheduleProof(ctx, "sch_1")
		b.ok(err)
		every, err := b.s.ScheduleProofs(ctx)
		b.ok(err)
		same := every["sch_1"]
		same.Last = p.Last
		b.same("proof among all", p, same)
		var lastID, damagedID string
		if p.Last != nil {
			lastID = p.Last.ID
		}
		if p.Damaged != nil {
			damagedID = p.Damaged.ID
		}
		if !p.VerifiedAt.Equal(want) || lastID != verification || damagedID != damaged {
			b.Errorf("ScheduleProof() = %s, %q, %q; want %s, %q, %q", p.VerifiedAt, lastID, damagedID, want, verification, damaged)
		}
	}
	at := func(n int, change func(*envbackup.Backup)) envbackup.Backup {
		return b.backup(n, func(k *envbackup.Backup) {
			k.ScheduleID, k.DestinationID, k.Nominal = "sch_1", "dst_1", noon.Add(time.Duration(n)*time.Hour)
			if change != nil {
				change(k)
			}
		})
	}
	find(false, "")
	last(time.Time{}, "", "")
	old, mid, young := at(1, nil), at(2, nil), at(3, nil)
	at(4, func(k *envbackup.Backup) { k.Status = envbackup.BackupPartial })
	at(5, func(k *envbackup.Backup) { k.DestinationID = "dst_2" })
	find(false, young.ID)
	find(true, "")
	b.ok(b.s.MarkVerified(ctx, old.ID, noon.Add(time.Minute)))
	b.ok(b.s.MarkVerified(ctx, mid.ID, noon.Add(2*time.Minute)))
	find(true, mid.ID)
	last(noon.Add(2*time.Minute), "", "")

	// What is damaged was never verified.
	b.ok(b.s.SetStatus(ctx, mid.ID, envbackup.BackupDamaged))
	if got, err := b.s.Backup(ctx, mid.ID); err != nil || !got.VerifiedAt.IsZero() || got.Status != envbackup.BackupDamaged {
		b.Errorf("the damaged one = %+v, %v", got, err)
	}
	find(true, old.ID)
	last(noon.Add(time.Minute), "", mid.ID)
	first := envbackup.Verification{BackupID: old.ID, ScheduleID: "sch_1", State: envbackup.RunSucceeded, CreatedAt: noon}
	second := envbackup.Verification{BackupID: old.ID, ScheduleID: "sch_1", State: envbackup.RunFailed, CreatedAt: noon.Add(time.Second)}
	b.tx(func(tx *store.Tx) error {
		if err := tx.InsertVerification(ctx, &second); err != nil {
			return err
		}
		return tx.InsertVerification(ctx, &first)
	})
	last(noon.Add(time.Minute), second.ID, mid.ID)
	b.ok(b.s.MarkVerified(ctx, young.ID, noon.Add(3*time.Minute)))
	last(noon.Add(3*time.Minute), second.ID, "")
	b.ok(b.s.MarkRemoval(ctx, []string{young.ID}, noon))
	find(false, old.ID)
}
