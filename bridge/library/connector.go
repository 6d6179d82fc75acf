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

// connector is bridgev2's Matrix connector with our own way of telling
// rooms what becomes of their messages.
type connector struct {
	*matrix.Connector
	status *StatusSender
	log    *slog.Logger
	dev    *botcrypto.BotDevice // nil when there shall be no encryption, or can be none
	// noDevice is why there can be none.
	noDevice error
}

// New makes the connector. It makes no request.
func New(config *bridgeconfig.Config, ignoreUnsupported bool, log *slog.Logger) (Matrix, *StatusSender, error) {
	c := &connector{Connector: matrix.NewConnector(config), log: log}
	c.IgnoreUnsupportedServer = ignoreUnsupported
	c.status = &StatusSender{config: config.Matrix, bot: c.Bot, notice: c.sendNotice}
	return c, c.status, nil
}

// Init is called by NewBridge.
func (c *connector) Init(br *bridgev2.Bridge) {
	allow := c.Config.Encryption.Allow
	c.Config.Encryption.Allow = false // the library's own
	c.Connector.Init(br)
	c.Config.Encryption.Allow = allow
	// Echoes of what we send as somebody are recognised by this.
	c.AS.DoublePuppetValue = "mimird/" + c.Config.AppService.ID
	if c.Config.Encryption.Allow {
		c.dev = botcrypto.New(botcrypto.Deps{
			Config: c.Config, AppService: c.AS, Bridge: br, StateStore: c.StateStore, Bot: c.Connector.Bot.UserID, Log: c.log,
		})
		c.Crypto = &deviceOrNone{BotDevice: c.dev, c: c}
	}
	c.EventProcessor.ExecMode = appservice.Sync
	c.EventProcessor.ExecSyncWarnTime, c.EventProcessor.ExecSyncTimeout = 0, 0
	// The library's command looks for its own connector, not for ours.
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

// deviceOrNone is the device until it turns out that there can be none.
type deviceOrNone struct {
	*botcrypto.BotDevice
	c *connector
}

// Init is called by the library before anything is sent. A bridge that cannot
// encrypt goes on without, and leaves encrypted rooms alone.
func (d *deviceOrNone) Init(ctx context.Context) error {
	err := d.BotDevice.Init(ctx)
	if !errors.Is(err, botcrypto.ErrNoDevice) && !errors.Is(err, botcrypto.ErrNoEncryption) {
		return err
	}
	if d.c.Config.Encryption.Require {
		return fmt.Errorf("encryption.require is set: %w", err)
	}
	d.c.log.Warn("rooms are not encrypted", "error", fault.OneLine(err))
	d.c.dev, d.c.Crypto, d.c.noDevice = nil, nil, err
	d.c.Config.Encryption.Default = false
	return nil
}

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

// isEncrypted says what our tables say of a room.
func (c *connector) IsEncrypted(ctx context.Context, room id.RoomID) (bool, error) {
	return c.StateStore.IsEncrypted(ctx, room)
}

// Start adds to the library's exit codes what they mean.
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

// SendMessageStatus replaces the library's.
func (c *connector) SendMessageStatus(ctx context.Context, ms *bridgev2.MessageStatus, evt *bridgev2.MessageStatusEventInfo) {
	c.status.Send(ctx, ms, evt)
}

// sendNotice has the bot say something, encrypted where the room is.
func (c *connector) sendNotice(ctx context.Context, room id.RoomID, content *event.MessageEventContent) error {
	_, err := c.BotIntent().SendMessage(ctx, room, event.EventMessage, &event.Content{Parsed: content}, nil)
	return err
}

func (c *connector) AppService() *appservice.AppService    { return c.AS }
func (c *connector) Processor() *appservice.EventProcessor { return c.EventProcessor }
func (c *connector) Bot() *appservice.IntentAPI            { return c.Connector.Bot }

func (c *connector) Device() botcrypto.Device {
	if c.dev == nil {
		return nil
	}
	return c.dev
}
