#!/usr/bin/env bash
# Runs every command of the `sh` blocks of README and docs but the make targets, in order, as a reader would after
# `make run KEEP=1`.
set -euo pipefail
cd "$(dirname "$0")/.."
source .venv/bin/activate
commands=$(mktemp)
trap 'rm -f "$commands"; rm -rf .slipway-cancer' EXIT
for page in README.md docs/*.md; do
	awk '/^```sh$/ {on = 1; next} /^```$/ {on = 0} on' "$page" | grep -v '^make \|^source ' >>"$commands" || true
done
while IFS= read -r command; do
	printf '$ %s\n' "$command"
	bash -c "$command"
done <"$commands"
echo "every command of README and docs ran"
