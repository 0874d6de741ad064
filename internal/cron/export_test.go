package cron

import "time"

// FindGaps is Gaps without its memory.
func (s *Schedule) FindGaps(loc *time.Location) Gaps { return s.findGaps(loc) }
