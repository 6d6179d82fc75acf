// SPDX-License-Identifier: MPL-2.0

package config

import (
	"fmt"

	"gopkg.in/yaml.v3"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
)

// relayDefaults is the section bridge.relay with its defaults. The message is HTML, and a name
// is not: it must not begin a line of its own.
const relayDefaults = `
admin_only: true
prefer_default: true
allow_bridge: false
message_formats:
  m.text: "{{ html .Sender.DisambiguatedName }}: {{ .Message }}"
  m.notice: "{{ html .Sender.DisambiguatedName }}: {{ .Message }}"
  m.emote: "* {{ html .Sender.DisambiguatedName }} {{ .Message }}"
  m.file: "{{ html .Sender.DisambiguatedName }} sent a file{{ if .Caption }}: {{ .Caption }}{{ end }}"
  m.image: "{{ html .Sender.DisambiguatedName }} sent a picture{{ if .Caption }}: {{ .Caption }}{{ end }}"
  m.audio: "{{ html .Sender.DisambiguatedName }} sent an audio file{{ if .Caption }}: {{ .Caption }}{{ end }}"
  m.video: "{{ html .Sender.DisambiguatedName }} sent a video{{ if .Caption }}: {{ .Caption }}{{ end }}"
  m.location: "{{ html .Sender.DisambiguatedName }} is here"
displayname_format: "{{ .DisambiguatedName }}"
`

// defaultRelay returns the meaning of an empty section. Unmarshalling also compiles the
// templates, which the library needs.
func defaultRelay() (relay bridgeconfig.RelayConfig) {
	if err := yaml.Unmarshal([]byte(relayDefaults), &relay); err != nil {
		panic(fmt.Sprintf("bridge: the defaults of relay mode: %v", err)) // a constant, and tested
	}
	return relay
}
