// SPDX-License-Identifier: MPL-2.0

//go:build !cgo || goolm || nocrypto

package bridge

import (
	"context"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/bridgev2/matrix"
)

// libraryConnector is bridgev2's Matrix connector with our own way of telling
// rooms what becomes of their messages.
type libraryConnector struct {
	*matrix.Connector
	status *statusSender
}

// newMatrixConnector makes the connector. It makes no request.
func newMatrixConnector(config *bridgeconfig.Config, ignoreUnsupported bool) (matrixConnector, *statusSender, error) {
	c := &libraryConnector{Connector: matrix.NewConnector(config)}
	c.IgnoreUnsupportedServer = ignoreUnsupported
	c.status = &statusSender{config: config.Matrix, bot: c.bot}
	return c, c.status, nil
}

// Init is called by NewBridge.
func (c *libraryConnector) Init(br *bridgev2.Bridge) {
	c.Connector.Init(br)
	// Echoes of what we send as somebody are recognised by this.
	c.AS.DoublePuppetValue = "mimird/" + c.Config.AppService.ID
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
	br.Commands.(*commands.Processor).AddHandlers(&discard)
}

// Start adds to the library's exit codes what they mean.
func (c *libraryConnector) Start(ctx context.Context) error {
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
func (c *libraryConnector) SendMessageStatus(ctx context.Context, ms *bridgev2.MessageStatus, evt *bridgev2.MessageStatusEventInfo) {
	c.status.send(ctx, ms, evt)
}

func (c *libraryConnector) appService() *appservice.AppService    { return c.AS }
func (c *libraryConnector) processor() *appservice.EventProcessor { return c.EventProcessor }
func (c *libraryConnector) bot() *appservice.IntentAPI            { return c.Bot }
func (c *libraryConnector) encrypts() bool                        { return c.Crypto != nil }
