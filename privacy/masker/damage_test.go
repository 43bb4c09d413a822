package masker

import (
	"testing"
	"time"

	"custody-nvr/privacy/codec"
)

// step is one access unit: what the inspector says of it, and whether packets were lost.
type step struct {
	info codec.Info
	pts  int // in frames of 40 ms
	lost bool
}

var (
	idr   = codec.Info{Key: true, Recovery: -1, Picture: true}
	plain = codec.Info{Recovery: -1, Picture: true}
	gap   = codec.Info{Recovery: -1, Picture: true, Gap: true}
)

func point(n int) codec.Info { return codec.Info{Recovery: n, Picture: true} }

func TestOnlyProvablyCleanPicturesAreTrusted(t *testing.T) {
	cases := []struct {
		name  string
		steps []step
		want  string // one letter a unit: t trusted, o obscured
	}{
		{"nothing before the first key picture", []step{{plain, 0, false}, {plain, 1, false}, {idr, 2, false}, {plain, 3, false}}, "oott"},
		{"a loss taints until the next key", []step{{idr, 0, false}, {plain, 1, true}, {plain, 2, false}, {idr, 3, false}, {plain, 4, false}}, "toott"},
		{"a key picture that is itself incomplete cleans nothing", []step{{idr, 0, false}, {idr, 1, true}, {plain, 2, false}, {idr, 3, false}}, "toot"},
		{"a frame_num gap without packet loss taints too", []step{{idr, 0, false}, {gap, 1, false}, {plain, 2, false}}, "too"},
		{"leading pictures of a clean random access point stay obscured", []step{{plain, 0, false}, {idr, 4, false}, {plain, 2, false}, {plain, 3, false}, {plain, 5, false}}, "otoot"},
		{"a recovery point counts its pictures", []step{{plain, 0, false}, {point(2), 1, false}, {plain, 2, false}, {plain, 3, false}}, "ooot"},
		{"a recovery point of zero is at once", []step{{plain, 0, false}, {point(0), 1, false}}, "ot"},
		{"a loss ends a recovery", []step{{point(2), 0, false}, {plain, 1, false}, {plain, 2, true}, {plain, 3, false}, {plain, 4, false}}, "ooooo"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := newDamage()
			got := ""
			for i, s := range c.steps {
				at := time.Duration(s.pts) * 40 * time.Millisecond
				u := d.shown(d.look(s.info, at, time.Duration(i+1)*40*time.Millisecond, s.lost))
				got += map[bool]string{true: "t", false: "o"}[u.trusted]
			}
			if got != c.want {
				t.Errorf("trusted pictures %q, want %q", got, c.want)
			}
		})
	}
}

func TestDoubtOfTheDecoderLastsUntilItGivesACleanPicture(t *testing.T) {
	d := newDamage()
	d.look(idr, 0, time.Second, false)
	d.believe()
	if d.blind() || d.lasting(9*time.Second) != 0 {
		t.Error("a clean start is in doubt")
	}
	d.look(plain, 1, 2*time.Second, false)
	d.doubt(2 * time.Second)
	if !d.blind() {
		t.Error("a picture that the decoder calls damaged leaves no doubt")
	}
	if got := d.lasting(5 * time.Second); got != 3*time.Second {
		t.Errorf("damage lasts %v, want 3s", got)
	}
	d.look(idr, 2, 6*time.Second, false)
	if d.blind() {
		t.Error("a whole key picture on its way gives no hope")
	}
	for range maxReorder {
		d.look(plain, 3, 6*time.Second, false)
	}
	if !d.blind() {
		t.Error("hope never ends")
	}
	if d.shown(ticket(99)).trusted {
		t.Error("an unknown ticket is trusted")
	}
}

func TestPendingUnitsAreBounded(t *testing.T) {
	d := newDamage()
	for i := range 10_000 {
		d.look(plain, time.Duration(i), time.Duration(i), false)
	}
	if len(d.pending) > maxPending {
		t.Errorf("%d units pending, want at most %d", len(d.pending), maxPending)
	}
}

func TestStampsInDecodingOrderAreSorted(t *testing.T) {
	// I P B B as decoded, shown I B B P; the camera stamps 0 1 2 3 in decoding order.
	for _, stamps := range [][4]int{{0, 1, 2, 3}, {0, 3, 1, 2}} {
		d := newDamage()
		var tickets []ticket
		for i, s := range stamps {
			info := plain
			if i == 0 {
				info = idr
			}
			tickets = append(tickets, d.look(info, time.Duration(s), 1, false))
		}
		for want, i := range []int{0, 2, 3, 1} {
			if u := d.shown(tickets[i]); u.pts != time.Duration(want) {
				t.Errorf("stamps %v: picture %d is shown at %d, want %d", stamps, i, u.pts, want)
			}
		}
	}
}
