// SPDX-License-Identifier: MPL-2.0

//go:build goolm && !nocrypto

package botcrypto

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.mau.fi/util/dbutil"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/crypto/olm"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/mimirid"
)

// CanEncrypt says whether this program was built with encryption.
const CanEncrypt = true

// BotDevice is the device of the bot, with whose keys all ghosts encrypt: clients trust
// one device. It implements [Device] and, for the library, the interface matrix.Crypto.
// All methods may be called from any goroutine.
type BotDevice struct {
	deps Deps
	zlog zerolog.Logger

	mu     sync.RWMutex // of what follows, which reset replaces
	matrix *mautrix.Client
	store  *keyStore
	mach   *crypto.OlmMachine
	signed bool // clients can see that the device belongs to the bot
}

// New returns the device, which does nothing before Init.
func New(deps Deps) *BotDevice {
	return &BotDevice{deps: deps, zlog: deps.Bridge.Log.With().Str("component", "crypto").Logger()}
}

// keyStore accepts keys that were withheld at first: a client withholds them from a device
// that is not verified yet.
type keyStore struct{ *crypto.SQLCryptoStore }

// GetGroupSession implements crypto.Store.
func (s *keyStore) GetGroupSession(ctx context.Context, room id.RoomID, session id.SessionID) (*crypto.InboundGroupSession, error) {
	keys, err := s.SQLCryptoStore.GetGroupSession(ctx, room, session)
	if errors.Is(err, crypto.ErrGroupSessionWithheld) {
		return nil, nil
	}
	return keys, err
}

// Init creates the device, or resumes the one of an earlier start. It makes requests. It
// returns [ErrNoDevice] when the homeserver gives the bridge no device.
func (d *BotDevice) Init(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.init(ctx, true)
}

func (d *BotDevice) init(ctx context.Context, mayReset bool) error {
	ctx = mautrix.WithMaxRetries(ctx, 0)
	d.store = &keyStore{crypto.NewSQLCryptoStore(
		d.deps.Bridge.DB.Database, dbutil.ZeroLogger(d.zlog), string(d.deps.Bridge.ID), "", []byte(d.deps.Config.Encryption.PickleKey))}
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
	d.mach = crypto.NewOlmMachine(d.matrix, &d.zlog, d.store, d.deps.StateStore)
	d.mach.DisableSharedGroupSessionTracking = true
	d.mach.DisableDecryptKeyFetching = true // see Receive
	d.mach.AllowKeyShare = d.mayShare
	e := &d.deps.Config.Encryption
	d.mach.SendKeysMinTrust = e.VerificationLevels.Receive
	d.mach.PlaintextMentions = e.PlaintextMentions
	d.mach.DisableDeviceChangeKeyRotation = e.Rotation.DisableDeviceChangeKeyRotation
	if err := d.mach.Load(ctx); err != nil {
		// pickle_key was changed, for example. What was encrypted for the old device is
		// lost, and nothing else.
		if !mayReset || fault.IsDatabaseError(err) {
			return fmt.Errorf("read the keys of the bot's device: %w", err)
		}
		d.deps.Log.Error("keys of the bot's device not readable, creating another device", "err", fault.OneLine(err))
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
			d.deps.Log.Warn("homeserver lost the keys of the bot's device, creating another device")
			return d.reset(ctx)
		}
	}
	if err := d.mach.ShareKeys(ctx, -1); err != nil {
		return fmt.Errorf("publish the keys of the bot's device: %w", err)
	}
	if e.SelfSign {
		if err := d.sign(ctx); err != nil {
			d.deps.Log.Warn("signing the bot's device failed, clients will show a warning", "err", fault.OneLine(err))
		}
	}
	return nil
}

