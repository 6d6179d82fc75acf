// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/status"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/proto/identity"
)

// maxOptions bounds the identities that a question names.
const maxOptions = 200

// The ways to log in.
const (
	flowAttach = "attach"
	flowNew    = "new"
	flowImport = "import"

	stepChoose   = "im.mimir.choose"
	stepName     = "im.mimir.name"
	stepSeed     = "im.mimir.seed"
	stepComplete = "im.mimir.complete"

	fieldIdentity = "identity"
	fieldName     = "name"
	fieldSeed     = "seed"
)

var (
	errNotYours = errors.New("only admins of the bridge may use the identities of this node; choose `login new` for one of your own")
	errNoneFree = errors.New("every identity of this node is in use already; choose `login new` for another one")
)

// GetLoginFlows lists the ways to log in.
func (c *Connector) GetLoginFlows() []bridgev2.LoginFlow {
	return []bridgev2.LoginFlow{
		{ID: flowAttach, Name: "This node's identity", Description: "Use an identity that this node has already"},
		{ID: flowNew, Name: "New identity", Description: "Make a new Mimir identity on this node"},
		{ID: flowImport, Name: "Existing identity", Description: "Bring an identity of yours to this node, with its secret key"},
	}
}

// CreateLogin begins to log in.
func (c *Connector) CreateLogin(ctx context.Context, user *bridgev2.User, flow string) (bridgev2.LoginProcess, error) {
	switch flow {
	case flowAttach, flowNew, flowImport:
		return &login{Connector: c, user: user, flow: flow, answered: ctx.Value(answered{}) != nil}, nil
	default:
		return nil, bridgev2.ErrInvalidLoginFlowID
	}
}

// login is one login in progress.
type login struct {
	*Connector
	user *bridgev2.User
	flow string
	free []store.Account // to choose from
	// answered says that the answer to the first question is there already.
	answered bool
}

var _ bridgev2.LoginProcessUserInput = (*login)(nil)

// Start returns the first question.
func (l *login) Start(ctx context.Context) (*bridgev2.LoginStep, error) {
	if l.flow == flowNew {
		return input(stepName, "You get a Mimir identity of your own.", bridgev2.LoginInputDataField{
			Type: bridgev2.LoginInputFieldTypeUsername, ID: fieldName, Name: "name",
			Description: "Your contacts will see it.",
			Validate: func(name string) (string, error) {
				if name = msgconv.CleanName(name); name == "" {
					return "", errors.New("a name has at least one letter")
				}
				return name, nil
			},
		}), nil
	}
	if l.flow == flowImport {
		return l.askSeed(), nil
	}
	var err error
	if l.free, err = l.attachable(ctx); err != nil {
		return nil, err
	}
	if len(l.free) == 1 && !l.answered {
		return l.finish(ctx, l.free[0], false)
	}
	options := make([]string, len(l.free))
	for i, account := range l.free {
		options[i] = optionName(account)
	}
	return input(stepChoose, "This node has several identities.", bridgev2.LoginInputDataField{
		Type: bridgev2.LoginInputFieldTypeSelect, ID: fieldIdentity, Name: "identity", Options: options,
		Validate: func(text string) (string, error) {
			account, err := l.chosen(text)
			if err != nil {
				return "", err
			}
			return optionName(account), nil
		},
	}), nil
}

