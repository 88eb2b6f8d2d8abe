#!/usr/bin/env bash
# Starts a cell of 64 instances on this machine, watches what they cost for as long as is said, and takes it down.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=$(mktemp -d)
export CELL_HOME=$dir/home
trap 'bin/cellnode testnet down --dir "$dir/net"; rm -rf "$dir"' EXIT
cp -r examples/exchange "$dir/exchange"
(cd "$dir/exchange" && "$OLDPWD/bin/cellnode" init --trust)
git -C "$dir/exchange" init --quiet
git -C "$dir/exchange" add .
git -C "$dir/exchange" -c user.name=soak -c user.email=soak@localhost commit --quiet --message=soak
git -C "$dir/exchange" tag v1.3.0
bin/cellnode testnet up -n 64 --cell "$dir/exchange@v1.3.0=64" --dir "$dir/net" > "$dir/nodes"
bin/soak -dir "$dir/net" -for "$1"
