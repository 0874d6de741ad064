// Package daemon assembles the rooms into the backup daemon: it reads the
// configuration, takes the data directory, opens the state, starts the
// scheduler, the queue and the HTTP server, and stops them in order.
//
// It decides who may read and restore what (the operator's allow-lists), on
// which address the API answers, and how long running backups may finish when
// the daemon is stopped (SEMANTICS S13). What a slot, a run or a backup is,
// others decide.
package daemon
