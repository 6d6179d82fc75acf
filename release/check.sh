#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Checks what a release needs beyond Go: make release-check. It wants dpkg and apt (Debian), and systemd-analyze. With root
# it also installs the packages (RPM where rpm is) and runs the image, with qemu-user-static the program for arm64. What is
# left out is said.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/.tools
target=$(go env GOHOSTOS)/$(go env GOHOSTARCH)
fail=0
check() { # NAME COMMAND...
	name=$1 && shift
	if "$@" >"$tools/check.log" 2>&1; then echo "ok      $name"; else
		echo "failed  $name" && cat "$tools/check.log" && fail=1
	fi
}

# promtool comes from Debian's package, without installing it.
if [ ! -x "$tools/promtool" ]; then
	dir=$(mktemp -d)
	(cd "$dir" && apt-get download prometheus && dpkg -x prometheus_*.deb .) >/dev/null 2>&1
	cp "$dir/usr/bin/promtool" "$tools/promtool"
	rm -rf "$dir"
fi
check "alert rules" "$tools/promtool" check rules contrib/prometheus/alerts.yml
check "alert rules, test" "$tools/promtool" test rules contrib/prometheus/alerts_test.yml

RELEASE_TARGETS=$target sh release/release.sh 0.0.0 >/dev/null
program=mimird-0.0.0-$(echo "$target" | tr / -)
check "unpacks" tar -C dist/0.0.0 -xzf "dist/0.0.0/$program.tar.gz"
# docs/release.md says what the program is made of. What makes it larger than this needs a reason.
max_bytes=60000000
size_check() {
	bytes=$(wc -c <"dist/0.0.0/$program/mimird")
	echo "the program has $bytes bytes, at most $max_bytes are allowed"
	[ "$bytes" -le "$max_bytes" ]
}
[ "$target" != linux/amd64 ] || check "size of the program" size_check
check "version" sh -c "dist/0.0.0/$program/mimird version | grep -q 'mimird 0.0.0 ('"
update_check() { # FLAGS: with the list and the signature of this release
	(cd dist/0.0.0 && exec python3 -m http.server --bind 127.0.0.1 8744 >/dev/null 2>&1) &
	server=$!
	code=1 left=20
	while [ $code = 1 ] && [ $left -gt 0 ]; do # the server needs a moment
		sleep 0.5
		left=$((left - 1)) code=0
		MIMIRD_CONFIG__UPDATE__URL=http://127.0.0.1:8744/releases.json MIMIRD_CONFIG__UPDATE__KEY=$(tail -n 1 dist/0.0.0/throw-away.pub) \
			"dist/0.0.0/$program/mimird" update check --config /dev/null || code=$?
	done
	kill $server
	return $code
}
if command -v minisign >/dev/null; then
	check "release list" update_check
else
	echo "not run release list, as minisign is not installed"
fi
check "unit" sh -c "MIMIRD_UNIT_DIR=dist/0.0.0 dist/0.0.0/$program/mimird service install &&
	systemd-analyze security --offline=true --threshold=20 dist/0.0.0/mimird.service"
