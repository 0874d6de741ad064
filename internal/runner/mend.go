package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// damageNote is what is remembered about the damage in a repository, until the
// backups that it hurt have been looked at again.
type damageNote struct {
	// Packs were found bad and may still be listed.
	Packs []string `json:"packs,omitempty"`
	// SetAside: bad packs are listed no more, and what the next backup stores
	// may make damaged backups whole.
	SetAside bool `json:"set_aside,omitempty"`
}

func damageKey(environmentID, destinationID string) string {
	return "damage/" + environmentID + "/" + destinationID
}

func (r *Runner) damage(ctx context.Context, environmentID, destinationID string) (damageNote, error) {
	var note damageNote
	text, ok, err := r.store.Setting(ctx, damageKey(environmentID, destinationID))
	if err != nil || !ok {
		return note, err
	}
	if err := json.Unmarshal([]byte(text), &note); err != nil {
		return note, fmt.Errorf("read the note about damage: %w", err)
	}
	return note, nil
}

func (r *Runner) saveDamage(ctx context.Context, environmentID, destinationID string, note damageNote) error {
	text := ""
	if len(note.Packs) > 0 || note.SetAside {
		doc, err := json.Marshal(note)
		if err != nil {
			return err
		}
		text = string(doc)
	}
	return r.store.SetSetting(context.WithoutCancel(ctx), damageKey(environmentID, destinationID), text)
}

// noteDamage remembers bad packs for the next backup, which sets them aside
// and stores what they lost. One verification or run of an environment goes at
// a time, so nobody else writes the note meanwhile.
func (r *Runner) noteDamage(ctx context.Context, environmentID, destinationID string, packs []restic.ID) error {
	if len(packs) == 0 {
		return nil
	}
	note, err := r.damage(ctx, environmentID, destinationID)
	if err != nil {
		return err
	}
	for _, id := range packs {
		if name := id.String(); !slices.Contains(note.Packs, name) {
			note.Packs = append(note.Packs, name)
		}
	}
	return r.saveDamage(ctx, environmentID, destinationID, note)
}

func (n damageNote) packs() ([]restic.ID, error) {
	var ids []restic.ID
	for _, name := range n.Packs {
		id, err := restic.ParseID(name)
		if err != nil {
			return nil, fmt.Errorf("read the note about damage: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// setAside takes the packs that were found bad out of the index, so that the
// backup stores again what they lost. No backup waits for it or fails by it:
// what is in the way is said, and the next one tries again.
func (d *destinationRun) setAside(ctx context.Context, repo *repository.Repository) {
	note, err := d.damage(ctx, d.env.ID, d.dest.ID)
	var packs []restic.ID
	if err == nil {
		packs, err = note.packs()
	}
	if err == nil && len(packs) > 0 {
		var report repository.RepairReport
		if report, err = repo.Repair(ctx, repository.RepairOptions{Packs: packs, Only: true}); err == nil {
			for _, id := range report.SetAside {
				d.warn("at %s: pack %s is damaged or lost; this backup stores again what the source still has of it", d.dest.Name, id.Short())
			}
			err = d.saveDamage(ctx, d.env.ID, d.dest.ID, damageNote{SetAside: true})
		}
	}
	if err != nil && ctx.Err() == nil {
		d.warn("at %s: the damage that was found is not mended by this backup, the next one tries again: %v", d.dest.Name, d.explain(ctx, err))
	}
}

// mended asks, after a backup that came after packs were set aside, for a look
// at the backups that were damaged: what it stored may have made them whole.
func (d *destinationRun) mended(ctx context.Context) {
	note, err := d.damage(ctx, d.env.ID, d.dest.ID)
	if err != nil || !note.SetAside || len(note.Packs) > 0 || d.cfg.Recheck == nil {
		return
	}
	if err := d.cfg.Recheck(context.WithoutCancel(ctx), d.env, d.dest); err != nil {
		d.warn("at %s: whether damaged backups are whole again is not looked at yet: %v", d.dest.Name, err)
	}
}

// rowsAt returns the backups of an environment at a destination, in all
// statuses for "".
func (r *Runner) rowsAt(ctx context.Context, env envbackup.Environment, dest envbackup.Destination, status envbackup.BackupStatus) ([]envbackup.Backup, error) {
	var rows []envbackup.Backup
	for page := (envbackup.Page{Limit: 1000}); ; {
		items, next, _, err := r.store.Backups(ctx, envbackup.BackupFilter{Environment: env.Name, Destination: dest.Name, Status: status}, page)
		if err != nil {
			return nil, err
		}
		for _, b := range items {
			if b.DestinationID == dest.ID {
				rows = append(rows, b)
			}
		}
		if page.Cursor = next; next == "" {
			return rows, nil
		}
	}
}
