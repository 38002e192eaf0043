#!/usr/bin/env bash
# Loads `squall echo` with many clients and checks the whole life of the server: it listens, loses nothing, ends on SIGTERM with its counts.
# Sizes come from the environment, so that a check before each commit can run a small load and a release the full one.
set -euo pipefail
cd "$(dirname "$0")/.."

clients=${CLIENTS:-10000}
messages=${MESSAGES:-100}
size=${SIZE:-64}
hostile=${HOSTILE:-50}
timeout=${TIMEOUT:-120}
driver=${DRIVER:-auto}
programs=${CARGO_TARGET_DIR:-target}/release

cargo build --release --quiet -p squall-cli --bin squall --example echo_clients

output=$(mktemp)
"$programs/squall" echo --addr 127.0.0.1:0 --driver "$driver" >"$output" &
server=$!
trap 'kill -KILL "$server" 2>/dev/null || true; rm -f "$output"' EXIT

# Its first line names the port that it was given.
for _ in $(seq 100); do
    [ -s "$output" ] && break
    kill -0 "$server" 2>/dev/null || { echo "echo_load: the server ended before it listened" >&2; exit 1; }
    sleep 0.1
done
listening=$(head -n 1 "$output")
echo "server:  $listening"
address=$(sed -n '1s/^listening on \([^ ]*\) .*/\1/p' "$output")
[ -n "$address" ] || { echo "echo_load: the server does not say where it listens" >&2; exit 1; }

lost=0
"$programs/examples/echo_clients" --addr "$address" --clients "$clients" --messages "$messages" --size "$size" \
    --hostile "$hostile" --timeout "$timeout" || lost=$?

kill -TERM "$server"
ended=0
wait "$server" || ended=$?
echo "server:  $(sed -n '$p' "$output")"
[ "$ended" -eq 0 ] || { echo "echo_load: the server ended with code $ended" >&2; exit 1; }
exit "$lost"
