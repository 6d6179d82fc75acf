// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
)

//go:embed mimird.plist
var plistText string

var plistTemplate = template.Must(template.New("plist").Parse(plistText))

const (
	// launchdLabel is the name of the service.
	launchdLabel = "io.github.mimird"
	// launchdData is the data directory of the system's service.
	launchdData = "/Library/Application Support/mimird"
	// launchdErrors is the file with what the program says when it ends, in the data directory.
	launchdErrors = "mimird-errors.log"
)

// launchd keeps the service on macOS.
type launchd struct{}

func (launchd) place(s *service) error {
	dir := "/Library/LaunchDaemons"
	if s.user {
		home, err := os.UserHomeDir()
		if err != nil {
			return fmt.Errorf("find your home directory: %w", err)
		}
		dir = filepath.Join(home, "Library", "LaunchAgents")
	} else if s.data == "" {
		s.data = launchdData
	}
	s.path = unitPath(dir, launchdLabel+".plist")
	return nil
}

// plist is the unit file of a service.
func plist(s service, program string) (string, error) {
	values := map[string]string{
		"Label": launchdLabel, "Program": program, "Data": s.data, "Log": serviceLog,
		"Errors": filepath.Join(s.data, launchdErrors), "As": s.as,
	}
	for key, value := range values {
		var escaped bytes.Buffer
		if err := xml.EscapeText(&escaped, []byte(value)); err != nil {
			return "", fmt.Errorf("write unit: %w", err)
		}
		values[key] = escaped.String()
	}
	var out strings.Builder
	if err := plistTemplate.Execute(&out, values); err != nil {
		return "", fmt.Errorf("write unit: %w", err)
	}
	return out.String(), nil
}

// launchdDomain is where launchd keeps the service.
func (s service) launchdDomain() string {
	if s.user {
		return "gui/" + strconv.Itoa(os.Getuid())
	}
	return "system"
}

// launchctl is a command for a shell, as the user who may run it.
func (s service) launchctl(args ...string) string {
	words := []string{"launchctl"}
	if !s.user {
		words = []string{"sudo", "launchctl"}
	}
	for _, arg := range args {
		words = append(words, quoteShell(arg))
	}
	return strings.Join(words, " ")
}

// quoteShell writes a word for a shell.
func quoteShell(word string) string {
	if !strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-", r)
	}) && word != "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func (m launchd) install(ctx context.Context, s service, program string) (serviceDone, error) {
	if s.user {
		s.as = ""
	} else if s.as == "" {
		return serviceDone{}, errors.New("say whom the service runs as, who need not be an administrator: --as NAME")
	}
	text, err := plist(s, program)
	if err != nil {
		return serviceDone{}, err
	}
	if err := writeUnit(s.path, text); err != nil {
		return serviceDone{}, err
	}
	done, err := m.status(ctx, s)
	if s.user {
		done.Next = append(done.Next, "mkdir -p -m 700 "+quoteShell(s.data))
	} else {
		done.Next = append(done.Next, "sudo install -d -m 700 -o "+quoteShell(s.as)+" "+quoteShell(s.data))
	}
	done.Next = append(done.Next, s.launchctl("bootstrap", s.launchdDomain(), s.path))
	return done, err
}

// notLoaded is the state of a service that launchd does not know.
const notLoaded = "not loaded"

func (m launchd) uninstall(ctx context.Context, s service) (serviceDone, error) {
	done, err := m.status(ctx, s)
	if err != nil {
		return done, err
	}
	if done.State != notLoaded {
		return done, fmt.Errorf("the service is %s; stop it first: %s", done.State, s.launchctl("bootout", s.launchdDomain()+"/"+launchdLabel))
	}
	if err := os.Remove(s.path); err != nil {
		return done, fmt.Errorf("remove unit: %w", err)
	}
	done.State = "removed"
	return done, nil
}

func (launchd) status(ctx context.Context, s service) (serviceDone, error) {
	done := serviceDone{Unit: s.path, Data: s.data}
	raw, err := readUnit(s.path)
	if err != nil {
		return done, err
	}
	if data := plistValue(raw, "MIMIRD_DATA"); data != "" {
		done.Data = data
	}
	answer, err := exec.CommandContext(ctx, "launchctl", "print", s.launchdDomain()+"/"+launchdLabel).Output()
	var failed *exec.ExitError
	switch {
	case errors.As(err, &failed):
		done.State = notLoaded
	case err != nil:
		return done, fmt.Errorf("ask launchd: %w", err)
	default:
		done.State = launchdState(string(answer))
	}
	return done, nil
}

// launchdState finds in the answer of launchctl print how a service is.
func launchdState(answer string) string {
	state, exit := "loaded", ""
	for line := range strings.Lines(answer) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		switch key {
		case "state":
			if state == "loaded" { // the first is that of the service
				state = value
			}
		case "last exit code":
			if value != "0" && value != "(never exited)" {
				exit = ", ended before with exit code " + value
			}
		}
	}
	return state + exit
}

// plistValue returns the text after a key, "" when there is none.
func plistValue(raw []byte, key string) string {
	decoder := xml.NewDecoder(bytes.NewReader(raw))
	isKey, found, text := false, false, ""
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) || err != nil {
			return ""
		}
		switch token := token.(type) {
		case xml.StartElement:
			isKey, text = token.Name.Local == "key", ""
		case xml.CharData:
			text += string(token)
		case xml.EndElement:
			if found && token.Name.Local == "string" {
				return text
			}
			found = isKey && token.Name.Local == "key" && text == key
			isKey = false
		}
	}
}
