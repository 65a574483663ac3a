package main

import "context"

// serveAdmin answers the admin API.
func (s *server) serveAdmin(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
