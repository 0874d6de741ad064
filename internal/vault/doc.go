// Package vault opens repositories. It decides where the repository of an
// environment lies at a destination, makes its password, seals passwords and
// other secrets with the daemon's master key, and keeps opened repositories
// warm, so that a run finds index and caches as the run before left them.
//
// It leaves the format to package repository, the rows to the store, and all
// that happens in an open repository (locks, backups, retention) to package
// runner.
//
// Promised: a repository is never initialised before its sealed password is in
// the store, and a wrong password never writes anything. Not promised: the
// vault takes no repository lock; whoever writes does.
package vault
