# Sourced by the scripts beside: brings in what is missing on a fresh machine, and is quick when nothing is.
# shellcheck shell=sh

cd -- "$(dirname -- "$0")/.."
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1
# Servers live in directories that an ordinary user's PATH leaves out.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# Two scripts started at once must not both fill .venv; the lock goes with the process, so none is ever stale.
one_at_a_time() {
  command -v flock >/dev/null || return 0
  exec 9<pyproject.toml
  flock 9
}

next_please() { exec 9<&-; }

# quietly COMMAND...: its output is shown only if it fails.
quietly() {
  output=$("$@" 2>&1) && return 0
  printf '%s\n' "$output" >&2
  return 1
}

# as_root COMMAND...: as root, if that needs no password.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo -n env DEBIAN_FRONTEND=noninteractive "$@"
  else
    return 1
  fi
}

# apt_packages NAME...: installs them, as far as this system knows them. What cannot be had is said, and no failure:
# a test that needs it says so itself.
apt_packages() {
  [ $# -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null || ! as_root true; then
    say "missing, and not installed without apt-get and root: $*"
    return 0
  fi
  say "installing $*"
  quietly as_root apt-get -qq update || say "apt-get update failed"
  known=
  for package in "$@"; do
    if [ -n "$(apt-cache show --no-all-versions "$package" 2>/dev/null)" ]; then
      known="$known $package"
    else
      say "this system has no package $package"
    fi
  done
  # shellcheck disable=SC2086 # a list of words
  [ -z "$known" ] || quietly as_root apt-get -qq -y --no-install-recommends install $known || say "apt-get install failed"
}

# system_programs PROGRAM=PACKAGE...: installs the packages whose program is not there.
system_programs() {
  missing=
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing="$missing ${pair#*=}"
  done
  # shellcheck disable=SC2086 # a list of words
  apt_packages $missing
}

# The first Python on PATH that is new enough.
find_python() {
  for python in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$python" >/dev/null && is_new_enough "$python"; then
      return 0
    fi
  done
  return 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

make_venv() {
  if [ -x .venv/bin/pip ] && is_new_enough .venv/bin/python; then
    return 0
  fi
  find_python || { system_programs python3=python3 && find_python; } || {
    say "Python 3.11 or newer is needed"
    return 1
  }
  # Debian keeps the making of environments in a package of its own.
  "$python" -c 'import ensurepip' 2>/dev/null || apt_packages python3-venv
  rm -rf .venv
  "$python" -m venv .venv
}

# node_packages FOLDER: its node_modules, exactly as its lock file says.
node_packages() {
  now=$(cksum <"$1/package-lock.json")
  if [ -f "$1/node_modules/installed" ] && [ "$(cat "$1/node_modules/installed")" = "$now" ]; then
    return 0
  fi
  if ! command -v npm >/dev/null; then
    say "missing, and not installed without npm: $1"
    return 0
  fi
  say "installing Node packages of $1"
  quietly npm ci --prefix "$1" --no-audit --no-fund --ignore-scripts || {
    say "npm ci failed"
    return 0
  }
  printf '%s\n' "$now" >"$1/node_modules/installed"
}

# python_programs FOLDER: what its requirements.txt pins, in FOLDER/.python, for the system's own Python: programs of
# others, which must not share packages with ours.
python_programs() {
  now=$(cksum <"$1/requirements.txt")
  if [ -f "$1/.python/installed" ] && [ "$(cat "$1/.python/installed")" = "$now" ]; then
    return 0
  fi
  say "installing Python programs of $1"
  rm -rf "$1/.python"
  quietly .venv/bin/python -m pip --python /usr/bin/python3 install --quiet --no-deps \
    --target "$1/.python" -r "$1/requirements.txt" || {
    say "pip install failed"
    return 0
  }
  printf '%s\n' "$now" >"$1/.python/installed"
}

# python_packages GROUP: .venv with the package itself, editable, and with what requirements/GROUP.txt locks (`scripts/lock`
# writes it): from any index, as the hashes are there; a file with another hash is refused.
python_packages() {
  make_venv
  now=$(cat pyproject.toml "requirements/$1.txt" | cksum)
  if [ -f ".venv/installed-$1" ] && [ "$(cat ".venv/installed-$1")" = "$now" ]; then
    return 0
  fi
  say "installing Python packages"
  .venv/bin/python -m pip install --quiet --require-hashes --requirement "requirements/$1.txt"
  .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
  printf '%s\n' "$now" >".venv/installed-$1"
}
