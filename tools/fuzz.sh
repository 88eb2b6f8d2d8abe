#!/usr/bin/env bash
# Runs every fuzz test of the module for the time given: fuzz.sh 20s
# `go test -fuzz` takes one fuzz test of one package at a time, hence the loop.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dirs=$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -rn1 dirname | sort -u)
for dir in $dirs; do
	for name in $(go test -list '^Fuzz' "$dir" | grep '^Fuzz'); do
		echo "== $dir $name"
		go test -vet=off -run '^$' -fuzz "^$name\$" -fuzztime "$1" "$dir"
	done
done
