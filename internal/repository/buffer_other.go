//go:build !unix

package repository

func allocBuffer(size int) ([]byte, error) { return make([]byte, size), nil }

func dropBuffer([]byte) {}
func freeBuffer([]byte) {}