check "image, test" sh -c "cd release/image && CGO_ENABLED=0 GOFLAGS= go test ./..."
# Without a container engine: the files of the image, as the user of the image.
if [ "$(id -u)" = 0 ]; then
	root=$(mktemp -d)
	mkdir "$root/layout" "$root/files"
	tar -C "$root/layout" -xf dist/0.0.0/mimird-0.0.0-oci.tar
	for blob in "$root"/layout/blobs/sha256/*; do
		gzip -t "$blob" 2>/dev/null && tar -C "$root/files" -xzpf "$blob"
	done
	chmod 755 "$root" "$root/files"
	check "image runs" sh -c "chroot --userspec=65532:65532 $root/files /usr/bin/mimird version | grep -q 'mimird 0.0.0 ('"
	rm -rf "$root"
fi
changelog_check() { # PACKAGE VERSION: Debian's programs read it, and find the version with what is in CHANGELOG.md
	dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/share/doc/mimird/changelog.gz | gzip -dc >"$tools/changelog" &&
		[ "$(dpkg-parsechangelog -l "$tools/changelog" -S Version)" = "$2" ] &&
		[ -z "$(dpkg-parsechangelog -l "$tools/changelog" 2>&1 >/dev/null)" ] &&
		[ "$(grep -c '^- ' CHANGELOG.md)" = "$(grep -c '^  \* [^ ]' "$tools/changelog")" ]
}
if command -v dpkg-parsechangelog >/dev/null; then
	check "changelog of the package" changelog_check "dist/0.0.0/$program.deb" 0.0.0
else
	echo "not run changelog of the package, as dpkg-dev is not installed"
fi
if command -v lintian >/dev/null; then
	check "lintian" lintian --no-cfg --fail-on error,warning "dist/0.0.0/$program.deb"
else
	echo "not run lintian, as it is not installed"
fi
# A package of another version, to upgrade to.
if [ "$(id -u)" = 0 ]; then
	RELEASE_TARGETS=$target sh release/release.sh 0.0.1 >/dev/null
	check "package installs, runs, upgrades, purges" sh release/deb.sh "dist/0.0.0/$program.deb" "dist/0.0.1/mimird-0.0.1-$(echo "$target" | tr / -).deb"
	rm -rf dist/0.0.1
else
	echo "not run package and image, as this is not root"
fi
# Into an empty system, without the scripts: there is no shell in it.
rpm_package() { # FILE
	root=$(mktemp -d)
	in_root() { rpm --root "$root" "$@"; }
	in_root --initdb
	in_root -i --nodeps --noscripts --ignorearch "$1" && in_root -V --nodeps mimird || return 1
	chroot "$root" /usr/bin/mimird version | grep -q 'mimird 0.0.0 (' || return 1
	for service in postinstall preremove postremove; do sh -n "release/$service.sh" || return 1; done
	in_root -e --noscripts mimird
	left=$(find "$root/usr" -name '*mimird*' 2>/dev/null)
	rm -rf "$root"
	[ -z "$left" ] || { echo "left: $left" && return 1; }
}
if [ "$(id -u)" = 0 ] && command -v rpm >/dev/null; then
	check "RPM package installs, verifies, runs, is removed" rpm_package "dist/0.0.0/$program.rpm"
else
	echo "not run RPM package, as rpm is not installed or this is not root"
fi
# Another architecture runs, not only links: it starts, answers and ends in order.
emulated() {
	dir=$(mktemp -d)
	GOARCH=arm64 CGO_ENABLED=0 GOFLAGS='' go build -trimpath -buildvcs=false -tags goolm -ldflags "-s -w" -o "$dir/mimird" ./cmd/mimird || return 1
	printf 'yggdrasil: {peers: []}\ntrackers: []\npage: {listen: ""}\n' >"$dir/mimird.yaml"
	qemu-aarch64-static "$dir/mimird" up --no-qr --data "$dir" &
	program_pid=$! left=240 code=0
	until qemu-aarch64-static "$dir/mimird" status --data "$dir"; do
		left=$((left - 1))
		[ $left -gt 0 ] || break
		sleep 0.5
	done
	kill -TERM "$program_pid" && wait "$program_pid" || code=$?
	rm -rf "$dir"
	[ $left -gt 0 ] && return $code
}
if command -v qemu-aarch64-static >/dev/null; then
	check "linux/arm64 runs, emulated" emulated
else
	echo "not run linux/arm64, as qemu-user-static is not installed"
fi
rm -rf dist/check-kept && mv dist/0.0.0 dist/check-kept
# The second time on a machine of another name, where one may be given.
elsewhere() { if unshare --uts true 2>/dev/null; then unshare --uts sh -c 'hostname elsewhere && "$@"' sh "$@"; else "$@"; fi; }
elsewhere env RELEASE_TARGETS="$target" sh release/release.sh 0.0.0 >/dev/null
check "built twice, the same" cmp dist/0.0.0/SHA256SUMS dist/check-kept/SHA256SUMS
check "checksums" sh -c "cd dist/0.0.0 && sha256sum -c SHA256SUMS"
rm -rf dist/0.0.0 dist/check-kept
exit $fail
