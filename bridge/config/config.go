// SPDX-License-Identifier: MPL-2.0

// Package config is the section `matrix:` of the configuration file and the files that
// belong to it: its defaults, its check, the generated secrets, the registration files
// for the homeserver, and the bridge's own database with its backup. It makes no request
// and knows no other package of the bridge but fault. The commands `mimird matrix` and
// `mimird backup`, the bridge and its doctor call it.
package config

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.mau.fi/util/dbutil"
	"gopkg.in/yaml.v3"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/id"
)

// Config is the section `matrix:` of the configuration file. Its keys are those of
// mautrix bridges where they mean the same. Sections and keys that would break a promise
// of this bridge do not exist. Read it with [Parse], or start from [Default].
type Config struct {
	Homeserver   Homeserver                      `yaml:"homeserver"`
	AppService   bridgeconfig.AppserviceConfig   `yaml:"appservice"`
	Bridge       bridgeconfig.BridgeConfig       `yaml:"bridge"`
	Database     dbutil.Config                   `yaml:"database"`
	Matrix       bridgeconfig.MatrixConfig       `yaml:"matrix"`
	DoublePuppet DoublePuppet                    `yaml:"double_puppet"`
	Provisioning bridgeconfig.ProvisioningConfig `yaml:"provisioning"`
	Backfill     bridgeconfig.BackfillConfig     `yaml:"backfill"`
	Encryption   bridgeconfig.EncryptionConfig   `yaml:"encryption"`
	PublicMedia  PublicMedia                     `yaml:"public_media"`
	Network      Network                         `yaml:"network"`
	Logging      Logging                         `yaml:"logging"`
}

// Homeserver says which homeserver there is, and how strict to be with it.
type Homeserver struct {
	bridgeconfig.HomeserverConfig `yaml:",inline"`

	// IgnoreUnsupported allows a homeserver that announces only versions of the
	// specification that are too old. The bridge replaces what it lacks, or does without.
	IgnoreUnsupported bool `yaml:"ignore_unsupported"`
	// SideSync is one of the SideSync constants.
	SideSync string `yaml:"side_sync"`
}

// Ways to get redactions, receipts and typing notices.
const (
	// SideSyncAuto fetches them unless the homeserver is known to push them.
	SideSyncAuto = "auto"
	// SideSyncAlways fetches them. Those that are pushed too are handled once.
	SideSyncAlways = "always"
	// SideSyncNever relies on the homeserver to push them.
	SideSyncNever = "never"
)

// DoublePuppet says how the bridge acts as Matrix users.
type DoublePuppet struct {
	bridgeconfig.DoublePuppetConfig `yaml:",inline"`

	// Registration is DoublePuppetShared, DoublePuppetSeparate or DoublePuppetNone.
	Registration string `yaml:"registration"`
	// ASToken is the token of the separate registration.
	ASToken string `yaml:"as_token"`
}

// Ways to let the bridge act as users of its own homeserver.
const (
	// DoublePuppetShared uses the registration of the bridge.
	DoublePuppetShared = "shared"
	// DoublePuppetSeparate uses a second registration.
	DoublePuppetSeparate = "separate"
	// DoublePuppetNone does not act as users.
	DoublePuppetNone = "none"
)

// Logging says how much the bridge logs.
type Logging struct {
	MinLevel string `yaml:"min_level"`
}

//go:embed example-config.yaml
var exampleConfig []byte

// Example returns the commented section. Apart from the domain and the
// permissions, its values are the defaults.
func Example() []byte { return slices.Clone(exampleConfig) }

