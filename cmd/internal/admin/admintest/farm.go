package admintest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/spate-project/spate/cmd/internal/farm"
)

// The names of the methods, as keys of Errors and in Asked.
const (
	Servers     = "servers"
	Targets     = "targets"
	VDisks      = "vdisks"
	Explain     = "explain"
	StopStream  = "stop-stream"
	StartStream = "start-stream"
)

// Farm is a farm.Service with answers made beforehand. It can be read from JSON. Its methods may be called at
// once; its fields are not changed meanwhile.
type Farm struct {
	Servers farm.ServerList `json:"servers"`
	Targets farm.TargetList `json:"targets"`
	VDisks  farm.VDiskList  `json:"vdisks"`
	// Explanations are found by the device that is asked for.
	Explanations map[string]farm.Explanation `json:"explanations"`
	// Stop are the steps of any stop; the last one is its result.
	Stop []farm.StopProgress `json:"stop"`
	// Hold makes a stop wait after its steps until nobody wants to know any more.
	Hold bool `json:"hold"`
	// Errors are returned by the methods that they are named after, beside the answer.
	Errors map[string]*farm.Error `json:"errors"`

	// Between is called between the steps of a stop; nil for nothing.
	Between func(step int) `json:"-"`

	mu    sync.Mutex // guards asked
	asked []string
}

// Service is the farm as a farm.Service.
func (f *Farm) Service() farm.Service { return service{f} }

// Asked lists the calls so far, each as the name of a method and what it was given in JSON.
func (f *Farm) Asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// service has the methods, whose names the fields of Farm have taken.
type service struct{ f *Farm }

// note remembers a call and returns the error that it shall end with.
func (s service) note(method string, given any) error {
	b, err := json.Marshal(given)
	if err != nil {
		panic(err) // all that is given can be encoded
	}
	s.f.mu.Lock()
	s.f.asked = append(s.f.asked, fmt.Sprintf("%s %s", method, b))
	s.f.mu.Unlock()
	if e := s.f.Errors[method]; e != nil {
		return e
	}
	return nil
}

// Servers answers with the list made beforehand.
func (s service) Servers(context.Context) (farm.ServerList, error) {
	return s.f.Servers, s.note(Servers, nil)
}

// Targets answers with the list made beforehand.
func (s service) Targets(context.Context) (farm.TargetList, error) {
	return s.f.Targets, s.note(Targets, nil)
}

// VDisks answers with the list made beforehand.
func (s service) VDisks(context.Context) (farm.VDiskList, error) {
	return s.f.VDisks, s.note(VDisks, nil)
}

// Explain answers with the explanation of that device.
func (s service) Explain(_ context.Context, device string) (farm.Explanation, error) {
	err := s.note(Explain, device)
	e, ok := s.f.Explanations[device]
	if err == nil && !ok {
		err = farm.Errorf(farm.ErrorNotFound, "no device is called %q", device)
	}
	return e, err
}

// StopStream goes through the steps made beforehand.
func (s service) StopStream(ctx context.Context, r farm.StopRequest, progress func(farm.StopProgress)) (farm.StopProgress, error) {
	err := s.note(StopStream, r)
	last := farm.StopProgress{Server: r.Server}
	for i, p := range s.f.Stop {
		if last = p; i < len(s.f.Stop)-1 {
			progress(p)
			if s.f.Between != nil {
				s.f.Between(i)
			}
		}
	}
	if s.f.Hold {
		<-ctx.Done()
		return last, ctx.Err()
	}
	return last, err
}

// StartStream remembers that it was asked for.
func (s service) StartStream(_ context.Context, server string) error {
	return s.note(StartStream, server)
}
