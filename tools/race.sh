#!/usr/bin/env bash
# Runs tests under the race detector: race.sh [flags of go test] -- package...
# The detector of Go 1.26 itself crashes now and then where goroutines of a synctest bubble share a timer channel
# (golang/go#78156): "ThreadSanitizer: CHECK failed", or a segmentation violation below timer.maybeRunChan, and the package
# ends there. A package that ended so, with no test failed and no race found, is run again. Whatever else fails, fails at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

flags=()
while [[ $1 != -- ]]; do flags+=("$1"); shift; done
shift
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for _ in 1 2 3; do
	if go test -race "${flags[@]}" "$@" 2>&1 | tee "$out"; then exit 0; fi
	crashes=$(grep -cE '^(ThreadSanitizer: CHECK failed|SIGSEGV: segmentation violation)' "$out") || exit 1
	if grep -q '^SIGSEGV' "$out" && ! grep -q '^runtime\.(\*timer)\.maybeRunChan' "$out"; then exit 1; fi
	mapfile -t failed < <(awk -F '\t' '$1 == "FAIL" && NF > 1 { print $2 }' "$out")
	if grep -qE -e '--- FAIL|DATA RACE|^panic:|\[(build|setup) failed\]' "$out" || ((${#failed[@]} > crashes)); then exit 1; fi
	echo "the race detector crashed (golang/go#78156); once more: ${failed[*]}"
	set -- "${failed[@]}"
done
exit 1
