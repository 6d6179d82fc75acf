// SPDX-License-Identifier: MPL-2.0

package config

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"aead.dev/minisign"
	"go.yaml.in/yaml/v3"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

// Role is something one process can do.
type Role string

// The roles of `mimird up`.
const (
	RoleNode     Role = "node"
	RoleTracker  Role = "tracker"
	RoleMatrix   Role = "matrix"
	RoleFiles    Role = "files"
	RoleMediator Role = "mediator"
)

// FileName is the name of the configuration file inside the data directory.
const FileName = "mimird.yaml"

// maxFileSize bounds what is read: a configuration is a page or two, and a
// wrong path should not fill memory.
const maxFileSize = 1 << 20

// Config is the whole configuration. Read it with [Load] or [Parse]; both fill
// in defaults and check every value.
type Config struct {
	Roles     []Role    `yaml:"roles"`
	Log       Log       `yaml:"log"`
	Yggdrasil Yggdrasil `yaml:"yggdrasil"`
	Trackers  []Tracker `yaml:"trackers"`
	Security  Security  `yaml:"security"`
	Session   Session   `yaml:"session"`
	Calls     Calls     `yaml:"calls"`
	Outbox    Outbox    `yaml:"outbox"`
	Media     Media     `yaml:"media"`
	Control   Control   `yaml:"control"`
	Metrics   Metrics   `yaml:"metrics"`
	Page      Page      `yaml:"page"`
	Server    Server    `yaml:"tracker"`
	Files     Files     `yaml:"files"`
	Mediator  Mediator  `yaml:"mediator"`
	Groups    Groups    `yaml:"groups"`
	Backup    Backup    `yaml:"backup"`
	Retention Retention `yaml:"retention"`
	Update    Update    `yaml:"update"`
	// Notify are the sinks of notifications, by their names.
	Notify map[string]NotifySink `yaml:"notify"`
	// Matrix is handed to the bridge as it stands in the file.
	Matrix yaml.Node `yaml:"matrix"`
}

// Log says what is written to stderr, or to a file, and how.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
	// File is where the log goes instead of stderr: a path, relative to the data directory.
	// A file that has MaxSize bytes is kept beside the new one, as one of Keep.
	File    string `yaml:"file"`
	MaxSize Size   `yaml:"max_size"`
	Keep    int    `yaml:"keep"`
}

// Yggdrasil is how the node joins the overlay network.
type Yggdrasil struct {
	Peers     []string `yaml:"peers"`
	Connected int      `yaml:"connected"`
	Listen    []string `yaml:"listen"`
	Multicast bool     `yaml:"multicast"`
	Carriers  []string `yaml:"carriers"`
	// SystemTCP makes the carrier tcp use the Yggdrasil of the operating system.
	SystemTCP bool `yaml:"system_tcp"`
	// OldTrackers are those of gen1 and gen2.
	OldTrackers []string `yaml:"old_trackers"`
}

// The carriers, by which contacts are reached; see the example.
const (
	CarrierStream = "stream"
	CarrierQUIC   = "quic"
	CarrierTCP    = "tcp"
)

// Tracker is the address of a tracker, written as <64 hex digits>:<port>.
type Tracker struct{ tracker.Address }

// Security guards the identity keys.
type Security struct {
	RefusePointChallenges bool      `yaml:"refuse_point_challenges"`
	OwnDevices            []NodeKey `yaml:"own_devices"`
}

// NodeKey is the key of a Yggdrasil node, written as 64 hex digits.
type NodeKey struct{ identity.NodeKey }

// Groups says where groups are found.
type Groups struct {
	// Mediators are those that every account is connected to, so that invites arrive. New
	// groups are created at the first.
	Mediators []NodeKey `yaml:"mediators"`
}

// Session bounds the connections to contacts.
type Session struct {
	Idle Duration `yaml:"idle"`
	Max  int      `yaml:"max"`
}

// Calls says what becomes of a contact's call, which no person can answer at a node.
type Calls struct {
	// Ring is how long it rings before it is declined.
	Ring Duration `yaml:"ring"`
	// AnswerAfter is how long it rings before the answering machine of an account answers it,
	// MaxMessage how long the caller may speak then.
	AnswerAfter Duration `yaml:"answer_after"`
	MaxMessage  Duration `yaml:"max_message"`
}

// Outbox bounds the undelivered messages.
type Outbox struct {
	MaxMessages int `yaml:"max_messages"`
}

// Control is where the running node listens for commands.
type Control struct {
	Socket string `yaml:"socket"`
}

