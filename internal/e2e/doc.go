// Package e2e holds the end-to-end tests of the compiled binary: the daemon as
// a process of its own, the command line as its users type it, a real S3
// server, and stock restic as the referee. It decides nothing and is imported
// by nobody; what a single room promises is tested in that room.
package e2e
