package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

func backups(b *bench) {
	ctx := b.Context()
	plain := b.backup(1, nil)
	nas := b.backup(2, func(k *envbackup.Backup) { k.DestinationID, k.Destination = "dst_2", "nas" })
	mail := b.backup(3, func(k *envbackup.Backup) { k.Environment, k.ScheduleID, k.Schedule = "mail", "sch_2", "weekly" })
	partial := b.backup(4, func(k *envbackup.Backup) { k.Status, k.Missing = envbackup.BackupPartial, []string{"/srv/x"} })
	manual := b.backup(5, func(k *envbackup.Backup) { k.Trigger = envbackup.TriggerManual })
	verified := b.backup(6, nil)
	b.ok(b.s.MarkVerified(ctx, verified.ID, noon))
	yes, no := true, false
	for name, tt := range map[string]struct {
		filter envbackup.BackupFilter
		want   []envbackup.Backup
	}{
		"everything":    {envbackup.BackupFilter{}, []envbackup.Backup{plain, nas, mail, partial, manual, verified}},
		"environment":   {envbackup.BackupFilter{Environment: "mail"}, []envbackup.Backup{mail}},
		"schedule":      {envbackup.BackupFilter{Schedule: "weekly"}, []envbackup.Backup{mail}},
		"reference":     {envbackup.BackupFilter{Schedule: "mail/weekly"}, []envbackup.Backup{mail}},
		"no such":       {envbackup.BackupFilter{Schedule: "shop/weekly"}, nil},
		"schedule id":   {envbackup.BackupFilter{ScheduleID: "sch_2"}, []envbackup.Backup{mail}},
		"destination":   {envbackup.BackupFilter{Destination: "nas"}, []envbackup.Backup{nas}},
		"status":        {envbackup.BackupFilter{Status: envbackup.BackupPartial}, []envbackup.Backup{partial}},
		"trigger":       {envbackup.BackupFilter{Trigger: envbackup.TriggerManual}, []envbackup.Backup{manual}},
		"verified":      {envbackup.BackupFilter{Verified: &yes}, []envbackup.Backup{verified}},
		"not verified":  {envbackup.BackupFilter{Verified: &no, Status: envbackup.BackupComplete}, []envbackup.Backup{plain, nas, mail, manual}},
		"since, until":  {envbackup.BackupFilter{Since: nas.Nominal, Until: partial.Nominal}, []envbackup.Backup{nas, mail}},
		"with hostiles": {envbackup.BackupFilter{Environment: "' OR 1=1 --"}, nil},
	} {
		list, _, total, err := b.s.Backups(ctx, tt.filter, envbackup.Page{})
		b.ok(err)
		b.same("backups by "+name, ids(tt.want), ids(list))
		if total != int64(len(tt.want)) {
			b.Errorf("total by %s = %d, want %d", name, total, len(tt.want))
		}
	}
	got, err := b.s.Backup(ctx, partial.ID)
	b.ok(err)
	b.same("backup", partial, got)
	got, err = b.s.Backup(ctx, partial.SnapshotID[:12])
	b.ok(err)
	b.same("backup by the beginning of its snapshot id", partial, got)
	for key, code := range map[string]envbackup.Code{"": envbackup.CodeNotFound, "zz": envbackup.CodeNotFound, "bkp_x": envbackup.CodeNotFound, "%": envbackup.CodeNotFound} {
		_, err := b.s.Backup(ctx, key)
		b.code(err, code)
	}
	twin := b.backup(7, func(k *envbackup.Backup) { k.SnapshotID, k.DestinationID = plain.SnapshotID, "dst_9" })
	_, err = b.s.Backup(ctx, plain.SnapshotID[:8])
	b.code(err, envbackup.CodeConflict)
	b.ok(b.s.DropBackups(ctx, []string{twin.ID}))

	all, err := b.s.AllBackups(ctx, "sch_1", "dst_1")
	b.ok(err)
	if len(all) != 4 || all[0].ID != verified.ID || all[3].ID != plain.ID {
		b.Errorf("AllBackups() = %v", ids(all))
	}
	good, err := b.s.LastGood(ctx, "sch_1")
	b.ok(err)
	if good.ID != verified.ID || !good.VerifiedAt.Equal(noon) {
		b.Errorf("LastGood() = %+v", good)
	}
	b.ok(b.s.SetStatus(ctx, verified.ID, envbackup.BackupDamaged))
	b.tx(func(tx *store.Tx) error {
		good, err := tx.LastGood(ctx, "sch_1")
		if good.ID != manual.ID {
			b.Errorf("LastGood() after damage = %+v", good)
		}
		return err
	})
	_, err = b.s.LastGood(ctx, "sch_x")
	b.code(err, envbackup.CodeNotFound)
	b.code(b.s.SetStatus(ctx, "bkp_x", envbackup.BackupDamaged), envbackup.CodeNotFound)
	totals, err := b.s.BackupTotals(ctx)
	b.ok(err)
	b.same("totals", []store.BackupTotal{
		{Environment: "mail", Destination: "s3", Count: 1, Added: 10},
		{Environment: "shop", Destination: "nas", Count: 1, Added: 10},
		{Environment: "shop", Destination: "s3", Count: 4, Added: 40},
	}, totals)
}

