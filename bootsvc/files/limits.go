package files

const (
	// MaxName is the greatest length of a name in bytes, with what follows a question mark. The longest that we write is
	// boot/, a vDisk's name of 64, a version, its content, image, a MAC address and a card.
	MaxName = 256
	// maxVDisk is the greatest length of a vDisk's name.
	maxVDisk = 64
	// maxUUID is the greatest length of what firmware calls a machine.
	maxUUID = 64
	// maxCallers is how many addresses are remembered with the MAC address that they named, for transfers that name
	// none: machines that boot by GRUB at the same time.
	maxCallers = 8192
)
