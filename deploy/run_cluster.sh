#!/usr/bin/env bash
# The whole cluster mode on this machine: local Kafka and Elasticsearch, a worker, the dashboard, the demo corpus.
# Ctrl-C stops all of it; the data stays in weibowatch-services and goes with: weibowatch services down --delete
set -euo pipefail
weibowatch=${WEIBOWATCH:-weibowatch}
services=${SERVICES:-weibowatch-services}
running=()

stop() {
    trap '' INT TERM
    echo "Stopping ..."
    [ ${#running[@]} -eq 0 ] || kill "${running[@]}" 2>/dev/null || true
    wait || true
    "$weibowatch" services down --data "$services"
}

exports=$("$weibowatch" services up --data "$services")
trap stop EXIT
trap 'exit 0' INT TERM
eval "$exports"
"$weibowatch" topics create
"$weibowatch" serve &
running+=($!)
# A supervisor in one line: 70 is the worker's wish for a new start.
(trap 'kill $worker 2>/dev/null; wait $worker; exit 0' TERM INT
 code=70; while [ $code -eq 70 ]; do "$weibowatch" worker & worker=$!; code=0; wait $worker || code=$?; done; exit $code) &
running+=($!)
"$weibowatch" ingest --source demo
echo "The demo is in Kafka; the worker brings it to Elasticsearch. Ctrl-C stops everything."
wait -n "${running[@]}"
echo "A part has ended by itself; see above." >&2
exit 1
