// SPDX-License-Identifier: MPL-2.0

//go:build !cgo || goolm || nocrypto

package library

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/bridgev2/matrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/botcrypto"
	"github.com/mimird/mimird/bridge/fault"
)

// connector is bridgev2's Matrix connector with our encryption and message statuses.
type connector struct {
	*matrix.Connector
	status *StatusSender
	log    *slog.Logger
	dev    *botcrypto.BotDevice // nil without encryption
	// noDevice is why there is no device although the configuration asks for one.
	noDevice error
}

// New returns the Matrix connector for [bridgev2.NewBridge], and the sender of message
// statuses that it uses. It makes no request. ignoreUnsupported allows a homeserver whose
// versions of the specification are too old. The error is [ErrNoMatrix].
func New(config *bridgeconfig.Config, ignoreUnsupported bool, log *slog.Logger) (Matrix, *StatusSender, error) {
	c := &connector{Connector: matrix.NewConnector(config), log: log}
	c.IgnoreUnsupportedServer = ignoreUnsupported
	c.status = &StatusSender{config: config.Matrix, bot: c.Bot, notice: c.sendNotice}
	return c, c.status, nil
}

// Init implements [bridgev2.MatrixConnector]; NewBridge calls it.
func (c *connector) Init(br *bridgev2.Bridge) {
	allow := c.Config.Encryption.Allow
	c.Config.Encryption.Allow = false // without the library's own encryption
	c.Connector.Init(br)
	c.Config.Encryption.Allow = allow
	// Echoes of events that the bridge sends as a double puppet have this value.
	c.AS.DoublePuppetValue = "mimird/" + c.Config.AppService.ID
	if c.Config.Encryption.Allow {
		c.dev = botcrypto.New(botcrypto.Deps{
			Config: c.Config, AppService: c.AS, Bridge: br, StateStore: c.StateStore, Bot: c.Connector.Bot.UserID, Log: c.log,
		})
		c.Crypto = &deviceOrNone{BotDevice: c.dev, c: c}
	}
	c.EventProcessor.ExecMode = appservice.Sync
	c.EventProcessor.ExecSyncWarnTime, c.EventProcessor.ExecSyncTimeout = 0, 0
	// The library's command asserts that the connector is its own, not ours.
	discard := *matrix.CommandDiscardMegolmSession
	discard.Func = func(ce *commands.Event) {
		if c.Crypto == nil {
			ce.Reply("This bridge does not encrypt.")
			return
		}
		c.Crypto.ResetSession(ce.Ctx, ce.RoomID)
		ce.Reply("The next message in this room will be encrypted with a new key.")
	}
	br.Commands.(*commands.Processor).AddHandlers(&discard, botcrypto.NewCommand(c.Device, c.IsEncrypted))
}

// deviceOrNone gives the device up when the homeserver or the program cannot encrypt.
type deviceOrNone struct {
	*botcrypto.BotDevice
	c *connector
}

// Init implements the library's interface, which calls it before anything is sent. A
// bridge that cannot encrypt goes on without, and sends nothing into encrypted rooms.
func (d *deviceOrNone) Init(ctx context.Context) error {
	err := d.BotDevice.Init(ctx)
	if !errors.Is(err, botcrypto.ErrNoDevice) && !errors.Is(err, botcrypto.ErrNoEncryption) {
		return err
	}
	if d.c.Config.Encryption.Require {
		return fmt.Errorf("encryption.require is set: %w", err)
	}
	d.c.log.Warn("encryption unavailable, rooms are not encrypted", "err", fault.OneLine(err))
	d.c.dev, d.c.Crypto, d.c.noDevice = nil, nil, err
	d.c.Config.Encryption.Default = false
	return nil
}

// Encryption implements [Matrix].
func (c *connector) Encryption() botcrypto.Status {
	switch {
	case c.noDevice != nil:
		return botcrypto.NewUnavailable(c.noDevice)
	case c.dev == nil:
		return botcrypto.Status{State: botcrypto.Off}
	default:
		return botcrypto.Status{State: botcrypto.On}
	}
}

// IsEncrypted implements [Matrix].
func (c *connector) IsEncrypted(ctx context.Context, room id.RoomID) (bool, error) {
	return c.StateStore.IsEncrypted(ctx, room)
}

// Start implements [bridgev2.MatrixConnector]. It explains the library's exit codes.
func (c *connector) Start(ctx context.Context) error {
	err := c.Connector.Start(ctx)
	var exit matrix.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	switch exit.ExitCode {
	case 13:
		return fmt.Errorf("the homeserver does not reach the bridge at appservice.address, %s (%w)", c.Config.AppService.Address, err)
	case 17:
		return fmt.Errorf("the registration file that the homeserver has belongs to another bot (%w)", err)
	case 18:
		return fmt.Errorf("the homeserver announces only versions of the Matrix specification that are too old; "+
			"set homeserver.ignore_unsupported to go on (%w)", err)
	default:
		return err
	}
}

// SendMessageStatus implements [bridgev2.MatrixConnector] with our [StatusSender].
func (c *connector) SendMessageStatus(ctx context.Context, ms *bridgev2.MessageStatus, evt *bridgev2.MessageStatusEventInfo) {
	c.status.Send(ctx, ms, evt)
}

// sendNotice sends a notice of the bot, encrypted if the room is.
func (c *connector) sendNotice(ctx context.Context, room id.RoomID, content *event.MessageEventContent) error {
	_, err := c.BotIntent().SendMessage(ctx, room, event.EventMessage, &event.Content{Parsed: content}, nil)
	return err
}

// AppService implements [Matrix].
func (c *connector) AppService() *appservice.AppService { return c.AS }

// Processor implements [Matrix].
func (c *connector) Processor() *appservice.EventProcessor { return c.EventProcessor }

// Bot implements [Matrix].
func (c *connector) Bot() *appservice.IntentAPI { return c.Connector.Bot }

// Device implements [Matrix].
func (c *connector) Device() botcrypto.Device {
	if c.dev == nil {
		return nil
	}
	return c.dev
}
