// SPDX-License-Identifier: MPL-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/mimird/mimird/actors/backup/schedule"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/config"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// diskReserve is the free space below which the store takes in nothing new, and
	// diskLittle where it is time to do something.
	diskReserve = 256 << 20
	diskLittle  = 4 * diskReserve
	// maxListed bounds how many things of a kind are told.
	maxListed = 20
)

// oldest is a time that every right clock is after.
var oldest = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

func (d *run) configuration(context.Context) []Check {
	if d.ConfigErr != nil {
		return failed(oneLine(d.ConfigErr), "the node does not start with it", "correct what is named, or move the file away: the next start writes a new one")
	}
	d.configured = true
	var roles []string
	for _, role := range d.Config.Roles {
		roles = append(roles, string(role))
	}
	return ok("can be read; roles " + strings.Join(roles, ", "))
}

func (d *run) clock(context.Context) []Check {
	c := d.Clock()
	switch {
	case c.Now.Before(oldest):
		return failed("it is "+c.Now.Format(time.DateTime), "that is before this program was built: announcements and messages get wrong times",
			"set the clock; let the system keep it right, for example with systemd-timesyncd or chrony")
	case c.Known && !c.Synchronised:
		return warning("it is "+c.Now.Format(time.DateTime)+", and the system does not synchronise it", "announcements of a clock that is wrong expire too early, or are refused",
			"let the system keep it right, for example with systemd-timesyncd or chrony; in a container its host does that")
	}
	return ok("it is " + c.Now.Format(time.DateTime))
}

func (d *run) disk(context.Context) []Check {
	disk, err := d.Disk()
	if err != nil {
		return warning("cannot be measured: "+oneLine(err), "nobody knows when it is full", "look at it by hand: df -h "+d.Dir)
	}
	found := fmt.Sprintf("%s of %s free", humanize.IBytes(disk.Free), humanize.IBytes(disk.Total))
	reserve := min(diskReserve, disk.Total/20)
	switch {
	case disk.Free < reserve:
		return failed(found, "the node takes in nothing new: contacts keep their messages and try again", "make space on the disk of "+d.Dir+"; media.quota limits the files of messages")
	case disk.Free < 4*reserve:
		return warning(found, "below "+humanize.IBytes(reserve)+" the node takes in nothing new", "make space on the disk of "+d.Dir)
	}
	return ok(found)
}

func (d *run) directory(context.Context) []Check {
	info, err := os.Stat(d.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return failed("there is no "+d.Dir, "the node has not been started here yet", "start it with mimird up, or name its directory with --data")
	case err != nil:
		return failed(oneLine(err), "the node cannot use it either", "let the user of the node into "+d.Dir)
	case !info.IsDir():
		return failed(d.Dir+" is not a directory", "the node cannot use it", "name another one with --data")
	}
	if exposed := d.exposed(); exposed != "" {
		return failed(exposed+" can be read by others", "others who have a key can act as its account; the node does not start", "chmod 700 "+filepath.Join(d.Dir, "keys")+" and chmod 600 the files in it; when others may have read them, think of a new account")
	}
	return ok(d.Dir + " is private")
}

// exposed names a key that others can read.
func (d *run) exposed() string {
	if runtime.GOOS == "windows" {
		return "" // where modes say nothing
	}
	dir := filepath.Join(d.Dir, "keys")
	paths, _ := filepath.Glob(filepath.Join(dir, "*.pem")) // fails only for a bad pattern
	for _, path := range append([]string{dir}, paths...) {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			return path
		}
	}
	return ""
}

func (d *run) node(ctx context.Context) []Check {
	status, err := d.Status(ctx)
	switch {
	case err == nil:
		d.runs, d.status = true, status
		return ok("runs, version " + status.Version)
	case errors.Is(err, client.ErrNotRunning):
		return failed("does not run", "nothing is received or sent", "start it with mimird up, or as a service with mimird service install")
	}
	return failed("does not answer: "+oneLine(err), "it runs, and commands cannot use it", "look into its log; run this as the user of the node")
}

