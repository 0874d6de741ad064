package store

import (
	"path/filepath"
	"testing"
)

// TestPointsComeFromTheIndexAlone: SQLite answers the query of Points without
// reading a row of the table, which is what makes it fast. Its program says so:
// no column is taken from the cursor that stands on the table.
func TestPointsComeFromTheIndexAlone(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	var table, index int64
	for name, page := range map[string]*int64{"backups": &table, "backups_points": &index} {
		if err := s.read.QueryRowContext(t.Context(), `SELECT rootpage FROM sqlite_schema WHERE name = $1`, name).Scan(page); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := s.read.QueryContext(t.Context(), "EXPLAIN "+pointQuery, "sch_1", "dst_1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	onTable, onIndex, columns := int64(-1), int64(-1), 0
	for rows.Next() {
		var opcode string
		var at, p1, p2, p3, p5 int64
		var p4, comment any
		if err := rows.Scan(&at, &opcode, &p1, &p2, &p3, &p4, &p5, &comment); err != nil {
			t.Fatal(err)
		}
		switch {
		case opcode == "OpenRead" && p2 == table:
			onTable = p1
		case opcode == "OpenRead" && p2 == index:
			onIndex = p1
		case opcode == "Column" && p1 == onTable:
			t.Errorf("step %d reads column %d of the table", at, p2)
		case opcode == "Column" && p1 == onIndex:
			columns++
		case opcode == "SorterOpen":
			t.Error("the rows are sorted, and the index should have the order")
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if columns != 3 {
		t.Errorf("%d columns come from the index, want both results and the completion", columns)
	}
}
