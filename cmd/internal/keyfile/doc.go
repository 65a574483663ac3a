// Package keyfile reads and writes the files that hold keys of 32 bytes: the
// farm secret, a device's private key, a pre-shared key. A file holds one line,
// the key in base64 for file names (RFC 4648 section 5, no padding), and is
// readable for its owner only.
package keyfile