func (d *run) store(context.Context) []Check {
	if d.runs {
		d.opened = true
		return ok("open in the running node; mimird check reads all of it")
	}
	lost, err := d.Store()
	d.lost = lost
	switch {
	case err == nil:
		d.opened = true
		return ok("can be opened; mimird check reads all of it")
	case errors.Is(err, fs.ErrNotExist):
		return skipped("there is none yet; the first start creates it")
	case errors.Is(err, store.ErrInUse):
		return failed("another process has it open", "a node runs on this data and does not listen where the configuration says",
			"stop the other process, or give its configuration with --config; control.socket is "+d.Config.Control.Socket)
	case errors.Is(err, store.ErrNewerSchema):
		return failed(oneLine(err), "a newer version of mimird has written it, which this one cannot read", "install that version again, or a newer one; nothing has been changed")
	case errors.Is(err, store.ErrOlderSchema):
		return warning(oneLine(err), "an older version has written it", "start the node once, which upgrades it: mimird up")
	case errors.Is(err, store.ErrCorrupt):
		return failed("damaged: "+oneLine(err), "the node does not start with it", "copy the data directory to a safe place, then: mimird restore BACKUP --data NEW")
	}
	return failed(oneLine(err), "the node cannot open it either", "let the user of the node read and write "+d.Dir)
}

func (d *run) keys(context.Context) []Check {
	if d.runs {
		for _, w := range d.status.Warnings {
			if w.Code == "key_lost" {
				d.lost = append(d.lost, w.Text)
			}
		}
	}
	if len(d.lost) > 0 {
		return failed(strings.Join(d.lost, "; "), "without its key an account can neither receive nor send", "bring the files back from a backup: mimird restore")
	}
	return ok("all there")
}

func (d *run) yggdrasil(ctx context.Context) []Check {
	if !d.Config.Has(config.RoleNode) {
		return skipped("the roles of this process have nodes of their own")
	}
	up := 0
	for _, p := range d.status.Overlay.Peers {
		if p.Up {
			up++
		}
	}
	if d.online = up > 0; d.online {
		found := fmt.Sprintf("%d of %d peers up", up, len(d.status.Overlay.Peers))
		if n := len(d.status.Overlay.Spares); n > 0 {
			found += fmt.Sprintf("; %d more are in reserve, as yggdrasil.connected is %d", n, d.Config.Yggdrasil.Connected)
		}
		return ok(found)
	}
	peers := d.Config.Yggdrasil.Peers
	if len(peers) == 0 {
		if d.Config.Yggdrasil.Multicast || len(d.Config.Yggdrasil.Listen) > 0 {
			return warning("no peer is up, and yggdrasil.peers is empty", "the node waits for others to connect", "add peers to yggdrasil.peers, unless that is what you want")
		}
		return failed("yggdrasil.peers is empty, and the node neither listens nor looks around", "it reaches nobody", "add peers to yggdrasil.peers; without that key the usual ones are taken")
	}
	var reasons []string
	for _, uri := range peers {
		err := d.DialPeer(ctx, uri)
		if err == nil {
			if !d.runs {
				return ok("the peer " + uri + " can be connected to; the node does not run")
			}
			return warning("no peer is up, and "+uri+" can be connected to", "the peer is there, and no link comes about: it may speak another version, or want a password", "wait a minute; then look into the node's log for peer")
		}
		if len(reasons) < 3 {
			reasons = append(reasons, uri+": "+oneLine(err))
		}
	}
	return failed(fmt.Sprintf("none of %d peers can be reached: %s", len(peers), strings.Join(reasons, "; ")), "nothing is received or sent",
		"is this machine online, and may it connect to these ports? Other peers are at https://publicpeers.neilalexander.dev; they go into yggdrasil.peers")
}

