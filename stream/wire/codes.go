package wire

import "strconv"

// Code says why something was refused, ended or failed. It travels in LoginReply, Closed and Failed. Numbers are appended, never
// given a new meaning, and stay below 256, since Failed carries one byte.
type Code uint16

// The codes.
const (
	CodeNone           Code = 0
	CodeUnknownDevice  Code = 1
	CodeUnknownVDisk   Code = 2
	CodeNoServer       Code = 3
	CodePending        Code = 4
	CodeStopped        Code = 5
	CodeTooMany        Code = 6
	CodeWrongKey       Code = 7
	CodeKeyNeeded      Code = 8
	CodeVersion        Code = 9
	CodeDamaged        Code = 10
	CodeStoreGone      Code = 11
	CodeDisabled       Code = 12
	CodeInUse          Code = 13
	CodeReplaced       Code = 14
	CodeIdle           Code = 15
	CodeKeysExpired    Code = 16
	CodeContentChanged Code = 17
	CodeMalformed      Code = 18
	CodeOutOfBounds    Code = 19
	CodeInternal       Code = 20
	CodeStarting       Code = 21
	CodeNoVDisk        Code = 22
	CodeShutdown       Code = 23
)

var codes = [...]struct{ words, sentence string }{
	CodeNone:           {"no reason given", "The server gave no reason."},
	CodeUnknownDevice:  {"unknown device", "This device is not known to the farm; an administrator can add it with its MAC address."},
	CodeUnknownVDisk:   {"unknown vDisk", "No vDisk of this name and version is known to the farm; see `spate vdisk list`."},
	CodeNoServer:       {"no server holds the vDisk", "No server that is alive holds an identical replica of this vDisk; see `spate vdisk list`."},
	CodePending:        {"version pending", "This vDisk version is not yet on every server that should hold it; it can be used when the copies are complete."},
	CodeStopped:        {"stream service stopped", "The stream service of this server is stopped; another server or `spate server start-stream` can help."},
	CodeTooMany:        {"too many targets", "The server has as many targets as it may have; it will be asked again."},
	CodeWrongKey:       {"device key not approved", "This device's key is not the one registered for it; an administrator can approve the new key."},
	CodeKeyNeeded:      {"device key needed", "This device must log in with a registered key, and it has none; give it one with --device-key."},
	CodeVersion:        {"protocol version", "Target and server speak no common protocol version; update the older of them."},
	CodeDamaged:        {"damaged", "The server's copy of this block is damaged; it has been fenced and needs repair from another server."},
	CodeStoreGone:      {"store not available", "The server cannot read its store; check the folder or the storage behind it."},
	CodeDisabled:       {"disabled", "This device or vDisk has been disabled by an administrator."},
	CodeInUse:          {"in use by another device", "This vDisk may be used by one device at a time, and another one uses it."},
	CodeReplaced:       {"replaced by a newer session", "A newer session of this device has taken the place of this one."},
	CodeIdle:           {"not heard from", "The server has not heard from this target for too long."},
	CodeKeysExpired:    {"session keys expired", "The keys of this session have reached the end of their life; a new session is needed."},
	CodeContentChanged: {"content not held any more", "The server does not hold the content that this target uses any more; another server may."},
	CodeMalformed:      {"malformed message", "The server could not read what this target sent; their programs may not fit together."},
	CodeOutOfBounds:    {"out of bounds", "The target asked for something beyond the end of the vDisk."},
	CodeInternal:       {"internal error", "The server met an error of its own; its log says more."},
	CodeStarting:       {"server is starting", "The server is still starting; it will be asked again."},
	CodeNoVDisk:        {"no vDisk assigned", "No vDisk is assigned to this device; an administrator can assign one."},
	CodeShutdown:       {"server shuts down", "The server is shutting down; another server can help."},
}

// Known tells whether c is a code of this version.
func (c Code) Known() bool { return int(c) < len(codes) }

// String is the code in a few words, for tables and logs.
func (c Code) String() string {
	if c.Known() {
		return codes[c].words
	}
	return "code " + strconv.Itoa(int(c))
}

// Sentence is what a person should read when the server has nothing more precise to say.
func (c Code) Sentence() string {
	if c.Known() {
		return codes[c].sentence
	}
	return "The server gave a reason that this program does not know (" + c.String() + "); it may be too old."
}
