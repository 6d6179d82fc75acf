#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# dpkg says configure and the version that was there before, rpm how many versions there are now.
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
case "$1 ${2:-}" in
"configure "?* | "2 ")
	if [ -d /run/systemd/system ]; then systemctl try-restart mimird || true; fi
	;;
*) echo "mimird is installed and not started. Start it, now and at each boot, with: systemctl enable --now mimird" ;;
esac
