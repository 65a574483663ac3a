package farm

import (
	"encoding/json"
	"testing"

	"github.com/spate-project/spate/stream/wire"
)

// A target that logs in with the address of a group or of nobody is refused with a sentence, and what lists it can be read everywhere.
func TestAddressesOfNobodyAreRefusedAndStillReadable(t *testing.T) {
	v := view{config: OpenConfig()}
	for _, m := range []MAC{{}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {1, 0, 0x5e, 0, 0, 1}} {
		if o, ok := v.identify(ask{mac: m}); ok || o.result != wire.ResultDeny || o.sentence == "" {
			t.Errorf("%s: %+v", m, o)
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var again MAC
		if err := json.Unmarshal(b, &again); err != nil || again != m {
			t.Errorf("%s: %v %v", m, again, err)
		}
		if _, err := ParseMAC(m.String()); err == nil {
			t.Errorf("%s may stand in a farm file", m)
		}
	}
}
