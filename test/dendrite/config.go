// SPDX-License-Identifier: MPL-2.0

package dendrite

import (
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

const (
	configFile = "dendrite.yaml"
	keyFile    = "matrix_key.pem"
)

//go:embed dendrite.yaml.tmpl
var configText string

var configTemplate = template.Must(template.New(configFile).
	Funcs(template.FuncMap{"quote": quoteYAML}).
	Parse(configText))

type configValues struct {
	ServerName    string
	KeyFile       string
	Registrations []string
	SharedSecret  string
}

// quoteYAML writes a JSON string, which is a YAML string too.
func quoteYAML(s string) (string, error) {
	quoted, err := json.Marshal(s)
	return string(quoted), err
}

// writeConfig writes the configuration, anew at every start, and the signing key
// once.
func writeConfig(dir string, values configValues) error {
	for i, path := range values.Registrations {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return fmt.Errorf("find the registration file: %w", err)
		}
		if _, err := os.Stat(absolute); err != nil {
			return fmt.Errorf("find the registration file: %w", err)
		}
		values.Registrations[i] = absolute
	}
	if err := writeKey(filepath.Join(dir, keyFile)); err != nil {
		return err
	}
	values.KeyFile = keyFile
	var text strings.Builder
	if err := configTemplate.Execute(&text, values); err != nil {
		return fmt.Errorf("make the configuration: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, configFile), []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

// writeKey makes the key that the server signs events with, unless there is one.
func writeKey(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for the signing key: %w", err)
	}
	seed := make([]byte, 32)
	_, _ = rand.Read(seed) // never fails
	key := pem.EncodeToMemory(&pem.Block{
		Type:    "MATRIX PRIVATE KEY",
		Headers: map[string]string{"Key-ID": "ed25519:1"},
		Bytes:   seed,
	})
	if err := os.WriteFile(path, key, 0o600); err != nil {
		return fmt.Errorf("write the signing key: %w", err)
	}
	return nil
}
