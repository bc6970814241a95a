#!/usr/bin/env bash
# Java 17 and Maven for the tests on real Kafka and Elasticsearch, and openssl for its certificates: installed where that
# is possible without a question.
set -euo pipefail

if [ "${WEIBOWATCH_TEST_SERVICES:-}" = "off" ]; then
  exit 0
fi

java_version() {
  java -version 2>&1 | sed -nE 's/.*version "(1\.)?([0-9]+).*/\2/p' | head -n 1
}

if command -v mvn > /dev/null && command -v openssl > /dev/null && command -v java > /dev/null && [ "$(java_version)" -ge 17 ]; then
  exit 0
fi

packages="openjdk-17-jre-headless maven openssl"
if command -v apt-get > /dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2> /dev/null; }; then
  as_root=$([ "$(id -u)" = 0 ] && echo "" || echo "sudo")
  echo "Installing $packages ..."
  $as_root apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $packages > /dev/null
  exit 0
fi

echo "Java 17 or newer, Maven and openssl are needed; the tests run real Kafka and Elasticsearch. Install them:" >&2
echo "  sudo apt-get install -y $packages" >&2
echo "or leave these tests out: WEIBOWATCH_TEST_SERVICES=off make test" >&2
exit 1
