package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
)

// blackouts reads the blackout windows.
func (c *checker) blackouts() {
	c.windowsKnown = !c.p.BlackoutUnknown
	for _, name := range slices.Sorted(maps.Keys(c.p.Blackout)) {
		b := c.p.Blackout[name]
		path := fmt.Sprintf("blackout[%s]", strconv.Quote(name))
		before := len(c.findings)
		if _, err := slots.Weekdays(b.Days); err != nil {
			c.fail(path+".days", "Invalid blackout window", "%s is not a list of weekdays. Write for example days = \"MON-FRI\".", quote(b.Days))
		}
		if _, err := slots.TimeOfDay(b.From); err != nil {
			c.fail(path+".from", "Invalid blackout window", "from = %s is not a time of day. Write for example from = \"09:00\".", quote(b.From))
		}
		if _, err := slots.TimeOfDay(b.To); err != nil {
			c.fail(path+".to", "Invalid blackout window", "to = %s is not a time of day. Write for example to = \"17:00\".", quote(b.To))
		}
		c.choice(path+".action", &b.Action, "defer", "skip")
		if len(c.findings) > before {
			c.windowsKnown = false
		}
	}
	windows, err := slots.ParseWindows(c.p.Blackout)
	if err != nil {
		c.windowsKnown = false
		return
	}
	c.windows = windows
}
