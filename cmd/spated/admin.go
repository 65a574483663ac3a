package main

import (
	"context"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/admin"
)

// serveAdmin answers the admin API until ctx ends.
func (s *server) serveAdmin(ctx context.Context) error {
	a := s.p.config.Admin
	o := admin.Options{
		Service: s.farm, Socket: s.p.socket, SocketMode: a.SocketMode, SocketGroup: a.SocketGroup, Addr: s.p.admin, Certificate: a.Certificate, PrivateKey: a.PrivateKey,
		TokenFile: a.TokenFile, Level: s.level, Log: s.log.Named("admin"),
	}
	api, err := admin.NewServer(o)
	if err != nil && s.p.open {
		// Two servers without a farm file share a machine's folder of state. Either one answers for both.
		o.Socket = filepath.Join(filepath.Dir(o.Socket), "admin-"+s.p.name+".sock")
		s.log.Info("the usual socket of the admin API is taken", zap.String("socket", o.Socket), zap.Error(err))
		api, err = admin.NewServer(o)
	}
	if err != nil {
		return err
	}
	return api.Run(ctx)
}
