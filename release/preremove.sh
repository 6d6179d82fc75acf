#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# dpkg says remove or upgrade, rpm how many versions stay.
set -e
case $1 in
remove | 0) if [ -d /run/systemd/system ]; then systemctl disable --now mimird || true; fi ;;
esac
