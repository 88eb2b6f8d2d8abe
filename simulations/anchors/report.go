package main

func report(results, docs string) error { return nil }
