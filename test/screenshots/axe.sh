#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
#
# Fetches axe-core, which looks for what keeps people from using a page, as
# .cache/axe-<version>.min.js, unless it is there. Fails without a Chromium.
set -eu

version=${1:?which version of axe-core}
cd "$(dirname "$0")/../.."

chromium=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome headless-shell; do
	[ -n "$chromium" ] || chromium=$(command -v $name || true)
done
if [ -z "$chromium" ]; then
	echo "make page-test needs Chromium: install it, or say where it is with CHROMIUM=/path" >&2
	exit 1
fi
[ ! -f ".cache/axe-$version.min.js" ] || exit 0

if ! command -v npm >/dev/null; then
	echo "make page-test needs npm to fetch axe-core: install npm" >&2
	exit 1
fi
mkdir -p .cache
dir=$(mktemp -d "$PWD/.cache/axe.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm pack --silent "axe-core@$version" >/dev/null
tar xzf "axe-core-$version.tgz" package/axe.min.js
mv package/axe.min.js "../axe-$version.min.js"
