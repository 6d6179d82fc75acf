#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
#
# Builds the Matrix client of the pictures, a version of gomuks with its web front
# end, as .cache/gomuks-<version>, unless it is there.
# It is used as it is published, but for what the pictures do not need: calls, which
# bring a large front end of their own, and the client that runs in the browser alone.
set -eu

version=${1:?which version of gomuks}
cd "$(dirname "$0")/../.."
program=$PWD/.cache/gomuks-$version

chromium=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome headless-shell; do
	[ -n "$chromium" ] || chromium=$(command -v $name || true)
done
if [ -z "$chromium" ]; then
	echo "make screenshots needs Chromium: install it, or say where it is with CHROMIUM=/path" >&2
	exit 1
fi
[ ! -x "$program" ] || exit 0

for tool in npm gcc; do
	if ! command -v $tool >/dev/null; then
		echo "make screenshots needs $tool to build its Matrix client, gomuks: install $tool" >&2
		exit 1
	fi
done

mkdir -p .cache
src=$(mktemp -d "$PWD/.cache/gomuks-src.XXXXXX")
trap 'chmod -R u+w "$src"; rm -rf "$src"' EXIT
dir=$(go mod download -json "go.mau.fi/gomuks@$version" | sed -n 's/^.*"Dir": "\(.*\)",$/\1/p')
cp -R "$dir/." "$src"
chmod -R u+w "$src"

cd "$src/web"
sed -i.orig '/element-call-embedded/d' package.json
sed -i.orig '/elementCallPlugin/d' vite.config.ts
rm -f package-lock.json
npm install --no-audit --no-fund --legacy-peer-deps
# Named by another package as its peer, so that nothing else brings it.
npm install --no-audit --no-fund --legacy-peer-deps @dnd-kit/core@6
printf '\000asm\001\000\000\000' >src/api/wasm/_gomuks.wasm # an empty module
sh export-go-data.sh
npx vite build

cd "$src"
CGO_ENABLED=1 go build -tags "goolm sqlite_fts5" -o "$program.new" ./cmd/gomuks
mv "$program.new" "$program"
