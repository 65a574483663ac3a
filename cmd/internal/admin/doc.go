// Package admin is the admin API: farm.Service over HTTP, both ends. Server puts a farm.Service on a Unix
// socket, on TLS, or on both; Dial returns a farm.Service that speaks to such a server. So the command line, the
// page and a test use the same interface, wherever the farm is.
//
// # What is asked where
//
//	GET  /v1/servers               farm.ServerList
//	GET  /v1/targets               farm.TargetList
//	GET  /v1/vdisks                farm.VDiskList
//	GET  /v1/explain?device=NAME   farm.Explanation
//	POST /v1/servers/stop-stream   farm.StopRequest in, a line of JSON for each step out
//	POST /v1/servers/start-stream  {"server": NAME}
//	GET, PUT /v1/log-level         {"level": "debug"}, of the server that is asked
//	GET  /openapi.json, .yaml      all of this for programs
//
// Any server answers for the whole farm: farm.Service forwards what concerns another server. Names stand in
// queries and bodies, never in paths, so that no name needs an escape that a proxy could change.
//
// # Errors
//
// Errors are problem details (RFC 9457) whose type is "urn:spate:" and the farm.ErrorCode; one table maps codes
// to HTTP status (errors.go). A stop that is refused before it began answers like that; once it has begun, the
// status is 200 and the error stands in the last line.
//
// # Who may ask
//
// The socket is guarded by its file permissions, 0600, or 0660 for a group of administrators. TCP is always TLS
// 1.3 and needs a bearer token, a key of 256 bits from a file that package keyfile reads, so it cannot be
// guessed and needs no delay. Certificate and token are read again when their files change. Plain TCP exists on
// loopback, for tests. Everything that changes something is logged with who asked for it.
//
// # Bounds
//
// Connections, headers, bodies and the time for each are bounded (server.go); the stream of a stop has no end
// of its own, but a line at least each second, so that either end sees that the other one has gone.
package admin