// login gets the device and its access token from the homeserver. known is the id of an
// existing device, or empty.
func (d *BotDevice) login(ctx context.Context, known id.DeviceID) error {
	const name = "Mimir bridge"
	d.matrix = d.deps.AppService.NewMautrixClient(d.deps.Bot)
	if d.deps.Config.Encryption.MSC4190 {
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
		Identifier:               mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: string(d.deps.Bot)},
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

// deviceError tells a homeserver that refuses a device from one that fails.
func deviceError(err error) error {
	var failure mautrix.HTTPError
	if errors.As(err, &failure) && failure.Response != nil && failure.Response.StatusCode >= 400 && failure.Response.StatusCode < 500 &&
		failure.Response.StatusCode != 429 {
		return ErrNoDevice
	}
	return errors.New("get a device for the bot")
}

// onServer reports whether the homeserver still has the keys of the device.
func (d *BotDevice) onServer(ctx context.Context) (bool, error) {
	resp, err := d.matrix.QueryKeys(ctx, &mautrix.ReqQueryKeys{DeviceKeys: mautrix.DeviceKeysRequest{d.deps.Bot: {d.matrix.DeviceID}}})
	if err != nil {
		return false, fmt.Errorf("look for the keys of the bot's device: %w", err)
	}
	own := d.mach.OwnIdentity()
	return resp.DeviceKeys[d.deps.Bot][d.matrix.DeviceID].Keys.GetCurve25519(d.matrix.DeviceID) == own.IdentityKey, nil
}

// reset replaces the device by a new one.
func (d *BotDevice) reset(ctx context.Context) error {
	for _, table := range []string{"crypto_account", "crypto_olm_session", "crypto_megolm_outbound_session"} {
		if _, err := d.store.DB.Exec(ctx, "DELETE FROM "+table); err != nil {
			return fmt.Errorf("forget the bot's device: %w", err)
		}
	}
	if _, err := d.matrix.Logout(ctx); err != nil {
		d.deps.Log.Warn("logging out the bot's old device failed", "err", fault.OneLine(err))
	}
	return d.init(ctx, false)
}

// Reset implements the library's interface: it replaces the device.
func (d *BotDevice) Reset(ctx context.Context, _ bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reset(ctx)
}

// Encrypt replaces the content of an event by its encrypted form. It keeps the marker in
// clear, by which the homeserver package finds the event again. After an error the event
// must not be sent.
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
	if marked {
		content.Raw = map[string]any{mimirid.MarkerKey: mark}
	}
	return nil
}

// share sends the members of a room the keys of future events.
func (d *BotDevice) share(ctx context.Context, room id.RoomID) error {
	fetched, err := d.deps.StateStore.HasFetchedMembers(ctx, room)
	if err != nil {
		return err
	}
	if !fetched {
		if _, err := d.deps.AppService.BotIntent().Members(ctx, room); err != nil {
			return fmt.Errorf("read the members: %w", err)
		}
	}
	members, err := d.deps.StateStore.GetRoomJoinedOrInvitedMembers(ctx, room)
	if err != nil {
		return err
	}
	var users []id.UserID
	for _, member := range members {
		if member != d.deps.Bot && !d.deps.Bridge.IsGhostMXID(member) {
			users = append(users, member)
		}
	}
	return d.mach.ShareGroupSession(ctx, room, users)
}

// Decrypt implements [Device].
func (d *BotDevice) Decrypt(ctx context.Context, evt *event.Event) (*event.Event, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	// Trust in the sender depends on the device.
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

// Request implements [Device].
func (d *BotDevice) Request(ctx context.Context, evt *event.Event) {
	content := evt.Content.AsEncrypted()
	d.RequestSession(ctx, evt.RoomID, content.SenderKey, content.SessionID, evt.Sender, "")
}

// Receive implements [Device]. Each message between devices is handled in a transaction
// of its own, so that a message can be decrypted again that the homeserver sends again
// after a crash.
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
			continue // unknown or malformed
		}
		encrypted, ok := evt.Content.Parsed.(*event.EncryptedEventContent)
		if !ok {
			d.mach.HandleToDeviceEvent(ctx, evt)
			continue
		}
		keysUsed = true
		// Fetch before the transaction, which other goroutines wait for.
		if _, err := d.mach.GetOrFetchDeviceByKey(ctx, evt.Sender, encrypted.SenderKey); err != nil {
			return fmt.Errorf("look for the device of a sender: %w", err)
		}
		err := d.deps.Bridge.DB.DoTxn(ctx, nil, func(ctx context.Context) error {
			d.mach.HandleToDeviceEvent(ctx, evt)
			return nil
		})
		if err != nil {
			return fmt.Errorf("store the keys of a message: %w", err)
		}
	}
	d.mach.MarkOlmHashSavePoint(ctx)
	if keysUsed { // homeservers need not tell how many keys are left
		if err := d.mach.ShareKeys(ctx, -1); err != nil {
			return fmt.Errorf("publish new one-time keys: %w", err)
		}
	}
	return done(ctx)
}

