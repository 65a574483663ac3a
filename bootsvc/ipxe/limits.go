package ipxe

import "time"

// Every bound of what machines are told to do.
const (
	// fetchTimeout is how long a download may stand still before iPXE asks the next server. Measured: a server that refuses
	// costs 0.01 s, an address that nobody has 4.9 s, one that falls silent in the middle 5.0 s. Shorter would be taken
	// for death by a server that a thousand machines ask at once.
	fetchTimeout = 5 * time.Second
	// rounds is how often all servers are asked for a kernel before the machine asks for its script again.
	rounds = 3
	// roundPause is between two rounds, askAgain before a machine that may not boot asks once more, and showMessage how
	// long a message of the menu stands.
	roundPause  = 5 * time.Second
	askAgain    = 30 * time.Second
	showMessage = 10 * time.Second
	// maxText is the greatest length of a text on a machine's screen, in characters: ten lines.
	maxText = 800
	// maxLine is the longest command line that Linux takes on x86 (COMMAND_LINE_SIZE, less the zero at its end).
	maxLine = 2047
	// maxServers bounds how many servers a script names.
	maxServers = 16
)
