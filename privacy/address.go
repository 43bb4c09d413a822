package privacy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"custody-nvr/nvr"
)

// Limits of sockets for one child.
const (
	dialTime   = 3 * time.Second
	maxSockets = 4
	maxAsked   = 64 // requests in all; a UDP port pair may need several tries
)

// An address is the one place a child's sockets may lead to. A name in the URL is looked up
// when the first child starts and then stands for that address: who later answers for the
// name elsewhere may be another camera.
type address struct {
	host   string
	port   uint16
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

	pinned netip.Addr // owned by Run
}

func newAddress(camera string, lookup func(context.Context, string, string) ([]netip.Addr, error)) (*address, *nvr.Outage) {
	wrong := func(what string) (*address, *nvr.Outage) {
		return nil, &nvr.Outage{Cause: nvr.CameraLost, Detail: what + ": correct the suite file"}
	}
	u, err := url.Parse(camera)
	if err != nil {
		return wrong("the camera's URL cannot be read") // the error would quote it
	}
	ports := map[string]uint16{"rtsp": 554, "rtsps": 322}
	port, ok := ports[u.Scheme]
	switch {
	case !ok:
		return wrong("the camera's URL must start with rtsp:// or rtsps://")
	case u.User != nil:
		return wrong("the camera's URL must not hold user or password")
	case u.Hostname() == "":
		return wrong("the camera's URL has no address")
	}
	if u.Port() != "" {
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || n == 0 {
			return wrong("the camera's URL has no possible port")
		}
		port = uint16(n)
	}
	a := &address{host: u.Hostname(), port: port, lookup: lookup}
	if ip, err := netip.ParseAddr(a.host); err == nil {
		a.pinned = ip
	}
	return a, nil
}

// resolve pins the address of a name, or refuses one that has moved.
func (a *address) resolve(ctx context.Context) (netip.AddrPort, *nvr.Outage) {
	if _, err := netip.ParseAddr(a.host); err == nil {
		return netip.AddrPortFrom(a.pinned, a.port), nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	found, err := a.lookup(ctx, "ip", a.host)
	for i := range found {
		found[i] = found[i].Unmap()
	}
	switch {
	case err != nil && !a.pinned.IsValid(), err == nil && len(found) == 0:
		return netip.AddrPort{}, &nvr.Outage{Cause: nvr.CameraLost,
			Detail: fmt.Sprintf("the name %s has no address: check the name server, or set the IP address", a.host)}
	case err != nil: // the name server is away, the camera need not be
	case !a.pinned.IsValid():
		a.pinned = found[0]
	case !slices.Contains(found, a.pinned):
		return netip.AddrPort{}, &nvr.Outage{Cause: nvr.CameraLost,
			Detail: fmt.Sprintf("the name %s leads elsewhere: check the camera, then restart the recorder. It now leads to %s instead of %s", a.host, found[0], a.pinned)}
	}
	return netip.AddrPortFrom(a.pinned, a.port), nil
}

// allow decides on one dial of a child.
func (a *address) allow(to netip.AddrPort, network, asked string) error {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("network %q is not allowed", network)
	}
	if asked != to.String() && asked != net.JoinHostPort(a.host, strconv.Itoa(int(a.port))) {
		return fmt.Errorf("%s is not this camera's address %s", asked, to)
	}
	return nil
}

// allowListen decides on one UDP socket of a child and returns the port to bind.
func allowListen(transport, network, asked string) (port int, err error) {
	if transport != "udp" {
		return 0, fmt.Errorf("UDP is not allowed for this camera")
	}
	if network != "udp" && network != "udp4" && network != "udp6" {
		return 0, fmt.Errorf("network %q is not allowed", network)
	}
	host, service, err := net.SplitHostPort(asked)
	if err != nil {
		return 0, fmt.Errorf("%q is not an address", asked)
	}
	n, err := strconv.ParseUint(service, 10, 16)
	if err != nil || n != 0 && n < 1024 {
		return 0, fmt.Errorf("port %q is not allowed", service)
	}
	if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
		return 0, fmt.Errorf("%s is not an address to listen on", asked)
	}
	return int(n), nil
}
