// Package housetest holds the tree to what every room promises: imports point
// down, each package says what it is for, and no file carries a trace of the
// machine it was written on. It has tests only and is imported by nobody; what
// a single room promises is tested there.
package housetest
