#!/usr/bin/env bash
# Runs every command of the README's `sh` blocks but the make targets, in order, as a reader would after `make run KEEP=1`.
set -euo pipefail
cd "$(dirname "$0")/.."
source .venv/bin/activate
awk '/^```sh$/ {on = 1; next} /^```$/ {on = 0} on' README.md | grep -v '^make \|^source ' >"${TMPDIR:-/tmp}/readme-commands.$$"
trap 'rm -f "${TMPDIR:-/tmp}/readme-commands.$$"; rm -rf .slipway-cancer' EXIT
while IFS= read -r command; do
	printf '$ %s\n' "$command"
	bash -c "$command"
done <"${TMPDIR:-/tmp}/readme-commands.$$"
echo "every command of the README ran"
