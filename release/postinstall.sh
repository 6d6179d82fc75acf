#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
echo "mimird is installed and not started. Start it, now and at each boot, with: systemctl enable --now mimird"
