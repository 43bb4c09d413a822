package privacy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"custody-nvr/nvr"
	"custody-nvr/privacy/wire"
)

// onSocket answers a request for a socket. A dial takes time, so it has a goroutine; their number
// is bounded by maxAsked.
func (c *child) onSocket(d wire.Dial, open func(wire.Dial) (syscall.Conn, io.Closer, error)) {
	c.mu.Lock()
	c.asked++
	tooMany := c.asked > maxAsked
	var err error
	switch {
	case c.walls == nil:
		err = errors.New("no socket before the walls stand")
	case c.sockets >= maxSockets:
		err = fmt.Errorf("this masker has had its %d sockets", maxSockets)
	default:
		c.sockets++
	}
	c.mu.Unlock()
	if tooMany {
		c.fail(nvr.MaskerFault, "masker asked for more than %d sockets", maxAsked)
		return
	}
	if err != nil {
		c.answer(d.ID, nil, err)
		return
	}
	c.group.Go(func() {
		conn, closer, err := open(d)
		if err != nil {
			c.mu.Lock()
			c.sockets--
			c.mu.Unlock()
			c.answer(d.ID, nil, err)
			return
		}
		c.answer(d.ID, conn, nil)
		closer.Close() // the child has its own copy now
	})
}

func (c *child) answer(id uint32, conn syscall.Conn, err error) {
	a := wire.Answer{ID: id}
	if err != nil {
		a.Error = err.Error()
	}
	// A send fails only where the child is gone, which watchOver sees.
	_ = c.parent.Send(wire.ToChild{Answer: &a}, conn)
}

func (c *child) dial(d wire.Dial) (syscall.Conn, io.Closer, error) {
	if err := c.m.address.allow(c.address, d.Network, d.Address); err != nil {
		c.mu.Lock()
		if c.refused == "" {
			c.refused = clean(fmt.Sprintf("refused to connect: does the camera redirect? Check its address. %v", err), c.m.cfg.Camera.Password, maxDetail)
		}
		c.mu.Unlock()
		return nil, nil, err
	}
	c.mu.Lock()
	conn := c.ready
	c.ready = nil
	c.mu.Unlock()
	if conn == nil {
		var err error
		dialer := net.Dialer{Timeout: dialTime}
		conn, err = dialer.DialContext(c.over, "tcp", c.address.String())
		c.mu.Lock()
		c.unreached = err != nil
		c.mu.Unlock()
		if err != nil {
			return nil, nil, err
		}
	}
	return conn.(*net.TCPConn), conn, nil
}

func (c *child) listen(d wire.Dial) (syscall.Conn, io.Closer, error) {
	port, err := allowListen(c.m.cfg.Camera.Transport, d.Network, d.Address)
	if err != nil {
		return nil, nil, err
	}
	network := "udp4"
	if c.address.Addr().Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, &net.UDPAddr{Port: port})
	if err != nil {
		return nil, nil, err
	}
	if err := conn.SetReadBuffer(udpBuffer); err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("enlarge the receive buffer: %w", err)
	}
	return conn, conn, nil
}
