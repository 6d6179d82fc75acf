// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mimird/mimird/config"
)

func TestParseWith_SetsKeys(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte("from: [a file]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.ParseWith([]byte("log: {level: debug}\nsession: {max: 7}\nmatrix: {appservice: {id: mimir}}\n"), []string{
		"PATH=/bin", "MIMIRD_DATA=/data",
		"MIMIRD_CONFIG__LOG__LEVEL=warn",
		"MIMIRD_CONFIG__ROLES=[node, matrix]",
		"MIMIRD_CONFIG__YGGDRASIL__CONNECTED=2",
		"MIMIRD_CONFIG__MEDIA__MAX_FILE=7MiB",
		"MIMIRD_CONFIG__MATRIX__APPSERVICE__AS_TOKEN_FILE=" + secret,
		`MIMIRD_CONFIG__MATRIX__HOMESERVER__DOMAIN=""`, "MIMIRD_CONFIG__MATRIX__APPSERVICE__ID=",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Log.Level != "warn" || !c.Has(config.RoleMatrix) || c.Yggdrasil.Connected != 2 || c.Session.Max != 7 || c.Media.MaxFile != 7<<20 {
		t.Errorf("read %+v", c)
	}
	var section struct {
		AppService struct {
			ID      string `yaml:"id"`
			ASToken string `yaml:"as_token"`
		} `yaml:"appservice"`
		Homeserver struct {
			Domain *string `yaml:"domain"`
		} `yaml:"homeserver"`
	}
	if err := c.Matrix.Decode(&section); err != nil {
		t.Fatal(err)
	}
	if section.AppService.ID != "mimir" || section.AppService.ASToken != "from: [a file]" || section.Homeserver.Domain == nil || *section.Homeserver.Domain != "" {
		t.Errorf("section %+v", section)
	}
}

func TestParseWith_WrongVariables_Named(t *testing.T) {
	secret := "the value of a secret: ["
	_, err := config.ParseWith([]byte("trackers: []\nlog: {level: info}\n"), []string{
		"MIMIRD_CONFIG__=x",
		"MIMIRD_CONFIG__LOG____LEVEL=x",
		"MIMIRD_CONFIG__TRACKERS__FIRST=x", "MIMIRD_CONFIG__ZERO= ",
		"MIMIRD_CONFIG__LOG__LEVEL__MORE=x",
		"MIMIRD_CONFIG__MATRIX__TOKEN=" + secret,
		"MIMIRD_CONFIG__MATRIX__KEY_FILE=" + filepath.Join(t.TempDir(), "nowhere"),
	})
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{
		"MIMIRD_CONFIG__: want MIMIRD_CONFIG__SECTION__KEY", "MIMIRD_CONFIG__LOG__LEVEL__MORE: log.level is not a section",
		"MIMIRD_CONFIG__LOG____LEVEL: want", "MIMIRD_CONFIG__MATRIX__KEY_FILE: open its file:", "MIMIRD_CONFIG__MATRIX__TOKEN: the value is not YAML",
		"MIMIRD_CONFIG__TRACKERS__FIRST: trackers is not a section", "MIMIRD_CONFIG__ZERO: the value is empty",
	} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], "environment variable "+want) {
			t.Errorf("line %d: want %q in:\n%v", i, want, err)
		}
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("shows a value: %v", err)
	}
	for variable, want := range map[string]string{
		"MIMIRD_CONFIG__LOG__LEVL=debug":        `environment: unknown key "log.levl"; did you mean "level"?`,
		"MIMIRD_CONFIG__SESSION__MAX=many":      "environment: want a whole number, have `many`",
		"MIMIRD_CONFIG__SESSION={max: 1, x: 2}": `environment: unknown key "session.x"`,
	} {
		if _, err := config.ParseWith(nil, []string{variable}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", variable, err, want)
		}
	}
}

// Keys that end like the names of variables for files would be taken for those.
func TestParseWith_OneKeyEndsInFile(t *testing.T) {
	var found []string
	var visit func(typ reflect.Type, path string)
	visit = func(typ reflect.Type, path string) {
		if typ.Kind() != reflect.Struct {
			return
		}
		for f := range typ.Fields() {
			key := path + f.Tag.Get("yaml")
			if strings.HasSuffix(key, "_file") {
				found = append(found, key)
			}
			visit(f.Type, key+".")
		}
	}
	visit(reflect.TypeFor[config.Config](), "")
	if len(found) != 1 || found[0] != "media.max_file" {
		t.Errorf("found %v", found)
	}
}
