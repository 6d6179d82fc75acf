// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gopkg.in/yaml.v3"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"

	"github.com/mimird/mimird/bridge/config"
)

func TestExample_EqualsDefaults(t *testing.T) {
	parsed, err := config.Parse(config.Example())
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Homeserver.Domain = "example.com"
	want.Bridge.Permissions = parsed.Bridge.Permissions
	diff := cmp.Diff(want, parsed, cmpopts.EquateEmpty(),
		cmpopts.IgnoreUnexported(bridgeconfig.AppserviceConfig{}, bridgeconfig.RelayConfig{}))
	if diff != "" {
		t.Errorf("the example differs from the defaults:\n%s", diff)
	}
	admin := parsed.Bridge.Permissions.Get("@admin:example.com")
	if other := parsed.Bridge.Permissions.Get("@other:elsewhere.org"); !admin.Admin || other.SendEvents {
		t.Errorf("permissions: admin %+v, stranger %+v", admin, other)
	}
}

const smallest = `
homeserver: {domain: mimir.test}
bridge: {permissions: {mimir.test: user}}
`

func TestParse_SmallestConfig(t *testing.T) {
	c, err := config.Parse([]byte(smallest))
	if err != nil {
		t.Fatal(err)
	}
	if c.AppService.Port != 29399 || !c.Matrix.DeliveryReceipts {
		t.Errorf("defaults are missing: %+v", c)
	}
}

func TestParse_NamesEveryProblem(t *testing.T) {
	_, err := config.Parse([]byte(`
homeserver: {address: "ftp://x", retry_limit: -1, websocket: true}
appservice: {address: "", hostname: "", port: 0, id: "", bot: {username: "Big Bot"}, username_template: nothing, async_transactions: true}
bridge:
  {command_prefix: "", async_events: true, split_portals: true, outgoing_message_re_id: true, bridge_status_notices: some,
  cleanup_on_logout: {manual: {private: leave}, bad_credentials: {shared_no_users: everything}}}
database: {type: mysql, uri: ""}
double_puppet: {registration: maybe}
provisioning: {shared_secret: short}
encryption: {allow: false, require: true}
public_media: {enabled: true, signing_key: short, expiry: -1, path_prefix: "no path"}
network: {edits: maybe, waiting_notice: -1s, give_up: 1s}
logging: {min_level: loud}
`))
	if err == nil {
		t.Fatal("no error")
	}
	for _, key := range []string{
		"homeserver.address", "homeserver.domain", "homeserver.retry_limit", "homeserver.websocket",
		"appservice.address", "appservice.hostname", "appservice.port", "appservice.id", "appservice.bot.username",
		"appservice.username_template", "appservice.async_transactions",
		"bridge.permissions", "bridge.command_prefix", "bridge.async_events", "bridge.split_portals",
		"bridge.outgoing_message_re_id", "bridge.bridge_status_notices",
		"bridge.cleanup_on_logout.manual.private", "bridge.cleanup_on_logout.bad_credentials.shared_no_users",
		"database.type", "database.uri", "double_puppet.registration", "provisioning.shared_secret",
		"encryption.allow", "appservice.public_address", "public_media.signing_key", "public_media.expiry", "public_media.path_prefix", "network.edits", "network.waiting_notice", "network.give_up", "logging.min_level",
	} {
		if strings.Count(err.Error(), "matrix."+key+":") != 1 {
			t.Errorf("%s is not named once in:\n%v", key, err)
		}
	}
}

func TestParse_PublicMedia(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://bridge.mimir.test": true, "https://mimir.test/bridge/": true, "http://[::1]:8080": true,
		"": false, "bridge.mimir.test": false, "https://": false, "unix:/run/x": false, "https://mimir.test/?x=1": false, "https://u@mimir.test": false,
	} {
		c, err := config.Parse([]byte(smallest + "appservice: {public_address: '" + address + "'}\npublic_media: {enabled: true}\n"))
		if (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
		if err != nil {
			continue
		}
		if c.PublicMedia.Expiry != 7*24*60*60 || c.PublicMedia.PathPrefix != "/_mautrix/publicmedia" {
			t.Errorf("the defaults are %+v", c.PublicMedia)
		}
		if c.GenerateSecrets(); c.CheckSecrets() != nil || len(c.PublicMedia.SigningKey) < 32 || !slices.Contains(c.SecretValues(), c.PublicMedia.SigningKey) {
			t.Errorf("the signing key is %q", c.PublicMedia.SigningKey)
		}
	}
}

