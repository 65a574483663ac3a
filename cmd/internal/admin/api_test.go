package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/spate-project/spate/cmd/internal/admin/admintest"
	"github.com/spate-project/spate/cmd/internal/farm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server until the test ends.
func serve(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Log == nil {
		o.Log = zaptest.NewLogger(t)
	}
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return s
}

func run(t *testing.T, s *Server) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
}

// socket serves a farm on a socket and returns a client of it.
func socket(t *testing.T, f *admintest.Farm) *client {
	t.Helper()
	path := filepath.Join(t.TempDir(), SocketName)
	serve(t, Options{Service: f.Service(), Socket: path})
	c, err := dial(path, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// full is a farm in which every field of every answer has a value.
func full(t *testing.T) *admintest.Farm {
	f := &admintest.Farm{Explanations: map[string]farm.Explanation{"pc-1": {}}}
	filled(t, reflect.ValueOf(&f.Servers).Elem())
	filled(t, reflect.ValueOf(&f.Targets).Elem())
	filled(t, reflect.ValueOf(&f.VDisks).Elem())
	e := f.Explanations["pc-1"]
	filled(t, reflect.ValueOf(&e).Elem())
	f.Explanations["pc-1"] = e
	var p farm.StopProgress
	filled(t, reflect.ValueOf(&p).Elem())
	f.Stop = []farm.StopProgress{p}
	return f
}

// filled gives every field below v a value.
func filled(t *testing.T, v reflect.Value) {
	t.Helper()
	switch x := v.Addr().Interface().(type) {
	case *netip.AddrPort:
		*x = netip.MustParseAddrPort("[2001:db8::1]:6910")
		return
	case *farm.MAC:
		*x = farm.MAC{0x52, 0x54, 0, 1, 2, 3}
		return
	case *farm.Digest:
		*x = farm.Digest{1, 2, 31: 3}
		return
	case *time.Time:
		*x = time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			filled(t, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		filled(t, v.Index(0))
		filled(t, v.Index(1))
	case reflect.String:
		v.SetString("häßlich </script> \"name\" " + v.Type().Name())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1<<53 - 1)
		if v.Type() == reflect.TypeFor[time.Duration]() {
			v.SetInt(1<<62 + 1)
		}
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(200)
	case reflect.Float64:
		v.SetFloat(0.1)
	default:
		t.Fatalf("a field of kind %v: teach this test about it", v.Kind())
	}
}

// Each method of farm.Service arrives at the farm as it was called, and its whole answer comes back.
func TestEveryMethodSurvivesTheWay(t *testing.T) {
	f := full(t)
	c := socket(t, f)
	ctx := t.Context()
	same := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", what, got, err, want)
		}
	}
	servers, err := c.Servers(ctx)
	same("servers", servers, f.Servers, err)
	targets, err := c.Targets(ctx)
	same("targets", targets, f.Targets, err)
	vdisks, err := c.VDisks(ctx)
	same("vdisks", vdisks, f.VDisks, err)
	e, err := c.Explain(ctx, "pc-1")
	same("explain", e, f.Explanations["pc-1"], err)
	p, err := c.StopStream(ctx, farm.StopRequest{Server: "lab-a", Force: true, Deadline: time.Minute}, nil)
	same("stop", p, f.Stop[0], err)
	same("start", nil, nil, c.StartStream(ctx, "../lab b?x=%2e"))
	want := []string{
		"servers null", "targets null", "vdisks null", `explain "pc-1"`, `stop-stream {"server":"lab-a","force":true,"deadline_ns":60000000000}`,
		`start-stream "../lab b?x=%2e"`,
	}
	if got := f.Asked(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}

// Each code comes back with its sentence from each method; what is internal stays in the server's log.
func TestEveryErrorCodeSurvivesTheWay(t *testing.T) {
	for _, row := range statuses {
		f := full(t)
		e := farm.Errorf(row.code, "lab-a: 100%% \"odd\" %s", row.code)
		f.Errors = map[string]*farm.Error{
			admintest.Servers: e, admintest.Targets: e, admintest.VDisks: e, admintest.Explain: e, admintest.StopStream: e, admintest.StartStream: e,
		}
		c, ctx := socket(t, f), t.Context()
		_, e1 := c.Servers(ctx)
		_, e2 := c.Targets(ctx)
		_, e3 := c.VDisks(ctx)
		_, e4 := c.Explain(ctx, "pc-1")
		p, e5 := c.StopStream(ctx, farm.StopRequest{Server: "lab-a"}, nil)
		if !reflect.DeepEqual(p, f.Stop[0]) {
			t.Errorf("%s: the progress is lost: %+v", row.code, p)
		}
		f.Stop = append(f.Stop, f.Stop[0]) // a stop that fails after it has begun
		_, e6 := c.StopStream(ctx, farm.StopRequest{Server: "lab-a"}, nil)
		for i, err := range []error{e1, e2, e3, e4, e5, e6, c.StartStream(ctx, "lab-a")} {
			want := e.Text
			if row.code == farm.ErrorInternal {
				want = "internal error of the server that answered; its log says more"
			}
			if got := (*farm.Error)(nil); !errors.As(err, &got) || got.Code != row.code || got.Text != want {
				t.Errorf("method %d: %q became %q (%s)", i, e, err, farm.CodeOf(err))
			}
		}
	}
}

// The table is one to one: an answer is understood by its status alone when its body has no type of ours.
func TestCodesAndStatusesAreOneToOne(t *testing.T) {
	seen := map[int]bool{}
	for _, row := range statuses {
		if seen[row.status] || statusOf(row.code) != row.status || (&problem{}).farmError(row.status).Code != row.code {
			t.Errorf("%s and %d", row.code, row.status)
		}
		seen[row.status] = true
	}
}

// What makes no sense is refused with a sentence before the farm is asked.
func TestNonsenseIsRefused(t *testing.T) {
	f := full(t)
	c, ctx := socket(t, f), t.Context()
	long := strings.Repeat("x", maxNameBytes+1)
	_, e1 := c.Explain(ctx, "")
	_, e2 := c.Explain(ctx, long)
	_, e3 := c.StopStream(ctx, farm.StopRequest{}, nil)
	_, e4 := c.StopStream(ctx, farm.StopRequest{Server: "lab-a", Deadline: -1}, nil)
	_, e5 := c.StopStream(ctx, farm.StopRequest{Server: "lab-a", Deadline: maxDeadline + 1}, nil)
	for i, err := range []error{e1, e2, e3, e4, e5, c.StartStream(ctx, ""), c.StartStream(ctx, strings.Repeat("x", maxBodyBytes))} {
		if farm.CodeOf(err) != farm.ErrorInvalid || err.Error() == "" {
			t.Errorf("%d: %v", i, err)
		}
	}
	for _, in := range []string{"", "{", `{"server": 7}`, `{"server":"a","deadline_ns":"soon"}`, `{"server":"a","speed":9}`} {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://spate"+pathStopStream, strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.refused(resp); farm.CodeOf(err) != farm.ErrorInvalid {
			t.Errorf("%q: %v", in, err)
		}
		resp.Body.Close()
	}
	if got := f.Asked(); len(got) != 0 {
		t.Errorf("the farm was asked %q", got)
	}
}

// The description names each route, and the values that Go knows as arrays are strings there as on the wire.
func TestTheDescriptionIsComplete(t *testing.T) {
	c := socket(t, full(t))
	doc, err := ask[map[string]any](t.Context(), c, http.MethodGet, "/openapi.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	paths := doc["paths"].(map[string]any)
	for _, r := range routes {
		found, ok := paths[r.path].(map[string]any)
		if ok {
			_, ok = found[strings.ToLower(r.method)]
		}
		if !ok && r.path != pathLogLevel { // this server has none
			t.Errorf("%s %s is not described", r.method, r.path)
		}
	}
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	target := schemas["TargetInfo"].(map[string]any)["properties"].(map[string]any)
	for _, name := range []string{"mac", "addr", "root"} {
		if p, ok := target[name].(map[string]any); !ok || p["type"] != "string" {
			b, _ := json.Marshal(target[name])
			t.Errorf("%s is described as %s", name, b)
		}
	}
}