// Default returns the meaning of an empty section. Homeserver.Domain and
// Bridge.Permissions have no default.
func Default() *Config {
	var c Config
	c.Homeserver.Address = "http://localhost:8008"
	c.Homeserver.Software = bridgeconfig.SoftwareStandard
	c.Homeserver.RetryLimit = 4
	c.Homeserver.IgnoreUnsupported = true
	nothing := bridgeconfig.CleanupOnLogout{
		Private: bridgeconfig.CleanupActionNothing, Relayed: bridgeconfig.CleanupActionNothing,
		SharedNoUsers: bridgeconfig.CleanupActionNothing, SharedHasUsers: bridgeconfig.CleanupActionNothing,
	}
	c.Homeserver.SideSync = SideSyncAuto
	c.AppService = bridgeconfig.AppserviceConfig{
		Address:          "http://localhost:29399",
		Hostname:         "127.0.0.1",
		Port:             29399,
		ID:               "mimir",
		Bot:              bridgeconfig.BotUserConfig{Username: "mimirbot", Displayname: "Mimir bridge bot"},
		EphemeralEvents:  true,
		ASToken:          placeholder,
		HSToken:          placeholder,
		UsernameTemplate: "mimir_{{.}}",
	}
	c.Bridge = bridgeconfig.BridgeConfig{
		CommandPrefix:                 "!mimir",
		PersonalFilteringSpaces:       true,
		PrivateChatPortalMeta:         true,
		CleanupOnLogout:               bridgeconfig.CleanupOnLogouts{Manual: nothing, BadCredentials: nothing},
		BridgeStatusNotices:           "errors",
		UnknownErrorMaxAutoReconnects: 10,
		TagOnlyOnCreate:               true,
		MuteOnlyOnCreate:              true,
		DeduplicateMatrixMessages:     true,
		KickMatrixUsers:               true,
		Relay:                         defaultRelay(),
	}
	c.Database.Type = databaseSQLite
	c.Database.URI = "matrix.db"
	c.Database.MaxOpenConns = 5
	c.Database.MaxIdleConns = 2
	c.Matrix = bridgeconfig.MatrixConfig{
		DeliveryReceipts:    true,
		MessageErrorNotices: true,
		SyncDirectChatList:  true,
		FederateRooms:       true,
		UploadFileThreshold: 5 << 20,
	}
	c.DoublePuppet.Registration = DoublePuppetShared
	c.DoublePuppet.ASToken = placeholder
	c.Provisioning.SharedSecret = placeholder
	c.Provisioning.AllowMatrixAuth = true
	c.Backfill.Enabled = true
	c.Backfill.MaxInitialMessages = 50
	c.Backfill.MaxCatchupMessages = 500
	c.Encryption.Allow = true
	c.Encryption.Default = true
	c.Encryption.SelfSign = true
	c.Encryption.AllowKeySharing = true
	c.Encryption.PickleKey = placeholder
	c.Encryption.VerificationLevels.Share = id.TrustStateCrossSignedTOFU
	c.PublicMedia = defaultPublicMedia()
	c.Network = defaultNetwork()
	c.Logging.MinLevel = "info"
	return &c
}

// Parse reads the section, fills in defaults and checks every value but the secrets,
// which may still be missing: see [GenerateSecrets]. Keys that do not exist are an error.
// The error names every problem, one line each.
func Parse(section []byte) (*Config, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(section))
	decoder.KnownFields(true)
	c, err := decode(decoder.Decode)
	if err != nil {
		return nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("matrix: more than one YAML document, of which only the first would be read")
	}
	return c, nil
}

// Decode is [Parse] for a section that was read with the rest of its file: problems have
// the lines of the file. Keys that do not exist are left to the caller.
func Decode(section *yaml.Node) (*Config, error) {
	if err := checkNames(section); err != nil {
		return nil, err
	}
	return decode(section.Decode)
}

