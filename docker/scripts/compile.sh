#!/bin/sh
# compile.sh VERSION JOBS CONFIGURE-ARGUMENT...
#
# Configures and compiles the patched libpcap in ./src, in ./build beside it.  Every engine of the kit runs
# this, on the machine itself or in a container, with an environment that the kit has made: cc, ar, ranlib, flex
# and bison first in PATH, nothing of the user's.  By hand it takes a tree in ./src and a compiler named cc:
#
#   sh compile.sh 1.10.5 2 --with-pcap=bpf --enable-shared CC=cc
#
# The lines that begin with == say which step it is at.
set -eu

version=$1
jobs=$2
shift 2

mkdir -p build tmp
cd build
echo "== configure"
sh ../src/configure "$@"
echo "== make"
make -j"$jobs" shared
[ -f "libpcap.so.$version" ] || {
	echo "make left no libpcap.so.$version" >&2
	exit 1
}
