// SPDX-License-Identifier: MPL-2.0

package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"maunium.net/go/mautrix/id"
)

// InitOptions are the values of a new configuration.
type InitOptions struct {
	// Homeserver is the URL of the homeserver's client API, and Domain its name: the part
	// after the colon in user ids.
	Homeserver, Domain string
	// Admin is the user who may use the accounts that the node has already. Empty means
	// nobody.
	Admin string
	// Address is the URL at which the homeserver reaches the bridge, and Listen, a host
	// and a port, where the bridge listens. Empty means the defaults, on loopback. Without
	// Listen the bridge listens at the port of Address.
	Address, Listen string
	// MSC4190 says that the homeserver has no login for application services.
	MSC4190 bool
}

// exampleDomain is the domain in [Example].
const exampleDomain = "example.com"

// errExample means that the domain of the example was left in the configuration.
var errExample = errors.New("the section matrix still has " + exampleDomain + " of the example in it: " +
	"set homeserver.domain and bridge.permissions to your own")

// CheckFilledIn fails when the domain of the example was not replaced.
func (c *Config) CheckFilledIn() error {
	if isExample(c.Homeserver.Domain) {
		return errExample
	}
	for who := range c.Bridge.Permissions {
		_, domain, isUser := strings.Cut(who, ":")
		if !isUser {
			domain = who
		}
		if isExample(domain) {
			return errExample
		}
	}
	return nil
}

func isExample(domain string) bool {
	domain = strings.ToLower(domain)
	return domain == exampleDomain || strings.HasSuffix(domain, "."+exampleDomain)
}

// InitSection returns [Example] with the operator's values, and with a separate
// registration for double puppets, for which the homeserver pushes nothing. The result is
// valid and has no secrets yet. The error says which option is wrong.
func InitSection(o InitOptions) ([]byte, error) {
	edits := [][2]string{
		{"\n  address: http://localhost:8008\n", "\n  address: " + strings.TrimSuffix(o.Homeserver, "/") + "\n"},
		{"\n  domain: example.com\n", "\n  domain: " + strconv.Quote(o.Domain) + "\n"},
		{"\n    example.com: user\n", "\n    " + strconv.Quote(o.Domain) + ": user\n"},
		{"\n  registration: shared\n", "\n  registration: " + DoublePuppetSeparate + "\n"},
	}
	admin := [2]string{"\n    \"@admin:example.com\": admin\n", "\n"}
	if o.Admin != "" {
		if _, _, err := id.UserID(o.Admin).ParseAndValidateRelaxed(); err != nil {
			return nil, fmt.Errorf("%.64q is not a user id such as @you:%s", o.Admin, o.Domain)
		}
		admin[1] = "\n    " + strconv.Quote(o.Admin) + ": admin\n"
	}
	if o.MSC4190 {
		edits = append(edits, [2]string{"\n  msc4190: false\n", "\n  msc4190: true\n"})
	}
	listen, err := o.listenEdits()
	if err != nil {
		return nil, err
	}
	edits = append(append(edits, admin), listen...)
	section := string(exampleConfig)
	for _, edit := range edits {
		if strings.Count(section, edit[0]) != 1 {
			return nil, fmt.Errorf("the example has no single line %q", strings.TrimSpace(edit[0]))
		}
		section = strings.Replace(section, edit[0], edit[1], 1)
	}
	config, err := Parse([]byte(section))
	if err == nil {
		err = config.CheckFilledIn()
	}
	if err != nil {
		return nil, err
	}
	if config.Homeserver.Domain != o.Domain {
		return nil, fmt.Errorf("%.64q is not the name of a homeserver", o.Domain)
	}
	return []byte(section), nil
}

// listenEdits returns the replacements in the example for Address and Listen.
func (o *InitOptions) listenEdits() (edits [][2]string, err error) {
	var port string
	if o.Address != "" {
		address, err := url.Parse(o.Address)
		if err != nil || address.Host == "" {
			return nil, fmt.Errorf("%.64q is not an address such as http://localhost:29399", o.Address)
		}
		port = address.Port()
		edits = append(edits, [2]string{"\n  address: http://localhost:29399\n", "\n  address: " + strings.TrimSuffix(o.Address, "/") + "\n"})
	}
	if o.Listen != "" {
		var host string
		if host, port, err = net.SplitHostPort(o.Listen); err != nil || host == "" {
			return nil, fmt.Errorf("%.64q is not a host and a port such as 127.0.0.1:29399", o.Listen)
		}
		edits = append(edits, [2]string{"\n  hostname: 127.0.0.1\n", "\n  hostname: " + strconv.Quote(host) + "\n"})
	}
	if port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return nil, fmt.Errorf("%.64q is not a port", port)
		}
		edits = append(edits, [2]string{"\n  port: 29399\n", "\n  port: " + port + "\n"})
	}
	return edits, nil
}

// Paste is the line of configuration that tells a homeserver of the registration files.
type Paste struct {
	// Homeserver is the name of the program, and Where the place for the text.
	Homeserver, Where string
	// Text is one line without secrets.
	Text string
}

// Pastes returns the [Paste] of each known homeserver program, for registration files at
// the given paths.
func Pastes(domain string, paths []string) []Paste {
	quoted := make([]string, len(paths))
	for i, path := range paths {
		quoted[i] = strconv.Quote(path)
	}
	list := "[" + strings.Join(quoted, ", ") + "]"
	admins := "the room #admins:" + domain + ", once for each file, with the file's content between two lines of ``` below it"
	return []Paste{
		{"Dendrite", "dendrite.yaml", "app_service_api: { config_files: " + list + " }"},
		{"Synapse", "homeserver.yaml", "app_service_config_files: " + list},
		{"Conduit", admins, "@conduit:" + domain + ": register-appservice"},
		{"Continuwuity or Tuwunel", admins, "!admin appservices register"},
	}
}
