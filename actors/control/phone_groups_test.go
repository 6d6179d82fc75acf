// SPDX-License-Identifier: MPL-2.0

package control_test

import (
	"encoding/hex"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/fakemediator"
)

// A group of a phone is joined as from its backup: what the phone and the others have said
// before and say after is there once, what the phone says as ours, in two groups on two
// mediators, for two accounts.
func TestGroups_SharedWithAPhone_NothingDoubled(t *testing.T) {
	w := actorstest.New(t, memnet.Options{})
	socket := filepath.Join(t.TempDir(), "s")
	n := w.Node("alice", withControl(t, socket))
	bob, err := n.CreateAccount(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	api := client.New(socket)
	t.Cleanup(api.Close)
	n.Eventually("the control API answers", func() bool {
		_, err := api.Accounts(t.Context())
		return err == nil
	})
	accounts := [2]store.Account{n.Account, bob}
	carol := identity.NewPrivateKey([32]byte{7}).Public()
	var ids [2]string
	var chats [2]*fakemediator.Chat
	var servers [2]*fakemediator.Mediator
	secrets := [2]fakemediator.Secret{{1}, {2}}
	say := func(i int, who identity.PublicKey, guid int64, text string) {
		servers[i].Say(chats[i], who, guid, secrets[i].Text(guid, text))
	}
	for i, account := range accounts {
		servers[i] = fakemediator.New(t, w.Net.Node(overlay.Limits{}))
		chats[i] = servers[i].AddChat(groupNames[i], account.ID, carol)
		say(i, account.ID, 11, "from the phone, before")
		say(i, carol, 12, "from carol, before")
		join := control.JoinedGroup{
			Mediator: servers[i].Key().String(), Chat: strconv.FormatInt(chats[i].ID, 10), Key: hex.EncodeToString(secrets[i][:]), Name: groupNames[i],
		}
		for range 2 { // an import that is repeated changes nothing
			g, err := api.JoinGroup(t.Context(), account.ID.String(), join)
			if err != nil || ids[i] != "" && g.ID != ids[i] {
				t.Fatalf("joined %s, error %v", g.ID, err)
			}
			ids[i] = g.ID
		}
		n.EventuallyWithin(time.Minute, "the history is there", func() bool {
			g, err := api.Group(t.Context(), account.ID.String(), ids[i])
			return err == nil && g.Stage == "live"
		})
		say(i, account.ID, 13, "from the phone, after")
		if _, err := api.Send(t.Context(), account.ID.String(), ids[i], control.Text{Text: "from the node"}); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"out from the phone, before", "in from carol, before", "out from the phone, after", "out from the node"}
	for i, account := range accounts {
		var got []string
		n.EventuallyWithin(time.Minute, "everything is there", func() bool {
			page, err := api.Messages(t.Context(), account.ID.String(), ids[i], 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			got = got[:0]
			for _, m := range slices.Backward(page) {
				if m.TypeName == "text" {
					got = append(got, m.Direction+" "+m.Text)
				}
			}
			return len(got) >= len(want) && len(servers[i].Of(chats[i], account.ID)) == 3
		})
		slices.Sort(got) // what the node says may come before what the phone says at that moment
		sorted := slices.Clone(want)
		slices.Sort(sorted)
		if !slices.Equal(got, sorted) {
			t.Errorf("messages %q, want %q", got, sorted)
		}
	}
	// What was read again after a connection that ended is not there twice.
	for i, account := range accounts {
		before := servers[i].Count(fakemediator.Subscribe)
		servers[i].Disconnect()
		n.EventuallyWithin(time.Minute, "the group is live again", func() bool {
			g, err := api.Group(t.Context(), account.ID.String(), ids[i])
			return err == nil && g.Stage == "live" && servers[i].Count(fakemediator.Subscribe) > before
		})
		page, err := api.Messages(t.Context(), account.ID.String(), ids[i], 0, 100)
		if texts := slices.DeleteFunc(page, func(m control.Message) bool { return m.TypeName != "text" }); err != nil || len(texts) != len(want) {
			t.Errorf("%d texts after the connection ended, error %v", len(texts), err)
		}
	}
}
