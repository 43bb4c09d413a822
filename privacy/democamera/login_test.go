package democamera

import (
	"errors"
	"net"
	"testing"

	"custody-nvr/privacy/camera"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
)

// gate asks for a log-in before anything is described.
type gate struct{}

// OnDescribe implements gortsplib.ServerHandlerOnDescribe.
func (gate) OnDescribe(c *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	if !c.Conn.VerifyCredentials(c.Request, "admin", "right") {
		return &base.Response{StatusCode: base.StatusUnauthorized}, nil, liberrors.ErrServerAuth{}
	}
	return &base.Response{StatusCode: base.StatusNotFound}, nil, nil
}

// A gortsplib server gives no challenge with the 401 that follows an answer: this is a wrong
// password, not an unknown method.
func TestServerWithoutSecondChallengeMeansWrongPassword(t *testing.T) {
	var at net.Addr
	server := &gortsplib.Server{Handler: gate{}, RTSPAddress: "127.0.0.1:0", Listen: func(network, a string) (net.Listener, error) {
		l, err := net.Listen(network, a)
		if err == nil {
			at = l.Addr()
		}
		return l, err
	}}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for password, want := range map[string]camera.RefusalKind{"hunter2": camera.WrongPassword, "right": camera.NotFound} {
		_, err := camera.Open(t.Context(), camera.Spec{URL: "rtsp://" + at.String() + "/x", User: "admin", Password: password})
		if r, ok := errors.AsType[*camera.Refusal](err); !ok || r.Kind != want {
			t.Errorf("with password %q: %v, want %s", password, err, want)
		}
	}
}
