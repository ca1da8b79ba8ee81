#!/usr/bin/env bash
# Sets up this checkout. Run by make; repeating it costs a few milliseconds when nothing changed.
#
#   scripts/setup.sh runtime          .venv with what `roadstead serve` needs
#   scripts/setup.sh dev              .venv with what the tests and checks need as well
#   scripts/setup.sh ldap             the library for LDAP in .venv, built from source, with what Debian has for building it
#   scripts/setup.sh docs             .venv-docs with what makes the documentation's pages
#   scripts/setup.sh packages NAME…   Debian packages: installed when root or with password-free sudo, else named
#
# Exit status of `packages` and `ldap`: 0 when all is there, 3 when something is missing and could not be installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
checkout=$(pwd -P)

say() { printf '%s\n' "setup: $*" >&2; }
die() { say "$@"; exit 1; }

# The first of these that is new enough; PYTHON=… on the command line of make decides otherwise.
find_python() {
  local name path
  for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    path=$(command -v "$name") || continue
    if "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then printf '%s\n' "$path"; return; fi
  done
  return 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
  command -v apt-get >/dev/null || return 1
  [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

is_installed() { dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

# The package lists of a new machine may be empty or old, so a failed install is tried once more after an update.
apt_install() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 --no-install-recommends install)
  as_root "${apt[@]}" "$@" || { as_root apt-get -q update && as_root "${apt[@]}" "$@"; }
}

packages() {
  local name missing=()
  for name in "$@"; do is_installed "$name" || missing+=("$name"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  if may_install; then
    say "installing Debian packages: ${missing[*]}"
    apt_install "${missing[@]}" >&2 || { say "could not install: ${missing[*]}"; return 3; }
  else
    say "missing, and neither root nor password-free sudo to install it: sudo apt-get install ${missing[*]}"
    return 3
  fi
}

# An interpreter of Debian's comes without ensurepip until its -venv package is there.
usable_python() {
  local python
  python=$(find_python) || { packages python3 python3-venv && python=$(find_python); } || die "Python 3.11 or newer is needed, and none was found"
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    packages "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" || die "$python cannot make virtual environments"
  fi
  printf '%s\n' "$python"
}

# What an up-to-date .venv was made from. The path is part of it: a venv does not survive being moved.
fingerprint() { { printf '%s\n' "$checkout"; cat "requirements/$1.txt" pyproject.toml scripts/setup.sh; } | sha256sum; }

stands() { [ -x .venv/bin/python ] && [ "$(cat ".venv/.setup-$1" 2>/dev/null)" = "$(fingerprint "$1")" ]; }

environment() {
  local kind=$1 python
  case $checkout in *[[:space:]]*) die "the path of this checkout contains a space ($checkout); scripts in a virtual environment cannot run from there" ;; esac
  # The development environment holds everything of the runtime one.
  if stands "$kind" || { [ "$kind" = runtime ] && stands dev; }; then return; fi
  # Two makes at once (a server and a test run) must not install into each other.
  mkdir -p .cache; exec 9>.cache/setup.lock; flock 9
  if stands "$kind"; then return; fi
  if ! [ -x .venv/bin/python ] || [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)' 2>/dev/null)" != "$checkout/.venv" ]; then
    python=$(usable_python)
    say "making .venv with $python"
    rm -rf .venv; "$python" -m venv .venv
  fi
  say "installing requirements/$kind.txt"
  .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r "requirements/$kind.txt"
  .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
  fingerprint "$kind" >".venv/.setup-$kind"
}

# bonsai is published as source alone. What builds it is pinned and hashed like everything else, so nothing is fetched besides.
ldap() {
  local python=.venv/bin/python headers
  environment runtime
  mkdir -p .cache; exec 8>.cache/setup-ldap.lock; flock 8
  if [ "$(cat .venv/.setup-ldap 2>/dev/null)" = "$(fingerprint ldap)" ] && "$python" -c 'import bonsai' 2>/dev/null; then return; fi
  headers=(gcc libc6-dev libldap-dev libsasl2-dev)
  "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
    headers+=("$("$python" -c 'import sys; print("python%d.%d-dev" % sys.version_info[:2])')")
  packages "${headers[@]}" || return 3
  say "building the library for LDAP"
  local pip=("$python" -m pip install -q --disable-pip-version-check --require-hashes)
  "${pip[@]}" --only-binary :all: -r requirements/ldap-build.txt || return 3
  "${pip[@]}" --no-deps --no-build-isolation --no-binary bonsai -r requirements/ldap.txt || return 3
  fingerprint ldap >.venv/.setup-ldap
}

# An environment of its own: what makes the pages is no part of the program or its tests.
docs() {
  local home=.venv-docs python
  mkdir -p .cache; exec 7>.cache/setup-docs.lock; flock 7
  if [ -x $home/bin/python ] && [ "$(cat $home/.setup-docs 2>/dev/null)" = "$(fingerprint docs)" ]; then return; fi
  python=$(usable_python)
  say "making $home"
  rm -rf $home; "$python" -m venv $home
  $home/bin/python -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/docs.txt
  fingerprint docs >$home/.setup-docs
}

case ${1-} in
  docs) docs ;;
  ldap) ldap ;;
  runtime | dev) environment "$1" ;;
  packages) shift; packages "$@" ;;
  *) sed -n '2,10p' "$0" >&2; exit 2 ;;
esac
