package camera

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
)

// A RefusalKind says why there is no session, in the classes that the caller acts on: log-in
// refusals are retried slowly (F-43), the others quickly, and some need a person.
type RefusalKind string

// The kinds of refusal.
const (
	WrongPassword    RefusalKind = "wrong password"
	UnknownAuth      RefusalKind = "unknown log-in method"
	NotFound         RefusalKind = "no such stream"
	NoVideo          RefusalKind = "no video"
	UnsupportedCodec RefusalKind = "unsupported codec"
	BadDescription   RefusalKind = "bad stream description"
	WrongCertificate RefusalKind = "wrong certificate"
	WrongAddress     RefusalKind = "wrong address"
	TooManySessions  RefusalKind = "too many sessions"
	Unreachable      RefusalKind = "unreachable"
	Stalled          RefusalKind = "stalled"
	SSRCChanged      RefusalKind = "stream identity changed"
	Protocol         RefusalKind = "protocol error"
	Closed           RefusalKind = "closed"
)

// A Refusal is the error of Open and Next: why the camera gives no pictures. Detail is one line of
// printable ASCII for staff: what is wrong and what to do, in at most about 90 characters, then what
// ICT needs, as sentences of its own. It holds no password, whatever the camera echoes.
type Refusal struct {
	Kind   RefusalKind
	Detail string
}

func (r *Refusal) Error() string { return string(r.Kind) + ": " + r.Detail }

// refuse makes a Refusal; arguments that come from the camera go through quote.
func refuse(kind RefusalKind, format string, args ...any) *Refusal {
	return &Refusal{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}

// quote makes text that a camera chose fit for one line of a log: printable ASCII, at most 100
// bytes.
func quote(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > 100 {
		s = s[:97] + "..."
	}
	return s
}

// reason is the kernel's word for a network error, without the address, which the line has already.
func reason(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, ": "); i >= 0 {
		s = s[i+len(": "):]
	}
	return quote(s)
}

// refusalOf turns what gortsplib or the network said into a Refusal.
func refusalOf(err error) *Refusal {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	if s, ok := errors.AsType[liberrors.ErrClientBadStatusCode](err); ok {
		return refusalOfStatus(s.Code, s.Message)
	}
	var (
		terminated liberrors.ErrClientTerminated
		timedOut   liberrors.ErrClientRequestTimedOut
		wantsUDP   liberrors.ErrClientServerRequestedUDP
		wantsTCP   liberrors.ErrClientServerRequestedTCP
		noPorts    liberrors.ErrClientServerPortsNotProvided
		record     tls.RecordHeaderError
		netErr     net.Error
	)
	switch {
	case errors.As(err, &terminated):
		return refuse(Closed, "the session was closed: it is connected anew")
	case errors.As(err, &timedOut):
		return refuse(Unreachable, "the camera did not answer in time: check camera and network")
	case errors.As(err, &wantsUDP):
		return refuse(Protocol, "the camera sends only over UDP: allow TCP in the camera, or set transport udp")
	case errors.As(err, &wantsTCP):
		return refuse(Protocol, "the camera sends only over TCP: remove transport udp from the suite file")
	case errors.As(err, &noPorts):
		return refuse(Protocol, "the camera does not say its UDP ports: use transport tcp")
	case errors.As(err, &record):
		return refuse(Protocol, "the camera does not speak TLS here: use rtsp:// or its RTSPS port")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return refuse(Closed, "the camera closed the connection: if it goes on, restart the camera")
	case errors.As(err, &netErr):
		return refuse(Unreachable, "the connection to the camera failed (%s): check camera and network", reason(err))
	}
	return refuse(Protocol, "the camera breaks the protocol: restart it, or update its firmware. %s", quote(err.Error()))
}

func refusalOfStatus(code base.StatusCode, message string) *Refusal {
	switch code {
	case base.StatusUnauthorized:
		return refuse(WrongPassword, "the camera refuses this user name and password (%d): correct them. It says: %s", code, quote(message))
	case base.StatusForbidden:
		return refuse(WrongPassword, "the camera forbids this account the stream (%d): allow it in the camera. It says: %s", code, quote(message))
	case base.StatusNotFound, base.StatusGone:
		return refuse(NotFound, "the camera has no stream of this name (%d): check the path of its URL. It says: %s", code, quote(message))
	case base.StatusNotEnoughBandwidth, base.StatusServiceUnavailable:
		return refuse(TooManySessions, "the camera has no session or bandwidth left (%d): close other viewers. It says: %s", code, quote(message))
	case base.StatusUnsupportedTransport:
		return refuse(Protocol, "the camera refuses this transport (%d): set the other one. It says: %s", code, quote(message))
	case base.StatusSessionNotFound:
		return refuse(Closed, "the camera has forgotten the session (%d): it is connected anew. It says: %s", code, quote(message))
	}
	return refuse(Protocol, "the camera refuses (%d): check its settings, or restart it. It says: %d %s", code, code, quote(message))
}
