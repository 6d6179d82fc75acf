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

// RegistrationFile is what the homeserver has to be given, as a file.
type RegistrationFile struct {
	// Name is a proposal for the file's name.
	Name    string
	Content []byte
}

// ErrNoTokens means that the secrets were not generated yet.
var ErrNoTokens = errors.New("the tokens of the Matrix bridge are missing: run `mimird matrix -g` and give the registration file to the homeserver")

// Registrations returns the registration of the bridge, and as a second one the
// one for acting as users, when that is separate. It returns [ErrNoTokens] when
// [GenerateSecrets] has not been at work.
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
		HSToken:         derive("hs", c.DoublePuppet.ASToken), // nothing is sent, but there must be one
		SenderLocalpart: derive("sender", c.DoublePuppet.ASToken),
	}
	puppets.Namespaces.Users = []namespace{anybody}
	return appendFile(files, "doublepuppet.yaml", puppets)
}

// registration is the file's format. URL is null when the homeserver shall send
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

// derive makes a value that stays the same as long as the token does, and does
// not tell what the token is.
func derive(what, token string) string {
	sum := sha256.Sum256([]byte("mimird matrix " + what + "\x00" + token))
	return hex.EncodeToString(sum[:16])
}

// WriteSecretFile writes a file that only its owner may read. It is there whole,
// or not at all: a file of that name keeps its content until then.
func WriteSecretFile(path string, content []byte) error {
	if err := durable.Replace(path, content); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// isWhole reports whether a registration has what every homeserver wants of one.
func (r *registration) isWhole() bool {
	return r.ID != "" && r.ASToken != "" && r.HSToken != "" && r.SenderLocalpart != "" && len(r.Namespaces.Users) > 0
}

// RegistrationProblems compares the registration files in a directory, which the
// homeserver was given, with what they should be. A file that is not there is no
// problem: it may have been moved to the homeserver.
func (c *Config) RegistrationProblems(dir string) (problems []string) {
	files, err := c.Registrations()
	if err != nil {
		return nil // New has said so
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

// SameRegistration reports whether two registration files mean the same.
func SameRegistration(a, b []byte) bool {
	var one, other registration
	if yaml.Unmarshal(a, &one) != nil || yaml.Unmarshal(b, &other) != nil {
		return false
	}
	// Written in one way, so that equal ones are equal.
	first, err := yaml.Marshal(one)
	second, err2 := yaml.Marshal(other)
	return err == nil && err2 == nil && string(first) == string(second)
}
