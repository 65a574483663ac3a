package admin

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/spate-project/spate/cmd/internal/farm"
)

// The paths, which the client uses too.
const (
	pathServers     = "/v1/servers"
	pathTargets     = "/v1/targets"
	pathVDisks      = "/v1/vdisks"
	pathExplain     = "/v1/explain"
	pathStopStream  = "/v1/servers/stop-stream"
	pathStartStream = "/v1/servers/start-stream"
	pathLogLevel    = "/v1/log-level"
)

// lineType is the media type of a stream of lines, each a JSON value.
const lineType = "application/x-ndjson"

// route is one row of the table: what is asked for and who answers it.
type route struct {
	id, method, path, summary string
	add                       func(huma.API, huma.Operation, *handlers)
}

var routes = []route{
	{"list-servers", http.MethodGet, pathServers, "List the servers of the farm", list(farm.Service.Servers)},
	{"list-targets", http.MethodGet, pathTargets, "List the targets that are served", list(farm.Service.Targets)},
	{"list-vdisks", http.MethodGet, pathVDisks, "List the vDisks and their replicas", list(farm.Service.VDisks)},
	{"explain", http.MethodGet, pathExplain, "Say which server would serve a device, and why", addExplain},
	{"stop-stream", http.MethodPost, pathStopStream, "Move the targets of a server away and stop its stream service", addStop},
	{"start-stream", http.MethodPost, pathStartStream, "Let a server log targets in again", addStart},
	{"get-log-level", http.MethodGet, pathLogLevel, "Tell the log level of this server", addLevel},
	{"set-log-level", http.MethodPut, pathLogLevel, "Set the log level of this server until it ends", addLevel},
}

// newAPI makes the handler of all routes.
func newAPI(h *handlers) http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Spate admin API", "1")
	config.DocsPath = "" // a page that would be loaded from elsewhere
	config.SchemasPath = ""
	config.CreateHooks = nil // no links to schemas in the answers
	api := humago.New(mux, config)
	for _, r := range routes {
		op := huma.Operation{
			OperationID: r.id, Method: r.method, Path: r.path, Summary: r.summary, MaxBodyBytes: maxBodyBytes, BodyReadTimeout: readTimeout,
		}
		for _, row := range statuses {
			op.Errors = append(op.Errors, row.status)
		}
		r.add(api, op, h)
	}
	return mux
}

func addExplain(api huma.API, op huma.Operation, h *handlers) { huma.Register(api, op, h.explain) }
func addStart(api huma.API, op huma.Operation, h *handlers)   { huma.Register(api, op, h.start) }

// addStop describes the stream of lines, which huma cannot see in the types.
func addStop(api huma.API, op huma.Operation, h *handlers) {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[stopLine](), true, "StopLine")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "One value a line while the stop goes on; the last one has end set",
		Content:     map[string]*huma.MediaType{lineType: {Schema: schema}},
	}}
	huma.Register(api, op, h.stop)
}

// addLevel mounts zap's own handler.
func addLevel(api huma.API, op huma.Operation, h *handlers) {
	if h.level == nil {
		return
	}
	type level struct {
		Level string `json:"level" enum:"debug,info,warn,error"`
	}
	content := map[string]*huma.MediaType{"application/json": {
		Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[level](), true, "LogLevel"),
	}}
	if op.Method == http.MethodPut {
		op.RequestBody = &huma.RequestBody{Required: true, Content: content}
	}
	op.Responses = map[string]*huma.Response{"200": {Description: "The level that is in force", Content: content}}
	api.OpenAPI().AddOperation(&op)
	api.Adapter().Handle(&op, func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		h.logLevel(w, r)
	})
}