// sign signs the device with the bot's cross-signing key, which it creates if necessary.
func (d *BotDevice) sign(ctx context.Context) error {
	const key = "recovery_key"
	hasKeys, verified, err := d.mach.GetOwnVerificationStatus(ctx)
	if err != nil {
		return err
	}
	switch recovery := d.deps.Bridge.DB.KV.Get(ctx, key); {
	case hasKeys && verified:
	case hasKeys && recovery != "":
		if err := d.mach.VerifyWithRecoveryKey(ctx, recovery); err != nil {
			return err
		}
	default:
		recovery, err := d.mach.GenerateAndVerifyWithRecoveryKey(ctx)
		if recovery != "" {
			d.deps.Bridge.DB.KV.Set(ctx, key, recovery)
		}
		if err != nil {
			return err
		}
	}
	d.signed = true
	return nil
}

// mayShare decides whether a device gets the keys that it requests: a trusted device of
// the user whose room it is.
func (d *BotDevice) mayShare(ctx context.Context, dev *id.Device, info event.RequestedKeyInfo) *crypto.KeyShareRejection {
	e := &d.deps.Config.Encryption
	trust, err := d.mach.ResolveTrustContext(ctx, dev)
	switch {
	case !e.AllowKeySharing || err != nil:
		return &crypto.KeyShareRejectNoResponse
	case dev.Trust == id.TrustStateBlacklisted:
		return &crypto.KeyShareRejectBlacklisted
	case trust < e.VerificationLevels.Share:
		return &crypto.KeyShareRejectUnverified
	}
	portal, err := d.deps.Bridge.GetPortalByMXID(ctx, info.RoomID)
	if err != nil || portal == nil {
		return &crypto.KeyShareRejectNoResponse
	}
	logins, err := d.deps.Bridge.GetUserLoginsInPortal(ctx, portal.PortalKey)
	if err != nil || !slices.ContainsFunc(logins, func(login *bridgev2.UserLogin) bool { return login.UserMXID == dev.UserID }) {
		return &crypto.KeyShareRejectNoResponse
	}
	return nil
}

// Explain implements [Device].
func (d *BotDevice) Explain(ctx context.Context, user id.UserID) string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	text := fmt.Sprintf("The bridge encrypts, with the device %s of %s", d.matrix.DeviceID, d.deps.Bot)
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
		if err == nil && trust >= d.deps.Config.Encryption.VerificationLevels.Receive {
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
	if d.deps.Config.Encryption.VerificationLevels.Send > id.TrustStateUnset {
		text += " The bridge reads only what verified devices send."
	}
	return text
}

// Client implements [Device] and the library's interface.
func (d *BotDevice) Client() *mautrix.Client {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.matrix
}

// Start implements the library's interface. Keys arrive with [BotDevice.Receive] instead.
func (*BotDevice) Start() {}

// Stop implements the library's interface.
func (*BotDevice) Stop() {}

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
		d.deps.Log.Warn("requesting the keys of a message failed", "err", fault.OneLine(err))
	}
}

// ResetSession implements the library's interface.
func (d *BotDevice) ResetSession(ctx context.Context, room id.RoomID) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.store.RemoveOutboundGroupSession(ctx, room); err != nil {
		d.deps.Log.Warn("discarding the key of a room failed", "err", fault.OneLine(err))
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
