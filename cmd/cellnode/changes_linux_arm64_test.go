package main

// oldShapes is empty: this machine has no older calls.
var oldShapes map[uint64]shape

// shorten leaves writes whole here.
func shorten(int, uint64, [6]uint64) bool { return false }
