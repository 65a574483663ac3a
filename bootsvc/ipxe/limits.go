package ipxe

import "time"

// Every bound of what machines are told to do.
const (
	// fetchTimeout is how long a download may stand still before the next server is asked. A server that refuses costs
	// nothing, one that nobody answers for costs it whole.
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
