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

// InitOptions are what a first configuration has to know.
type InitOptions struct {
	// Homeserver is the address of the homeserver's client API, and Domain its name:
	// what stands after the colon in user ids.
	Homeserver, Domain string
	// Admin is the user who may use the identities that the node has already. Empty
	// means nobody.
	Admin string
	// Address is where the homeserver reaches the bridge, and Listen, a host and a
	// port, where the bridge listens. Empty means the defaults, on loopback; an
	// Address alone also says the port.
	Address, Listen string
}

// exampleDomain is the domain of the commented example.
const exampleDomain = "example.com"

// ErrExample means that the domain of the example was left in the configuration.
var ErrExample = errors.New("the section matrix still has " + exampleDomain + " of the example in it: " +
	"set homeserver.domain and bridge.permissions to your own")

// CheckFilledIn returns [ErrExample] while the values of the example stand where
// those of the operator belong.
func (c *Config) CheckFilledIn() error {
	if isExample(c.Homeserver.Domain) {
		return ErrExample
	}
	for who := range c.Bridge.Permissions {
		_, domain, isUser := strings.Cut(who, ":")
		if !isUser {
			domain = who
		}
		if isExample(domain) {
			return ErrExample
		}
	}
	return nil
}

func isExample(domain string) bool {
	domain = strings.ToLower(domain)
	return domain == exampleDomain || strings.HasSuffix(domain, "."+exampleDomain)
}

// InitSection returns the commented section with the operator's values in it, and
// with a registration of its own for acting as users: the homeserver then sends
// nothing because of that. It is valid, and has no secrets yet. An error says
// which option is wrong.
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
			return nil, fmt.Errorf("%.64q is no user id such as @you:%s", o.Admin, o.Domain)
		}
		admin[1] = "\n    " + strconv.Quote(o.Admin) + ": admin\n"
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

// listenEdits are the changes for where the homeserver reaches the bridge.
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

// Paste is what makes a kind of homeserver know the registration files.
type Paste struct {
	// Homeserver is the program, and Where the place for the text.
	Homeserver, Where string
	// Text is one line. It has no secrets in it.
	Text string
}

// Pastes returns what to paste for each kind of homeserver, for registration
// files at the given paths.
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
