package wire

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Page asks for one page of a list. A Limit of 0 means 100, and the most is
// 1000; an empty Cursor means the beginning.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" doc:"Items in the page, 100 by default"`
	Cursor string `query:"cursor" doc:"The cursor of the page before"`
}

// Values encodes the query for a URL.
func (p Page) Values() url.Values {
	v := url.Values{}
	set(v, "cursor", p.Cursor)
	if p.Limit != 0 {
		v.Set("limit", strconv.Itoa(p.Limit))
	}
	return v
}

// SchedulesQuery filters the list of schedules.
type SchedulesQuery struct {
	Page
	Environment string `query:"environment" doc:"Name or id of the environment"`
}

// Values encodes the query for a URL.
func (q SchedulesQuery) Values() url.Values {
	v := q.Page.Values()
	set(v, "environment", q.Environment)
	return v
}

// RunsQuery filters the list of runs. Since and Until bound the creation:
// Since is included, Until is not.
type RunsQuery struct {
	Page
	Schedule    string    `query:"schedule" doc:"Id or ENVIRONMENT/NAME of the schedule"`
	Environment string    `query:"environment" doc:"Name or id of the environment"`
	State       []string  `query:"state" enum:"queued,running,succeeded,partial,failed,cancelled" doc:"One or more states, with commas"`
	Since       time.Time `query:"since"`
	Until       time.Time `query:"until"`
}

// Values encodes the query for a URL.
func (q RunsQuery) Values() url.Values {
	v := q.Page.Values()
	set(v, "schedule", q.Schedule)
	set(v, "environment", q.Environment)
	setList(v, "state", q.State)
	setTime(v, "since", q.Since)
	setTime(v, "until", q.Until)
	return v
}

// BackupsQuery filters the list of backups. Since and Until bound the nominal
// time: Since is included, Until is not. MaxAge, a duration such as "26h",
// bounds the nominal time by the daemon's clock.
type BackupsQuery struct {
	Page
	Environment string    `query:"environment" doc:"Name or id of the environment"`
	Schedule    string    `query:"schedule" doc:"Id, ENVIRONMENT/NAME or, with environment, the name of the schedule"`
	Destination string    `query:"destination" doc:"Name or id of the destination"`
	Status      string    `query:"status" enum:"complete,partial,suspect,damaged"`
	Verified    string    `query:"verified" enum:"true,false"`
	Trigger     string    `query:"trigger" enum:"schedule,catch_up,create,manual,safety"`
	Since       time.Time `query:"since"`
	Until       time.Time `query:"until"`
	MaxAge      string    `query:"max_age" doc:"Such as 26h or 7d"`
}

// Values encodes the query for a URL.
func (q BackupsQuery) Values() url.Values {
	v := q.Page.Values()
	set(v, "environment", q.Environment)
	set(v, "schedule", q.Schedule)
	set(v, "destination", q.Destination)
	set(v, "status", q.Status)
	set(v, "verified", q.Verified)
	set(v, "trigger", q.Trigger)
	setTime(v, "since", q.Since)
	setTime(v, "until", q.Until)
	set(v, "max_age", q.MaxAge)
	return v
}

// RestoresQuery filters the list of restores.
type RestoresQuery struct {
	Page
	Environment string   `query:"environment" doc:"Name or id of the environment"`
	State       []string `query:"state" enum:"queued,running,succeeded,partial,failed,cancelled" doc:"One or more states, with commas"`
}

// Values encodes the query for a URL.
func (q RestoresQuery) Values() url.Values {
	v := q.Page.Values()
	set(v, "environment", q.Environment)
	setList(v, "state", q.State)
	return v
}

func set(v url.Values, key, value string) {
	if value != "" {
		v.Set(key, value)
	}
}

func setTime(v url.Values, key string, t time.Time) {
	if !t.IsZero() {
		v.Set(key, t.UTC().Format(time.RFC3339Nano))
	}
}

// setList joins with commas: the values are words without any.
func setList(v url.Values, key string, values []string) {
	set(v, key, strings.Join(values, ","))
}
