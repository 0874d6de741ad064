package store

import (
	"context"
	"fmt"
	"time"
)

// Heartbeat records that a node (one start of one daemon) is alive, by the
// database's clock. The first one registers it. A node that was declared dead
// stays dead: false, and its process must give up what it executes.
func (s *Store) Heartbeat(ctx context.Context, node, worker string) (alive bool, err error) {
	clock := s.dialect.clock()
	var stopped bool
	err = s.db.QueryRowContext(ctx, `INSERT INTO nodes (id, worker, started_at, heartbeat_at, stopped)
		VALUES ($1, $2, `+clock+`, `+clock+`, FALSE)
		ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at RETURNING stopped`, node, worker).Scan(&stopped)
	if err != nil {
		return false, fmt.Errorf("record heartbeat of %s: %w", node, err)
	}
	return !stopped, nil
}

// Workers lists the names of the daemons that run on this database, sorted. One
// that has just died is still among them.
func (s *Store) Workers(ctx context.Context) ([]string, error) {
	names, err := all(ctx, s.read, `SELECT DISTINCT worker FROM nodes WHERE NOT stopped ORDER BY worker`, nil, scanString)
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	return names, nil
}

// StopNode records that a node ended, so that what it left is taken over at
// once.
func (s *Store) StopNode(ctx context.Context, node string) error {
	if _, err := s.db.ExecContext(ctx, `UPDATE nodes SET stopped = TRUE WHERE id = $1`, node); err != nil {
		return fmt.Errorf("stop node %s: %w", node, err)
	}
	return nil
}

// StopOtherNodes declares every node but this one dead: for a database that
// has one owner.
func (s *Store) StopOtherNodes(ctx context.Context, node string) error {
	if _, err := s.db.ExecContext(ctx, `UPDATE nodes SET stopped = TRUE WHERE id <> $1`, node); err != nil {
		return fmt.Errorf("stop nodes before %s: %w", node, err)
	}
	return nil
}

// DeadNodes declares the nodes dead that sent no heartbeat for ttl, and
// returns every dead one that still has something.
func (tx *Tx) DeadNodes(ctx context.Context, ttl time.Duration) ([]string, error) {
	clock := tx.dialect.clock()
	_, err := tx.tx.ExecContext(ctx, `UPDATE nodes SET stopped = TRUE WHERE NOT stopped AND heartbeat_at < `+clock+` - CAST($1 AS BIGINT)`,
		ttl.Microseconds())
	if err != nil {
		return nil, fmt.Errorf("find dead nodes: %w", err)
	}
	dead, err := all(ctx, tx.tx, `SELECT id FROM nodes WHERE stopped ORDER BY id`, nil, scanString)
	if err != nil {
		return nil, fmt.Errorf("find dead nodes: %w", err)
	}
	return dead, nil
}

// ExecutedOn lists what a node was executing.
func (tx *Tx) ExecutedOn(ctx context.Context, node string) ([]Work, error) {
	found, err := all(ctx, tx.tx, `SELECT 'run', id FROM runs WHERE state = 'running' AND node = $1
		UNION ALL SELECT 'restore', id FROM restores WHERE state = 'running' AND node = $1
		UNION ALL SELECT 'verification', id FROM verifications WHERE state = 'running' AND node = $1 ORDER BY 2`, []any{node}, scanWork)
	if err != nil {
		return nil, fmt.Errorf("list work of node %s: %w", node, err)
	}
	return found, nil
}

// ForgetNode removes a dead node, once nothing of it is left.
func (tx *Tx) ForgetNode(ctx context.Context, node string) error {
	// The queue library rescues jobs by age only, far too late for a backup;
	// and a job that stays "running" for ever would be rescued into a second
	// execution. This and LostWork are the only places that touch its table.
	_, err := tx.tx.ExecContext(ctx, `UPDATE river_job SET state = 'discarded', finalized_at = `+tx.dialect.jobNow()+`
		WHERE state = 'running' AND `+tx.dialect.lastAttemptBy("river_job")+` = $1`, node)
	if err != nil {
		return fmt.Errorf("discard jobs of node %s: %w", node, err)
	}
	if _, err := tx.tx.ExecContext(ctx, `DELETE FROM nodes WHERE id = $1 AND stopped`, node); err != nil {
		return fmt.Errorf("forget node %s: %w", node, err)
	}
	return nil
}

// LostWork lists queued work whose job ended, vanished, or is held by a node
// that nobody knows any more: nothing would ever execute it.
func (tx *Tx) LostWork(ctx context.Context) ([]Work, error) {
	lost := `w.state = 'queued' AND w.job_id <> 0 AND (j.id IS NULL OR j.state IN ('completed', 'cancelled', 'discarded')
		OR (j.state = 'running' AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = ` + tx.dialect.lastAttemptBy("j") + ` AND NOT n.stopped)))`
	found, err := all(ctx, tx.tx, `SELECT 'run', w.id FROM runs w LEFT JOIN river_job j ON j.id = w.job_id WHERE `+lost+`
		UNION ALL SELECT 'restore', w.id FROM restores w LEFT JOIN river_job j ON j.id = w.job_id WHERE `+lost+`
		UNION ALL SELECT 'verification', w.id FROM verifications w LEFT JOIN river_job j ON j.id = w.job_id WHERE `+lost+` ORDER BY 2`, nil, scanWork)
	if err != nil {
		return nil, fmt.Errorf("list lost work: %w", err)
	}
	return found, nil
}
