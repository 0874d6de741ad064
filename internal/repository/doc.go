// Package repository reads and writes restic repositories, format version 2.
// It decides how blobs become packs, what the index says, who holds a lock,
// which packs a prune may drop and what a check calls damage. It follows
// restic's public design document; stock restic reads all that it writes.
//
// It leaves to others: how a file becomes blobs and nodes (archiver) and a
// node a file (restorer), which snapshots to forget (retention), when to run
// (runner), and how objects are stored (backend).
//
// Promises:
//   - Objects are written in the order packs, index, snapshot, and removed in
//     the order snapshot, index, packs, so that a crash at any point leaves a
//     repository that stock check calls clean. A crash can leave packs that no
//     index lists; the next prune removes them.
//   - What is not authentic is never returned: each blob and file is checked
//     against its key and its name.
//   - Memory is bounded by fixed pools of pack buffers, whatever is stored; a
//     blob larger than a pack takes its own size besides.
//
// Non-promises: the caller holds the right lock (see Lock); two processes
// that write without one can lose data to a prune.
package repository