// Metrics is where metrics and health are served over TCP.
type Metrics struct {
	// Listen is host:port, empty for nowhere.
	Listen string `yaml:"listen"`
}

// Update is where the command mimird update check finds the release list, instead of where
// the program was built to look.
type Update struct {
	URL string `yaml:"url"`
	// Key is the public key of minisign, in base64.
	Key string `yaml:"key"`
}

func (u Update) validate(bad func(format string, args ...any)) {
	if parsed, err := url.Parse(u.URL); u.URL != "" && (err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http") {
		bad("update.url: %q is not a URL, such as https://example.org/releases.json", clip(u.URL))
	}
	if u.Key != "" && new(minisign.PublicKey).UnmarshalText([]byte(u.Key)) != nil {
		bad("update.key: want the second line of a public key file of minisign, which begins with RW")
	}
}

// Page is where the page for browsers is served.
type Page struct {
	// Listen is host:port, PageAuto, or empty for nowhere.
	Listen string `yaml:"listen"`
	// URL is the address that browsers use, empty for the listener's own.
	URL string `yaml:"url"`
}

// PageAuto listens on loopback: at DefaultPageAddress, or at another port when that one is
// in use.
const (
	PageAuto           = "auto"
	DefaultPageAddress = "127.0.0.1:8743"
)

// Address returns where the page listens, "" for nowhere, and whether another port may take
// the place of that one.
func (p Page) Address() (listen string, anyPort bool) {
	if p.Listen == PageAuto {
		return DefaultPageAddress, true
	}
	return p.Listen, false
}

func (p Page) validate(bad func(format string, args ...any)) {
	listen, _ := p.Address()
	if _, port, err := net.SplitHostPort(listen); listen != "" && (err != nil || port == "") {
		bad("page.listen: %q is neither auto nor host:port, such as 127.0.0.1:8743", clip(p.Listen))
	}
	if p.URL == "" {
		return
	}
	u, err := url.Parse(p.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		bad("page.url: %q is not the address of a page without a path, such as https://mimir.example.org", clip(p.URL))
	}
}

// Server configures the tracker role.
type Server struct {
	Listen        []string `yaml:"listen"`
	MaxIdentities int      `yaml:"max_identities"`
	// SyncWith are other trackers to share announcements with.
	SyncWith []string `yaml:"sync_with"`
}

// Duration is a time span written like "90s" in the file.
type Duration time.Duration

//go:embed example.yaml
var example []byte

// Example returns the commented configuration that `mimird up` writes at its
// first start. Its values are the defaults.
func Example() []byte { return slices.Clone(example) }

// Default returns the configuration of an empty file.
func Default() Config {
	return Config{
		Roles: []Role{RoleNode},
		Log:   Log{Level: "info", Format: "auto", MaxSize: 10 << 20, Keep: 5},
		Yggdrasil: Yggdrasil{
			Peers: []string{
				"tcp://de1.mimir.im:7743",
				"tcp://de2.mimir.im:7743",
				"tcp://sk1.mimir.im:7743",
				"tcp://sk2.mimir.im:7743",
				"tcp://us1.mimir.im:7743",
				"tls://109.176.250.101:65534",
				"tcp://yggpeer.tilde.green:53299",
				"tcp://62.210.85.80:39565",
				"tcp://51.15.204.214:12345",
				"tcp://45.95.202.21:12403",
			},
			Connected: 3,
			Listen:    []string{},
			Carriers:  []string{CarrierStream},

			OldTrackers: []string{},
		},
		Trackers: []Tracker{
			mustTracker("0000118d965a512ce8a37896957ef15b4108f89a9954ae9365448c6bf049c48d:69"),
			mustTracker("000044c35636ae819b55ef3f4d5008dd0125fb70baa5fc0f8a94a3671ef8c649:69"),
		},
		Security: Security{OwnDevices: []NodeKey{}},
		Session:  Session{Idle: Duration(10 * time.Minute), Max: 10_000},
		Calls:    Calls{AnswerAfter: Duration(10 * time.Second), MaxMessage: Duration(2 * time.Minute)},
		Outbox:   Outbox{MaxMessages: 100_000},
		Control:  Control{Socket: "control.sock"},
		Page:     Page{Listen: PageAuto},
		Server:   Server{Listen: []string{}, MaxIdentities: 100_000, SyncWith: []string{}},
		Media:    defaultMedia(),
		Files:    defaultFiles(),
		Mediator: defaultMediator(),
		Groups:   Groups{Mediators: []NodeKey{}},
		Backup:   defaultBackup(),

		Notify:    map[string]NotifySink{},
		Retention: Retention{Conversations: map[string]Duration{}, Gone: []string{}},
	}
}

