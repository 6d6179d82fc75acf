// SPDX-License-Identifier: MPL-2.0

package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"gopkg.in/yaml.v3"

	"github.com/mimird/mimird/actors/durable"
	"github.com/mimird/mimird/bridge/fault"
)

// RegistrationFile is a file that the operator gives to the homeserver.
type RegistrationFile struct {
	// Name is the file's name, without a folder.
	Name    string
	Content []byte
}

// ErrNoTokens means that the secrets are missing: see [GenerateSecrets].
var ErrNoTokens = errors.New("the tokens of the Matrix bridge are missing: run `mimird matrix -g` and give the registration file to the homeserver")

// Registrations returns the registration of the bridge and, if it is separate, that of
// the double puppets. It returns [ErrNoTokens] if a secret is missing.
func (c *Config) Registrations() ([]RegistrationFile, error) {
	if err := c.CheckSecrets(); err != nil {
		return nil, err
	}
	domain := regexp.QuoteMeta(c.Homeserver.Domain)
	ghosts := c.ghostPattern().String()
	users := []namespace{
		{Regex: "^@" + regexp.QuoteMeta(c.AppService.Bot.Username) + ":" + domain + "$", Exclusive: true},
		{Regex: "^@" + ghosts[1:len(ghosts)-1] + ":" + domain + "$", Exclusive: true},
	}
	anybody := namespace{Regex: "^@.*:" + domain + "$"}
	if c.DoublePuppet.Registration == DoublePuppetShared {
		users = append(users, anybody)
	}
	main := registration{
		ID:              c.AppService.ID,
		URL:             &c.AppService.Address,
		ASToken:         c.AppService.ASToken,
		HSToken:         c.AppService.HSToken,
		SenderLocalpart: derive("sender", c.AppService.ASToken),
		Ephemeral:       c.AppService.EphemeralEvents,
		OldEphemeral:    c.AppService.EphemeralEvents,
		MSC3202:         c.Encryption.Appservice,
		MSC4190:         c.Encryption.MSC4190,
	}
	main.Namespaces.Users = users
	files, err := appendFile(nil, "registration.yaml", main)
	if err != nil || c.DoublePuppet.Registration != DoublePuppetSeparate {
		return files, err
	}
	puppets := registration{
		ID:              c.AppService.ID + "-doublepuppet",
		ASToken:         c.DoublePuppet.ASToken,
		HSToken:         derive("hs", c.DoublePuppet.ASToken), // the field is required, although nothing is pushed
		SenderLocalpart: derive("sender", c.DoublePuppet.ASToken),
	}
	puppets.Namespaces.Users = []namespace{anybody}
	return appendFile(files, "doublepuppet.yaml", puppets)
}

// registration is the format of a registration file. URL is null if the homeserver pushes
// nothing.
type registration struct {
	ID              string  `yaml:"id"`
	URL             *string `yaml:"url"`
	ASToken         string  `yaml:"as_token"`
	HSToken         string  `yaml:"hs_token"`
	SenderLocalpart string  `yaml:"sender_localpart"`
	RateLimited     bool    `yaml:"rate_limited"`
	Namespaces      struct {
		Users []namespace `yaml:"users"`
	} `yaml:"namespaces"`
	Ephemeral    bool `yaml:"receive_ephemeral,omitempty"`
	OldEphemeral bool `yaml:"de.sorunome.msc2409.push_ephemeral,omitempty"`
	MSC3202      bool `yaml:"org.matrix.msc3202,omitempty"`
	MSC4190      bool `yaml:"io.element.msc4190,omitempty"`
}

type namespace struct {
	Regex     string `yaml:"regex"`
	Exclusive bool   `yaml:"exclusive"`
}

func appendFile(files []RegistrationFile, name string, r registration) ([]RegistrationFile, error) {
	content, err := yaml.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write registration: %w", err)
	}
	return append(files, RegistrationFile{Name: name, Content: content}), nil
}

// derive returns a value that changes only with the token and does not reveal it.
func derive(what, token string) string {
	sum := sha256.Sum256([]byte("mimird matrix " + what + "\x00" + token))
	return hex.EncodeToString(sum[:16])
}

// WriteSecretFile creates or replaces a file with mode 0600, atomically: after an error
// or a crash the old file is unchanged.
func WriteSecretFile(path string, content []byte) error {
	if err := durable.Replace(path, content); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// isWhole reports whether a registration has all that homeservers require.
func (r *registration) isWhole() bool {
	return r.ID != "" && r.ASToken != "" && r.HSToken != "" && r.SenderLocalpart != "" && len(r.Namespaces.Users) > 0
}

// RegistrationProblems compares the registration files in a directory with
// [Config.Registrations] and returns a sentence for each that is unreadable or differs. A
// missing file is not a problem: it may have been moved to the homeserver.
func (c *Config) RegistrationProblems(dir string) (problems []string) {
	files, err := c.Registrations()
	if err != nil {
		return nil // bridge.New reports it
	}
	for _, file := range files {
		path := filepath.Join(dir, file.Name)
		have, err := os.ReadFile(path)
		var parsed registration
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s cannot be read: %s", path, fault.OneLine(err)))
		case yaml.Unmarshal(have, &parsed) != nil || !parsed.isWhole():
			problems = append(problems, fmt.Sprintf("%s is damaged: run mimird matrix -g, and give it to the homeserver", path))
		case !SameRegistration(have, file.Content):
			problems = append(problems, fmt.Sprintf("%s does not fit the configuration: run mimird matrix -g, give it to the homeserver and restart it", path))
		}
	}
	return problems
}

// SameRegistration reports whether two registration files are valid and equal, apart from
// their form.
func SameRegistration(a, b []byte) bool {
	var one, other registration
	if yaml.Unmarshal(a, &one) != nil || yaml.Unmarshal(b, &other) != nil {
		return false
	}
	// Marshalling brings both into the same form.
	first, err := yaml.Marshal(one)
	second, err2 := yaml.Marshal(other)
	return err == nil && err2 == nil && string(first) == string(second)
}