// points: the lean reading is what the whole backups say, in the order in which
// retention judges them, whatever they are.
func points(b *bench) {
	ctx := b.Context()
	n := 0
	for _, trigger := range []envbackup.Trigger{
		envbackup.TriggerSchedule, envbackup.TriggerCatchUp, envbackup.TriggerCreate, envbackup.TriggerManual, envbackup.TriggerSafety,
	} {
		for _, status := range []envbackup.BackupStatus{
			envbackup.BackupComplete, envbackup.BackupPartial, envbackup.BackupSuspect, envbackup.BackupDamaged,
		} {
			n++
			k := b.backup(n, func(k *envbackup.Backup) {
				k.Trigger, k.Status = trigger, status
				k.Nominal = noon.Add(time.Duration(n%7) * time.Hour) // several share it
				k.CompletedAt = noon.Add(time.Duration(n%3) * time.Minute)
			})
			if n%4 == 0 {
				b.ok(b.s.MarkVerified(ctx, k.ID, noon))
			}
			if n%5 == 0 {
				b.ok(b.s.Hold(ctx, k.ID, "audit"))
			}
		}
	}
	b.backup(100, func(k *envbackup.Backup) { k.DestinationID = "dst_2" })
	b.backup(101, func(k *envbackup.Backup) { k.ScheduleID = "sch_2" })
	gone := b.backup(102, nil)
	b.ok(b.s.DropBackups(ctx, []string{gone.ID}))

	// What decides is the same, and so are ids and completions where they do.
	same := func(what string, now time.Time, whole bool) {
		b.Helper()
		all, err := b.s.AllBackups(ctx, "sch_1", "dst_1")
		b.ok(err)
		var want []retention.Point
		for _, it := range retention.Plan(wholePoints(all), retention.Policy{KeepAll: true, AtLeast: 1}, time.UTC, now).Items {
			if !whole {
				it.Point.ID, it.Point.Completed = "", time.Time{}
			}
			want = append(want, it.Point)
		}
		got, err := b.s.Points(ctx, "sch_1", "dst_1", time.Time{}, now)
		b.ok(err)
		if whole {
			retention.Sift(got, retention.Policy{KeepAll: true, AtLeast: 1}, time.UTC, now)
		}
		b.same(what, want, got)
		if len(got) != n {
			b.Errorf("%s: %d, want %d", what, len(got), n)
		}
	}
	later := noon.Add(24 * time.Hour)
	same("points", later, false)
	same("points with some in the future", noon.Add(2*time.Hour), true)
	for _, now := range []time.Time{later, noon.Add(2 * time.Hour)} {
		got, err := b.s.Points(ctx, "sch_1", "dst_1", noon.Add(2*time.Minute), now)
		b.ok(err)
		if len(got) != 7 {
			b.Errorf("points completed two minutes past noon or later = %d, want 7", len(got))
		}
	}
	all, err := b.s.AllBackups(ctx, "sch_1", "dst_1")
	b.ok(err)
	b.ok(b.s.SetLocks(ctx, map[string]time.Time{all[0].ID: later.Add(time.Hour)}))
	same("points with one that the store locks", later, true)
	b.ok(b.s.SetLocks(ctx, map[string]time.Time{all[0].ID: {}}))
	same("points with none that the store locks any more", later, false)
	n++
	b.backup(n, func(k *envbackup.Backup) { k.Size = 1 << 60 })
	same("points with one of an impossible size", later, true)
	none, err := b.s.Points(ctx, "sch_x", "dst_1", time.Time{}, later)
	b.ok(err)
	if len(none) != 0 {
		b.Errorf("points of no schedule = %v", none)
	}
}

func wholePoints(backups []envbackup.Backup) []retention.Point {
	list := make([]retention.Point, 0, len(backups))
	for _, k := range backups {
		list = append(list, k.Point())
	}
	return list
}

func addTwice(b *bench) {
	first := b.backup(1, nil)
	again := first
	again.ID, again.Size = "", 5
	b.ok(b.s.AddBackup(b.Context(), &again))
	b.same("backup added again", first, again)
}

