package httpboot

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
)

// A machine that opens connections and asks for nothing keeps nobody else from booting, and itself no longer than it wants.
func TestConnectionsOfOneAddressLeaveRoomForOthers(t *testing.T) {
	l := start(t)
	defer l.stop()
	dial := func(from string) net.Conn {
		t.Helper()
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	answered := func(c net.Conn) bool {
		if _, err := io.WriteString(c, "GET /boot.ipxe HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return false
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	}
	var idle []net.Conn
	for range MaxPerAddress {
		idle = append(idle, dial("127.0.0.2"))
	}
	for from, want := range map[string]bool{"127.0.0.2": false, "127.0.0.3": true} {
		c := dial(from)
		if got := answered(c); got != want {
			t.Errorf("%s is answered: %t", from, got)
		}
		c.Close()
	}
	for _, c := range idle {
		c.Close()
	}
	for range 1000 { // the server has to see them close
		c := dial("127.0.0.2")
		ok := answered(c)
		c.Close()
		if ok {
			return
		}
	}
	t.Error("an address whose connections are closed is not answered")
}
