#!/bin/sh
# Builds the compiled fold and puts it where the worker looks for it: streams/lib/. Needs Rust's cargo, no network.
# As root on Debian or Ubuntu a missing cargo is installed. With `--or-python`, as `make install` calls it, a machine that
# cannot build it is no error: the worker folds in Python there.
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
case $(uname -s) in
  Darwin) library=libmediana_fold.dylib ;;
  *) library=libmediana_fold.so ;;
esac

give_up() {
  echo "native: $1" >&2
  [ "${2:-}" = --or-python ] || exit 1
  # One that was built before is not of the present source.
  rm -f "streams/lib/$library"
  echo 'native: no compiled fold: workers fold in Python, at three times the CPU time an event, to the same numbers.' >&2
  echo 'native: to have it, install Rust (https://rustup.rs; Debian, Ubuntu: apt install cargo), then: make native' >&2
  exit 0
}

if [ "$cargo" = cargo ] && ! command -v cargo >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo 'native: installing cargo'
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends cargo >/dev/null; } || true
fi
command -v "$cargo" >/dev/null || give_up "$cargo not found" "$@"

echo "native: building $library"
CARGO_PROFILE_RELEASE_STRIP=symbols "$cargo" build --quiet --release --offline \
  --manifest-path native/Cargo.toml --target-dir native/target || give_up "$cargo could not build it" "$@"

# Written aside and renamed: a worker that runs keeps the file it has, and none finds half of one.
mkdir -p streams/lib
cp "native/target/release/$library" "streams/lib/.$library.new"
chmod 644 "streams/lib/.$library.new"
mv -f "streams/lib/.$library.new" "streams/lib/$library"
