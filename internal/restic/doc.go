// Package restic holds the words of the restic repository format, version 2:
// ids, blob handles, tree and snapshot documents and their exact encodings.
//
// It follows the chapters "Trees and Data" and "Snapshots" of restic's public
// design document. It decides what a document looks like as bytes; it does not
// encrypt, compress, store or find anything (package repository does), and it
// does not know how a node is read from a file system (package archiver) or
// put back (package restorer).
//
// Everything that decodes treats its input as hostile: the names in a tree are
// whatever the repository says, including "..", "/" and NUL. A decoder bounds
// what it allocates by the length of its input; judging a name is the
// restorer's work.
package restic
