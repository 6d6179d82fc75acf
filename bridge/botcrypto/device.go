// SPDX-License-Identifier: MPL-2.0

//go:build goolm && !nocrypto

package botcrypto

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mimird/mimird/bridge/fault"

	"github.com/rs/zerolog"
	"go.mau.fi/util/dbutil"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/crypto/olm"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/sqlstatestore"

	"github.com/mimird/mimird/bridge/mimirid"
)

// CanEncrypt is whether this program can take part in encrypted rooms.
const CanEncrypt = true

// BotDevice is the device of the bot. All ghosts encrypt with its keys: that is
// what clients of the user know. It stands in for the library's own, which needs a
// C compiler, ends the process when /sync fails, and loses keys when the process
// is killed.
type BotDevice struct {
	config *bridgeconfig.Config
	as     *appservice.AppService
	br     *bridgev2.Bridge
	states *sqlstatestore.SQLStateStore
	bot    id.UserID
	log    *slog.Logger
	zlog   zerolog.Logger

	mu     sync.RWMutex // reset replaces all of them
	matrix *mautrix.Client
	store  *keyStore
	mach   *crypto.OlmMachine
	signed bool // clients can see that the device belongs to the bot
}

func New(
	config *bridgeconfig.Config, as *appservice.AppService, br *bridgev2.Bridge, states *sqlstatestore.SQLStateStore, bot id.UserID, log *slog.Logger,
) *BotDevice {
	return &BotDevice{
		config: config, as: as, br: br, states: states, bot: bot, log: log,
		zlog: br.Log.With().Str("component", "crypto").Logger(),
	}
}

// keyStore forgets that keys were withheld when they come after all: a client
// withholds them from a device that is not verified yet.
type keyStore struct{ *crypto.SQLCryptoStore }

// GetGroupSession implements crypto.Store.
func (s *keyStore) GetGroupSession(ctx context.Context, room id.RoomID, session id.SessionID) (*crypto.InboundGroupSession, error) {
	keys, err := s.SQLCryptoStore.GetGroupSession(ctx, room, session)
	if errors.Is(err, crypto.ErrGroupSessionWithheld) {
		return nil, nil
	}
	return keys, err
}

// Init makes the device, or takes it up again. It returns ErrNoDevice when the
// homeserver gives the bridge none.
func (d *BotDevice) Init(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.init(ctx, true)
}

func (d *BotDevice) init(ctx context.Context, mayReset bool) error {
	ctx = mautrix.WithMaxRetries(ctx, 0)
	d.store = &keyStore{crypto.NewSQLCryptoStore(
		d.br.DB.Database, dbutil.ZeroLogger(d.zlog), string(d.br.ID), "", []byte(d.config.Encryption.PickleKey))}
	if err := d.store.DB.Upgrade(ctx); err != nil {
		return fmt.Errorf("open the tables for encryption: %w", err)
	}
	known, err := d.store.FindDeviceID(ctx)
	if err != nil {
		return fmt.Errorf("look for the bot's device: %w", err)
	}
	if err := d.login(ctx, known); err != nil {
		return err
	}
	d.store.DeviceID = d.matrix.DeviceID
	d.mach = crypto.NewOlmMachine(d.matrix, &d.zlog, d.store, d.states)
	d.mach.DisableSharedGroupSessionTracking = true
	d.mach.DisableDecryptKeyFetching = true // see Receive
	d.mach.AllowKeyShare = d.mayShare
	e := &d.config.Encryption
	d.mach.SendKeysMinTrust = e.VerificationLevels.Receive
	d.mach.PlaintextMentions = e.PlaintextMentions
	d.mach.DisableDeviceChangeKeyRotation = e.Rotation.DisableDeviceChangeKeyRotation
	if err := d.mach.Load(ctx); err != nil {
		// Such as another pickle_key: whatever was encrypted for the old device is lost
		// with it, and only that.
		if !mayReset || fault.IsDatabaseError(err) {
			return fmt.Errorf("read the keys of the bot's device: %w", err)
		}
		d.log.Error("the keys of the bot's device cannot be read, it gets another device", "error", fault.OneLine(err))
		return d.reset(ctx)
	}
	if known != "" {
		there, err := d.onServer(ctx)
		if err != nil {
			return err
		}
		if !there {
			if !mayReset {
				return errors.New("the homeserver does not keep the keys of the bot's device")
			}
			d.log.Warn("the homeserver has lost the keys of the bot's device, it gets another device")
			return d.reset(ctx)
		}
	}
	if err := d.mach.ShareKeys(ctx, -1); err != nil {
		return fmt.Errorf("publish the keys of the bot's device: %w", err)
	}
	if e.SelfSign {
		if err := d.sign(ctx); err != nil {
			d.log.Warn("the bot's device cannot be signed, clients will warn of it", "error", fault.OneLine(err))
		}
	}
	return nil
}

