#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Builds a release of HEAD below dist: sh release/release.sh VERSION
#
# RELEASE_TARGETS  the systems, such as "linux/amd64 linux/arm64"
# MINISIGN_KEY     the file of the signing key; without it a throw-away key signs, and that is said
# MINISIGN_PUBLIC  its public key, the line that begins with RW; needed with MINISIGN_KEY
# RELEASE_PAGES    where releases are published
#
# The programs are built with that public key and with where the release list is, for mimird update check. With a
# throw-away key they have neither.
#
# The same commit makes the same bytes, but for the signature: make release-check builds it twice.
set -eu
cd "$(dirname "$0")/.."
version=$1
number=${version#v}
dist=dist/$version
epoch=$(git log -1 --format=%ct)
tools=$PWD/.tools
export SOURCE_DATE_EPOCH="$epoch" CGO_ENABLED=0 TZ=UTC LC_ALL=C
pages=${RELEASE_PAGES:-https://github.com/mimird/mimird/releases}
list=
if [ -n "${MINISIGN_KEY:-}" ]; then
	: "${MINISIGN_PUBLIC:?is the public key of MINISIGN_KEY}"
	list="-X main.updateURL=$pages/latest/download/releases.json -X main.updateKey=$MINISIGN_PUBLIC"
fi
rm -rf "$dist" && mkdir -p "$dist/work"

build() { # SYSTEM ARCHITECTURE FILE
	GOOS=$1 GOARCH=$2 GOFLAGS='' go build -trimpath -buildvcs=true -tags goolm \
		-ldflags "-s -w -X main.release=$number $list" -o "$3" ./cmd/mimird
}

echo "mimird $version: each system takes some minutes to compile the first time"
build "$(go env GOHOSTOS)" "$(go env GOHOSTARCH)" "$dist/work/host"
"$dist/work/host" man "$dist/work/man"
gzip -9n "$dist"/work/man/*.1
dates() { # the day of each version with a tag, and of this one
	for tag in $(git tag -l 'v*'); do
		printf '%s=%s;' "${tag#v}" "$(date -u -R -d "@$(git log -1 --format=%ct "$tag")")"
	done
	printf '%s=%s' "$number" "$(date -u -R -d "@$epoch")"
}
awk -v version="$number" -v dates="$(dates)" -f release/changelog.awk CHANGELOG.md | gzip -9n >"$dist/work/changelog.gz"
{ printf 'mimird, %s\nCopyright (C) %s the authors of mimird\n\n' "$pages" "$(date -u -d "@$epoch" +%Y)" && cat LICENSE; } >"$dist/work/copyright"
MIMIRD_UNIT_DIR=$dist/work "$dist/work/host" service install >/dev/null
sed -i 's,^ExecStart="[^"]*",ExecStart=/usr/bin/mimird,' "$dist/work/mimird.service"
images=
for target in $RELEASE_TARGETS; do
	system=${target%/*} arch=${target#*/}
	name=mimird-$number-$system-$arch
	suffix='' && [ "$system" != windows ] || suffix=.exe
	dir=$dist/work/$name
	mkdir -p "$dir/man"
	echo "  $target"
	build "$system" "$arch" "$dir/mimird$suffix"
	cp README.md CHANGELOG.md LICENSE SECURITY.md "$dir"
	cp "$dist"/work/man/*.gz "$dir/man"
	tar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode='u=rwX,go=rX' -C "$dist/work" -cf - "$name" |
		gzip -9n >"$dist/$name.tar.gz"
	"$tools/cyclonedx-gomod-v1.10.0" bin -json -noserial -output "$dist/work/sbom" "$dir/mimird$suffix" 2>/dev/null
	sed '/"timestamp":/d' "$dist/work/sbom" >"$dist/$name.cdx.json"
	case $target in
	linux/amd64 | linux/arm64 | linux/riscv64)
		for format in deb rpm; do
			VERSION=$number ARCH=$arch BIN=$dir/mimird MAN=$dist/work/man CHANGELOG=$dist/work/changelog.gz COPYRIGHT=$dist/work/copyright UNIT=$dist/work/mimird.service \
				"$tools/nfpm-v2.44.0" package --config release/nfpm.yaml --packager $format --target "$dist/$name.$format" >"$dist/work/log" || { cat "$dist/work/log"; exit 1; }
		done
		;;
	esac
	case $target in
	linux/amd64 | linux/arm64) images="$images $arch=$PWD/$dir/mimird" ;;
	esac
done
if [ -n "$images" ]; then
	echo "  container image for$(echo "$images" | sed 's,=[^ ]*,,g')"
	# shellcheck disable=SC2086 # one argument for each architecture
	(cd release/image && GOFLAGS='' go run . -version "$number" -epoch "$epoch" -out "$OLDPWD/$dist/mimird-$number-oci.tar" $images)
fi
rm -rf "$dist/work"
(cd "$dist" && sha256sum mimird-* >SHA256SUMS)

CGO_ENABLED=0 GOFLAGS='' go run ./cmd/internal/update/list -version "$number" -issued "$epoch" -page "$pages/tag/v" \
	<CHANGELOG.md >"$dist/releases.json" || { rm "$dist/releases.json" && echo "no release list: $version is not the version of a release"; }

sign() { # KEY COMMENT
	for file in SHA256SUMS releases.json; do
		[ ! -f "$dist/$file" ] || minisign -S -s "$1" -m "$dist/$file" -t "mimird $version, $file$2" >/dev/null
	done
}
if ! command -v minisign >/dev/null; then
	echo "not signed: minisign is not installed"
elif [ -n "${MINISIGN_KEY:-}" ]; then
	sign "$MINISIGN_KEY" ""
	minisign -V -q -P "$MINISIGN_PUBLIC" -m "$dist/SHA256SUMS" || { echo "MINISIGN_PUBLIC is not the public key of MINISIGN_KEY" && exit 1; }
else
	key=$(mktemp -d)
	minisign -G -W -f -p "$dist/throw-away.pub" -s "$key/key" >/dev/null
	sign "$key/key" ", throw-away key"
	rm -rf "$key"
	echo "signed with a throw-away key (throw-away.pub), which proves nothing: set MINISIGN_KEY for a release"
fi
ls -l "$dist"
echo "Only linked and never run by this: all but $(go env GOHOSTOS)/$(go env GOHOSTARCH)."
