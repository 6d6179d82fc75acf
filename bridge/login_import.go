// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/mimird/mimird/bridge/msgconv"

	"maunium.net/go/mautrix/bridgev2"

	"github.com/mimird/mimird/actors"
	"github.com/mimird/mimird/proto/identity"
)

var (
	errNoSeed        = errors.New("a secret key has 64 hex digits, or is a PEM block in one line")
	errImportedTwice = errors.New("this identity is on the node already; an admin can attach it")
)

// askSeed asks for a secret key. Bots delete the message that has a field of this
// type in it from the room.
func (l *login) askSeed() *bridgev2.LoginStep {
	return input(stepSeed, "An identity must not be used in two places at once without care: see docs/roles.md. "+
		"What you write next is a secret, and is deleted from the room.",
		bridgev2.LoginInputDataField{
			Type: bridgev2.LoginInputFieldTypeToken, ID: fieldSeed, Name: "secret key",
			Description: "64 hex digits",
			Validate: func(text string) (string, error) {
				_, err := l.newSeed(text)
				return text, err
			},
		},
		bridgev2.LoginInputDataField{
			Type: bridgev2.LoginInputFieldTypeUsername, ID: fieldName, Name: "name",
			Description: "Your contacts will see it.",
			Validate: func(name string) (string, error) {
				if name = msgconv.CleanName(name); name == "" {
					return "", errors.New("a name has at least one letter")
				}
				return name, nil
			},
		})
}

func parseSeed(text string) (identity.PrivateKey, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "-----BEGIN") {
		key, err := identity.ParsePEM([]byte(text))
		if err != nil {
			return identity.PrivateKey{}, errNoSeed // without what was written
		}
		return key, nil
	}
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != identity.SeedSize {
		return identity.PrivateKey{}, errNoSeed
	}
	return identity.NewPrivateKey([identity.SeedSize]byte(raw)), nil
}

// newSeed reads a secret key whose identity is not on the node yet.
func (l *login) newSeed(text string) (identity.PrivateKey, error) {
	key, err := parseSeed(text)
	if err != nil {
		return key, err
	}
	_, err = l.node.Account(key.Public())
	switch {
	case isGone(err):
		return key, nil
	case err == nil:
		return identity.PrivateKey{}, errImportedTwice
	default:
		return identity.PrivateKey{}, err
	}
}

func (l *login) importSeed(ctx context.Context, answer map[string]string) (*bridgev2.LoginStep, error) {
	key, err := l.newSeed(answer[fieldSeed])
	if err != nil {
		return nil, err
	}
	imported, err := l.node.ImportAccount(ctx, actors.Import{Key: key, Name: msgconv.CleanName(answer[fieldName])})
	if err != nil {
		return nil, fmt.Errorf("bring the identity here: %w", err)
	}
	step, err := l.finish(ctx, imported.Account, false)
	if err == nil && len(imported.ForeignNodes) > 0 {
		step.Instructions += " Attention: it is in use at another place just now."
	}
	return step, err
}