// chosen returns the account that a name, an option or the beginning of a key means.
func (l *login) chosen(text string) (store.Account, error) {
	var found, options []store.Account
	for _, account := range l.free {
		id := account.ID.String()
		switch {
		case optionName(account) == text, id == text:
			return account, nil
		case people.Fold(account.Name) == people.Fold(text), len(text) >= 8 && strings.HasPrefix(id, strings.ToLower(text)):
			found = append(found, account)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if options = found; len(options) == 0 {
		options = l.free
	}
	names := make([]string, 0, len(options))
	for _, account := range options[:min(len(options), maxOptions)] {
		names = append(names, optionName(account))
	}
	return store.Account{}, errors.New("choose one of: " + strings.Join(names, ", "))
}

// SubmitUserInput handles an answer.
func (l *login) SubmitUserInput(ctx context.Context, answer map[string]string) (*bridgev2.LoginStep, error) {
	if l.flow == flowNew {
		name := msgconv.CleanName(answer[fieldName])
		if name == "" {
			return nil, errors.New("a name has at least one letter")
		}
		account, err := l.node.CreateAccount(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("make the identity: %w", err)
		}
		return l.finish(ctx, account, true)
	}
	if l.flow == flowImport {
		return l.importSeed(ctx, answer)
	}
	account, err := l.chosen(answer[fieldIdentity])
	if err != nil {
		return nil, err
	}
	return l.finish(ctx, account, false)
}

// Cancel does nothing: there is nothing to undo.
func (l *login) Cancel() {}

func input(step, instructions string, fields ...bridgev2.LoginInputDataField) *bridgev2.LoginStep {
	return &bridgev2.LoginStep{
		Type: bridgev2.LoginStepTypeUserInput, StepID: step, Instructions: instructions,
		UserInputParams: &bridgev2.LoginUserInputParams{Fields: fields},
	}
}

// optionName names an account in a list, so that accounts of the same name differ.
func optionName(account store.Account) string {
	return fmt.Sprintf("%s (%s)", people.LoginName(account), account.ID.Short())
}

// attachable returns the accounts that the user may attach: unused ones for admins, and
// those that the user had before.
func (l *login) attachable(ctx context.Context) ([]store.Account, error) {
	accounts, err := l.node.Accounts()
	if err != nil {
		return nil, err
	}
	var free []store.Account
	forbidden := false
	// The tables may have been lost; the Matrix spaces say who has used an account.
	if slices.ContainsFunc(accounts, func(a store.Account) bool { return l.owner(ctx, a.ID) == "" }) && !l.user.Permissions.Admin {
		l.rooms.Adopt(ctx)
	}
	for _, account := range accounts {
		existing, err := l.br.GetExistingUserLoginByID(ctx, mimirid.Login(account.ID))
		if err != nil {
			return nil, err
		}
		switch {
		case existing != nil:
		case l.user.Permissions.Admin || l.owner(ctx, account.ID) == l.user.MXID:
			free = append(free, account)
		default:
			forbidden = true
		}
	}
	switch {
	case len(free) > 0:
		return free, nil
	case forbidden:
		return nil, errNotYours
	default:
		return nil, errNoneFree
	}
}

// owner returns the user who used an account last.
func (c *Connector) owner(ctx context.Context, account identity.PublicKey) id.UserID {
	return id.UserID(c.br.DB.KV.Get(ctx, ownerKey(account)))
}

func ownerKey(account identity.PublicKey) database.Key {
	return database.Key("im.mimir.owner." + account.String())
}

// finish creates the login and begins to deliver.
func (l *login) finish(ctx context.Context, account store.Account, fresh bool) (*bridgev2.LoginStep, error) {
	if l.user.HasTooManyLogins() {
		return nil, errors.New("you have as many logins as you may have")
	}
	// Before the login exists, so that the whole history is not shown after a crash.
	if err := l.skipHistory(ctx, account.ID); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	made, err := l.create(ctx, account)
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	l.br.DB.KV.Set(ctx, ownerKey(account.ID), string(l.user.MXID))
	l.rooms.Adopt(ctx)
	made.Client.Connect(made.Log.WithContext(l.br.BackgroundCtx))
	link := identity.Link{Key: account.ID, Name: account.Name}
	text := fmt.Sprintf("You use the Mimir identity %s.", people.LoginName(account))
	if fresh {
		text = fmt.Sprintf("Your Mimir identity %s is created.", people.LoginName(account))
	}
	return &bridgev2.LoginStep{
		Type: bridgev2.LoginStepTypeComplete, StepID: stepComplete,
		Instructions:   fmt.Sprintf("%s People reach you at %s", text, link),
		CompleteParams: &bridgev2.LoginCompleteParams{UserLoginID: made.ID, UserLogin: made},
	}, nil
}

// create inserts the row of the login, so that the library loads it. A login that the
// library creates itself (User.NewLogin, mautrix v0.30.0) does not remember its room, and
// writes the row of the room again for each message until the next start.
func (l *login) create(ctx context.Context, account store.Account) (*bridgev2.UserLogin, error) {
	row := &database.UserLogin{
		BridgeID:      l.br.ID,
		UserMXID:      l.user.MXID,
		ID:            mimirid.Login(account.ID),
		RemoteName:    people.LoginName(account),
		RemoteProfile: status.RemoteProfile{Name: account.Name},
	}
	if err := l.br.DB.UserLogin.Insert(ctx, row); err != nil {
		return nil, fmt.Errorf("store the login: %w", err)
	}
	made, err := l.br.GetExistingUserLoginByID(ctx, row.ID)
	if err == nil && made == nil {
		err = errors.New("the library does not find it")
	}
	if err != nil {
		_ = l.br.DB.UserLogin.Delete(ctx, row.ID)
		return nil, fmt.Errorf("load the login: %w", err)
	}
	return made, nil
}

// skipHistory moves the cursors of an account so that only the latest messages of each
// conversation are shown, as many as the configuration says.
func (c *Connector) skipHistory(ctx context.Context, account identity.PublicKey) error {
	pending, err := c.node.Pending(deliver.Consumer, account)
	if err != nil {
		return err
	}
	for _, conversation := range pending {
		limit := 0
		switch {
		case !c.config.Backfill.Enabled:
		case conversation.Cursor == 0:
			limit = c.config.Backfill.MaxInitialMessages
		default:
			limit = c.config.Backfill.MaxCatchupMessages
		}
		begin, err := c.beginning(account, conversation, max(limit, 0))
		if err != nil {
			return err
		}
		if begin <= conversation.Cursor {
			continue
		}
		if err := c.node.MoveCursor(ctx, deliver.Consumer, account, conversation.Conversation, begin); err != nil {
			return err
		}
	}
	return nil
}

// beginning returns the event before the last limit messages of a conversation, or the
// cursor when there are fewer.
func (c *Connector) beginning(account identity.PublicKey, conversation store.PendingConversation, limit int) (uint64, error) {
	if limit == 0 {
		return conversation.Last, nil
	}
	last := make([]uint64, 0, limit) // a ring of the latest messages
	next, begin := 0, conversation.Cursor
	for after := conversation.Cursor; ; {
		events, err := c.node.ConversationEvents(account, conversation.Conversation, after, 0)
		if err != nil {
			return 0, err
		}
		for _, ev := range events {
			after = ev.Seq
			if ev.Kind != store.MessageReceived && ev.Kind != store.MessageQueued {
				continue
			}
			if len(last) < limit {
				last = append(last, ev.Seq)
				continue
			}
			begin, last[next] = last[next], ev.Seq
			next = (next + 1) % limit
		}
		if len(events) == 0 || after >= conversation.Last {
			return begin, nil
		}
	}
}

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

// newSeed parses a secret key whose identity is not on the node yet.
func (l *login) newSeed(text string) (identity.PrivateKey, error) {
	key, err := parseSeed(text)
	if err != nil {
		return key, err
	}
	_, err = l.node.Account(key.Public())
	switch {
	case nodeapi.IsGone(err):
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
	imported, err := l.node.ImportAccount(ctx, node.Import{Key: key, Name: msgconv.CleanName(answer[fieldName])})
	if err != nil {
		return nil, fmt.Errorf("bring the identity here: %w", err)
	}
	step, err := l.finish(ctx, imported.Account, false)
	if err == nil && len(imported.ForeignNodes) > 0 {
		step.Instructions += " Attention: it is in use at another place just now."
	}
	return step, err
}

// answered is the context key that marks a login whose first question the command answers
// itself, such as `login attach Home`.
type answered struct{}

// loginCommand returns the library's command login, as it is here.
func loginCommand() commands.CommandHandler {
	login := *commands.CommandLogin
	login.Func = func(ce *commands.Event) {
		// The library wants one word for each question; names have several.
		if len(ce.Args) > 1 && !strings.EqualFold(ce.Args[0], flowImport) {
			ce.Args = []string{ce.Args[0], strings.Join(ce.Args[1:], " ")}
			ce.Ctx = context.WithValue(ce.Ctx, answered{}, true)
		}
		commands.CommandLogin.Func(ce)
	}
	return &login
}
