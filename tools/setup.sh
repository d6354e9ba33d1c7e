#!/bin/sh
# Makes the virtual environment: setup.sh PYTHON VENV.  Says what it does; can be run again.
set -eu
python=$1
venv=$2

say() { echo "== $*"; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
	echo "pypcapzc needs Python 3.10 or later; this is $("$python" --version 2>&1)." >&2
	echo "Name another one: make PYTHON=python3.12 ..." >&2
	exit 1
}

# The system's own parts, where this is root on Debian or a relative; else only said.
missing=
command -v ip >/dev/null 2>&1 || [ "$(uname -s)" != Linux ] || missing="$missing iproute2"
command -v patch >/dev/null 2>&1 || missing="$missing patch"
"$python" -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("pcap"))' || missing="$missing libpcap0.8"
if [ -n "$missing" ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		say "installing$missing"
		# shellcheck disable=SC2086
		apt-get install -qq -y $missing >/dev/null || { apt-get update -qq && apt-get install -qq -y $missing >/dev/null; }
	else
		say "not installed here:$missing (Debian: apt-get install$missing); going on without"
	fi
fi

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
	say "making the virtual environment $venv with $("$python" --version 2>&1)"
	rm -rf "$venv"
	"$python" -m venv "$venv" || {
		echo "cannot make a virtual environment (Debian: apt-get install python3-venv)" >&2
		exit 1
	}
fi
say "installing pypcapzc and its tools into $venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
