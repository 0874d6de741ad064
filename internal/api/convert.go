package api

import (
	"strconv"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// optional is null in JSON for the zero time.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	u := t.UTC()
	return &u
}

func metaOf(m envbackup.Meta) wire.Meta {
	return wire.Meta{ID: m.ID, Owner: m.Owner, Version: m.Version, CreatedAt: m.CreatedAt.UTC(), UpdatedAt: m.UpdatedAt.UTC()}
}

func environmentDoc(e envbackup.Environment) wire.Environment {
	return wire.Environment{Meta: metaOf(e.Meta), EnvironmentSpec: e.EnvironmentSpec}
}

func destinationDoc(d envbackup.Destination) wire.Destination {
	return wire.Destination{
		Meta: metaOf(d.Meta), DestinationSpec: d.DestinationSpec,
		SecretAccessKeySet: len(d.SealedSecretKey) > 0, SecretAccessKeyVersion: d.SecretKeyVersion,
		RecoveryPasswordSet: len(d.SealedRecoveryPassword) > 0, RecoveryPasswordVer: d.RecoveryVersion,
	}
}

func runDoc(r envbackup.Run) wire.Run {
	doc := wire.Run{
		ID: r.ID, ScheduleID: r.ScheduleID, Schedule: r.Schedule, Environment: r.Environment,
		Trigger: r.Trigger, State: r.State, NominalAt: r.Nominal.UTC(), CreatedAt: r.CreatedAt.UTC(),
		StartedAt: optional(r.StartedAt), FinishedAt: optional(r.FinishedAt), NextAttemptAt: optional(r.NextAttemptAt),
		Attempt: r.Attempt, Worker: r.ExecutedBy, Failure: r.Failure, Destinations: r.Destinations, Warnings: r.Warnings,
	}
	doc.Cancelling = r.CancelRequested && !r.State.Final()
	if doc.Worker == "" {
		doc.Worker = r.Worker
	}
	if r.Progress != (envbackup.Progress{}) {
		doc.Progress = &r.Progress
	}
	return doc
}

func attemptDoc(a envbackup.Attempt) wire.Attempt {
	return wire.Attempt{
		Number: a.Number, Worker: a.Worker, StartedAt: a.StartedAt.UTC(), FinishedAt: optional(a.FinishedAt), Failure: a.Failure,
	}
}

func slotDoc(s envbackup.Slot) wire.Slot {
	doc := wire.Slot{NominalAt: s.Nominal.UTC(), Count: s.Count, Outcome: s.Outcome, Reason: s.Reason, RunID: s.RunID}
	if s.Until.After(s.Nominal) {
		doc.Until = optional(s.Until)
	}
	return doc
}

// backupDoc leaves out the verdict of retention, which verdicts adds.
func backupDoc(b envbackup.Backup) wire.Backup {
	return wire.Backup{
		ID: b.ID, SnapshotID: b.SnapshotID, RunID: b.RunID, ScheduleID: b.ScheduleID, Schedule: b.Schedule,
		Environment: b.Environment, Destination: b.Destination, Trigger: b.Trigger, Status: b.Status,
		NominalAt: b.Nominal.UTC(), StartedAt: b.StartedAt.UTC(), CompletedAt: b.CompletedAt.UTC(),
		Size: b.Size, Added: b.Added, Files: b.Files, VerifiedAt: optional(b.VerifiedAt),
		Held: b.Held, HoldReason: b.HoldReason, LockedUntil: optional(b.LockedUntil), Missing: b.Missing, Kept: true, KeptBecause: []string{},
	}
}

func restoreDoc(r envbackup.Restore) wire.Restore {
	doc := wire.Restore{
		ID: r.ID, BackupID: r.BackupID, Environment: r.Environment, Target: r.Target, Include: r.Include, Overwrite: r.Overwrite,
		State: r.State, Failure: r.Failure, FilesDone: r.FilesDone, BytesDone: r.BytesDone,
		CreatedAt: r.CreatedAt.UTC(), StartedAt: optional(r.StartedAt), FinishedAt: optional(r.FinishedAt),
	}
	if r.Progress != (envbackup.Progress{}) {
		doc.Progress = &r.Progress
	}
	return doc
}

// convert maps a page; an empty one is [] in JSON, never null.
func convert[D, W any](items []D, to func(D) W) []W {
	out := make([]W, 0, len(items))
	for _, item := range items {
		out = append(out, to(item))
	}
	return out
}

func pageOf(p wire.Page) envbackup.Page {
	if p.Limit == 0 {
		p.Limit = 100
	}
	return envbackup.Page{Limit: p.Limit, Cursor: p.Cursor}
}

func etagOf(version int64) string { return strconv.Quote(strconv.FormatInt(version, 10)) }

// version reads If-Match: 0 for none or "*", which any version satisfies.
func (v Versioned) version() (int64, error) {
	text := strings.TrimSpace(v.IfMatch)
	if text == "" || text == "*" {
		return 0, nil
	}
	text, quoted := strings.CutPrefix(text, `"`)
	n, err := strconv.ParseInt(strings.TrimSuffix(text, `"`), 10, 64)
	if !quoted || err != nil || n <= 0 {
		// An ETag that we never gave out matches nothing that exists.
		return 0, &envbackup.Error{
			Code: envbackup.CodeStale, Message: "If-Match holds no version of this thing",
			Hint: `send the ETag of an answer as it was, for example If-Match: "3"`,
		}
	}
	return n, nil
}
