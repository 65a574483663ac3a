package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/logging"
)

// answerWithin bounds what answers at once; the farm asks its servers with a shorter limit.
const answerWithin = 8 * time.Second

// maxNameBytes bounds the names that are asked for; the farm has tighter bounds for those that exist.
const maxNameBytes = 256

// handlers answer requests from a farm.
type handlers struct {
	service farm.Service
	level   http.Handler // nil for none
	log     *zap.Logger
	beat    time.Duration // between two lines of a stop in which nothing happens
}

// body is what huma calls an output.
type body[T any] struct {
	Body T
}

// list is the route of a method of Service that takes nothing.
func list[T any](ask func(farm.Service, context.Context) (T, error)) func(huma.API, huma.Operation, *handlers) {
	return func(api huma.API, op huma.Operation, h *handlers) {
		huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*body[T], error) {
			return answered(ctx, h, op.OperationID, func(ctx context.Context) (T, error) { return ask(h.service, ctx) })
		})
	}
}

// answered asks the farm and turns its error into one that travels.
func answered[T any](ctx context.Context, h *handlers, what string, ask func(context.Context) (T, error)) (*body[T], error) {
	ctx, stop := context.WithTimeout(ctx, answerWithin)
	defer stop()
	v, err := ask(ctx)
	if err != nil {
		return nil, h.problem(what, err)
	}
	return &body[T]{v}, nil
}

// problem logs what people are not told and makes a problem of an error.
func (h *handlers) problem(what string, err error) *problem {
	switch {
	case farm.CodeOf(err) != farm.ErrorInternal:
	case errors.Is(err, context.Canceled): // whoever asked has gone, and reads this only if it is the server that goes
		err = farm.Errorf(farm.ErrorUnavailable, "the server that was asked is shutting down; ask another one")
	case errors.Is(err, context.DeadlineExceeded):
		err = farm.Errorf(farm.ErrorUnfinished, "the farm has not answered within %v", answerWithin)
	default:
		h.log.Error("a request failed", zap.String("request", what), zap.Error(err))
	}
	return newProblem(err)
}

// checkName refuses what cannot be a name before the farm is asked.
func checkName(what, name string) error {
	if name == "" || len(name) > maxNameBytes {
		return farm.Errorf(farm.ErrorInvalid, "the name of a %s is needed, of at most %d bytes", what, maxNameBytes)
	}
	return nil
}

type explainInput struct {
	Device string `query:"device" doc:"Name or MAC address of a device, or the label of a target that is served"`
}

func (h *handlers) explain(ctx context.Context, in *explainInput) (*body[farm.Explanation], error) {
	return answered(ctx, h, "explain", func(ctx context.Context) (farm.Explanation, error) {
		if err := checkName("device", in.Device); err != nil {
			return farm.Explanation{}, err
		}
		return h.service.Explain(ctx, in.Device)
	})
}

// startRequest is the body of a start.
type startRequest struct {
	Server string `json:"server"`
}

// started is the answer to a start.
type started struct {
	Server string           `json:"server"`
	State  farm.StreamState `json:"state"`
}

func (h *handlers) start(ctx context.Context, in *body[startRequest]) (*body[started], error) {
	name := in.Body.Server
	return answered(ctx, h, "start-stream", func(ctx context.Context) (started, error) {
		if err := checkName("server", name); err != nil {
			return started{}, err
		}
		h.log.Info("asked to start a stream service", zap.String(logging.KeyServer, name), zap.String("by", asker(ctx)))
		return started{name, farm.StreamServing}, h.service.StartStream(ctx, name)
	})
}

func (h *handlers) logLevel(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		h.log.Info("asked to change the log level", zap.String("by", asker(r.Context())))
	}
	h.level.ServeHTTP(w, r)
}