// outside looks at the node from the network.
func (d *run) outside(ctx context.Context) []Check {
	if !d.Config.Has(config.RoleNode) {
		return skipped("the process has no accounts")
	}
	if !d.online && d.runs {
		return skipped("cannot be looked at without a peer")
	}
	if len(d.Config.Yggdrasil.Peers) == 0 {
		return skipped("yggdrasil.peers is empty: no second node can look at this one")
	}
	q := Question{Peers: d.connectedPeers(), Files: d.Config.Media.Server.NodeKey}
	for _, t := range d.Config.Trackers {
		q.Trackers = append(q.Trackers, t.Address)
	}
	if d.runs {
		q.Node, _ = identity.ParseNodeKey(d.status.Node) // zero, for which nothing is dialled
		for _, a := range d.status.Accounts {
			if key, err := identity.ParsePublicKey(a.ID); err == nil {
				q.Accounts = append(q.Accounts, key)
			}
		}
	}
	reached, err := d.Outside(ctx, q)
	if err != nil {
		return warning("a second node cannot be started: "+oneLine(err), "it is not known whether others reach this node", "try again")
	}
	d.reached = &reached
	switch {
	case !reached.Connected:
		return failed("a second node gets no peer", "this machine cannot join the network now", "see yggdrasil above")
	case !d.runs:
		return skipped("the node does not run")
	case reached.Node != nil:
		return warning("a second node does not reach this one: "+oneLine(reached.Node), "contacts may be unable to connect; the node still reaches them", "wait a minute, as paths take time; then look at the peers in mimird status")
	}
	return ok("a second node reaches this one over the network")
}

// connectedPeers returns the peers of the configuration without those that the running node
// has in reserve: by another one a second node may reach what the first cannot.
func (d *run) connectedPeers() []string {
	peers := slices.DeleteFunc(slices.Clone(d.Config.Yggdrasil.Peers), func(uri string) bool {
		name, _, _ := strings.Cut(uri, "?") // without its options, as the status has it
		return d.runs && slices.Contains(d.status.Overlay.Spares, name)
	})
	if len(peers) == 0 {
		return d.Config.Yggdrasil.Peers
	}
	return peers
}

// unlinked is a remedy for what does not answer, when there are peers in reserve: it may be
// reached by one of them alone.
func (d *run) unlinked() string {
	n := len(d.status.Overlay.Spares)
	if !d.runs || n == 0 {
		return ""
	}
	return fmt.Sprintf("; when your peers are not all of one network, it may be behind one of the %d in reserve: set yggdrasil.connected to 0, which connects to all", n)
}

func (d *run) trackers(context.Context) []Check {
	if !d.Config.Has(config.RoleNode) {
		return skipped("the process has no accounts")
	}
	if len(d.Config.Trackers) == 0 {
		return warning("trackers is empty", "contacts do not find this node when it has moved, nor the node them", "add trackers; the example in mimird.yaml has two")
	}
	if d.reached == nil || !d.reached.Connected {
		if d.runs && d.online {
			return d.runningTrackers()
		}
		return skipped("cannot be asked without a network")
	}
	var silent, astray []string
	for i, err := range d.reached.Trackers {
		name := short(d.Config.Trackers[i].String())
		switch {
		case errors.Is(err, errOtherNode):
			astray = append(astray, name)
		case err != nil:
			silent = append(silent, name+" ("+oneLine(err)+")")
		}
	}
	all := len(d.reached.Trackers)
	if len(astray) > 0 && len(astray)+len(silent) == all {
		return warning("asked by a second node, they do not lead to this one: "+strings.Join(astray, ", "), "contacts do not find this node",
			"wait two minutes, as a node that has just started is announced late")
	}
	if d.runs {
		return d.silentTrackers(silent, all, ", and a second node finds this one there")
	}
	return d.silentTrackers(silent, all, "")
}