// login gets an access token for the device.
func (d *BotDevice) login(ctx context.Context, known id.DeviceID) error {
	const name = "Mimir bridge"
	d.matrix = d.as.NewMautrixClient(d.bot)
	if d.config.Encryption.MSC4190 {
		if err := d.matrix.CreateDeviceMSC4190(ctx, known, name); err != nil {
			return fmt.Errorf("%w: %w", deviceError(err), err)
		}
		return nil
	}
	flows, err := d.matrix.GetLoginFlows(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", deviceError(err), err)
	}
	if !flows.HasFlow(mautrix.AuthTypeAppservice) {
		return ErrNoDevice
	}
	_, err = d.matrix.Login(ctx, &mautrix.ReqLogin{
		Type:                     mautrix.AuthTypeAppservice,
		Identifier:               mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: string(d.bot)},
		DeviceID:                 known,
		InitialDeviceDisplayName: name,
		StoreCredentials:         true,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", deviceError(err), err)
	}
	d.matrix.SetAppServiceUserID = false // the token is the device's own
	return nil
}

// deviceError tells a homeserver that gives no device from one that fails.
func deviceError(err error) error {
	var failure mautrix.HTTPError
	if errors.As(err, &failure) && failure.Response != nil && failure.Response.StatusCode >= 400 && failure.Response.StatusCode < 500 &&
		failure.Response.StatusCode != 429 {
		return ErrNoDevice
	}
	return errors.New("get a device for the bot")
}

func (d *BotDevice) onServer(ctx context.Context) (bool, error) {
	resp, err := d.matrix.QueryKeys(ctx, &mautrix.ReqQueryKeys{DeviceKeys: mautrix.DeviceKeysRequest{d.bot: {d.matrix.DeviceID}}})
	if err != nil {
		return false, fmt.Errorf("look for the keys of the bot's device: %w", err)
	}
	own := d.mach.OwnIdentity()
	return resp.DeviceKeys[d.bot][d.matrix.DeviceID].Keys.GetCurve25519(d.matrix.DeviceID) == own.IdentityKey, nil
}

// reset gives the bot another device.
func (d *BotDevice) reset(ctx context.Context) error {
	for _, table := range []string{"crypto_account", "crypto_olm_session", "crypto_megolm_outbound_session"} {
		if _, err := d.store.DB.Exec(ctx, "DELETE FROM "+table); err != nil {
			return fmt.Errorf("forget the bot's device: %w", err)
		}
	}
	if _, err := d.matrix.Logout(ctx); err != nil {
		d.log.Warn("the bot's old device cannot be logged out", "error", fault.OneLine(err))
	}
	return d.init(ctx, false)
}

// Reset implements the library's interface.
func (d *BotDevice) Reset(ctx context.Context, _ bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reset(ctx)
}

// Encrypt replaces the content of an event. After an error the event must not be
// sent.
func (d *BotDevice) Encrypt(ctx context.Context, room id.RoomID, kind event.Type, content *event.Content) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	mark, marked := content.Raw[mimirid.MarkerKey]
	encrypted, err := d.mach.EncryptMegolmEvent(ctx, room, kind, content)
	if crypto.IsShareError(err) {
		if err = d.share(ctx, room); err == nil {
			encrypted, err = d.mach.EncryptMegolmEvent(ctx, room, kind, content)
		}
	}
	if err != nil {
		return fmt.Errorf("encrypt for the room: %w", err)
	}
	content.Parsed, content.Raw, content.VeryRaw = encrypted, nil, nil
	if marked { // it has to be found again, see room.go, and says nothing but which one it is
		content.Raw = map[string]any{mimirid.MarkerKey: mark}
	}
	return nil
}

