package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// call sends a request to the handler without a network, and fails on a
// refusal.
func call(tb testing.TB, s *apitest.Server, method, path string, body any) []byte {
	tb.Helper()
	data := []byte{}
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			tb.Fatal(err)
		}
	}
	req := httptest.NewRequestWithContext(tb.Context(), method, path, bytes.NewReader(data))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+s.Admin)
	w := httptest.NewRecorder()
	s.Handler.ServeHTTP(w, req)
	if w.Code > 299 {
		tb.Fatalf("%s %s = %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// large is a server with a schedule shop/often of n backups, a minute apart.
func large(tb testing.TB, n int) (*apitest.Server, wire.Schedule) {
	tb.Helper()
	s := apitest.Start(tb)
	call(tb, s, http.MethodPost, "/api/v1/environments", environment("shop"))
	call(tb, s, http.MethodPost, "/api/v1/destinations", local("disk"))
	in := schedule("often", "shop", "disk")
	in.Cron, in.Retention.Period = "* * * * *", "90d"
	var sch wire.Schedule
	if err := json.Unmarshal(call(tb, s, http.MethodPost, "/api/v1/schedules", in), &sch); err != nil {
		tb.Fatal(err)
	}
	stored, err := s.Store.Schedule(tb.Context(), sch.ID)
	if err != nil {
		tb.Fatal(err)
	}
	insertBackups(tb, s.Store, stored, n)
	return s, sch
}

// insertBackups stores backups in one transaction; one by one they would each
// wait for the disk.
func insertBackups(tb testing.TB, st *store.Store, sch envbackup.Schedule, n int) {
	tb.Helper()
	newest := time.Now().Truncate(time.Minute)
	first := envbackup.Backup{
		SnapshotID: fmt.Sprintf("%064x", 0), ScheduleID: sch.ID, Schedule: sch.Name, EnvironmentID: sch.EnvironmentID, Environment: sch.Environment,
		DestinationID: sch.DestinationIDs[0], Destination: "disk", Trigger: envbackup.TriggerSchedule, Status: envbackup.BackupComplete,
		Nominal: newest, StartedAt: newest, CompletedAt: newest, Size: 1 << 30,
	}
	if err := st.AddBackup(tb.Context(), &first); err != nil {
		tb.Fatal(err)
	}
	err := st.Tx(tb.Context(), func(tx *store.Tx) error {
		rows, err := tx.Raw().QueryContext(tb.Context(), `SELECT * FROM backups LIMIT 0`)
		if err != nil {
			return err
		}
		columns, err := rows.Columns()
		if err != nil {
			return errors.Join(err, rows.Close())
		}
		if err := rows.Close(); err != nil {
			return err
		}
		var values []string
		for _, c := range columns {
			switch c {
			case "id":
				c = "'bkp_' || printf('%08d', i)"
			case "snapshot_id":
				c = "printf('%064x', i)"
			case "nominal", "started_at", "completed_at":
				c += " - i * 60000000"
			}
			values = append(values, c)
		}
		_, err = tx.Raw().ExecContext(tb.Context(), `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1 - 1)
			INSERT INTO backups (`+strings.Join(columns, ", ")+`) SELECT `+strings.Join(values, ", ")+` FROM backups, n WHERE backups.id = $2`, n, first.ID)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkBackupPage100k(b *testing.B) {
	s, _ := large(b, 100_000)
	for b.Loop() {
		call(b, s, http.MethodGet, "/api/v1/backups?environment=shop&limit=100", nil)
	}
}

func BenchmarkPreflightEdit100k(b *testing.B) {
	s, sch := large(b, 100_000)
	in := wire.Preflight{ID: sch.ID, Schedule: sch.ScheduleSpec}
	in.Schedule.Retention.Period = "30d"
	for b.Loop() {
		call(b, s, http.MethodPost, "/api/v1/schedules/preflight", in)
	}
}

func BenchmarkPreflightNew(b *testing.B) {
	s, sch := large(b, 1)
	in := wire.Preflight{Schedule: sch.ScheduleSpec}
	in.Schedule.Name = "other"
	for b.Loop() {
		call(b, s, http.MethodPost, "/api/v1/schedules/preflight", in)
	}
}

func BenchmarkListThousandSchedules(b *testing.B) {
	s, sch := large(b, 1)
	spec := sch.ScheduleSpec
	err := s.Store.Tx(b.Context(), func(tx *store.Tx) error {
		for i := range 1000 {
			spec.Name = fmt.Sprintf("s%d", i)
			if err := tx.InsertSchedule(b.Context(), &envbackup.Schedule{ScheduleSpec: spec}, time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		call(b, s, http.MethodGet, "/api/v1/schedules?limit=1000", nil)
	}
}
