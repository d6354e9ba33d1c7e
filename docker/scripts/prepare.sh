#!/bin/sh
# prepare.sh FOLDER
#
# Run once, when an image is made: does the base image have what configure and make need, and do the tools in
# FOLDER run on it?  It fetches nothing; images are made without a network.
set -eu

folder=$1
PATH=$folder/bin:$folder/bison/bin:$folder/zig:$PATH

lacking=
for program in sh sed awk grep tr expr uname sort rm cp mv ln mkdir chmod cat timeout; do
	command -v "$program" >/dev/null 2>&1 || lacking="$lacking $program"
done
[ -z "$lacking" ] || {
	echo "the base image lacks$lacking" >&2
	exit 1
}
for tool in make m4 flex bison; do
	"$tool" --version >/dev/null || {
		echo "$tool does not run on the base image: it takes glibc 2.28 or later" >&2
		exit 1
	}
done
zig version >/dev/null