// share gives the members of a room the keys of what is sent from now on.
func (d *BotDevice) share(ctx context.Context, room id.RoomID) error {
	fetched, err := d.states.HasFetchedMembers(ctx, room)
	if err != nil {
		return err
	}
	if !fetched {
		if _, err := d.as.BotIntent().Members(ctx, room); err != nil {
			return fmt.Errorf("read the members: %w", err)
		}
	}
	members, err := d.states.GetRoomJoinedOrInvitedMembers(ctx, room)
	if err != nil {
		return err
	}
	var users []id.UserID
	for _, member := range members {
		if member != d.bot && !d.br.IsGhostMXID(member) {
			users = append(users, member)
		}
	}
	return d.mach.ShareGroupSession(ctx, room, users)
}

func (d *BotDevice) Decrypt(ctx context.Context, evt *event.Event) (*event.Event, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	// The device tells whether the sender is trusted.
	if key := evt.Content.AsEncrypted().SenderKey; key != "" {
		if _, err := d.mach.GetOrFetchDeviceByKey(mautrix.WithMaxRetries(ctx, 0), evt.Sender, key); err != nil && fault.IsDatabaseError(err) {
			return nil, err
		}
	}
	decrypted, err := d.mach.DecryptMegolmEvent(ctx, evt)
	if errors.Is(err, crypto.ErrNoSessionFound) || errors.Is(err, olm.ErrUnknownMessageIndex) {
		return nil, fmt.Errorf("%w: %w", ErrNoKeys, err)
	}
	return decrypted, err
}

func (d *BotDevice) Request(ctx context.Context, evt *event.Event) {
	content := evt.Content.AsEncrypted()
	d.RequestSession(ctx, evt.RoomID, content.SenderKey, content.SessionID, evt.Sender, "")
}

// Receive takes keys. What a message between devices does to our tables, and that
// it was taken, is one transaction per message: after a crash in between, the
// homeserver sends it again, and it can be read again.
func (d *BotDevice) Receive(ctx context.Context, resp *mautrix.RespSync, done func(context.Context) error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	ctx = mautrix.WithMaxRetries(ctx, 0)
	if len(resp.DeviceLists.Changed) > 0 {
		if _, err := d.mach.FetchKeys(ctx, resp.DeviceLists.Changed, false); err != nil {
			return fmt.Errorf("read the changed devices: %w", err)
		}
	}
	keysUsed := false
	for _, evt := range resp.ToDevice.Events {
		evt.Type.Class = event.ToDeviceEventType
		if err := evt.Content.ParseRaw(evt.Type); err != nil {
			continue // of a kind that is unknown here, or malformed
		}
		encrypted, ok := evt.Content.Parsed.(*event.EncryptedEventContent)
		if !ok {
			d.mach.HandleToDeviceEvent(ctx, evt)
			continue
		}
		keysUsed = true
		// In the transaction no request may be made: others wait for it.
		if _, err := d.mach.GetOrFetchDeviceByKey(ctx, evt.Sender, encrypted.SenderKey); err != nil {
			return fmt.Errorf("look for the device of a sender: %w", err)
		}
		err := d.br.DB.DoTxn(ctx, nil, func(ctx context.Context) error {
			d.mach.HandleToDeviceEvent(ctx, evt)
			return nil
		})
		if err != nil {
			return fmt.Errorf("store the keys of a message: %w", err)
		}
	}
	d.mach.MarkOlmHashSavePoint(ctx)
	if keysUsed { // a homeserver need not say how many there are
		if err := d.mach.ShareKeys(ctx, -1); err != nil {
			return fmt.Errorf("publish new one-time keys: %w", err)
		}
	}
	return done(ctx)
}

// sign has the bot sign its own device.
func (d *BotDevice) sign(ctx context.Context) error {
	const key = "recovery_key"
	hasKeys, verified, err := d.mach.GetOwnVerificationStatus(ctx)
	if err != nil {
		return err
	}
	switch recovery := d.br.DB.KV.Get(ctx, key); {
	case hasKeys && verified:
	case hasKeys && recovery != "":
		if err := d.mach.VerifyWithRecoveryKey(ctx, recovery); err != nil {
			return err
		}
	default:
		recovery, err := d.mach.GenerateAndVerifyWithRecoveryKey(ctx)
		if recovery != "" {
			d.br.DB.KV.Set(ctx, key, recovery)
		}
		if err != nil {
			return err
		}
	}
	d.signed = true
	return nil
}

