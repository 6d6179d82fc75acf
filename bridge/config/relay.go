// SPDX-License-Identifier: MPL-2.0

package config

import (
	"fmt"

	"gopkg.in/yaml.v3"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
)

// relayDefaults is the section bridge.relay with its defaults.
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

// defaultRelay returns the meaning of an empty section. Unmarshalling also compiles the
// templates, which the library needs.
func defaultRelay() (relay bridgeconfig.RelayConfig) {
	if err := yaml.Unmarshal([]byte(relayDefaults), &relay); err != nil {
		panic(fmt.Sprintf("bridge: the defaults of relay mode: %v", err)) // a constant, and tested
	}
	return relay
}