func removals(b *bench) {
	ctx := b.Context()
	one, two, held := b.backup(1, nil), b.backup(2, nil), b.backup(3, nil)
	b.ok(b.s.Hold(ctx, held.ID, "audit"))
	b.code(b.s.Hold(ctx, "bkp_x", ""), envbackup.CodeNotFound)
	b.code(b.s.MarkRemoval(ctx, []string{one.ID, held.ID}, noon), envbackup.CodeConflict)
	if got, err := b.s.Backup(ctx, one.ID); err != nil || !got.RemovalMarkedAt.IsZero() {
		b.Errorf("marked beside a held one: %+v, %v", got, err)
	}
	b.code(b.s.BeginRemoval(ctx, one.ID, noon), envbackup.CodeConflict) // not marked
	b.ok(b.s.MarkRemoval(ctx, []string{one.ID, two.ID}, noon))
	b.ok(b.s.Hold(ctx, two.ID, "mine")) // takes the mark away
	b.code(b.s.BeginRemoval(ctx, two.ID, noon), envbackup.CodeConflict)
	b.ok(b.s.BeginRemoval(ctx, one.ID, noon))
	b.ok(b.s.BeginRemoval(ctx, one.ID, noon)) // after a crash
	b.code(b.s.Hold(ctx, one.ID, "too late"), envbackup.CodeConflict)
	b.ok(b.s.UnmarkRemoval(ctx, []string{one.ID}))
	b.ok(b.s.Hold(ctx, one.ID, "the deletion failed"))
	b.ok(b.s.Release(ctx, one.ID))
	if got, err := b.s.Backup(ctx, one.ID); err != nil || got.Held || got.HoldReason != "" {
		b.Errorf("released = %+v, %v", got, err)
	}
	b.ok(b.s.DropBackups(ctx, []string{one.ID, "bkp_unknown"}))
	left, _, total, err := b.s.Backups(ctx, envbackup.BackupFilter{}, envbackup.Page{})
	b.ok(err)
	b.same("left", ids([]envbackup.Backup{two, held}), ids(left))
	if total != 2 {
		b.Errorf("total = %d", total)
	}
	gone, _, _, err := b.s.Backups(ctx, envbackup.BackupFilter{IncludeRemoved: true}, envbackup.Page{})
	b.ok(err)
	b.same("with removed ones", ids([]envbackup.Backup{one, two, held}), ids(gone))
	b.code(b.s.MarkVerified(ctx, one.ID, noon), envbackup.CodeNotFound)
	b.code(b.s.MarkRemoval(ctx, []string{one.ID}, noon), envbackup.CodeNotFound)
}

func sizes(b *bench) {
	ctx := b.Context()
	var dropped []string
	for n := range 5 {
		k := b.backup(n, nil)
		b.backup(n+100, func(k *envbackup.Backup) { // the same run elsewhere
			k.RunID, k.Nominal, k.DestinationID, k.Size = fmt.Sprintf("run_%d", n), noon.Add(time.Duration(n)*time.Hour), "dst_2", int64(1000+n)
		})
		dropped = append(dropped, k.ID)
	}
	b.backup(50, func(k *envbackup.Backup) { k.Trigger = envbackup.TriggerManual })
	b.backup(51, func(k *envbackup.Backup) { k.Status = envbackup.BackupSuspect })
	b.ok(b.s.DropBackups(ctx, dropped))
	suspect := b.backup(52, func(k *envbackup.Backup) { k.Status, k.Size = envbackup.BackupSuspect, 3 })
	recent := func(what, except string, want ...int64) {
		b.Helper()
		got, err := b.s.RecentSizes(ctx, "sch_1", except, 3)
		b.ok(err)
		if !slices.Equal(got, want) {
			b.Errorf("%s: RecentSizes() = %v, want %v", what, got, want)
		}
	}
	recent("two destinations count a run once", "", 1004, 1003, 1002)
	recent("the run that is judged does not count", "run_4", 1003, 1002, 1001)
	b.code(b.s.Acknowledge(ctx, dropped[0], noon), envbackup.CodeNotFound)
	b.ok(b.s.Acknowledge(ctx, suspect.ID, noon))
	b.code(b.s.Acknowledge(ctx, suspect.ID, noon), envbackup.CodeConflict)
	if got, err := b.s.Backup(ctx, suspect.ID); err != nil || got.Status != envbackup.BackupComplete || !got.AcknowledgedAt.Equal(noon) {
		b.Errorf("acknowledged: %+v, %v", got, err)
	}
	b.backup(53, func(k *envbackup.Backup) { k.Size = 4 })
	recent("an acknowledged one begins a new baseline", "", 4, 3)
}

