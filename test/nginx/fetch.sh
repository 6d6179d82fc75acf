#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
#
# Provides nginx for make e2e: that of the system when it is installed, else Debian's
# package, unpacked without root as .cache/nginx, with the libraries that it needs and
# the system lacks.
set -eu

cd "$(dirname "$0")/../.."
target=$PWD/.cache/nginx

if command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || [ -x "$target/usr/sbin/nginx" ]; then
	exit 0
fi
missing() {
	echo "make e2e needs nginx: install it, or let apt-get download reach a Debian mirror ($1)" >&2
	exit 1
}
command -v apt-get >/dev/null || missing "there is no apt-get"
command -v dpkg >/dev/null || missing "there is no dpkg"

rm -rf "$target.new"
mkdir -p "$target.new/packages"
(cd "$target.new/packages" && apt-get download nginx >/dev/null 2>&1) || missing "apt-get download nginx fails"
unpack() {
	for package in "$target.new"/packages/*.deb; do
		dpkg -x "$package" "$target.new"
	done
}
unpack
needs() {
	LD_LIBRARY_PATH="$target.new/usr/lib/$(uname -m)-linux-gnu" ldd "$target.new/usr/sbin/nginx" | grep 'not found' || true
}
if [ -n "$(needs)" ]; then
	(cd "$target.new/packages" && apt-get download libpcre2-8-0 libssl3 libcrypt1 zlib1g >/dev/null 2>&1) || missing "apt-get download of its libraries fails"
	unpack
fi
[ -z "$(needs)" ] || missing "libraries are missing: $(needs)"
rm -rf "$target" "$target.new/packages"
mv "$target.new" "$target"
