#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
case $1 in
purge) echo "The keys and messages of mimird stay in /var/lib/private/mimird, as nothing else has them. Remove them yourself if nobody wants them." ;;
esac
