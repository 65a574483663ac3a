package dhcp

import "time"

// Every bound of the service.
const (
	// maxPool is how many addresses all pools together may have.
	maxPool = 1 << 16
	// maxSubnets is how many subnets a service serves.
	maxSubnets = 256
	// maxShares is how many servers may share a pool.
	maxShares = 64
	// leaseLeast and leaseMost bound the lease that is configured; leaseUsual is the one where none is.
	leaseLeast = 2 * time.Minute
	leaseMost  = 30 * 24 * time.Hour
	leaseUsual = 8 * time.Hour
	// offerHold is how long an address is kept for a machine after an offer. EDK2 collects offers for 4 s before it asks for
	// one; a slow machine asks again after up to 32 s and gets the same address, if it is still free.
	offerHold = 15 * time.Second
	// patience is within which time a machine that asks again shows that the server of its lease does not answer: a retry of
	// firmware comes after 1 to 32 s, the next program of a boot that went on asks later or has heard that server.
	patience = 40 * time.Second
	// quarantine is how long an address that somebody else uses is left alone.
	quarantine = 10 * time.Minute
	// arpWait is how long an ARP question about an address waits before it is offered, and arpTries how many
	// addresses are tried for one DISCOVER.
	arpWait  = 80 * time.Millisecond
	arpTries = 4
	// aheadMost is how many addresses are asked for by ARP before anybody wants them: as many machines as are switched on within
	// arpWait get one at once. Silence counts for aheadStale; they are asked for again every aheadAgain, so that it is always fresh.
	aheadMost  = 8
	aheadStale = time.Minute
	aheadAgain = 45 * time.Second
	// maxPending is how many offers may wait for ARP; what comes on top is offered unasked.
	maxPending = 4096
	// perMAC is how many packets of one machine are looked at in a second, maxMACs how many machines in a second.
	perMAC  = 12
	maxMACs = 16384
	// noteAgain is how long the same sentence about the same machine is not told again; maxNoted bounds that memory.
	noteAgain = 5 * time.Second
	maxNoted  = 8192
	// maxRogues is how many foreign servers are told. One that comes back after rogueAgain is told anew.
	maxRogues  = 64
	rogueAgain = 24 * time.Hour
	// maxHops is where a relayed packet is taken to go in circles (RFC 1542 section 4.1.1).
	maxHops = 16
	// minMessage is the least size of an IP datagram that each client takes (RFC 2131 section 2), maxMessage what fits
	// into one Ethernet frame; headers is IPv4's and UDP's part of it.
	minMessage = 576
	maxMessage = 1500
	headers    = 28
	// maxPacket is the largest packet that is read.
	maxPacket = 2048
	// inbox is how many packets may wait for the loop; more are dropped and the clients ask again. Up to batch of
	// them share one sync of the journal. dropsAgain is the least time between two lines about what was dropped.
	inbox      = 4096
	batch      = 256
	dropsAgain = 10 * time.Second
	// maxRecords and maxRecord bound the journal when it is read: records, and bytes of one.
	maxRecords = 1 << 20
	maxRecord  = 512
	// maxUnstored is how many bytes of records wait for a disk that takes none; what is more is stored with all leases later.
	// storeAgain is how long such a disk is left alone.
	maxUnstored = 1 << 20
	storeAgain  = 30 * time.Second
	// checkFor is how long other DHCP servers are listened for before serving: dnsmasq pings an address for 3 s
	// before it offers it.
	checkFor = CheckTime
)

// CheckTime is how long a server in ModeServer looks for other DHCP servers before it answers machines.
const CheckTime = 4 * time.Second