// kept is what the object store keeps, and what waits to be reclaimed.
func kept(b *bench) {
	ctx := b.Context()
	one := b.backup(1, nil)
	b.ok(b.s.SetLocks(ctx, map[string]time.Time{one.ID: noon}))
	if got, err := b.s.Backup(ctx, one.ID); err != nil || !got.LockedUntil.Equal(noon) {
		b.Errorf("locked until %s (%v), want %s", got.LockedUntil, err, noon)
	}
	b.ok(b.s.MarkRemoval(ctx, []string{one.ID}, noon))
	b.ok(b.s.DropBackups(ctx, []string{one.ID}))
	again := one
	b.ok(b.s.AddBackup(ctx, &again))
	if again.ID != one.ID || !again.RemovalMarkedAt.IsZero() {
		b.Errorf("a snapshot that came back is %+v", again)
	}
	if got, err := b.s.Backup(ctx, one.ID); err != nil || got.ID != one.ID {
		b.Errorf("a snapshot that came back is not listed: %v", err)
	}

	other := b.backup(2, func(k *envbackup.Backup) { k.ScheduleID, k.CompletedAt = "sch_2", noon.Add(2*time.Hour) })
	going := b.backup(3, nil)
	b.ok(b.s.MarkRemoval(ctx, []string{going.ID}, noon))
	b.ok(b.s.BeginRemoval(ctx, going.ID, noon))
	listed, err := b.s.SnapshotIDs(ctx, one.EnvironmentID, one.DestinationID, time.Time{})
	b.ok(err)
	slices.Sort(listed)
	wanted := []string{one.SnapshotID, other.SnapshotID}
	slices.Sort(wanted)
	b.same("snapshots of the repository", wanted, listed)
	listed, err = b.s.SnapshotIDs(ctx, one.EnvironmentID, one.DestinationID, other.CompletedAt)
	b.ok(err)
	b.same("snapshots since the repository was made", []string{other.SnapshotID}, listed)

	r := envbackup.Repository{DestinationID: "dst_1", EnvironmentID: "env_1", Location: "x"}
	b.ok(b.s.SaveRepository(ctx, &r))
	b.ok(b.s.NoteReclaim(ctx, "dst_1", "env_1", noon, "locked"))
	b.ok(b.s.SaveRepository(ctx, &r)) // by somebody who read it before
	waiting, err := b.s.Unreclaimed(ctx, noon.Add(time.Second))
	b.ok(err)
	if len(waiting) != 1 || !waiting[0].ReclaimSince.Equal(noon) || waiting[0].ReclaimWhy != "locked" {
		b.Errorf("waiting are %+v", waiting)
	}
	if waiting, err = b.s.Unreclaimed(ctx, noon); err != nil || len(waiting) != 0 {
		b.Errorf("waiting since before noon are %+v (%v)", waiting, err)
	}
	b.ok(b.s.NoteReclaim(ctx, "dst_1", "env_1", time.Time{}, ""))
	if waiting, err = b.s.Unreclaimed(ctx, noon.Add(time.Hour)); err != nil || len(waiting) != 0 {
		b.Errorf("waiting after the reclamation are %+v (%v)", waiting, err)
	}
}

func setAside(b *bench) {
	ctx := b.Context()
	got, err := b.s.SetAside(ctx, "sch_1", "dst_1")
	b.ok(err)
	b.same("nothing set aside", store.SetAside{ScheduleID: "sch_1", DestinationID: "dst_1"}, got)
	b.ok(b.s.NoteRetention(ctx, "sch_1", "dst_1", "held"))
	held, err := b.s.Retentions(ctx)
	b.ok(err)
	b.same("what holds removals", []envbackup.RetentionState{{ScheduleID: "sch_1", DestinationID: "dst_1", Hold: "held"}}, held)
	a := store.SetAside{
		ScheduleID: "sch_1", DestinationID: "dst_1", IDs: []string{"x", "y"}, Reason: "more than half", Since: noon, JudgedAt: noon,
		Cancelled: []string{"z"},
	}
	b.ok(b.s.SaveSetAside(ctx, a))
	held, err = b.s.Retentions(ctx)
	b.ok(err)
	b.same("a list that waits", []envbackup.RetentionState{{
		ScheduleID: "sch_1", DestinationID: "dst_1", SetAside: []string{"x", "y"}, Reason: "more than half",
	}}, held)
	b.ok(b.s.AddWaited(ctx, 90*time.Second))
	a.Waited = 90 * time.Second
	got, err = b.s.SetAside(ctx, "sch_1", "dst_1")
	b.ok(err)
	b.same("set aside", a, got)
	a.Decision = "confirmed"
	b.ok(b.s.SaveSetAside(ctx, a))
	b.ok(b.s.ClearSetAside(ctx, "sch_1", "dst_1"))
	b.ok(b.s.AddWaited(ctx, time.Hour)) // nothing waits any more
	got, err = b.s.SetAside(ctx, "sch_1", "dst_1")
	b.ok(err)
	b.same("cleared", store.SetAside{ScheduleID: "sch_1", DestinationID: "dst_1", JudgedAt: noon}, got)
	held, err = b.s.Retentions(ctx)
	b.ok(err)
	b.same("nothing holds removals", []envbackup.RetentionState(nil), held)
}
