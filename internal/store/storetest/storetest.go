// Package storetest is the contract of a store: one suite that every database
// must pass. It belongs to the tests and never reaches the binary.
package storetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// Run checks the contract. open returns an empty store and closes it after t.
func Run(t *testing.T, open func(t *testing.T) *store.Store) {
	for name, test := range map[string]func(b *bench){
		"an environment lives":                       environments,
		"a destination lives":                        destinations,
		"what is in use cannot be deleted (R11)":     inUse,
		"a name finds its things again (S16, R11)":   sameName,
		"repositories outlive both ends (R11)":       repositories,
		"a schedule lives":                           schedules,
		"slots are claimed once (S1)":                slots,
		"stretches of slots are one row (S1)":        stretches,
		"the clock's step back voids slots (S12)":    voids,
		"a run lives":                                runs,
		"one writer for each environment (S3)":       oneWriter,
		"waiting work comes in order (S3)":           waiting,
		"a restore lives":                            restores,
		"a verification lives and makes way":         verifications,
		"the newest verified backup is found (S14)":  newestVerified,
		"nodes live, die and are taken over (S5)":    nodes,
		"backups are listed and filtered":            backups,
		"a backup is added once":                     addTwice,
		"points are what backups say":                points,
		"removal has two steps and holds (R5)":       removals,
		"sizes outlive backups (R9)":                 sizes,
		"what the store keeps (R8, R12)":             kept,
		"work that waits (R12)":                      giveWay,
		"what is set aside is remembered (R4)":       setAside,
		"tokens, audit and settings":                 access,
		"pages go through everything once":           pages,
		"a failed transaction leaves nothing":        rollback,
		"two changes from one version: one is stale": staleness,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(&bench{T: t, s: open(t)})
		})
	}
}

// bench is a test with its store.
type bench struct {
	*testing.T
	s *store.Store
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) code(err error, want envbackup.Code) {
	b.Helper()
	if got := envbackup.CodeOf(err); got != want {
		b.Errorf("error = %v with code %q, want %q", err, got, want)
	}
}

