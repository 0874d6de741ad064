//go:build !unix

package repository

// processExists cannot be answered here, so every process is taken to live.
func processExists(int) bool { return true }
