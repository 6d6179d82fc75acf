// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"github.com/mimird/mimird/config"
)

const composeDir = "../../contrib/compose"

type composeFile struct {
	Services map[string]struct {
		Image       string            `yaml:"image"`
		Build       map[string]string `yaml:"build"`
		Command     []string          `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
		Volumes     []string          `yaml:"volumes"`
		Healthcheck struct {
			Test []string `yaml:"test"`
		} `yaml:"healthcheck"`
		DependsOn map[string]any `yaml:"depends_on"`
	} `yaml:"services"`
	Volumes map[string]any `yaml:"volumes"`
}

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(composeDir, name))
	if err == nil {
		err = yaml.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// TestCompose_FilesAndKeysExist reads the example as far as that goes without Docker.
func TestCompose_FilesAndKeysExist(t *testing.T) {
	var file composeFile
	readYAML(t, "compose.yaml", &file)
	mounts := make(map[string]map[string]string) // of each service, from a place in it to what is there
	for name, service := range file.Services {
		if (service.Image == "") == (len(service.Build) == 0) {
			t.Errorf("%s has an image and is built, or neither", name)
		}
		mounts[name] = make(map[string]string)
		for _, volume := range service.Volumes {
			parts := strings.Split(volume, ":")
			mounts[name][parts[1]] = parts[0]
			if strings.HasPrefix(parts[0], ".") {
				if _, err := os.Stat(filepath.Join(composeDir, parts[0])); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, named := file.Volumes[parts[0]]; !named {
				t.Errorf("%s has the volume %s, which nobody makes", name, parts[0])
			}
		}
		for other := range service.DependsOn {
			if _, there := file.Services[other]; !there {
				t.Errorf("%s needs %s, which is not there", name, other)
			}
		}
	}
	node := file.Services["mimird"]
	if _, err := os.Stat(filepath.Join(composeDir, node.Build["dockerfile"])); err != nil {
		t.Error(err)
	}
	for _, line := range []string{"mimird " + strings.Join(node.Command, " "), strings.Join(node.Healthcheck.Test[1:], " ")} {
		if problem := problemOf(line); problem != "" {
			t.Errorf("%s: %s", line, problem)
		}
	}

	// The commands of the README exist, and its matrix init makes a section that the
	// environment of the service goes with.
	raw, err := os.ReadFile(filepath.Join(composeDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?:run --rm --no-deps|exec) (mimird [^\n\x60]+)`).FindAllStringSubmatch(strings.ReplaceAll(string(raw), "\\\n", ""), -1)
	if len(commands) < 3 {
		t.Errorf("%d commands are found", len(commands))
	}
	for _, match := range commands {
		line := "mimird " + strings.TrimPrefix(strings.TrimPrefix(match[1], "mimird "), "mimird ")
		if problem := problemOf(line); problem != "" {
			t.Errorf("%s: %s", line, problem)
		}
	}
	init, _ := newRoot()
	words := strings.Fields(commands[0][1])
	command, rest, err := init.Find(words[1:])
	if err != nil || command.ParseFlags(rest) != nil {
		t.Fatalf("%q: %v", words, err)
	}
	value := func(name string) string { return command.Flags().Lookup(name).Value.String() }
	section, err := matrixconfig.InitSection(matrixconfig.InitOptions{
		Homeserver: value("homeserver"), Domain: value("domain"), Admin: value("admin"), Address: value("address"), Listen: value("listen"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var environ []string
	for key, value := range node.Environment {
		environ = append(environ, key+"="+value)
	}
	whole := "matrix:\n  " + strings.ReplaceAll(string(section), "\n", "\n  ")
	c, err := config.ParseWith([]byte(whole), environ)
	if err != nil {
		t.Fatal(err)
	}
	bridge, err := bridgeConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Has(config.RoleMatrix) || bridge.Database.Type != "postgres" || !strings.Contains(bridge.Database.URI, "@postgres/mimird?") ||
		bridge.AppService.Hostname != "0.0.0.0" || bridge.AppService.Address != "http://mimird:29399" {
		t.Errorf("roles %v, database %s, listener %s", c.Roles, bridge.Database.URI, bridge.AppService.Hostname)
	}

	// Synapse is given the files that matrix init writes, and the database that is there.
	var synapse struct {
		Database struct {
			Args map[string]any `yaml:"args"`
		} `yaml:"database"`
		Registrations []string `yaml:"app_service_config_files"`
	}
	readYAML(t, "synapse.yaml", &synapse)
	bridge.GenerateSecrets()
	written, err := bridge.Registrations()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, registration := range written {
		want = append(want, path.Join("/mimird", registration.Name))
	}
	if !slices.Equal(synapse.Registrations, want) || mounts["synapse"]["/mimird"] != mounts["mimird"]["/data"] {
		t.Errorf("Synapse is given %q of %s, want %q", synapse.Registrations, mounts["synapse"]["/mimird"], want)
	}
	if _, there := file.Services[synapse.Database.Args["host"].(string)]; !there || synapse.Database.Args["user"] != file.Services["postgres"].Environment["POSTGRES_USER"] {
		t.Errorf("Synapse uses the database %v", synapse.Database.Args)
	}
	configs := file.Services["synapse"].Command
	if i := slices.Index(configs, "/etc/synapse/bridge.yaml"); i < 0 || mounts["synapse"][configs[i]] != "./synapse.yaml" {
		t.Errorf("Synapse reads %q", configs)
	}
}