func TestParse_UnknownKeysRejected(t *testing.T) {
	_, err := config.Parse([]byte(smallest + "database: {typo: 1}\nsurplus: {}\n"))
	if err == nil || !strings.Contains(err.Error(), "typo") || !strings.Contains(err.Error(), "surplus") {
		t.Errorf("error is %v", err)
	}
	for _, text := range []string{"- list", "homeserver: [", "appservice: {port: 99999}", "bridge: {permissions: {x: god}}"} {
		if _, err := config.Parse([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

// A name that the library reads as something else is reported with its key and line.
func TestDecode_UnknownNamesHaveALine(t *testing.T) {
	var section yaml.Node
	if err := yaml.Unmarshal([]byte(`
homeserver: {domain: mimir.test}
bridge:
  permissions: {mimir.test: User, "@alice:mimir.test": administrator, "@bob:mimir.test": {admin: true}}
encryption:
  verification_levels:
    send: verified
    share: cross-signed-by-me
`), &section); err != nil {
		t.Fatal(err)
	}
	_, err := config.Decode(section.Content[0])
	want := `line 4: matrix.bridge.permissions: "administrator" for "@alice:mimir.test" is none of block, relay, commands, user, admin
line 8: matrix.encryption.verification_levels: "cross-signed-by-me" for "share" is none of unverified, cross-signed-untrusted, ` +
		"cross-signed-tofu, cross-signed-verified, verified"
	if err == nil || err.Error() != want {
		t.Errorf("error is\n%v\nwant\n%s", err, want)
	}
}

func TestParse_GhostNamesMatchingBotRejected(t *testing.T) {
	_, err := config.Parse([]byte(smallest + "appservice: {username_template: 'mimir{{.}}'}\n"))
	if err == nil || !strings.Contains(err.Error(), "must not match") {
		t.Errorf("error is %v", err)
	}
}

func TestGenerateSecrets_RestOfFileUnchanged(t *testing.T) {
	document := "# first\nroles: [node, matrix]\n\nmatrix:\n" + indent(string(config.Example())) + "\n# last\n"
	filled, changed, err := config.GenerateSecrets([]byte(document), "matrix")
	if err != nil || !changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	generated := regexp.MustCompile(`[A-Z2-7]{52}`)
	if n := len(generated.FindAll(filled, -1)); n != 6 {
		t.Errorf("%d secrets generated", n)
	}
	if back := generated.ReplaceAllString(string(filled), "generate"); back != document {
		t.Errorf("more than the secrets changed:\n%s", cmp.Diff(document, back))
	}
	again, changed, err := config.GenerateSecrets(filled, "matrix")
	if err != nil || changed || string(again) != string(filled) {
		t.Errorf("a second time: changed %v, %v", changed, err)
	}
}

func indent(text string) string {
	return "  " + strings.TrimRight(strings.ReplaceAll(text, "\n", "\n  "), " ")
}

func TestGenerateSecrets_MissingKeysInserted(t *testing.T) {
	for _, document := range []string{
		"matrix:\n  homeserver:\n    domain: mimir.test\n  bridge:\n    permissions: {mimir.test: user}\n",
		"matrix:\n    homeserver: {domain: mimir.test}\n    appservice:\n        as_token:\n        hs_token: \"\" # here\n" +
			"    double_puppet:\n        registration: separate\n    bridge: {permissions: {mimir.test: user}}\n",
	} {
		filled, changed, err := config.GenerateSecrets([]byte(document), "matrix")
		if err != nil || !changed {
			t.Fatalf("changed %v, %v", changed, err)
		}
		var doc struct{ Matrix yaml.Node }
		if err := yaml.Unmarshal(filled, &doc); err != nil {
			t.Fatalf("%v in\n%s", err, filled)
		}
		section, err := yaml.Marshal(&doc.Matrix)
		if err != nil {
			t.Fatal(err)
		}
		c, err := config.Parse(section)
		if err != nil {
			t.Fatalf("%v in\n%s", err, filled)
		}
		if _, err := c.Registrations(); err != nil {
			t.Errorf("%v after filling in\n%s", err, filled)
		}
	}
	for _, document := range []string{"", "roles: [node]\n", "matrix: [1]\n", "matrix: {homeserver: {domain: mimir.test}, bridge: {permissions: {mimir.test: user}}}\n"} {
		if filled, _, err := config.GenerateSecrets([]byte(document), "matrix"); err == nil {
			t.Errorf("%q became %q", document, filled)
		}
	}
}

func TestRegistrations(t *testing.T) {
	c, err := config.Parse([]byte(smallest))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Registrations(); !errors.Is(err, config.ErrNoTokens) {
		t.Errorf("without tokens: %v", err)
	}
	c.GenerateSecrets()
	read := func(content []byte) (r struct {
		ID, URL, ASToken, HSToken, SenderLocalpart string
		Namespaces                                 struct {
			Users []struct {
				Regex     string
				Exclusive bool
			}
		}
	},
	) {
		t.Helper()
		renamed := strings.NewReplacer("as_token", "astoken", "hs_token", "hstoken", "sender_localpart", "senderlocalpart")
		if err := yaml.Unmarshal([]byte(renamed.Replace(string(content))), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	files, err := c.Registrations()
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	main := read(files[0].Content)
	if main.ID != "mimir" || main.URL != "http://localhost:29399" || main.ASToken != c.AppService.ASToken || main.HSToken != c.AppService.HSToken {
		t.Errorf("registration is %+v", main)
	}
	owns := func(user string) (match, exclusive bool) {
		for _, users := range main.Namespaces.Users {
			if regexp.MustCompile(users.Regex).MatchString(user) {
				match, exclusive = true, exclusive || users.Exclusive
			}
		}
		return match, exclusive
	}
	for _, user := range []string{"@mimirbot:mimir.test", "@mimir_" + strings.Repeat("a", 64) + ":mimir.test"} {
		if _, exclusive := owns(user); !exclusive {
			t.Errorf("%s is not the bridge's alone", user)
		}
	}
	if match, exclusive := owns("@alice:mimir.test"); !match || exclusive {
		t.Error("the bridge cannot act as alice, or owns her")
	}
	for _, user := range []string{"@alice:mimirxtest", "@alice:mimir.test.evil.org", "x@alice:mimir.test"} {
		if match, _ := owns(user); match {
			t.Errorf("%s is in the namespace", user)
		}
	}
	again, err := c.Registrations()
	if err != nil || string(again[0].Content) != string(files[0].Content) {
		t.Error("the same configuration makes another registration")
	}

	c.DoublePuppet.Registration = config.DoublePuppetSeparate
	files, err = c.Registrations()
	if err != nil || len(files) != 2 {
		t.Fatalf("separate: %d files, %v", len(files), err)
	}
	main = read(files[0].Content)
	if match, _ := owns("@alice:mimir.test"); match {
		t.Error("separate: the bridge's registration still acts as alice")
	}
	puppets := read(files[1].Content)
	if puppets.URL != "" || puppets.ASToken == main.ASToken || puppets.ID == main.ID {
		t.Errorf("separate: %+v", puppets)
	}
	if !strings.Contains(string(files[1].Content), "url: null") {
		t.Error("separate: the homeserver would push")
	}
}

// Bar S20
func TestWriteSecretFile_PrivateAndAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registration.yaml")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := config.WriteSecretFile(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "new" {
		t.Errorf("content %q, %v", content, err)
	}
	missing := filepath.Join(t.TempDir(), "no", "file")
	if err := config.WriteSecretFile(missing, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("homeserver: {domain: x}\nbridge: {permissions: {x: user}}\n"))
	f.Add(config.Example())
	f.Fuzz(func(t *testing.T, section []byte) {
		c, err := config.Parse(section)
		if err != nil {
			return
		}
		c.GenerateSecrets()
		if _, err := c.Registrations(); err != nil {
			t.Errorf("no registration: %v", err)
		}
	})
}

func TestParse_SecondDocumentRejected(t *testing.T) {
	const section = "homeserver: {domain: x}\nbridge: {permissions: {x: user}}\n"
	if _, err := config.Parse([]byte(section)); err != nil {
		t.Fatal(err)
	}
	for _, more := range []string{"---\nhomeserver: {domain: y}\n", "---\n", "---\n[\n"} {
		if _, err := config.Parse([]byte(section + more)); err == nil {
			t.Errorf("%q is read", more)
		}
	}
}

func TestCopyDatabase_NothingToCopy(t *testing.T) {
	c, target := config.Default(), t.TempDir()
	if err := c.CopyDatabase(t.Context(), t.TempDir(), target); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(target); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	c.Database.Type = "postgres"
	if err := c.CopyDatabase(t.Context(), t.TempDir(), target); !errors.Is(err, config.ErrNotAFile) {
		t.Errorf("of a database elsewhere: %v", err)
	}
}

func TestInitSection_WithoutLogin_DeviceByMSC4190(t *testing.T) {
	for _, without := range []bool{false, true} {
		section, err := config.InitSection(config.InitOptions{Homeserver: "http://localhost:8008", Domain: "my.domain", MSC4190: without})
		if err != nil {
			t.Fatal(err)
		}
		c, err := config.Parse(section)
		if err != nil {
			t.Fatal(err)
		}
		c.GenerateSecrets()
		files, err := c.Registrations()
		if err != nil {
			t.Fatal(err)
		}
		if c.Encryption.MSC4190 != without || strings.Contains(string(files[0].Content), "io.element.msc4190: true") != without {
			t.Errorf("without a login %v: set %v, registration\n%s", without, c.Encryption.MSC4190, files[0].Content)
		}
	}
}
