package parts

const (
	// MaxCards is how many cards and vendors a head names at most; a kernel's common cards are some 500.
	MaxCards = 4096
	// maxText is the greatest length of the head's file in bytes: that of MaxCards vendors with one card each.
	maxText = MaxCards*len("cards 8086 1004\n") + 128
)
