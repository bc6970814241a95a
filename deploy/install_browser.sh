#!/usr/bin/env bash
# The dashboard is tested in a real browser: Debian's or Ubuntu's chromium, with a font that has Chinese.
# Installs both where that is allowed without asking; else says what to type, and the tests will say so too.
set -euo pipefail
command -v chromium >/dev/null 2>&1 && exit 0
packages="chromium fonts-noto-cjk"
if command -v apt-get >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ]; then sudo=""; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; else sudo="no"; fi
  if [ "$sudo" != no ]; then
    echo "Installing $packages ..."
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $packages >/dev/null
    exit 0
  fi
fi
echo "The browser tests need chromium. Type: sudo apt-get install $packages" >&2
exit 1
