#!/bin/sh
# The programs that some tests drive beside Kafka and Redis: a browser for the page, promtool for the alert rules, and what
# the documentation's commands use. Node is not among them: where it is, its examples are run, too.
# As root on Debian or Ubuntu they are installed; elsewhere this says how, and the tests that need them fail or skip.
set -eu

missing=
if [ -z "${MEDIANA_CHROMIUM:-}" ]; then
  found=
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then found=$name; fi
  done
  [ -n "$found" ] || missing="chromium fonts-dejavu-core"
fi
command -v promtool >/dev/null || missing="$missing prometheus"
command -v curl >/dev/null || missing="$missing curl"
command -v redis-cli >/dev/null || command -v valkey-cli >/dev/null || missing="$missing redis-tools"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "tools: installing $missing"
  # At RUNLEVEL 1 Debian starts no server that comes with a package; only the programs are wanted.
  export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # shellcheck disable=SC2086 # a list of packages
  apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
  echo "tools: some tests need more programs. On Debian or Ubuntu: sudo apt-get install $missing" >&2
fi
