#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Installs a Debian package, runs the program as the service's user, upgrades, removes and purges it:
# sh release/deb.sh OLD.deb NEW.deb
#
# All of it happens in a copy of this machine's system that is thrown away (an overlay in a mount namespace of its own), so
# it wants root, and a Debian. There is no systemd in it: systemctl is a fake that writes down what it was asked, and what
# the unit asks of systemd (a user made for the service, the sandbox) is not tried.
set -eu
if [ "${1:-}" != inside ]; then
	exec unshare --mount --pid --fork --kill-child --mount-proc sh "$0" inside "$(realpath "$1")" "$(realpath "$2")"
fi
old=$2 new=$3
top=$(mktemp -d)
mount -t tmpfs tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$top/root"
root=$top/root
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind /dev "$root/dev"
mkdir -p "$root/run/systemd/system"
printf '#!/bin/sh\necho "$*" >>/asked\n' >"$root/usr/bin/systemctl"
chmod 755 "$root/usr/bin/systemctl"
cp "$old" "$root/old.deb" && cp "$new" "$root/new.deb"

fail() { echo "failed: $*" >&2 && exit 1; }
asked() { # COMMAND: the packages' scripts have told systemd that, and since then nothing is left
	grep -qx "$1" "$root/asked" || fail "systemctl was not asked to $1, but: $(cat "$root/asked")"
	: >"$root/asked"
}
package() { chroot "$root" dpkg "$@" || fail "dpkg $*"; }
# The user that systemd would make for the service has a number of this range.
service() { chroot "$root" setpriv --reuid=61234 --regid=61234 --clear-groups --no-new-privs env -i "MIMIRD_DATA=$data" "$@"; }
# Starts the program as the unit says, and waits until it answers.
start() {
	# shellcheck disable=SC2046 # the command of the unit has several words
	service $(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/mimird.service") >"$top/log" 2>&1 &
	background=$!
	left=120
	until service /usr/bin/mimird status --json >"$top/status" 2>&1; do
		left=$((left - 1))
		[ $left -gt 0 ] || { cat "$top/log" "$top/status" && fail "it does not answer"; }
		sleep 0.5
	done
}
stop() {
	pid=$(pgrep -u 61234 -f '^/usr/bin/mimird up') || fail "it does not run"
	kill -TERM "$pid"
	wait "$background" || fail "it ended with an error"
}
account() { service /usr/bin/mimird id --json | grep -m 1 '"id"'; }

package -i /old.deb
asked daemon-reload
data=$(sed -n 's/^Environment=MIMIRD_DATA=//p' "$root/usr/lib/systemd/system/mimird.service" | tr -d '"')
chroot "$root" man -w mimird >/dev/null 2>&1 || [ -f "$root/usr/share/man/man1/mimird.1.gz" ] || fail "there is no manual"
# StateDirectory of the unit makes this.
chroot "$root" install -d -m 700 -o 61234 -g 61234 "$data"
printf 'yggdrasil: {peers: []}\ntrackers: []\npage: {listen: ""}\n' >"$root$data/mimird.yaml"
chown 61234:61234 "$root$data/mimird.yaml"
start
first=$(account)
stop

package -i /new.deb
asked "try-restart mimird"
start
[ "$(account)" = "$first" ] || fail "the account is another one after the upgrade"
stop

package -r mimird
grep -qx "disable --now mimird" "$root/asked" || fail "the service was not stopped: $(cat "$root/asked")"
[ ! -e "$root/usr/bin/mimird" ] || fail "the program is left"
package -P mimird
[ ! -e "$root/usr/lib/systemd/system/mimird.service" ] || fail "the unit is left"
chroot "$root" dpkg-query -W mimird 2>/dev/null && fail "dpkg still knows it"
[ -d "$root$data/keys" ] || fail "the keys are gone"
echo "installed, ran as user 61234, upgraded, removed and purged; the data stays"
