package restic

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxSnapshotSize bounds the decoded JSON of a snapshot, in bytes. Paths,
// excludes and tags are what makes one long; stock restic writes well under
// 1 MiB.
const MaxSnapshotSize = 64 << 20

// Snapshot is the document that makes a tree a backup.
type Snapshot struct {
	// Time is the instant the backup stands for. It is written in UTC; a
	// snapshot of another program may carry any zone.
	Time   time.Time `json:"time"`
	Parent *ID       `json:"parent,omitempty"`
	Tree   *ID       `json:"tree"`
	// Paths are the absolute paths that were backed up. restic groups
	// snapshots by host and paths, so they stay the same from run to run.
	Paths          []string         `json:"paths"`
	Hostname       string           `json:"hostname,omitempty"`
	Username       string           `json:"username,omitempty"`
	UID            uint32           `json:"uid,omitempty"`
	GID            uint32           `json:"gid,omitempty"`
	Excludes       []string         `json:"excludes,omitempty"`
	Tags           TagList          `json:"tags,omitempty"`
	Original       *ID              `json:"original,omitempty"`
	ProgramVersion string           `json:"program_version,omitempty"`
	Summary        *SnapshotSummary `json:"summary,omitempty"`

	// ID is the name of the snapshot's object, set when it is saved or loaded.
	// It is no part of the document.
	ID ID `json:"-"`
}

// SnapshotSummary says what the backup found and what it added. Sizes are in
// bytes.
type SnapshotSummary struct {
	BackupStart         time.Time `json:"backup_start"`
	BackupEnd           time.Time `json:"backup_end"`
	FilesNew            uint      `json:"files_new"`
	FilesChanged        uint      `json:"files_changed"`
	FilesUnmodified     uint      `json:"files_unmodified"`
	DirsNew             uint      `json:"dirs_new"`
	DirsChanged         uint      `json:"dirs_changed"`
	DirsUnmodified      uint      `json:"dirs_unmodified"`
	DataBlobs           int       `json:"data_blobs"`
	TreeBlobs           int       `json:"tree_blobs"`
	DataAdded           uint64    `json:"data_added"`
	DataAddedPacked     uint64    `json:"data_added_packed"`
	TotalFilesProcessed uint      `json:"total_files_processed"`
	TotalBytesProcessed uint64    `json:"total_bytes_processed"`
}

// Encode returns the JSON of s. Times are written in UTC.
func (s *Snapshot) Encode() ([]byte, error) {
	out := *s
	out.Time = clampTime(s.Time)
	if s.Paths == nil {
		out.Paths = []string{}
	}
	if s.Summary != nil {
		sum := *s.Summary
		sum.BackupStart = clampTime(sum.BackupStart)
		sum.BackupEnd = clampTime(sum.BackupEnd)
		out.Summary = &sum
	}
	b, err := json.Marshal(&out)
	if err != nil {
		return nil, fmt.Errorf("encode snapshot: %w", err)
	}
	return b, nil
}

// DecodeSnapshot reads the JSON of a snapshot. A snapshot without a tree is an
// error: there would be nothing to restore.
func DecodeSnapshot(b []byte) (*Snapshot, error) {
	if len(b) > MaxSnapshotSize {
		return nil, fmt.Errorf("decode snapshot: %d bytes are more than the limit of %d", len(b), MaxSnapshotSize)
	}
	s := new(Snapshot)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("decode snapshot: %w", err)
	}
	if s.Tree == nil || s.Tree.IsNull() {
		return nil, errors.New("decode snapshot: it names no tree")
	}
	return s, nil
}

// TagList is the tags of a snapshot. Ours are written "key=value".
type TagList []string

// Has reports whether tag is in the list.
func (l TagList) Has(tag string) bool { return slices.Contains(l, tag) }

// Value returns the value of the first "key=value" tag with this key.
func (l TagList) Value(key string) (value string, ok bool) {
	for _, t := range l {
		if k, v, found := strings.Cut(t, "="); found && k == key {
			return v, true
		}
	}
	return "", false
}

// With returns a copy of the list in which key has exactly this value, at the
// place of the first tag with that key or at the end.
func (l TagList) With(key, value string) TagList {
	out := make(TagList, 0, len(l)+1)
	placed := false
	for _, t := range l {
		k, _, found := strings.Cut(t, "=")
		switch {
		case !found || k != key:
			out = append(out, t)
		case !placed:
			out, placed = append(out, key+"="+value), true
		}
	}
	if !placed {
		out = append(out, key+"="+value)
	}
	return out
}