// mayShare decides who is given keys that they ask for.
func (d *BotDevice) mayShare(ctx context.Context, dev *id.Device, info event.RequestedKeyInfo) *crypto.KeyShareRejection {
	e := &d.config.Encryption
	trust, err := d.mach.ResolveTrustContext(ctx, dev)
	switch {
	case !e.AllowKeySharing || err != nil:
		return &crypto.KeyShareRejectNoResponse
	case dev.Trust == id.TrustStateBlacklisted:
		return &crypto.KeyShareRejectBlacklisted
	case trust < e.VerificationLevels.Share:
		return &crypto.KeyShareRejectUnverified
	}
	portal, err := d.br.GetPortalByMXID(ctx, info.RoomID)
	if err != nil || portal == nil {
		return &crypto.KeyShareRejectNoResponse
	}
	login, err := d.br.GetExistingUserLoginByID(ctx, portal.Receiver)
	if err != nil || login == nil || login.UserMXID != dev.UserID { // only the owner may read all of it
		return &crypto.KeyShareRejectNoResponse
	}
	return nil
}

// Explain says in plain sentences how encryption is for a user.
func (d *BotDevice) Explain(ctx context.Context, user id.UserID) string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	text := fmt.Sprintf("The bridge encrypts, with the device %s of %s", d.matrix.DeviceID, d.bot)
	if d.signed {
		text += ", which is signed."
	} else {
		text += ", which is not signed: clients warn of it, or refuse to give it keys."
	}
	devices, err := d.mach.FetchKeys(ctx, []id.UserID{user}, true)
	if err != nil {
		return text + " Your devices cannot be looked at now: " + fault.OneLine(err) + "."
	}
	able, waiting := 0, 0
	for _, dev := range devices[user] {
		trust, err := d.mach.ResolveTrustContext(ctx, dev)
		if err == nil && trust >= d.config.Encryption.VerificationLevels.Receive {
			able++
		} else {
			waiting++
		}
	}
	switch {
	case able+waiting == 0:
		text += " You have no device that can read encrypted messages: log in with a client that encrypts."
	case waiting > 0:
		text += fmt.Sprintf(" Of your devices %d can read what the bridge sends, and %d cannot before you have verified them.", able, waiting)
	default:
		text += fmt.Sprintf(" All your devices, %d, can read what the bridge sends.", able)
	}
	if d.config.Encryption.VerificationLevels.Send > id.TrustStateUnset {
		text += " The bridge reads only what verified devices send."
	}
	return text
}

// Client implements the library's interface, as what follows does.
func (d *BotDevice) Client() *mautrix.Client {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.matrix
}

// Start and Stop have nothing to do: keys come with the side sync, see sidesync.go.
func (*BotDevice) Start() {}
func (*BotDevice) Stop()  {}

// HandleMemberEvent implements the library's interface.
func (d *BotDevice) HandleMemberEvent(ctx context.Context, evt *event.Event) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.mach.HandleMemberEvent(ctx, evt)
}

// WaitForSession implements the library's interface.
func (d *BotDevice) WaitForSession(ctx context.Context, room id.RoomID, sender id.SenderKey, session id.SessionID, wait time.Duration) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.mach.WaitForSession(ctx, room, sender, session, wait)
}

// RequestSession implements the library's interface.
func (d *BotDevice) RequestSession(
	ctx context.Context, room id.RoomID, sender id.SenderKey, session id.SessionID, user id.UserID, dev id.DeviceID,
) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if dev == "" {
		dev = "*"
	}
	err := d.mach.SendRoomKeyRequest(mautrix.WithMaxRetries(ctx, 0), room, sender, session, "", map[id.UserID][]id.DeviceID{user: {dev}})
	if err != nil {
		d.log.Warn("the keys of a message cannot be asked for", "error", fault.OneLine(err))
	}
}

// ResetSession implements the library's interface.
func (d *BotDevice) ResetSession(ctx context.Context, room id.RoomID) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.store.RemoveOutboundGroupSession(ctx, room); err != nil {
		d.log.Warn("a room does not get a new key", "error", fault.OneLine(err))
	}
}

// ShareKeys implements the library's interface.
func (d *BotDevice) ShareKeys(ctx context.Context) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.mach.ShareKeys(ctx, -1)
}

// BeeperStreamPublisher implements the library's interface.
func (*BotDevice) BeeperStreamPublisher() bridgev2.BeeperStreamPublisher { return nil }

var _ Device = (*BotDevice)(nil)
