package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// unreclaimedAfter is how long data may wait before the status says so (R12).
const unreclaimedAfter = 7 * 24 * time.Hour

// obstacleSet is what is in the way of removals anywhere. It is little or
// nothing, and one look serves a listing of a thousand schedules.
type obstacleSet struct {
	retention   map[verdictKey]envbackup.RetentionState
	unreclaimed map[placeKey]envbackup.Repository
}

type placeKey struct{ environmentID, destinationID string }

// obstacles looks what is in the way now. Nothing is remembered: whoever asks
// right after a run is told what that run met.
func (s *server) obstacles(ctx context.Context) (obstacleSet, error) {
	now := s.Now().UTC()
	set := obstacleSet{retention: map[verdictKey]envbackup.RetentionState{}, unreclaimed: map[placeKey]envbackup.Repository{}}
	states, err := s.Store.Retentions(ctx)
	if err != nil {
		return set, err
	}
	for _, state := range states {
		set.retention[verdictKey{state.ScheduleID, state.DestinationID}] = state
	}
	waiting, err := s.Store.Unreclaimed(ctx, now.Add(-unreclaimedAfter))
	if err != nil {
		return set, err
	}
	for _, r := range waiting {
		set.unreclaimed[placeKey{r.EnvironmentID, r.DestinationID}] = r
	}
	return set, nil
}

// addObstacles says in a schedule's health what is in the way of removing old
// backups. A worse verdict keeps its word; what only waits for a decision
// changes none.
func addObstacles(set obstacleSet, sch envbackup.Schedule, body *wire.Schedule) {
	var said []string
	if body.HealthDetail != "" {
		said = append(said, body.HealthDetail)
	}
	attention := func(text string) {
		said = append(said, text)
		if body.Health == "ok" {
			body.Health = "attention"
		}
	}
	for i, id := range sch.DestinationIDs {
		name := sch.Destinations[i]
		state := set.retention[verdictKey{sch.ID, id}]
		if state.Hold != "" {
			attention(state.Hold)
		}
		if r, waits := set.unreclaimed[placeKey{sch.EnvironmentID, id}]; waits {
			attention(fmt.Sprintf("space at %s could not be reclaimed since %s, because %s; grant a window, in which backups wait, with: envbackup prune --reclaim %s",
				name, r.ReclaimSince.UTC().Format("2006-01-02"), r.ReclaimWhy, sch.Reference()))
		}
		if n := len(state.SetAside); n > 0 {
			said = append(said, fmt.Sprintf("%s set aside: the prune %s; decide sooner with: envbackup prune confirm %s, or prune cancel",
				removals(n, name), state.Reason, sch.Reference()))
		}
	}
	body.HealthDetail = strings.Join(said, "; ")
}

func removals(n int, destination string) string {
	if n == 1 {
		return fmt.Sprintf("1 removal at %s is", destination)
	}
	return fmt.Sprintf("%d removals at %s are", n, destination)
}
