package modules

import (
	"reflect"
	"strings"
	"testing"
)

const sample = `kernel 6.1.0-56-amd64
module failover /lib/modules/V/failover.ko
module virtio_net /lib/modules/V/virtio_net.ko failover net_failover
module net_failover /lib/modules/V/net_failover.ko failover
module realtek /lib/modules/V/realtek.ko libphy
module libphy /lib/modules/V/libphy.ko
module r8169 /lib/modules/V/r8169.ko ?libphy ?realtek libphy mdio_devres
module mlx4_core /lib/modules/V/mlx4_core.ko
later mlx4_core mlx4_en
module mlx4_en /lib/modules/V/mlx4_en.ko mlx4_core
module nbd /lib/modules/V/nbd.ko
base nbd
fs ext4
alias virtio:d00000001v* virtio_net
alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169
alias pci:v000010ECd*sv*sd*bc*sc*i* realtek
`

func parse(t *testing.T, text string) *List {
	t.Helper()
	l, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAListIsReadAsItWasWritten(t *testing.T) {
	l := parse(t, sample)
	var b strings.Builder
	if err := l.Write(&b); err != nil || b.String() != sample {
		t.Errorf("%v\n%s", err, b.String())
	}
	if l = parse(t, "color blue\n\n"+sample+"tomorrow x y z\n"); len(l.Modules) != 9 || len(l.Aliases) != 3 {
		t.Errorf("with lines of a newer version: %+v", l)
	}
}

func TestWhatIsNoListIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "base nbd\n", "kernel\n", "kernel v\nmodule a\n", "kernel v\nmodule a b\n", "kernel v\nmodule a /../etc/x\n",
		"kernel v\nmodule a /x\nmodule a /x\n", "kernel v\nlater a b\n", "kernel v\nalias x\n", "kernel " + strings.Repeat("v", maxLine),
	} {
		if l, err := Parse(strings.NewReader(text)); err == nil {
			t.Errorf("%.60q is read as %+v", text, l)
		}
	}
}

// A device names itself by its modalias; what drives it comes with all that it needs, each module once and in order.
func TestADeviceGetsItsModulesInOrder(t *testing.T) {
	l := parse(t, sample)
	for _, c := range []struct {
		modalias string
		want     []Step
	}{
		{"virtio:d00000001v00001AF4\n", []Step{
			{"failover", "/lib/modules/V/failover.ko", false}, {"net_failover", "/lib/modules/V/net_failover.ko", false},
			{"virtio_net", "/lib/modules/V/virtio_net.ko", false},
		}},
		// libphy is a hard need as well as a soft one: it is not soft. What is not in the image is left out.
		{"pci:v000010ECd00008168sv00001462sd0000bc02sc00i00", []Step{
			{"libphy", "/lib/modules/V/libphy.ko", false}, {"realtek", "/lib/modules/V/realtek.ko", false}, {"r8169", "/lib/modules/V/r8169.ko", false},
		}},
		{"usb:v0B95p1790", nil},
	} {
		order := l.Order(l.Match(c.modalias)...)
		if c.modalias[:3] == "pci" { // two aliases match; the second makes realtek one that must load
			if !reflect.DeepEqual(l.Match(c.modalias), []string{"r8169", "realtek"}) {
				t.Errorf("%q: %v", c.modalias, l.Match(c.modalias))
			}
		}
		if !reflect.DeepEqual(order, c.want) {
			t.Errorf("%q:\n got %v\nwant %v", c.modalias, order, c.want)
		}
	}
	if got := l.Order("r8169"); !got[1].Soft || got[1].Name != "realtek" || got[0].Soft {
		t.Errorf("a soft need is as hard as the others: %v", got)
	}
	if got := l.Order("mlx4-core"); len(got) != 2 || got[0] != (Step{"mlx4_core", "/lib/modules/V/mlx4_core.ko", false}) || got[1].Name != "mlx4_en" || !got[1].Soft {
		t.Errorf("what belongs after a module: %v", got)
	}
	if got := l.Resolve("virtio:d00000001v00000000"); !reflect.DeepEqual(got, []string{"virtio_net"}) {
		t.Errorf("an alias is not resolved: %v", got)
	}
}

func TestAPatternMatchesAsInModulesAlias(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"*", "", true}, {"a", "", false}, {"", "a", false}, {"a*b*c", "aXbYbZc", true}, {"a*b*c", "aXbYbZ", false},
		{"usb:v2357p0601d*dc*dsc*dp*icFFisc*ip*in*", "usb:v2357p0601d3000dc00dsc00dp00icFFiscFFip00in00", true},
		{"mdio:0000000000011100110010010001????", "mdio:00000000000111001100100100011010", true},
		{"x[0-9A-F]y", "xAy", true}, {"x[0-9A-F]y", "xGy", false}, {"x[!a]y", "xby", true}, {"x[!a]y", "xay", false}, {"x[]]y", "x]y", true},
		{"x[a", "xa", false}, {`a\*`, "a*", true}, {`a\*`, "ab", false}, {"of:N*T*Cbrcm,x/y", "of:NxTyCbrcm,x/y", true},
	} {
		if got := Glob(c.pattern, c.s); got != c.want {
			t.Errorf("Glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		var b strings.Builder
		if err := l.Write(&b); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(strings.NewReader(b.String()))
		if err != nil && !strings.Contains(err.Error(), "too long") || err == nil && !reflect.DeepEqual(l, again) {
			t.Errorf("%v\n%+v\n%+v", err, l, again)
		}
		for _, m := range l.Modules {
			l.Order(l.Resolve(m.Name)...)
		}
		l.Match(text)
	})
}

// A text with question marks stands for all with digits in their places.
func TestAPatternOverlapsWhereItMatchesOneOfManyTexts(t *testing.T) {
	const card = "pci:v00008086d00001533sv????????sd????????bc02sc??i??"
	for pattern, want := range map[string]bool{
		"pci:v00008086d00001533sv*sd*bc*sc*i*": true, "pci:v00008086d*sv*sd*bc02sc*i*": true, "pci:v*d*sv*sd*bc*sc*i*": true, "pci:v*": true, "*": true,
		"pci:v00008086d00001533sv00001028sd0000ABCDbc*sc00i*": true, "pci:v0000808[0-9]d*": true, "pci:v*sd*1028*bc02*": true,
		"pci:v*d*sv*sd*bc0Csc03i30*": false, "pci:v00008086d00001534sv*sd*bc*sc*i*": false, "pci:v000010ECd*": false, "pci:v*svG*": false, "usb:v*": false, "": false,
		"pci:v*d*sv*sd*bc*sc*i*x": false, "pci:v*sd????????bc02sc[8-9]?i*": true, "pci:v*sd????????bc02sc[!0-9A-F]?i*": false,
	} {
		if Overlaps(pattern, card) != want {
			t.Errorf("%s: %v", pattern, !want)
		}
	}
}
