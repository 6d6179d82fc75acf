// SPDX-License-Identifier: MPL-2.0

package control_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/phone"
)

// TestMediator_ModeratedThroughTheAPI has two groups, and moderates one.
func TestMediator_ModeratedThroughTheAPI(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	w := actorstest.New(t, memnet.Options{})
	n := w.Node("mediator", withControl(t, socket), func(o *node.Options) {
		o.Mediator = &mediatorserver.Options{OpenNetwork: w.Open}
		o.Mediator.Limits.BytesPerGroup = 1 << 20
	})
	api := client.New(socket)
	t.Cleanup(api.Close)
	ctx := t.Context()
	n.Eventually("the control API answers", func() bool {
		s, err := api.Status(ctx)
		return err == nil && s.MediatorRole != nil && s.MediatorRole.Clients == 0
	})
	key, _ := n.MediatorKey()
	carrier := w.Net.Node(overlay.Limits{})
	t.Cleanup(func() { _ = carrier.Close() })
	carol := phone.IdentityOf("carol")
	carolKey := carol.Key()
	var ids []string
	for _, name := range []string{"one", "two"} {
		owner := phone.IdentityOf(name)
		c, err := phone.DialMediator(ctx, carrier, key)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		if err := c.Login(ctx, owner); err != nil {
			t.Fatal(err)
		}
		chat, err := c.CreateChat(ctx, owner, name, "about "+name)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := c.Call(ctx, 0x20, phone.U64(0x10, chat), phone.TLV{Tag: 0x15, Value: carolKey[:]}); err != nil || f.Status != 0 {
			t.Fatal(f.Refusal(), err)
		}
		if f, err := c.Call(ctx, 0x30, phone.U64(0x10, chat), phone.U64(0x12, 1), phone.TLV{Tag: 0x23, Value: make([]byte, 1000*len(ids))}); err != nil || f.Status != 0 {
			t.Fatal(f.Refusal(), err)
		}
		groups, err := api.HostedGroups(ctx)
		if err != nil || len(groups) != len(ids)+1 {
			t.Fatalf("%+v, %v", groups, err)
		}
		// The larger one is first.
		if g := groups[0]; g.Name != name || g.Description != "about "+name || g.Owner != owner.Key().String() || g.Members != 2 || g.Messages != 2 || g.Quota != 1<<20 || time.Since(g.Created) > time.Hour {
			t.Errorf("%+v", g)
		}
		ids = append(ids, groups[0].ID)
	}

	role := func(group string) string {
		t.Helper()
		list, err := api.HostedMembers(ctx, group, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list.Members {
			if m.ID == carolKey.String() {
				return m.Role
			}
		}
		return "not a member"
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(api.BanHostedMember(ctx, ids[0], carolKey.Link("Carol"), true))
	if role(ids[0]) != "banned" || role(ids[1]) != "user" {
		t.Errorf("%s and %s", role(ids[0]), role(ids[1]))
	}
	must(api.BanHostedMember(ctx, ids[0], carolKey.String(), false))
	if role(ids[0]) != "user" {
		t.Error(role(ids[0]))
	}
	must(api.SetHostedQuota(ctx, ids[1], 5<<20))
	if groups, err := api.HostedGroups(ctx); err != nil || groups[0].Quota != 5<<20 || groups[1].Quota != 1<<20 {
		t.Errorf("%+v, %v", groups, err)
	}
	must(api.BanFromMediator(ctx, carolKey.String(), true))
	if bans, err := api.MediatorBans(ctx); err != nil || len(bans) != 1 || bans[0].ID != carolKey.String() {
		t.Errorf("%+v, %v", bans, err)
	}
	must(api.BanFromMediator(ctx, carolKey.String(), false))
	must(api.DeleteHostedGroup(ctx, ids[0]))
	if groups, err := api.HostedGroups(ctx); err != nil || len(groups) != 1 || groups[0].ID != ids[1] {
		t.Errorf("%+v, %v", groups, err)
	}
	for what, err := range map[string]error{
		"no such group":   api.DeleteHostedGroup(ctx, ids[0]),
		"group or member": api.SetHostedQuota(ctx, ids[0], 1<<20),
		"decimal":         api.SetHostedQuota(ctx, "x", 1<<20),
		"64 hex digits":   api.BanFromMediator(ctx, "nobody", true),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want %s", err, what)
		}
	}
	if s, err := api.Status(ctx); err != nil || s.MediatorRole.Groups != 1 || s.MediatorRole.Clients != 2 || s.MediatorRole.Key != key.String() {
		t.Errorf("%+v, %v", s.MediatorRole, err)
	}
}

// A node without the role says so.
func TestMediator_WithoutTheRole_Refused(t *testing.T) {
	r := newRig(t)
	if groups, err := r.client.HostedGroups(t.Context()); err != nil || len(groups) != 0 {
		t.Errorf("%v, %v", groups, err)
	}
	if err := r.client.DeleteHostedGroup(t.Context(), "5"); err == nil || !strings.Contains(err.Error(), "not a mediator") {
		t.Error(err)
	}
}
