#!/bin/sh
# native.sh VERSION [OUT]
#
# Patches, configures and compiles libpcap with the compiler of the system it runs on: FreeBSD's base system, in a
# container or without.  /opt/pypcapzc (or $PYPCAPZC_TREE) holds patches/, scripts/ and sources/ with the tarball.
set -eu

version=$1
out=${2:-/out}
tree=${PYPCAPZC_TREE:-/opt/pypcapzc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

tarball=
for name in "$tree"/sources/libpcap-"$version".tar.* "$tree"/sources/libpcap_"$version".orig.tar.*; do
	if [ -f "$name" ]; then
		tarball=$name
		break
	fi
done
[ -n "$tarball" ] || {
	echo "no tarball of libpcap $version in $tree/sources" >&2
	exit 1
}
if command -v sha256 >/dev/null 2>&1; then
	sum=$(sha256 -q "$tarball")
else
	sum=$(sha256sum "$tarball" | cut -d ' ' -f 1)
fi
grep -q "^sha256 = \"$sum\"" "$tree/patches/sources.toml" || {
	echo "$tarball is not pinned in patches/sources.toml: its sha256 is $sum" >&2
	exit 1
}

cd "$work"
tar -xf "$tarball"
mv "libpcap-$version" src
sed 's/#.*//' "$tree/patches/series/$version" | while read -r name rest; do
	[ -n "$name" ] || continue
	(cd src && patch -p1 -F0 -f -s -i "$tree/patches/$name")
done
find src -name '*.orig' -exec rm -f {} +

case $(uname -s) in
FreeBSD) pcap=bpf netmap=--enable-netmap usb=--disable-usb ;;
*) pcap=linux netmap=--disable-netmap usb=--enable-usb ;;
esac
SOURCE_DATE_EPOCH=315532800 CONFIG_SITE=/dev/null LC_ALL=C TZ=UTC \
	sh "$tree/scripts/compile.sh" "$version" "$(getconf _NPROCESSORS_ONLN)" \
	--prefix=/usr/local --with-pcap="$pcap" --enable-shared --enable-ipv6 --disable-remote --disable-dbus \
	--disable-rdma --disable-bluetooth --without-libnl --without-dag --without-septel --without-snf \
	--without-turbocap --without-dpdk "$usb" "$netmap" CC="${CC:-cc}" LEX=flex PKG_CONFIG=false \
	CFLAGS="-O2 -g0 -ffile-prefix-map=$work=libpcap" LDFLAGS="-Wl,-S -Wl,--build-id=none"
mkdir -p "$out"
cp "build/libpcap.so.$version" "$out/libpcap.so.1.new"
mv "$out/libpcap.so.1.new" "$out/libpcap.so.1"
echo "$out/libpcap.so.1"
