// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"fmt"

	"gopkg.in/yaml.v3"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"

	"github.com/mimird/mimird/actors"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Relay mode lets people without a login write into a conversation, in the name of
// the one whose conversation it is. Mimir knows one sender, so the name of the
// person is in the text, and the contact is told once that others read along.

// relayNotice is what the contact is told before the first relayed message.
const relayNotice = "This conversation is bridged to a Matrix room: people in that room read along, and what they write " +
	"comes from me with their name before it."

const relayDefaults = `
admin_only: true
prefer_default: true
allow_bridge: false
message_formats:
  m.text: "{{ .Sender.DisambiguatedName }}: {{ .Message }}"
  m.notice: "{{ .Sender.DisambiguatedName }}: {{ .Message }}"
  m.emote: "* {{ .Sender.DisambiguatedName }} {{ .Message }}"
  m.file: "{{ .Sender.DisambiguatedName }} sent a file{{ if .Caption }}: {{ .Caption }}{{ end }}"
  m.image: "{{ .Sender.DisambiguatedName }} sent a picture{{ if .Caption }}: {{ .Caption }}{{ end }}"
  m.audio: "{{ .Sender.DisambiguatedName }} sent an audio file{{ if .Caption }}: {{ .Caption }}{{ end }}"
  m.video: "{{ .Sender.DisambiguatedName }} sent a video{{ if .Caption }}: {{ .Caption }}{{ end }}"
  m.location: "{{ .Sender.DisambiguatedName }} is here"
displayname_format: "{{ .DisambiguatedName }}"
`

// defaultRelay returns what an empty section means. Reading it also compiles the
// templates, which the library needs.
func defaultRelay() (relay bridgeconfig.RelayConfig) {
	if err := yaml.Unmarshal([]byte(relayDefaults), &relay); err != nil {
		panic(fmt.Sprintf("bridge: the defaults of relay mode: %v", err)) // a constant, and tested
	}
	return relay
}

// announceRelay tells a contact that others read along, once per room.
func (cl *client) announceRelay(ctx context.Context, msg *bridgev2.MatrixMessage, contact identity.PublicKey) error {
	if msg.OrigSender == nil {
		return nil
	}
	_, err := cl.node.Send(ctx, actors.Outgoing{
		Account: cl.account, Contact: contact, Source: "relay:" + string(msg.Portal.MXID),
		Type: peer.TypeText, Payload: []byte(relayNotice),
	})
	return err
}
