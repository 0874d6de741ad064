#!/usr/bin/env bash
# Brings the system programs that the tests run. As root on a Debian it
# installs what is missing; elsewhere it names what is missing and goes on, and
# the tests that need it say that they were skipped.
set -euo pipefail

packages=()
missing=()

# need PACKAGE WHAT TEST... : WHAT is there if the command TEST succeeds.
need() {
	local package=$1 what=$2
	shift 2
	"$@" >/dev/null 2>&1 && return
	packages+=("$package")
	missing+=("$what")
}

postgresql() { compgen -G '/usr/lib/postgresql/*/bin/initdb' || command -v initdb; }

need postgresql "a PostgreSQL server" postgresql
need util-linux "setpriv" command -v setpriv
need gcc "a C compiler (for go test -race)" command -v cc
need libc6-dev "the C library's headers (for go test -race)" test -e /usr/include/stdlib.h

if [ ${#packages[@]} -gt 0 ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "setup: installing ${packages[*]}"
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		apt-get install -qq --yes --no-install-recommends -o Dpkg::Use-Pty=0 "${packages[@]}" </dev/null >/dev/null
	else
		printf 'setup: not here: %s\n' "${missing[@]}" >&2
		echo "setup: install with: apt-get install ${packages[*]}" >&2
	fi
fi

if ! command -v terraform >/dev/null && ! command -v tofu >/dev/null; then
	echo "setup: neither terraform nor tofu is here; the provider's acceptance tests and the demo need one (1.11 or newer)" >&2
	[ -z "${CI:-}" ] || exit 1
fi
