// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/backup"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/browsers"
	"github.com/mimird/mimird/actors/retention"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/doctor"
	"github.com/mimird/mimird/cmd/internal/export"
	"github.com/mimird/mimird/cmd/internal/update"
	"github.com/mimird/mimird/cmd/internal/watch"
)

var writeTables = flag.Bool("update", false, "write the tables of docs/commands.md")

const commandsPage = "../../docs/commands.md"

// printed is what commands print with --json, an example each. A command without JSON
// has nil.
var printed = map[string]any{
	"up": startReport{}, "status": control.Status{}, "tail": control.Event{}, "show": shown{}, "search": control.Found{},
	"send": control.Message{}, "reply": control.Message{}, "react": control.Message{}, "cancel": control.Message{},
	"trace": []control.Trace{}, "doctor": examined{}, "top": view{}, "health": watch.Health{}, "id": []control.Account{}, "version": versionInfo{}, "check": control.Health{},
	"account list": []control.Account{}, "account add": control.Account{}, "account set": control.Account{},
	"account remove": control.Account{}, "account import": control.Imported{}, "account export": control.Secret{}, "account app-backup": appBackupDone{},
	"contact add": control.Contact{}, "contact clear": retention.Cleared{}, "group clear": retention.Cleared{}, "contact request": control.Contact{}, "contact list": []control.Contact{},
	"contact show": control.Contact{}, "contact rename": control.Contact{}, "contact remove": control.Contact{},
	"contact trust": control.Contact{}, "contact accept": control.Contact{}, "contact decline": control.Contact{},
	"contact block": control.Contact{}, "contact unblock": control.Contact{}, "contact mute": control.Contact{},
	"contact unmute": control.Contact{},
	"group list":     []control.Group{}, "group show": control.Group{}, "group members": []control.GroupMember{}, "group create": control.Group{},
	"group join": control.Group{}, "group accept": control.Group{}, "group decline": control.Group{}, "group remove": control.Group{},
	"group invite": control.GroupTask{}, "group leave": control.GroupTask{}, "group delete": control.GroupTask{}, "group role": control.GroupTask{},
	"group ban": control.GroupTask{}, "group unban": control.GroupTask{}, "group set": groupSet{},
	"file list": []control.File{}, "file get": control.File{},
	"notify test": []told{}, "backup": made{}, "restore": backup.About{}, "export": []export.Conversation{},
	"matrix": matrixDone{}, "matrix init": matrixInitialised{}, "matrix doctor": diagnosis{}, "matrix to-postgres": copiedTables{},
	"mediator groups": []control.HostedGroup{}, "mediator members": control.HostedMembers{}, "mediator bans": []control.MediatorBan{},
	"page link": browsers.PageLink{}, "page sessions": browsers.PageState{}, "page logout": done{}, "page password": done{},
	"mediator ban": done{}, "mediator unban": done{}, "mediator quota": done{}, "mediator delete": done{},
	"service install": serviceDone{}, "service uninstall": serviceDone{}, "service status": serviceDone{},
	"update check": update.Answer{},
	"chat":         nil, "completion bash": nil, "completion zsh": nil, "completion fish": nil,
	"completion powershell": nil,
}

// described are further types: those inside of others under a name, and what is printed
// on standard error.
var described = map[string]any{"error": failure{}, "matrix status": bridge.Status{}, "check of doctor": doctor.Check{}}

// TestDocs_EveryCommand_PrintsWhatThePageSays compares docs/commands.md with the program.
func TestDocs_EveryCommand_PrintsWhatThePageSays(t *testing.T) {
	raw, err := os.ReadFile(commandsPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	const begin, end = "<!-- written by go test ./cmd/mimird -run TestDocs -update -->\n", "\n<!-- end -->"
	head, rest, ok := strings.Cut(page, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the marks of the tables are missing")
	}
	want := head + begin + "\n" + commandTable(t) + typeTables(t) + end + tail
	if *writeTables {
		if err := os.WriteFile(commandsPage, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if page != want {
		t.Errorf("docs/commands.md is not what the commands print; run go test ./cmd/mimird -run TestDocs -update")
	}
	for code, name := range codeNames {
		if !strings.Contains(head, fmt.Sprintf("\n| %d | `%s` | ", code, name)) {
			t.Errorf("docs/commands.md lacks the exit code %d, %s", code, name)
		}
	}
	for _, name := range []string{"not_running", "interrupted", "refused"} {
		if !strings.Contains(head, "| `"+name+"` | ") {
			t.Errorf("docs/commands.md lacks the code %s", name)
		}
	}
}

// commandTable lists the commands with what they print.
func commandTable(t *testing.T) string {
	t.Helper()
	var rows []string
	seen := map[string]bool{}
	root, _ := newRoot()
	everyCommand(root, func(cmd *cobra.Command) {
		name := strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), "mimird"), " ")
		if name == "" {
			return
		}
		value, known := printed[name]
		if !known && cmd.HasAvailableSubCommands() {
			return // it only has others below it
		}
		if !known {
			t.Errorf("what does mimird %s print with --json?", name)
		}
		seen[name] = true
		if value != nil {
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", name, cmd.Short, linkTo(reflect.TypeOf(value))))
		}
	})
	for name := range printed {
		if !seen[name] {
			t.Errorf("there is no command mimird %s", name)
		}
	}
	slices.Sort(rows)
	return "| command | | with `--json` |\n|---|---|---|\n" + strings.Join(rows, "")
}

