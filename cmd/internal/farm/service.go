package farm

import (
	"context"
	"net/netip"
	"time"
)

// Service is a farm as administrators see it. The admin API's server and client both satisfy it, so the command
// line and the page speak to a farm in one way only. Errors toward people are of type *Error.
type Service interface {
	// Servers lists the servers, in the order of the farm file.
	Servers(context.Context) (ServerList, error)
	// Targets lists the targets that any live server serves.
	Targets(context.Context) (TargetList, error)
	// VDisks lists the vDisks, in the order of the farm file.
	VDisks(context.Context) (VDiskList, error)
	// Explain says which server would serve a device now, and why. The device is named by name or MAC address.
	Explain(ctx context.Context, device string) (Explanation, error)
	// StopStream moves the targets of a server to others and stops its stream service. Without force it does
	// nothing when targets would have nowhere to go. Progress is told while it works; it may be nil.
	StopStream(ctx context.Context, r StopRequest, progress func(StopProgress)) (StopProgress, error)
	// StartStream lets a server log targets in again.
	StartStream(ctx context.Context, server string) error
}

// ServerList is what Servers returns.
type ServerList struct {
	Farm string `json:"farm"`
	// Answered is the server that made the list; what it says of the others is what it last heard.
	Answered string       `json:"answered"`
	Servers  []ServerInfo `json:"servers"`
}

// ServerInfo is one server of the farm.
type ServerInfo struct {
	Name string `json:"name"`
	Site string `json:"site,omitempty"`
	Zone string `json:"zone,omitempty"`
	Tier int    `json:"tier"`
	// State is serving, leaving or stopped as the server reports it; "silent" when it is not heard, and
	// "never heard" when it was not heard since the answering server started.
	State  string         `json:"state"`
	Stream netip.AddrPort `json:"stream"`
	// Targets and Assigned are those of the last report and those sent there since.
	Targets  int `json:"targets"`
	Assigned int `json:"assigned"`
	// Load is in targets a unit of power, as the choice of a server compares it.
	Load       float64       `json:"load"`
	QueueDelay time.Duration `json:"queue_delay_ns"`
	Egress     float64       `json:"egress_bytes_per_second"`
	Program    string        `json:"program,omitempty"`
	// Config is the hash of the server's farm file, Differs that it is another one than that of the
	// answering server.
	Config  string `json:"config,omitempty"`
	Differs bool   `json:"config_differs,omitempty"`
	// Heard is the time since the last report, 0 when there was none.
	Heard time.Duration `json:"heard_ns"`
}

// TargetList is what Targets returns.
type TargetList struct {
	Targets []TargetInfo `json:"targets"`
	// Missing names live servers that did not answer in time; their targets are not listed.
	Missing []string `json:"missing,omitempty"`
}

// TargetInfo is one target that is served.
type TargetInfo struct {
	Device     string         `json:"device"`
	MAC        MAC            `json:"mac"`
	Label      string         `json:"label,omitempty"`
	Collection string         `json:"collection,omitempty"`
	Server     string         `json:"server"`
	Addr       netip.AddrPort `json:"addr"`
	VDisk      string         `json:"vdisk"`
	Version    uint32         `json:"version"`
	Content
	// Since is how long the session has been going.
	Since time.Duration `json:"since_ns"`
	// Sent is the payload in bytes of this session.
	Sent uint64 `json:"sent_bytes"`
	// Lost, Late and Busy are the target's retries, Pause its longest read pause, RTT its round trip.
	Lost      uint32        `json:"lost"`
	Late      uint32        `json:"late"`
	Busy      uint32        `json:"busy"`
	Pause     time.Duration `json:"longest_pause_ns"`
	RTT       time.Duration `json:"round_trip_ns"`
	Packet    int           `json:"packet_bytes"`
	Failovers uint32        `json:"failovers"`
	// Resumed says that this is not the log-in at which the target began: it has moved here, renewed its session, or was
	// referred here by another server.
	Resumed bool `json:"resumed,omitempty"`
	// Uptime is how long the kernel of a target that booted from its vDisk has run; 0 is unknown.
	Uptime time.Duration `json:"uptime_ns,omitempty"`
	// Boot is nil for a target that did not boot from its vDisk.
	Boot *BootTimes `json:"boot,omitempty"`
}

