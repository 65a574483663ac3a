package version

import "runtime/debug"

// number is the version that the next release will have; release builds set it
// by the linker.
var number = "0.1.0-dev"

// String is the version, with the commit it was built from when that is known.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return number
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return number + "+" + s.Value[:12]
		}
	}
	return number
}
