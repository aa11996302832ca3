#!/bin/sh
# Run a command with a qemu beside it: sh with-qemu.sh npm test
set -eu

eval "$(qemu env --format shell)"
qemu start --json > qemu.ndjson &
trap "kill $!; wait $! || true" EXIT
curl --silent --fail --output /dev/null \
    --retry 30 --retry-delay 1 --retry-connrefused "$QSTASH_URL/_qemu/health"

"$@"