func decode(into func(any) error) (*Config, error) {
	c := Default()
	if err := into(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, kindError{err}
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// kindError is what the YAML library reports, with the section.
type kindError struct{ error }

func (e kindError) Error() string {
	var wrong *yaml.TypeError
	if errors.As(e.error, &wrong) {
		return "matrix: " + strings.Join(wrong.Errors, "\nmatrix: ")
	}
	return "matrix: " + e.error.Error()
}

func (e kindError) Unwrap() error { return e.error }

// checkNames checks the values that the library reads from names, whose errors have
// neither key nor line.
func checkNames(section *yaml.Node) error {
	var problems []error
	for _, values := range []struct {
		path  []string
		known func(name string) bool
		names string
	}{
		{[]string{"bridge", "permissions"}, func(name string) bool {
			return slices.Contains([]string{"block", "relay", "commands", "user", "admin"}, name)
		}, "block, relay, commands, user, admin"},
		{[]string{"encryption", "verification_levels"}, func(name string) bool {
			return id.ParseTrustState(name) != id.TrustStateInvalid
		}, "unverified, cross-signed-untrusted, cross-signed-tofu, cross-signed-verified, verified"},
	} {
		at, rest := descend(section, values.path)
		if len(rest) > 0 || at.Kind != yaml.MappingNode {
			continue
		}
		for i := 0; i+1 < len(at.Content); i += 2 {
			key, value := at.Content[i], at.Content[i+1]
			if value.Tag != "!!str" || values.known(strings.ToLower(value.Value)) {
				continue
			}
			place := "environment"
			if value.Line > 0 {
				place = fmt.Sprintf("line %d", value.Line)
			}
			problems = append(problems, fmt.Errorf("%s: matrix.%s: %.64q for %.64q is none of %s",
				place, strings.Join(values.path, "."), value.Value, key.Value, values.names))
		}
	}
	return errors.Join(problems...)
}

// Validate checks every value but the secrets. The error names every problem, one line
// each.
func (c *Config) Validate() error {
	var problems []error
	bad := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("matrix."+format, args...))
	}
	c.validateHomeserver(bad)
	c.validateAppService(bad)
	c.validateBridge(bad)
	c.validatePublicMedia(bad)
	c.Network.validate(bad)
	switch c.Database.Type {
	case databaseSQLite, databasePostgres:
	default:
		bad("database.type: %.64q is neither %s nor %s", c.Database.Type, databaseSQLite, databasePostgres)
	}
	if c.Database.URI == "" {
		bad("database.uri: must not be empty")
	}
	switch c.DoublePuppet.Registration {
	case DoublePuppetShared, DoublePuppetSeparate, DoublePuppetNone:
	default:
		bad("double_puppet.registration: %.64q is none of shared, separate, none", c.DoublePuppet.Registration)
	}
	if _, both := c.DoublePuppet.Secrets[c.Homeserver.Domain]; both && c.DoublePuppet.Registration != DoublePuppetNone {
		bad("double_puppet.secrets: has one for %s itself; use double_puppet.registration, or set that to none", c.Homeserver.Domain)
	}
	if secret := c.Provisioning.SharedSecret; secret != placeholder && secret != "disable" && len(secret) < 16 {
		bad("provisioning.shared_secret: must be generate, disable, or at least 16 characters long")
	}
	if new(slog.Level).UnmarshalText([]byte(c.Logging.MinLevel)) != nil {
		bad("logging.min_level: %.64q is none of debug, info, warn, error", c.Logging.MinLevel)
	}
	if c.Encryption.Require && !c.Encryption.Allow {
		bad("encryption.allow: must be true when require is")
	}
	if c.Encryption.Appservice {
		bad("encryption.appservice: is not needed here, keys come with the bot's own sync")
	}
	return errors.Join(problems...)
}

// report notes a problem.
type report func(format string, args ...any)

// serverName matches the names of homeservers.
var serverName = regexp.MustCompile(`^[A-Za-z0-9.\-]+(:\d{1,5})?$|^\[[0-9A-Fa-f:.]+\](:\d{1,5})?$`)

func (c *Config) validateHomeserver(bad report) {
	checkAddress(bad, "homeserver.address", c.Homeserver.Address, "http", "https", "unix")
	switch domain := c.Homeserver.Domain; {
	case domain == "":
		bad("homeserver.domain: must be the name of the homeserver, what stands after the colon in user ids")
	case !serverName.MatchString(domain) || len(domain) > 255:
		bad("homeserver.domain: %.64q is not the name of a homeserver", domain)
	}
	switch c.Homeserver.SideSync {
	case SideSyncAuto, SideSyncAlways, SideSyncNever:
	default:
		bad("homeserver.side_sync: %.64q is none of auto, always, never", c.Homeserver.SideSync)
	}
	if c.Homeserver.RetryLimit < 0 {
		bad("homeserver.retry_limit: must not be negative")
	}
	if c.Homeserver.Websocket || c.Homeserver.WSProxy != "" {
		bad("homeserver.websocket: is not possible here, transactions are stored before they are acknowledged")
	}
}

// localpart matches the local part of a user id, as the specification has it.
var localpart = regexp.MustCompile(`^[a-z0-9._=/+\-]{1,200}$`)

func (c *Config) validateAppService(bad report) {
	a := &c.AppService
	checkAddress(bad, "appservice.address", a.Address, "http", "https", "unix")
	if a.Hostname == "" {
		bad("appservice.hostname: must be an address to listen on, such as 127.0.0.1")
	}
	if a.Port == 0 && !strings.HasPrefix(a.Hostname, "/") {
		bad("appservice.port: must be a port to listen on")
	}
	if a.ID == "" {
		bad("appservice.id: must not be empty")
	}
	if !localpart.MatchString(a.Bot.Username) {
		bad("appservice.bot.username: %.64q is not a user name", a.Bot.Username)
	}
	if strings.Count(a.UsernameTemplate, "{{.}}") != 1 || !localpart.MatchString(strings.Replace(a.UsernameTemplate, "{{.}}", "x", 1)) {
		bad("appservice.username_template: %.64q must be a user name with {{.}} in it", a.UsernameTemplate)
	} else if c.ghostPattern().MatchString(a.Bot.Username) {
		bad("appservice.bot.username: must not match username_template")
	}
	if a.AsyncTransactions {
		bad("appservice.async_transactions: is not possible here, it loses the order")
	}
}