// runningTrackers says what the node itself knows of its trackers.
func (d *run) runningTrackers() []Check {
	var silent, unannounced []string
	now := d.Clock().Now
	for _, t := range d.status.Trackers {
		switch {
		case !t.Answers:
			silent = append(silent, short(t.Address))
		case !t.Announced.After(now) && len(d.status.Accounts) > 0:
			unannounced = append(unannounced, short(t.Address))
		}
	}
	if len(silent) == 0 && len(unannounced) > 0 && len(unannounced) == len(d.status.Trackers) {
		return warning("they answer and have no announcement of this node: "+strings.Join(unannounced, ", "), "contacts do not find this node", "wait two minutes; a mirror or backup beside a phone is announced behind it")
	}
	return d.silentTrackers(silent, len(d.status.Trackers), " the node")
}

func (d *run) silentTrackers(silent []string, all int, more string) []Check {
	switch {
	case len(silent) == 0:
		return ok(fmt.Sprintf("all %d answer%s", all, more))
	case len(silent) == all:
		return failed("none answers: "+strings.Join(silent, ", "), "contacts that have moved are not found, nor this node by them", "when Yggdrasil above is right, wait, or add other trackers"+d.unlinked())
	}
	return warning(fmt.Sprintf("%d of %d do not answer: %s", len(silent), all, strings.Join(silent, ", ")), "the others are enough for now", "replace trackers that stay silent"+d.unlinked())
}

func (d *run) fileServer(context.Context) []Check {
	switch {
	case !d.Config.Has(config.RoleNode):
		return skipped("the process has no accounts")
	case d.Config.Media.Server.IsZero():
		return warning("media.server is empty", "files can be received and not sent", "set media.server to the key of a file server, or give a process the role files")
	case d.reached == nil || !d.reached.Connected:
		return skipped("cannot be dialled without a network")
	case d.reached.Files != nil:
		return warning("does not answer: "+oneLine(d.reached.Files), "files wait until it does; texts do not need it", "wait, or set media.server to another one"+d.unlinked())
	}
	return ok("answers")
}

func (d *run) roles(context.Context) []Check {
	var found, alone []string
	add := func(name string, links int) {
		if found = append(found, name); links == 0 {
			alone = append(alone, name)
		}
	}
	if role := d.status.Role; role != nil {
		add("tracker "+short(role.Address), role.Links)
	}
	if role := d.status.FilesRole; role != nil {
		add("file server "+short(role.Key), role.Links)
	}
	if role := d.status.MediatorRole; role != nil {
		add("mediator "+short(role.Key), role.Links)
	}
	switch {
	case len(found) == 0:
		return skipped("this process serves nobody else")
	case len(alone) > 0:
		return failed("not connected to any Yggdrasil node: "+strings.Join(alone, ", "), "nobody reaches what has a node key of its own",
			"set yggdrasil.peers, or the listen address of the role and have others connect to it")
	}
	return ok(strings.Join(found, ", "))
}

