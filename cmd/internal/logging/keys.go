package logging

// The names of log fields. A value is logged under the same name by every program.
const (
	KeyAddr      = "addr"      // network address and port of the other side
	KeyBytes     = "bytes"     // a number of bytes
	KeyChunk     = "chunk"     // index of a chunk in its version
	KeyCode      = "code"      // error code as the admin API names it
	KeyDevice    = "device"    // target device: its name or MAC address
	KeyElapsed   = "elapsed"   // duration of what is reported
	KeyError     = "error"     // as zap.Error names it
	KeyFarmKey   = "farm_key"  // id of a farm key, never a key
	KeyFile      = "file"      // path of a file
	KeyListen    = "listen"    // own network address and port
	KeyPID       = "pid"       // process id
	KeyReason    = "reason"    // why, in words
	KeyRoot      = "root"      // Merkle root of a version, shortened
	KeyServer    = "server"    // name of a server
	KeySession   = "session"   // index of a session at its server
	KeyStore     = "store"     // name or folder of a store
	KeyTimestamp = "timestamp" // timestamp of a version's seal
	KeyVDisk     = "vdisk"     // name of a vDisk
	KeyVersion   = "version"   // number of a vDisk's version
)