func (c *Config) validateBridge(bad report) {
	b := &c.Bridge
	if len(b.Permissions) == 0 {
		bad("bridge.permissions: is empty, nobody could use the bridge")
	}
	for who, allowed := range b.Permissions {
		if allowed == nil {
			bad("bridge.permissions: %.64q has no value", who)
		}
	}
	if b.CommandPrefix == "" {
		bad("bridge.command_prefix: must not be empty")
	}
	if b.AsyncEvents {
		bad("bridge.async_events: is not possible here, it loses the order")
	}
	if b.SplitPortals {
		bad("bridge.split_portals: is not possible here: every login has rooms of its own for contacts, and users share those of groups")
	}
	if b.OutgoingMessageReID {
		bad("bridge.outgoing_message_re_id: is not possible here")
	}
	for reason, rooms := range map[string]bridgeconfig.CleanupOnLogout{"manual": b.CleanupOnLogout.Manual, "bad_credentials": b.CleanupOnLogout.BadCredentials} {
		for kind, action := range map[string]bridgeconfig.CleanupAction{
			"private": rooms.Private, "relayed": rooms.Relayed, "shared_no_users": rooms.SharedNoUsers, "shared_has_users": rooms.SharedHasUsers,
		} {
			switch action {
			case bridgeconfig.CleanupActionNull, bridgeconfig.CleanupActionNothing, bridgeconfig.CleanupActionKick, bridgeconfig.CleanupActionUnbridge, bridgeconfig.CleanupActionDelete:
			default:
				bad("bridge.cleanup_on_logout.%s.%s: %.64q is none of nothing, kick, unbridge, delete", reason, kind, action)
			}
		}
	}
	if !slices.Contains([]string{"none", "errors", "all"}, b.BridgeStatusNotices) {
		bad("bridge.bridge_status_notices: %.64q is none of none, errors, all", b.BridgeStatusNotices)
	}
}

func checkAddress(bad report, key, address string, schemes ...string) {
	u, err := url.Parse(address)
	switch {
	case err != nil || !slices.Contains(schemes, u.Scheme):
		bad("%s: %.64q is not an address such as http://localhost:8008", key, address)
	case u.Scheme != "unix" && u.Host == "":
		bad("%s: %.64q has no host", key, address)
	}
}

// ghostPattern returns what matches the local part of a ghost's user id.
func (c *Config) ghostPattern() *regexp.Regexp {
	before, after, _ := strings.Cut(c.AppService.UsernameTemplate, "{{.}}")
	return regexp.MustCompile("^" + regexp.QuoteMeta(before) + ".*" + regexp.QuoteMeta(after) + "$")
}

// Library returns the configuration of bridgev2 and its Matrix connector. The caller may
// change it.
func (c *Config) Library() *bridgeconfig.Config {
	lib := &bridgeconfig.Config{
		Bridge:       c.Bridge,
		Database:     c.Database,
		Homeserver:   c.Homeserver.HomeserverConfig,
		AppService:   c.AppService,
		Matrix:       c.Matrix,
		Provisioning: c.Provisioning,
		Backfill:     c.Backfill,
		DoublePuppet: c.DoublePuppet.DoublePuppetConfig,
		Encryption:   c.Encryption,
		ManagementRoomTexts: bridgeconfig.ManagementRoomTexts{
			Welcome:            "Hello, I'm the Mimir bridge bot.",
			WelcomeConnected:   "Use `help` for help.",
			WelcomeUnconnected: "Use `help` for help or `login` to log in.",
		},
	}
	lib.Homeserver.RetryLimit = 0 // our transport retries requests
	// The library names the rooms of a ghost in goroutines of its own, without a lock.
	// The connector sets name and picture of a room instead.
	lib.Bridge.PrivateChatPortalMeta = false
	lib.Encryption.Default = c.Encryption.Default && c.Encryption.Allow
	lib.Bridge.Backfill = c.Backfill
	lib.Bridge.DeduplicateMatrixMessages = true
	lib.AppService.NoServer = true // the listener is ours
	lib.DoublePuppet.Secrets = make(map[string]string, len(c.DoublePuppet.Secrets)+1)
	maps.Copy(lib.DoublePuppet.Secrets, c.DoublePuppet.Secrets)
	switch c.DoublePuppet.Registration {
	case DoublePuppetShared:
		lib.DoublePuppet.Secrets[c.Homeserver.Domain] = "as_token:" + c.AppService.ASToken
	case DoublePuppetSeparate:
		lib.DoublePuppet.Secrets[c.Homeserver.Domain] = "as_token:" + c.DoublePuppet.ASToken
	}
	return lib
}