// Load reads and checks the file at path, with what the environment sets: see
// [ParseWith]. A missing file is [fs.ErrNotExist].
func Load(path string) (Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Config{}, fmt.Errorf("open configuration: %w", err)
	}
	if info.Size() > maxFileSize {
		return Config{}, fmt.Errorf("configuration %s has %d bytes, more than %d: is this the right file?", path, info.Size(), maxFileSize)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := ParseWith(raw, os.Environ())
	if err != nil {
		separator := " "
		if strings.Contains(err.Error(), "\n") {
			separator = "\n" // a list, one problem a line
		}
		return Config{}, fmt.Errorf("configuration %s:%s%w", filepath.Base(path), separator, err)
	}
	return c, nil
}

// Parse reads a configuration, fills in defaults and checks every value. The
// error joins everything that is wrong, one line each.
func Parse(raw []byte) (Config, error) { return ParseWith(raw, nil) }

// ParseWith is [Parse] with variables as [os.Environ] returns them:
// MIMIRD_CONFIG__SECTION__KEY sets a key, also in the section matrix, and
// MIMIRD_CONFIG__SECTION__KEY_FILE sets it to what is in a file.
func ParseWith(raw []byte, environ []string) (Config, error) {
	c := Default()
	var doc yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	if err := decoder.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("not valid YAML, %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Config{}, errors.New("more than one YAML document, of which only the first would be read: remove the line ---")
	}
	root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	if len(doc.Content) > 0 {
		root = doc.Content[0]
	}
	if err := setFromEnviron(root, environ); err != nil {
		return Config{}, err
	}
	if err := UnknownKeys(root, reflect.TypeFor[Config](), ""); err != nil {
		return Config{}, err
	}
	if err := root.Decode(&c); err != nil {
		return Config{}, readable(err)
	}
	if err := c.validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Has reports whether the process plays role.
func (c *Config) Has(role Role) bool { return slices.Contains(c.Roles, role) }

// SlogLevel returns the level as the logger wants it.
func (l Log) SlogLevel() slog.Level {
	var level slog.Level
	// validate has checked that it parses.
	_ = level.UnmarshalText([]byte(l.Level))
	return level
}

// UnmarshalYAML reads <64 hex digits>:<port>.
func (t *Tracker) UnmarshalYAML(node *yaml.Node) error {
	address, err := tracker.ParseAddress(node.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	t.Address = address
	return nil
}

// MarshalYAML writes the form that is read.
func (t Tracker) MarshalYAML() (any, error) { return t.String(), nil }

// UnmarshalYAML reads 64 hex digits.
func (k *NodeKey) UnmarshalYAML(node *yaml.Node) error {
	key, err := identity.ParseNodeKey(node.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	k.NodeKey = key
	return nil
}

// MarshalYAML writes the form that is read.
func (k NodeKey) MarshalYAML() (any, error) { return k.String(), nil }

// UnmarshalYAML reads "90s".
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	parsed, err := time.ParseDuration(node.Value)
	if err != nil {
		return fmt.Errorf("line %d: want a duration such as 90s, 15m or 1h30m", node.Line)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalYAML writes "1m30s".
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

func (c *Config) validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if len(c.Roles) == 0 {
		bad("roles: is empty; give at least one of node, tracker, files, mediator, matrix")
	}
	for _, r := range c.Roles {
		if !slices.Contains([]Role{RoleNode, RoleTracker, RoleFiles, RoleMediator, RoleMatrix}, r) {
			bad("roles: %q is none of node, tracker, files, mediator, matrix", clip(string(r)))
		}
	}
	if c.Has(RoleMatrix) && !c.Has(RoleNode) {
		bad("roles: matrix needs node, because it bridges the node's conversations")
	}
	if !c.Has(RoleNode) && len(c.Yggdrasil.Listen) > 0 {
		bad("yggdrasil.listen: is for the role node, which this process does not have; %s", c.listenKey())
	}
	if new(slog.Level).UnmarshalText([]byte(c.Log.Level)) != nil {
		bad("log.level: %q is none of debug, info, warn, error", clip(c.Log.Level))
	}
	if !slices.Contains([]string{"auto", "text", "json"}, c.Log.Format) {
		bad("log.format: %q is none of auto, text, json", clip(c.Log.Format))
	}
	if c.Log.MaxSize < 1<<20 || c.Log.MaxSize > 1<<30 {
		bad("log.max_size: want 1MiB to 1GiB")
	}
	if c.Log.Keep < 1 || c.Log.Keep > 100 {
		bad("log.keep: want 1 to 100 files")
	}
	for _, uri := range c.Yggdrasil.Listen {
		if err := checkURI(uri); err != nil {
			bad("yggdrasil.listen: %q: %w", clip(uri), err)
		}
	}
	for _, carrier := range c.Yggdrasil.Carriers {
		if !slices.Contains([]string{CarrierStream, CarrierQUIC, CarrierTCP}, carrier) {
			bad("yggdrasil.carriers: %q is none of stream, quic, tcp", clip(carrier))
		}
	}
	if !slices.Contains(c.Yggdrasil.Carriers, CarrierStream) {
		bad("yggdrasil.carriers: stream is missing; trackers are asked over it")
	}
	if c.Yggdrasil.SystemTCP && !slices.Contains(c.Yggdrasil.Carriers, CarrierTCP) {
		bad("yggdrasil.system_tcp: carriers does not name tcp")
	}
	for _, uri := range c.Server.Listen {
		if err := checkURI(uri); err != nil {
			bad("tracker.listen: %q: %w", clip(uri), err)
		}
	}
	for _, uri := range c.Yggdrasil.Peers {
		if err := checkURI(uri); err != nil {
			bad("yggdrasil.peers: %q: %w", clip(uri), err)
		}
	}
	if c.Yggdrasil.Connected < 0 {
		bad("yggdrasil.connected: must not be negative; 0 connects to all peers")
	}
	if idle := time.Duration(c.Session.Idle); idle < 10*time.Second || idle > 24*time.Hour {
		bad("session.idle: %v is not between 10s and 24h", idle)
	}
	if c.Session.Max < 1 {
		bad("session.max: must be at least 1")
	}
	if ring := time.Duration(c.Calls.Ring); ring < 0 || ring > 55*time.Second {
		bad("calls.ring: %v is not between 0s and 55s, after which an app gives up", ring)
	}
	if after := time.Duration(c.Calls.AnswerAfter); after < time.Second || after > 55*time.Second {
		bad("calls.answer_after: %v is not between 1s and 55s, after which an app gives up", after)
	}
	if longest := time.Duration(c.Calls.MaxMessage); longest < 10*time.Second || longest > 10*time.Minute {
		bad("calls.max_message: %v is not between 10s and 10m", longest)
	}
	if c.Outbox.MaxMessages < 1 {
		bad("outbox.max_messages: must be at least 1")
	}
	c.validateMedia(bad)
	c.validateMediator(bad)
	c.validateBackup(bad)
	c.validateRetention(bad)
	c.validateNotify(bad)
	if c.Control.Socket == "" {
		bad("control.socket: must not be empty")
	}
	if _, port, err := net.SplitHostPort(c.Metrics.Listen); c.Metrics.Listen != "" && (err != nil || port == "") {
		bad("metrics.listen: %q is not host:port, such as 127.0.0.1:9753", clip(c.Metrics.Listen))
	}
	c.Page.validate(bad)
	c.Update.validate(bad)
	if c.Server.MaxIdentities < 1 {
		bad("tracker.max_identities: must be at least 1")
	}
	return errors.Join(problems...)
}

// listenKey names the key under which the roles of this process listen.
func (c *Config) listenKey() string {
	var keys []string
	if c.Has(RoleTracker) {
		keys = append(keys, "tracker.listen")
	}
	if c.Has(RoleFiles) {
		keys = append(keys, "files.listen")
	}
	if c.Has(RoleMediator) {
		keys = append(keys, "mediator.listen")
	}
	return "the addresses of its own roles are in " + strings.Join(keys, " and ")
}

// checkURI refuses what Yggdrasil could not even try, so that a typing error is
// found at the start and not as a peer that never comes up.
func checkURI(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("not a URI; want for example tls://host:port")
	}
	if !slices.Contains([]string{"tcp", "tls", "quic", "ws", "wss", "unix", "socks", "sockstls"}, u.Scheme) {
		return errors.New("want one of tcp://, tls://, quic://, ws://, wss://, unix://, socks://, sockstls://")
	}
	if u.Scheme != "unix" && u.Port() == "" {
		return errors.New("the port is missing")
	}
	return nil
}

func mustTracker(s string) Tracker {
	address, err := tracker.ParseAddress(s)
	if err != nil {
		panic(err) // one of the constants above
	}
	return Tracker{address}
}

// clip keeps error messages readable when a whole file was pasted into a key.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