// typeTables lists the fields of everything that is printed.
func typeTables(t *testing.T) string {
	t.Helper()
	found := map[string]reflect.Type{}
	for _, values := range []map[string]any{printed, described} {
		for _, value := range values {
			if value != nil {
				collect(reflect.TypeOf(value), found)
			}
		}
	}
	var names []string
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	snake := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "\n### %s\n\n| field | | |\n|---|---|---|\n", name)
		for field := range found[name].Fields() {
			if !field.IsExported() {
				continue
			}
			key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.Anonymous && key == "" {
				fmt.Fprintf(&b, "| and all of %s | | |\n", linkTo(field.Type))
				continue
			}
			if key == "-" {
				continue
			}
			if !snake.MatchString(key) {
				t.Errorf("%s.%s is %q in JSON, which is not snake_case", name, field.Name, key)
			}
			meaning := field.Tag.Get("doc")
			if values := field.Tag.Get("enum"); values != "" {
				meaning = strings.TrimPrefix(meaning+"; one of "+strings.ReplaceAll(values, ",", ", "), "; ")
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", key, linkTo(field.Type), meaning)
		}
	}
	return b.String()
}

// collect gathers the structs of ours that a type is made of.
func collect(typ reflect.Type, found map[string]reflect.Type) {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		collect(typ.Elem(), found)
	case reflect.Map:
		collect(typ.Elem(), found)
	case reflect.Struct:
		if isOwn(typ) {
			if other, known := found[typeName(typ)]; known {
				if other != typ {
					panic("two types are called " + typeName(typ))
				}
				return
			}
			found[typeName(typ)] = typ
			for field := range typ.Fields() {
				if field.IsExported() && field.Tag.Get("json") != "-" {
					collect(field.Type, found)
				}
			}
		}
	default:
	}
}

func isOwn(typ reflect.Type) bool {
	return typ.Kind() == reflect.Struct && typ != reflect.TypeFor[time.Time]() && !typ.Implements(reflect.TypeFor[json.Marshaler]())
}

// typeName is a type as the page calls it.
func typeName(typ reflect.Type) string {
	name := strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(typ.Name(), "$1 $2"))
	switch pkg := typ.PkgPath(); {
	case strings.HasSuffix(pkg, "mimird/bridge"):
		return "matrix " + name
	case strings.HasSuffix(pkg, "cmd/internal/doctor"):
		return "doctor " + name
	case strings.HasSuffix(pkg, "cmd/internal/update"):
		return "update " + name
	case strings.HasSuffix(pkg, "cmd/internal/watch"):
		return "node " + name
	case strings.HasSuffix(pkg, "actors/backup"):
		return "backup " + name
	case strings.Contains(pkg, "/bridge/"):
		return "matrix " + pkg[strings.LastIndex(pkg, "/")+1:] + " " + name
	}
	return name
}

// linkTo says what kind of value a type is in JSON.
func linkTo(typ reflect.Type) string {
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return "time"
	case typ == reflect.TypeFor[json.RawMessage]():
		return "object"
	case typ == reflect.TypeFor[[]byte]():
		return "base64"
	case typ.Implements(reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()):
		return "string"
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return linkTo(typ.Elem())
	case reflect.Slice:
		return "list of " + linkTo(typ.Elem())
	case reflect.Map:
		return "object of " + linkTo(typ.Elem())
	case reflect.Struct:
		return fmt.Sprintf("[%s](#%s)", typeName(typ), strings.ReplaceAll(typeName(typ), " ", "-"))
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "true or false"
	}
	return "number"
}