// VDiskList is what VDisks returns.
type VDiskList struct {
	VDisks []VDiskInfo `json:"vdisks"`
}

// VDiskInfo is one vDisk and what its plain name stands for.
type VDiskInfo struct {
	Name  string `json:"name"`
	Store string `json:"store"`
	// Offered tells whether any version can be served; Version is the one, Why says why in words.
	Offered bool   `json:"offered"`
	Version uint32 `json:"version"`
	Root    Digest `json:"root"`
	Size    int64  `json:"size_bytes"`
	Stored  int64  `json:"stored_bytes"`
	Why     string `json:"why"`
	// Pending are higher versions that some server lacks.
	Pending []Pending     `json:"pending,omitempty"`
	Copies  []ReplicaInfo `json:"replicas"`
}

// ReplicaInfo is one server's copy of one version.
type ReplicaInfo struct {
	Server  string `json:"server"`
	Version uint32 `json:"version"`
	Root    Digest `json:"root"`
	// State is "identical", or in which way the copy differs from the one that counts.
	State string `json:"state"`
	// Fenced is the number of damaged chunks and pages, which other servers are asked for.
	Fenced int `json:"fenced,omitempty"`
	// BootProblem says why no machine is booted from this copy, and what to do; empty when nothing is known to be wrong.
	BootProblem string `json:"boot_problem,omitempty"`
	// Live tells whether the server is alive; what a dead one holds is what it last told.
	Live bool `json:"live"`
}

// Explanation is what Explain returns.
type Explanation struct {
	Device     string `json:"device"`
	MAC        MAC    `json:"mac"`
	Collection string `json:"collection,omitempty"`
	Login      Login  `json:"login,omitempty"`
	// VDisk is what the device would get, such as "debian12 @ 3", and Why says why this version.
	VDisk string `json:"vdisk,omitempty"`
	Why   string `json:"why,omitempty"`
	// Serving names the server that serves the device now, empty when none does.
	Serving string `json:"serving,omitempty"`
	// Refusal is the sentence that the device would read on its console; empty when a server would take it.
	Refusal string          `json:"refusal,omitempty"`
	Servers []ServerVerdict `json:"servers,omitempty"`
	// Boot is the start of the device as each live server sees it, the answering one first; nil when the farm has no boot
	// services. BootMissing names live servers that did not answer in time.
	Boot        []BootView `json:"boot,omitempty"`
	BootMissing []string   `json:"boot_missing,omitempty"`
}

// ServerVerdict is what became of one server in a choice.
type ServerVerdict struct {
	Server string `json:"server"`
	// Rank is 0 for the chosen server, 1 and up for alternates, -1 for one that is not eligible.
	Rank   int     `json:"rank"`
	Reason string  `json:"reason"`
	Load   float64 `json:"load"`
}

// StopRequest says which stream service to stop and how.
type StopRequest struct {
	Server string `json:"server"`
	// Force stops it even when targets have nowhere to go.
	Force bool `json:"force,omitempty"`
	// Deadline is how long to wait for the targets; 0 means the farm's own.
	Deadline time.Duration `json:"deadline_ns,omitempty"`
}

// StopProgress tells how far a stop is, and at its end how it went.
type StopProgress struct {
	Server string `json:"server"`
	// Total is the number of targets when it began; Stranded names those that have nowhere to go.
	Total    int      `json:"total"`
	Stranded []string `json:"stranded,omitempty"`
	Moved    int      `json:"moved"`
	Left     int      `json:"left"`
	// Silent is the number of targets that are gone without a word: their good-bye was lost.
	Silent int `json:"silent,omitempty"`
	// LongestPause is the longest read pause of a moved target.
	LongestPause time.Duration `json:"longest_pause_ns"`
	// Done is set at the end.
	Done bool `json:"done"`
}
