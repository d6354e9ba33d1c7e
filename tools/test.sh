#!/bin/sh
# Runs the tests: test.sh PYTHON.  First on the libpcap of this system as it is, then those of capturing once
# more on the patched one, which it builds with the companion library, and on the system's with the latter.
set -eu
python=$1
here=$(dirname "$python")/..

say() { echo "== $*"; }

# Tests run side by side and compete for the machine with what each of them starts.  What fails like that is
# run once more with nothing beside it, and both are in the output: what fails then is broken, the other test
# wants mending.
tests() {
	code=0
	"$python" -m pytest -n auto --dist loadfile "$@" || code=$?
	[ "$code" -ne 1 ] || {
		say "once more, one at a time: what has failed just now"
		code=0
		"$python" -m pytest --last-failed --last-failed-no-failures none "$@" || code=$?
	}
	return "$code"
}

say "ruff, mypy"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy

# Homes of our own, so that a library that this user has built is neither used nor replaced.
# What tests compile is kept for the next run, and shared by those that run side by side.
export PYPCAPZC_TEST_BUILDS="${PYPCAPZC_TEST_BUILDS:-$here/builds}"
say "pytest, on the libpcap of this system; what cannot run is listed with the reason"
(PYPCAPZC_HOME=$here/stock && export PYPCAPZC_HOME && tests)

say "building the patched libpcap"
export PYPCAPZC_HOME="$here/patched"
if "$python" -m pypcapzc build; then
	say "pytest, on the patched libpcap: captures, savefiles, command line"
	tests tests/unit tests/netns tests/compat tests/scapy
	say "pytest, on the libpcap of this system with the companion library"
	export PYPCAPZC_HOME="$here/stock" PYPCAPZC_COMPANION="$here/patched/data/lib/host/libpypcapzc.so"
	tests tests/unit/test_block.py tests/unit/test_savefile.py tests/unit/test_savefile_fuzz.py \
		tests/unit/test_savefile_pipes.py tests/unit/test_dumper.py tests/netns/test_capture_live.py \
		tests/netns/test_capture_ends.py tests/compat
else
	case ",${PYPCAPZC_REQUIRE:-}," in
	*,kit,*) exit 1 ;;
	*) say "left out: the tests on a patched libpcap, which could not be built here" ;;
	esac
fi