func (d *run) contacts(ctx context.Context) []Check {
	var out []Check
	kind := "contact "
	add := func(result Result, name, found, means, remedy string) {
		if len(out) < maxListed {
			out = append(out, Check{Name: kind + clean(name), Result: result, Found: found, Means: means, Remedy: remedy})
		}
	}
	for _, u := range d.status.Undelivered {
		if kind = "contact "; u.Group != "" {
			kind = "group "
		}
		found := fmt.Sprintf("%d undelivered since %s: %s", u.Messages, u.Since.Local().Format(time.DateTime), clean(u.Why))
		switch u.Code {
		case "request_declined":
			add(Warning, u.Name, found, "they have said no, and take nothing", "ask them in another way; mimird cancel takes messages out of the outbox")
		case "request_unanswered":
			add(Warning, u.Name, found, "apps that do not take messages from everybody wait for an answer", "ask them to answer the request, or to add your link (mimird id)")
		case "connected", "uploading", "trying":
			add(OK, u.Name, found, "", "")
		case "upload_failed":
			add(Warning, u.Name, found, "nothing is lost: the node retries until the file server can be reached",
				"see media.server in the configuration: mimird status says whether there is a network, another file server can be chosen")
		case "read_only", "key_missing", "not_member":
			add(Warning, u.Name, found, "the group does not take messages of this account", "ask an owner or admin of the group; mimird cancel takes messages out of the outbox")
		case "mediator_gone":
			add(Warning, u.Name, found, "the server that keeps the group is gone", "create the group again at another mediator with: mimird group create")
		default:
			if u.Group != "" {
				add(Warning, u.Name, found, "nothing is lost: the node retries until the mediator can be reached", "see mimird status; the mediator may be down")
				continue
			}
			add(Warning, u.Name, found, "nothing is lost: the node retries until they can be reached", "ask whether their device is on; mimird trace MESSAGE shows one message")
		}
	}
	total := 0
	kind = "contact "
	for _, a := range d.status.Accounts {
		contacts, err := d.Contacts(ctx, a.ID)
		if err != nil {
			return failed(oneLine(err), "the contacts cannot be read", "look into the node's log")
		}
		total += len(contacts)
		for _, c := range contacts {
			if c.State == "requested" {
				add(Warning, c.Name, "asks to be a contact of "+clean(a.Name), "what they write is not acknowledged until you answer", "mimird contact accept "+c.ID[:min(16, len(c.ID))]+", or decline")
			}
			if len(c.Held) > 0 {
				add(Warning, c.Name, fmt.Sprintf("%d devices connected in their name that nothing speaks for", len(c.Held)), "nothing is taken from these", "mimird contact show lists them; ask the contact, then: mimird contact trust")
			}
		}
	}
	if total == 0 && len(out) == 0 {
		return skipped("there are none yet; add one with: mimird contact add LINK")
	}
	if !slices.ContainsFunc(out, func(c Check) bool { return c.Result != OK }) {
		out = append(out, Check{Result: OK, Found: fmt.Sprintf("%d contacts, nothing undelivered that should not be", total)})
	}
	return out
}

// backups looks at the age of the last good one.
func (d *run) backups(context.Context) []Check {
	if d.Config.Backup.Target == "" {
		return skipped("the node makes none by itself: backup.target is empty")
	}
	b := schedule.ParseStatus(d.status.Parts[schedule.PartName])
	const remedy = "look into the node's log for backup failed; try the target by hand, then the passphrase: docs/backups.md"
	switch {
	case b == nil:
		return warning("the running node makes none", "backup.target was set after it was started", "start the node again")
	case b.TooOld:
		return failed(clean(b.Problem()), "what came after it is lost with the disk", remedy)
	case b.Failures > 0:
		return warning(fmt.Sprintf("%d attempts failed since the last good one: %s", b.Failures, clean(b.Error)), "the node retries at "+b.Next.Local().Format(time.DateTime), remedy)
	case b.Unremoved != "":
		return warning(clean(b.Problem()), "backups work, and the target fills up", "let the node remove files there, or remove them yourself")
	case b.LastGood == nil:
		return ok("none yet; the next attempt is at " + b.Next.Local().Format(time.DateTime))
	}
	return ok("the last good one is of " + b.LastGood.Time.Local().Format(time.DateTime))
}

// warnings repeats what the node warns of by itself, but what is said above.
func (d *run) warnings(context.Context) []Check {
	var out []Check
	for _, w := range d.status.Warnings {
		if w.Code == "key_lost" || w.Code == "offline" || w.Code == "disk_low" || len(out) == maxListed {
			continue
		}
		result := Warning
		if w.Code == "part_failing" || w.Code == "not_listening" {
			result = Failed
		}
		out = append(out, Check{Result: result, Found: clean(w.Text), Means: "the node noticed this by itself"})
	}
	if out == nil {
		return ok("nothing")
	}
	return out
}

func (d *run) bridge(ctx context.Context) []Check {
	if !d.Config.Has(config.RoleMatrix) {
		return skipped("the configuration has no role matrix")
	}
	return d.Bridge(ctx)
}

// oneLine is an error as one line.
func oneLine(err error) string { return clean(err.Error()) }

// clean makes one line of a text, some of which comes from outside: without control
// characters and marks that turn the text around.
func clean(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }), " ")
}

func short(address string) string {
	const digits = 12
	if len(address) > digits {
		return address[:digits] + "…"
	}
	return address
}