func (b *bench) same(what string, want, got any) {
	b.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		b.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (b *bench) tx(fn func(tx *store.Tx) error) {
	b.Helper()
	b.ok(b.s.Tx(b.Context(), fn))
}

var noon = time.Date(2026, 3, 2, 12, 0, 0, 123456000, time.UTC)

func (b *bench) environment(name string) envbackup.Environment {
	b.Helper()
	e := envbackup.Environment{Meta: envbackup.Meta{Owner: "infra"}, EnvironmentSpec: envbackup.EnvironmentSpec{
		Name: name, Worker: "db1", Files: map[string]envbackup.FilesSource{"app": {Path: "/srv/" + name, Exclude: []string{"*.tmp"}}},
	}}
	b.ok(b.s.CreateEnvironment(b.Context(), &e))
	return e
}

func (b *bench) destination(name string) envbackup.Destination {
	b.Helper()
	d := envbackup.Destination{
		DestinationSpec: envbackup.DestinationSpec{Name: name, S3: &envbackup.S3Place{Bucket: "b", Prefix: "p"}, BandwidthLimit: 5},
		SealedSecretKey: []byte{0, 1, 255}, SecretKeyVersion: 2,
	}
	b.ok(b.s.CreateDestination(b.Context(), &d))
	return d
}

func (b *bench) schedule(environment, name string, destinations ...string) envbackup.Schedule {
	b.Helper()
	last := int64(3)
	s := envbackup.Schedule{
		Meta: envbackup.Meta{Owner: "infra"},
		ScheduleSpec: envbackup.ScheduleSpec{
			Name: name, Environment: environment, Destinations: destinations, Cron: "0 * * * *", Retention: retention.Spec{KeepLast: &last},
			Blackout: map[string]envbackup.Blackout{"office": {From: "09:00", To: "17:00"}},
		},
		DecidedUntil: noon, NextAt: noon.Add(time.Hour), DueAt: noon.Add(time.Hour + time.Minute),
	}
	b.tx(func(tx *store.Tx) error { return tx.InsertSchedule(b.Context(), &s, noon) })
	return s
}

func (b *bench) run(environment string, change func(*envbackup.Run)) envbackup.Run {
	b.Helper()
	r := envbackup.Run{
		ScheduleID: "sch_1", Schedule: "nightly", Environment: environment, EnvironmentID: "env_1", Worker: "db1",
		Trigger: envbackup.TriggerSchedule, Nominal: noon, DueAt: noon, StartBy: noon.Add(time.Hour), State: envbackup.RunQueued,
	}
	if change != nil {
		change(&r)
	}
	b.tx(func(tx *store.Tx) error { return tx.InsertRun(b.Context(), &r) })
	return r
}

func (b *bench) backup(n int, change func(*envbackup.Backup)) envbackup.Backup {
	b.Helper()
	k := envbackup.Backup{
		SnapshotID: fmt.Sprintf("%064x", sha256.Sum256([]byte{byte(n), byte(n >> 8)})), RunID: fmt.Sprintf("run_%d", n),
		ScheduleID: "sch_1", Schedule: "nightly", EnvironmentID: "env_1", Environment: "shop", DestinationID: "dst_1", Destination: "s3",
		Trigger: envbackup.TriggerSchedule, Status: envbackup.BackupComplete,
		Nominal: noon.Add(time.Duration(n) * time.Hour), StartedAt: noon, CompletedAt: noon.Add(time.Minute),
		Size: int64(1000 + n), Added: 10, Files: 3,
	}
	if change != nil {
		change(&k)
	}
	b.ok(b.s.AddBackup(b.Context(), &k))
	return k
}

func environments(b *bench) {
	ctx := b.Context()
	e := b.environment("shop")
	if !strings.HasPrefix(e.ID, "env_") || e.Version != 1 || e.CreatedAt.IsZero() {
		b.Errorf("created = %+v", e)
	}
	for _, key := range []string{e.ID, "shop"} {
		got, err := b.s.Environment(ctx, key)
		b.ok(err)
		b.same("environment by "+key, e, got)
	}
	_, err := b.s.Environment(ctx, "mail")
	b.code(err, envbackup.CodeNotFound)
	again := e
	b.code(b.s.CreateEnvironment(ctx, &again), envbackup.CodeConflict)

	e.Worker, e.Owner = "db2", "other"
	b.code(b.s.UpdateEnvironment(ctx, &e, 9), envbackup.CodeStale)
	b.ok(b.s.UpdateEnvironment(ctx, &e, 1))
	got, err := b.s.Environment(ctx, "shop")
	b.ok(err)
	b.same("updated environment", e, got)
	if got.Version != 2 || got.Worker != "db2" || got.Owner != "other" {
		b.Errorf("updated = %+v", got)
	}
	renamed := e
	renamed.Name = "other"
	b.code(b.s.UpdateEnvironment(ctx, &renamed, 0), envbackup.CodeInvalid)
	b.tx(func(tx *store.Tx) error {
		in, err := tx.Environment(ctx, e.ID)
		b.same("environment in a transaction", got, in)
		return err
	})
	b.code(b.s.DeleteEnvironment(ctx, e.ID, 1), envbackup.CodeStale)
	b.ok(b.s.DeleteEnvironment(ctx, e.ID, 2))
	b.code(b.s.DeleteEnvironment(ctx, e.ID, 0), envbackup.CodeNotFound)
	b.code(b.s.UpdateEnvironment(ctx, &e, 0), envbackup.CodeNotFound)
}

func destinations(b *bench) {
	ctx := b.Context()
	d := b.destination("s3")
	got, err := b.s.Destination(ctx, "s3")
	b.ok(err)
	b.same("destination", d, got)
	again := d
	b.code(b.s.CreateDestination(ctx, &again), envbackup.CodeConflict)
	d.S3.Bucket, d.SealedSecretKey, d.SealedRecoveryPassword, d.RecoveryVersion = "c", nil, []byte{7}, 4
	b.code(b.s.UpdateDestination(ctx, &d, 5), envbackup.CodeStale)
	b.ok(b.s.UpdateDestination(ctx, &d, 1))
	got, err = b.s.Destination(ctx, d.ID)
	b.ok(err)
	b.same("updated destination", d, got)
	list, _, err := b.s.Destinations(ctx, envbackup.Page{})
	b.ok(err)
	b.same("destinations", []envbackup.Destination{d}, list)
	b.ok(b.s.DeleteDestination(ctx, d.ID, 0))
	_, err = b.s.Destination(ctx, d.ID)
	b.code(err, envbackup.CodeNotFound)
}

func inUse(b *bench) {
	ctx := b.Context()
	e, d := b.environment("shop"), b.destination("s3")
	b.destination("nas")
	s := b.schedule("shop", "nightly", "s3", "nas")
	for _, err := range []error{b.s.DeleteEnvironment(ctx, e.ID, 0), b.s.DeleteDestination(ctx, d.ID, 0)} {
		b.code(err, envbackup.CodeConflict)
		if !strings.Contains(fmt.Sprint(err), "shop/nightly") {
			b.Errorf("%v does not name the schedule", err)
		}
	}
	b.tx(func(tx *store.Tx) error { return tx.DeleteSchedule(ctx, s.ID, 0) })
	b.ok(b.s.DeleteEnvironment(ctx, e.ID, 0))
	b.ok(b.s.DeleteDestination(ctx, d.ID, 0))
}

func sameName(b *bench) {
	ctx := b.Context()
	e, d := b.environment("shop"), b.destination("s3")
	s := b.schedule("shop", "nightly", "s3")
	b.tx(func(tx *store.Tx) error { return tx.DeleteSchedule(ctx, s.ID, 1) })
	b.ok(b.s.DeleteEnvironment(ctx, e.ID, 0))
	b.ok(b.s.DeleteDestination(ctx, d.ID, 0))
	if got := b.environment("shop"); got.ID != e.ID || got.Version != 1 {
		b.Errorf("environment = %+v, want id %s", got.Meta, e.ID)
	}
	former, err := b.s.FormerSchedule(ctx, "shop/nightly")
	b.ok(err)
	b.same("former schedule", s.ID, former)
	_, err = b.s.FormerSchedule(ctx, "shop/weekly")
	b.code(err, envbackup.CodeNotFound)
	if got := b.destination("s3"); got.ID != d.ID {
		b.Errorf("destination id = %s, want %s", got.ID, d.ID)
	}
	if got := b.schedule("shop", "nightly", "s3"); got.ID != s.ID {
		b.Errorf("schedule id = %s, want %s", got.ID, s.ID)
	}
	if got := b.schedule("shop", "weekly", "s3"); got.ID == s.ID {
		b.Error("another name has the same id")
	}
}

func repositories(b *bench) {
	ctx := b.Context()
	_, err := b.s.Repository(ctx, "dst_1", "env_1")
	b.code(err, envbackup.CodeNotFound)
	r := envbackup.Repository{DestinationID: "dst_1", EnvironmentID: "env_1", SealedPassword: []byte{1, 0}}
	b.ok(b.s.SaveRepository(ctx, &r))
	r.RepositoryID, r.RecoveryVersion, r.RecoveryKeyID, r.KeyShownAt = "abc", 2, "key", noon
	b.ok(b.s.SaveRepository(ctx, &r))
	got, err := b.s.Repository(ctx, "dst_1", "env_1")
	b.ok(err)
	b.same("repository", r, got)
	other := envbackup.Repository{DestinationID: "dst_2", EnvironmentID: "env_1", CreatedAt: noon}
	b.ok(b.s.SaveRepository(ctx, &other))
	list, err := b.s.Repositories(ctx, "dst_2")
	b.ok(err)
	b.same("repositories of one", []envbackup.Repository{other}, list)
	if list, err = b.s.Repositories(ctx, ""); err != nil || len(list) != 2 {
		b.Errorf("all repositories = %v, %v", list, err)
	}
}

func schedules(b *bench) {
	ctx := b.Context()
	b.environment("shop")
	b.destination("s3")
	b.destination("nas")
	s := b.schedule("shop", "nightly", "nas", "s3")
	if len(s.DestinationIDs) != 2 || s.Version != 1 || !s.CreatedAt.Equal(noon) {
		b.Errorf("created = %+v", s)
	}
	for _, key := range []string{s.ID, "shop/nightly"} {
		got, err := b.s.Schedule(ctx, key)
		b.ok(err)
		b.same("schedule by "+key, s, got)
	}
	for _, key := range []string{"sch_x", "shop/other", "shop", ""} {
		_, err := b.s.Schedule(ctx, key)
		b.code(err, envbackup.CodeNotFound)
	}
	b.code(b.s.Tx(ctx, func(tx *store.Tx) error { again := s; return tx.InsertSchedule(ctx, &again, noon) }), envbackup.CodeConflict)
	err := b.s.Tx(ctx, func(tx *store.Tx) error {
		wrong := s
		wrong.Environment, wrong.Destinations = "x", []string{"s3", "y"}
		return tx.InsertSchedule(ctx, &wrong, noon)
	})
	b.code(err, envbackup.CodeInvalid)
	var invalid *envbackup.Error
	if errors.As(err, &invalid) && (len(invalid.Findings) != 2 || invalid.Findings[1].Path != "destinations[1]") {
		b.Errorf("findings = %+v", invalid.Findings)
	}

	b.tx(func(tx *store.Tx) error {
		due, err := tx.DueSchedules(ctx, noon.Add(time.Hour), 10)
		if len(due) != 0 {
			b.Errorf("due too early: %v", due)
		}
		return err
	})
	b.tx(func(tx *store.Tx) error {
		due, err := tx.DueSchedules(ctx, noon.Add(2*time.Hour), 10)
		b.same("due", []envbackup.Schedule{s}, due)
		return errors.Join(err, tx.DecideUntil(ctx, s.ID, noon.Add(time.Hour), noon.Add(2*time.Hour), noon.Add(3*time.Hour)))
	})
	b.tx(func(tx *store.Tx) error {
		after, err := tx.SchedulesDecidedAfter(ctx, noon)
		if len(after) != 1 || after[0].Version != 1 || !after[0].DecidedUntil.Equal(noon.Add(time.Hour)) {
			b.Errorf("decided after noon = %+v", after)
		}
		return err
	})

	s.Description, s.Destinations, s.PolicyEditedAt = "changed", []string{"s3"}, noon
	edit := func(version int64) error {
		return b.s.Tx(ctx, func(tx *store.Tx) error { return tx.UpdateSchedule(ctx, &s, version, noon.Add(time.Minute)) })
	}
	b.code(edit(4), envbackup.CodeStale)
	b.ok(edit(1))
	got, err := b.s.Schedule(ctx, s.ID)
	b.ok(err)
	b.same("updated schedule", s, got)
	if got.Version != 2 || !got.UpdatedAt.Equal(noon.Add(time.Minute)) || len(got.DestinationIDs) != 1 {
		b.Errorf("updated = %+v", got)
	}
	s.Name = "renamed"
	b.ok(edit(2))
	if got, err := b.s.Schedule(ctx, "shop/renamed"); err != nil || got.ID != s.ID {
		b.Errorf("renamed = %+v, %v", got, err)
	}
	b.ok(b.s.DeleteDestination(ctx, "nas", 0)) // no longer used
	b.environment("mail")
	b.schedule("mail", "a", "s3")
	list, _, err := b.s.Schedules(ctx, envbackup.ScheduleFilter{}, envbackup.Page{})
	b.ok(err)
	if len(list) != 2 || list[0].Environment != "mail" {
		b.Errorf("schedules = %+v", list)
	}
	list, _, err = b.s.Schedules(ctx, envbackup.ScheduleFilter{Environment: "shop"}, envbackup.Page{})
	b.ok(err)
	if len(list) != 1 || list[0].ID != s.ID {
		b.Errorf("schedules of shop = %+v", list)
	}
	b.code(b.s.Tx(ctx, func(tx *store.Tx) error { return tx.DeleteSchedule(ctx, s.ID, 1) }), envbackup.CodeStale)
}

func rollback(b *bench) {
	ctx := b.Context()
	stop := errors.New("stop")
	var r envbackup.Run
	err := b.s.Tx(ctx, func(tx *store.Tx) error {
		return errors.Join(tx.InsertRun(ctx, &r), stop)
	})
	if !errors.Is(err, stop) {
		b.Errorf("Tx() = %v, want what its function returned", err)
	}
	_, err = b.s.Run(ctx, r.ID)
	b.code(err, envbackup.CodeNotFound)
	b.ok(b.s.Ping(ctx))
}

func staleness(b *bench) {
	ctx := b.Context()
	e := b.environment("shop")
	errs := make(chan error)
	for range 4 {
		go func() { mine := e; errs <- b.s.UpdateEnvironment(ctx, &mine, 1) }()
	}
	won := 0
	for range 4 {
		if err := <-errs; err == nil {
			won++
		} else {
			b.code(err, envbackup.CodeStale)
		}
	}
	if won != 1 {
		b.Errorf("%d of 4 changes from the same version won, want 1", won)
	}
}

func access(b *bench) {
	ctx := b.Context()
	token := envbackup.Token{Name: "ci", Role: envbackup.RoleOperator, Hash: sha256.Sum256([]byte("text"))}
	b.ok(b.s.AddToken(ctx, &token))
	got, err := b.s.TokenByHash(ctx, token.Hash)
	b.ok(err)
	b.same("token", token, got)
	_, err = b.s.TokenByHash(ctx, sha256.Sum256(nil))
	b.code(err, envbackup.CodeNotFound)
	again := token
	b.code(b.s.AddToken(ctx, &again), envbackup.CodeConflict)
	if list, err := b.s.Tokens(ctx); err != nil || len(list) != 1 {
		b.Errorf("Tokens() = %v, %v", list, err)
	}
	b.ok(b.s.DeleteToken(ctx, "ci"))
	b.code(b.s.DeleteToken(ctx, token.ID), envbackup.CodeNotFound)

	for i := range 3 {
		b.ok(b.s.AddAudit(ctx, envbackup.AuditEntry{At: noon.Add(time.Duration(i) * time.Second), Actor: "ann", Action: "create", Kind: "schedule", Name: fmt.Sprint(i)}))
	}
	log, _, err := b.s.Audit(ctx, envbackup.Page{})
	b.ok(err)
	if len(log) != 3 || log[0].Name != "2" || log[0].Actor != "ann" || !log[0].At.Equal(noon.Add(2*time.Second)) {
		b.Errorf("Audit() = %+v", log)
	}

	for _, value := range []string{"a", "b"} {
		b.ok(b.s.SetSetting(ctx, "k", value))
		if got, ok, err := b.s.Setting(ctx, "k"); got != value || !ok || err != nil {
			b.Errorf("Setting() = %q, %v, %v; want %q", got, ok, err, value)
		}
	}
	b.ok(b.s.SetSetting(ctx, "k", ""))
	if got, ok, err := b.s.Setting(ctx, "k"); got != "" || ok || err != nil {
		b.Errorf("removed Setting() = %q, %v, %v", got, ok, err)
	}
}

func pages(b *bench) {
	ctx := b.Context()
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("e%02d", i)
		b.environment(name)
		want = append(want, name)
		// Equal instants: the id decides, and nothing is lost or doubled.
		b.backup(i, func(k *envbackup.Backup) { k.Nominal = noon.Add(time.Duration(i/10) * time.Hour) })
		b.run(name, nil)
	}
	var got []string
	for page := (envbackup.Page{Limit: 10}); ; {
		list, next, err := b.s.Environments(ctx, page)
		b.ok(err)
		for _, e := range list {
			got = append(got, e.Name)
		}
		if page.Cursor = next; next == "" {
			break
		}
	}
	b.same("environments over pages", want, got)

	seen := map[string]bool{}
	last := noon.Add(100 * time.Hour)
	for page := (envbackup.Page{Limit: 7}); ; {
		list, next, total, err := b.s.Backups(ctx, envbackup.BackupFilter{Environment: "shop"}, page)
		b.ok(err)
		if total != 25 {
			b.Errorf("total = %d, want 25", total)
		}
		for _, k := range list {
			if seen[k.ID] || k.Nominal.After(last) {
				b.Errorf("backup %s twice or out of order", k.ID)
			}
			seen[k.ID], last = true, k.Nominal
		}
		if page.Cursor = next; next == "" {
			break
		}
	}
	if len(seen) != 25 {
		b.Errorf("%d backups over pages, want 25", len(seen))
	}
	for _, cursor := range []string{"x", "W10", "WzFd", "WyJhIiwiYiJd", strings.Repeat("a", 1000)} {
		_, _, _, err := b.s.Backups(ctx, envbackup.BackupFilter{}, envbackup.Page{Cursor: cursor})
		b.code(err, envbackup.CodeInvalid)
	}
	if list, next, err := b.s.Runs(ctx, envbackup.RunFilter{}, envbackup.Page{Limit: 5000}); err != nil || len(list) != 25 || next != "" {
		b.Errorf("Runs() = %d, %q, %v", len(list), next, err)
	}
}

// ids are sorted for comparison.
func ids(backups []envbackup.Backup) []string {
	var all []string
	for _, k := range backups {
		all = append(all, k.ID)
	}
	slices.Sort(all)
	return all
}
