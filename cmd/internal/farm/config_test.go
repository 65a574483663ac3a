package farm

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func readTestFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFarmFileIsReadWhole(t *testing.T) {
	c, err := ParseConfig("farm.yaml", readTestFile(t, "farm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "farm.golden", string(got)+"\n")
}

func TestEveryMistakeIsReportedWithItsPlace(t *testing.T) {
	_, err := ParseConfig("farm.yaml", readTestFile(t, "mistakes.yaml"))
	var mistakes Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatalf("got %v, want Mistakes", err)
	}
	golden(t, "mistakes.golden", mistakes.Error()+"\n")
}

// Each of these files has one thing wrong, which the complaint must name.
func TestBadFarmFilesSayWhatIsWrong(t *testing.T) {
	start := "farm: x\nkey_file: /k\nservers: [{name: a, stream: 192.0.2.1}]\nstores: [{name: s, path: /s, servers: [a]}]\n"
	cases := []struct{ name, file, want string }{
		{"empty", "", "the file is empty"},
		{"only a comment", "# farm\n", "the file is empty"},
		{"a list", "- farm\n", "farm.yaml:1:1: the farm file must be a mapping of names to values, not a list"},
		{"cut off", "servers: [", "farm.yaml:1:10: not YAML:"},
		{"a tab", "farm:\n\tname: x\n", "farm.yaml:2:1: not YAML:"},
		{"two documents", start + "---\nfarm: y\n", "a second YAML document"},
		{"no servers", "farm: x\nkey_file: /k\nstores: []\n", "farm.yaml: servers: the farm has none"},
		{"no name", "key_file: /k\n", "the farm file has no farm"},
		{"an empty name", "farm:\n" + start[8:], "the farm file has no farm"},
		{"a relative path", strings.Replace(start, "/k", "k", 1), `farm.yaml:2:11: "k" must be an absolute path`},
		{"a key in place of its file", strings.Replace(start, "/k", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", 1), "a key stands here"},
		{"an anchor", strings.Replace(start, "farm: x", "farm: &x x", 1), "not an anchor or alias"},
		{"a mapping for a value", strings.Replace(start, "farm: x", "farm: {a: b}", 1), "a single value is wanted here, not a mapping"},
		{"a value for a list", start + "devices: none\n", "devices must be a list"},
		{"an address nobody reaches", strings.Replace(start, "192.0.2.1", "0.0.0.0", 1), "it must be an address that others can reach"},
		{"an address without a number", strings.Replace(start, "192.0.2.1", "lab-a", 1), `stream is "lab-a"`},
		{"a store without a path", strings.Replace(start, "path: /s, ", "", 1), "no path for store s on a"},
		{"a store on no server", strings.Replace(start, "[a]", "[]", 1), "store s has no servers"},
		{"a server twice in a store", strings.Replace(start, "[a]", "[a, a]", 1), "server a stands in line 4 already"},
		{"half of an admin section", start + "admin: {token_file: /t}\n", "belong together"},
		{"a mode that lets everybody in", start + "admin: {socket_mode: 0666}\n", `farm.yaml:5:22: socket_mode is "0666"; it must be 0600`},
		{"a mode that is a decimal number", start + "admin: {socket_mode: 432}\n", `socket_mode is "432"`},
		{"a mode in letters", start + "admin: {socket_mode: rw}\n", `socket_mode is "rw"`},
		{"a group that is none", start + "admin:\n  socket_group: a b\n", `farm.yaml:6:17: socket_group is "a b"; it must be the name of a group`},
		{"a group that is kept out", start + "admin:\n  socket_group: adm\n  socket_mode: 0600\n", "farm.yaml:7:16: socket_mode 0600 keeps out the socket_group of line 6"},
		{"an unknown collection that is closed", start + "policy: {unknown: c}\nvdisks: [{name: v, store: s}]\ncollections: [{name: c, vdisks: [v]}]\n",
			`it must be "open"`},
		{"a primary server without the store", strings.Replace(start, "}]\nstores", "}, {name: b, stream: 192.0.2.2}]\nstores", 1) +
			"vdisks: [{name: v, store: s, primary: [b]}]\n", "server b does not have store s"},
		{"primary and secondary", start + "vdisks: [{name: v, store: s, primary: [a], secondary: [a]}]\n", "server a is primary and secondary for v"},
		{"boot settings without boot services", start + "collections: [{name: c, vdisks: [v], boot_shell: on}]\n", "boot_shell is about booting, and this farm has no boot services"},
		{"boot services on no server", start + "boot: {}\n", "farm.yaml:5:7: no server runs the boot services"},
		{"an empty boot section", start + "boot:\n", "farm.yaml:5:1: boot is empty; write boot: {}"},
		{"a DHCP server of nothing", strings.Replace(start, "}]\nstores", ", boot: {}}]\nstores", 1) + "boot: {dhcp: server}\n", "dhcp: server needs subnets"},
		{"a proxy that gives out addresses", strings.Replace(start, "}]\nstores", ", boot: {}}]\nstores", 1) +
			"boot: {dhcp: proxy, subnets: [{network: 192.0.2.0/24}]}\n", "subnets are for dhcp: server; with dhcp: proxy no addresses are given out"},
		{"advertisements without DHCP", strings.Replace(start, "}]\nstores", ", boot: {}}]\nstores", 1) + "boot: {router_advertisement: on}\n", "farm.yaml:5:8: router_advertisement is for dhcp: server or proxy"},
		{"an address from nobody", strings.Replace(start, "}]\nstores", ", boot: {}}]\nstores", 1) +
			"boot: {}\nvdisks: [{name: v, store: s}]\ncollections: [{name: c, vdisks: [v]}]\ndevices: [{mac: 525400000001, collection: c, address: 192.0.2.9}]\n",
			"addresses are given out with boot.dhcp: server only, and it is off"},
		{"a server that machines cannot reach", strings.Replace(start, "192.0.2.1}", "'2001:db8::1', boot: {}}", 1) + "boot: {}\n", "machines boot over IPv4"},
		{"two servers on one address", strings.Replace(start, "}]\nstores", ", boot: {}}, {name: b, stream: 192.0.2.1:1, peer: 192.0.2.1:2, boot: {}}]\nstores", 1) + "boot: {}\n",
			"boot address 192.0.2.1 stands in line 3 already"},
		{"a port that is taken", strings.Replace(start, "}]\nstores", ", boot: {}}]\nstores", 1) + "boot: {http: 6911}\n", "port 6911 of a is for other servers already"},
	}
	if _, err := ParseConfig("farm.yaml", []byte(start)); err != nil {
		t.Fatalf("the file that the cases change: %v", err)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseConfig("farm.yaml", []byte(c.file))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A group alone opens the socket to it; nothing opens it to nobody but its owner.
func TestTheAdminSocketIsOpenToTheGroupThatIsNamed(t *testing.T) {
	start := "farm: x\nkey_file: /k\nservers: [{name: a, stream: 192.0.2.1}]\nstores: [{name: s, path: /s, servers: [a]}]\n"
	for text, want := range map[string]Admin{
		"":                                {SocketMode: 0o600},
		"admin: {socket: /x}\n":           {SocketMode: 0o600},
		"admin: {socket_group: adm}\n":    {SocketMode: 0o660, SocketGroup: "adm"},
		"admin: {socket_group: 4}\n":      {SocketMode: 0o660, SocketGroup: "4"},
		"admin: {socket_mode: 0660}\n":    {SocketMode: 0o660},
		"admin: {socket_mode: '0o660'}\n": {SocketMode: 0o660},
		"admin: {socket_mode: 0600}\n":    {SocketMode: 0o600},
		"admin:\n  socket_mode: 0660\n  socket_group: spate-admins\n": {SocketMode: 0o660, SocketGroup: "spate-admins"},
	} {
		c, err := ParseConfig("farm.yaml", []byte(start+text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := c.Admin; got.SocketMode != want.SocketMode || got.SocketGroup != want.SocketGroup {
			t.Errorf("%q: mode %04o, group %q", text, got.SocketMode, got.SocketGroup)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add(readTestFile(f, "farm.yaml"))
	f.Add(readTestFile(f, "mistakes.yaml"))
	f.Add([]byte("a: &x [*x]\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig("farm.yaml", data)
		var mistakes Mistakes
		switch {
		case (c == nil) == (err == nil):
			t.Fatalf("config %v and error %v", c, err)
		case err != nil && (!errors.As(err, &mistakes) || mistakes.Error() == ""):
			t.Fatalf("error without a complaint: %v", err)
		}
	})
}
