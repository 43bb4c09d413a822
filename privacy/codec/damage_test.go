package codec

import (
	"bytes"
	"crypto/md5"
	"errors"
	"slices"
	"testing"
	"time"
)

// shot is what a test keeps of a decoded picture.
type shot struct {
	pts     time.Duration
	sum     [16]byte
	damaged bool
}

// decodeHarmed decodes whatever it gets, and tells the decoder of losses before the units in lost.
func decodeHarmed(t *testing.T, kind Kind, aus [][][]byte, lost ...int) []shot {
	t.Helper()
	d, err := NewDecoder(kind, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var all []shot
	show := func(p Decoded) error {
		all = append(all, shot{p.PTS, md5.Sum(i420(p.Planes)), p.Damaged})
		return nil
	}
	for i, au := range aus {
		if slices.Contains(lost, i) {
			d.Lost()
		}
		if au == nil { // left out
			continue
		}
		if err := d.Decode(au, time.Duration(i)*40*time.Millisecond, show); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("access unit %d: %v", i, err)
		}
	}
	if err := d.Flush(show); err != nil && !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	return all
}

// requireHonest requires that every picture that is not called damaged is exactly the one of the
// whole stream, that some are damaged, and that the stream is clean again at the end.
func requireHonest(t *testing.T, clean, harmed []shot) {
	t.Helper()
	truth := map[time.Duration][16]byte{}
	for _, s := range clean {
		truth[s.pts] = s.sum
	}
	n := 0
	for _, s := range harmed {
		if s.damaged {
			n++
		} else if truth[s.pts] != s.sum {
			t.Errorf("the picture at %v is not the camera's, and is not called damaged", s.pts)
		}
	}
	if n == 0 && len(harmed) == len(clean) {
		t.Error("no picture is called damaged")
	}
	if len(harmed) == 0 || harmed[len(harmed)-1].damaged {
		t.Error("the stream is not clean again after its next key picture")
	}
}

// without leaves one access unit out.
func without(aus [][][]byte, i int) [][][]byte {
	out := slices.Clone(aus)
	out[i] = nil
	return out
}

// change replaces one access unit by what f makes of a copy.
func change(aus [][][]byte, i int, f func([][]byte) [][]byte) [][][]byte {
	out := slices.Clone(aus)
	var own [][]byte
	for _, u := range aus[i] {
		own = append(own, bytes.Clone(u))
	}
	out[i] = f(own)
	return out
}

func lastSliceGone(au [][]byte) [][]byte { return au[:len(au)-1] }

func firstSliceGone(au [][]byte) [][]byte { return au[1:] }

func sliceCut(au [][]byte) [][]byte {
	au[len(au)-1] = au[len(au)-1][:len(au[len(au)-1])/2]
	return au
}

func bitsTurned(au [][]byte) [][]byte {
	u := au[len(au)-1]
	for i := len(u) / 3; i < len(u); i += 17 {
		u[i] ^= 0x55
	}
	return au
}

func TestNothingDamagedIsShownAsGood(t *testing.T) {
	simple := []string{"-pix_fmt", "yuv420p", "-bf", "0", "-x264-params", "slices=3:scenecut=0"}
	reorder := []string{"-pix_fmt", "yuv420p", "-bf", "2", "-x264-params", "slices=3:scenecut=0"}
	opened := []string{"-pix_fmt", "yuv420p", "-bf", "2", "-g", "5", "-x264-params", "open-gop=1:scenecut=0"}
	streams := []struct {
		name string
		kind Kind
		aus  [][][]byte
	}{
		{"H.264", H264, made(t, H264, "320x192", simple...)},
		{"H.264 with B-frames", H264, made(t, H264, "320x192", reorder...)},
		{"H.264 open", H264, made(t, H264, "320x192", opened...)},
		{"H.264 fields", H264, made(t, H264, "320x192", "-pix_fmt", "yuv420p", "-flags", "+ildct+ilme", "-x264-params", "interlaced=1:slices=3")},
		{"H.265", H265, made(t, H265, "320x192", "-pix_fmt", "yuv420p", "-bf", "0")},
		{"H.265 with B-frames", H265, made(t, H265, "320x192", "-pix_fmt", "yuv420p", "-bf", "3")},
	}
	for _, s := range streams {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			clean := decodeHarmed(t, s.kind, s.aus)
			if len(clean) != 20 || slices.ContainsFunc(clean, func(s shot) bool { return s.damaged }) {
				t.Fatalf("the whole stream has %d pictures, or damaged ones", len(clean))
			}
			requireHonest(t, clean, decodeHarmed(t, s.kind, without(s.aus, 1)))
			requireHonest(t, clean, decodeHarmed(t, s.kind, without(s.aus, 3), 4))
			requireHonest(t, clean, decodeHarmed(t, s.kind, without(without(without(s.aus, 0), 1), 2)))
			if s.kind == H265 {
				return // see the BUG note at Decoder
			}
			for _, harm := range []func([][]byte) [][]byte{sliceCut, bitsTurned} {
				for _, i := range []int{1, 2, 4} {
					requireHonest(t, clean, decodeHarmed(t, s.kind, change(s.aus, i, harm)))
				}
			}
		})
	}
}

func TestAMissingSliceIsDamage(t *testing.T) {
	aus := made(t, H264, "320x192", "-pix_fmt", "yuv420p", "-bf", "0", "-x264-params", "slices=3:scenecut=0")
	clean := decodeHarmed(t, H264, aus)
	requireHonest(t, clean, decodeHarmed(t, H264, change(aus, 3, lastSliceGone)))
	requireHonest(t, clean, decodeHarmed(t, H264, change(aus, 3, firstSliceGone)))
	in := NewInspector(H264)
	for i, au := range change(aus, 3, firstSliceGone)[:4] {
		if info, err := in.Look(au); err != nil || info.Gap != (i == 3) {
			t.Errorf("unit %d: %+v, %v", i, info, err)
		}
	}
}

// libavcodec shows a picture of two fields under the number of the first one.
func TestDamageInTheSecondFieldIsDamageOfThePicture(t *testing.T) {
	tr := newTrust()
	field := func(key, second bool) int64 {
		return tr.admit(&picture{stream: &stream{}, key: key, second: second, sei: sei{recovery: noRecovery}}, 0, H264)
	}
	first := field(true, false)
	tr.damage(field(false, true))
	if s, ok := tr.take(first); !ok || !s.damaged {
		t.Error("the picture is not called damaged")
	}
	if s, _ := tr.take(field(false, false)); !s.damaged {
		t.Error("the picture after it is not called damaged")
	}
	if s, _ := tr.take(field(true, false)); s.damaged {
		t.Error("the next key picture is called damaged")
	}
}

// A stream without key pictures is refreshed column by column, and says where that begins.
func TestARecoveryPointIsBelievedAtItsEndOnly(t *testing.T) {
	aus := made(t, H264, "320x192", "-pix_fmt", "yuv420p", "-bf", "0", "-x264-params", "intra-refresh=1:keyint=8:scenecut=0:ref=1")
	clean := decodeHarmed(t, H264, aus)
	first := slices.IndexFunc(aus, func(au [][]byte) bool {
		info, err := func() (Info, error) {
			in := NewInspector(H264)
			if _, err := in.Look(aus[0]); err != nil {
				return Info{}, err
			}
			return in.Look(au)
		}()
		return err == nil && !info.Key && info.Recovery > 0
	})
	if first < 1 {
		t.Fatal("the stream has no recovery point")
	}
	requireHonest(t, clean, decodeHarmed(t, H264, without(aus, 1)))
	harmed := decodeHarmed(t, H264, without(aus, 1))
	for _, s := range harmed {
		if i := int(s.pts / (40 * time.Millisecond)); i >= 2 && i <= first && !s.damaged {
			t.Errorf("picture %d is called clean before the recovery point at %d has run", i, first)
		}
	}
}

func TestTheInspectorSeesGapsKeysAndNewParameters(t *testing.T) {
	for _, kind := range []Kind{H264, H265} {
		t.Run(string(kind), func(t *testing.T) {
			aus := made(t, kind, "176x144", "-pix_fmt", "yuv420p", "-bf", "0", "-refs", "1")
			in := NewInspector(kind)
			for i, au := range aus {
				if i == 5 {
					continue
				}
				info, err := in.Look(au)
				if err != nil {
					t.Fatal(err)
				}
				// Unit 7 may still refer to what unit 5 was.
				want := Info{Key: i%10 == 0, Recovery: -1, Gap: i == 6, Picture: true, NewParams: i == 0}
				if i != 7 && info != want {
					t.Errorf("unit %d: %+v, want %+v", i, info, want)
				}
			}
		})
	}
}

func TestOnlySlicesAndParameterSetsReachTheDecoder(t *testing.T) {
	aus := made(t, H264, "176x144", "-pix_fmt", "yuv420p", "-bf", "0")
	clean := decodeHarmed(t, H264, aus)
	secret := []byte("user data of the camera")
	au := slices.Clone(aus[1])
	for _, typ := range []byte{6, 9, 12, 13, 14, 15, 19, 20, 21, 24, 31} {
		u := append([]byte{typ | 0x60, 0x80}, secret...)
		au = append([][]byte{u}, au...)
		au = append(au, u)
		// and in the shadow of another unit
		au[len(au)-2] = append(append(bytes.Clone(au[len(au)-2]), 0, 0, 1), u...)
	}
	harmed := slices.Clone(aus)
	harmed[1] = au
	in := NewInspector(H264)
	for i := range 2 {
		pics, err := in.split(harmed[i])
		if err != nil || len(pics) != 1 {
			t.Fatalf("%d pictures, %v", len(pics), err)
		}
		for _, u := range pics[0].units {
			if typ := u[0] & 31; typ != 1 && typ != 5 && typ != 7 && typ != 8 || bytes.Contains(u, secret) {
				t.Errorf("a unit of type %d would reach the decoder: %q", typ, u[:min(len(u), 40)])
			}
		}
	}
	for i, s := range decodeHarmed(t, H264, harmed) {
		if s != clean[i] {
			t.Errorf("picture %d differs from the clean stream's", i)
		}
	}
}

func TestParameterSetsInAUnitOfTheirOwnWaitForTheirPicture(t *testing.T) {
	aus := made(t, H264, "176x144", "-pix_fmt", "yuv420p", "-bf", "0")
	var apart [][][]byte
	for _, u := range aus[0] {
		apart = append(apart, [][]byte{u})
	}
	apart = append(apart, aus[1:]...)
	n := 0
	decodeAll(t, H264, apart, func(p Decoded) {
		if p.Damaged {
			t.Errorf("picture %d is called damaged", n)
		}
		n++
	})
	if n != len(aus) {
		t.Errorf("%d pictures, want %d", n, len(aus))
	}
}

// Some cameras say how their picture is turned with the second picture of each sequence: none of
// their key pictures may pass for one that is not turned.
func TestTurnIsNotForgottenAtAKeyPicture(t *testing.T) {
	aus := made(t, H264, "176x144", "-pix_fmt", "yuv420p", "-bf", "0")
	half := []byte{6, 47, 4, 0x10, 0, 0x0a, 0x80, 0x80} // not cancelled, not mirrored, 0x8000 / 2^16 of a turn
	for i := 1; i < len(aus); i += 10 {
		aus[i] = append([][]byte{half}, aus[i]...)
	}
	n := 0
	decodeAll(t, H264, aus, func(p Decoded) {
		want := 180
		if n == 0 {
			want = 0
		}
		if p.Geometry.Rotation != want {
			t.Errorf("picture %d is turned by %d degrees, want %d", n, p.Geometry.Rotation, want)
		}
		n++
	})
	if n != len(aus) {
		t.Errorf("%d pictures, want %d", n, len(aus))
	}
	n = 0
	plain := made(t, H264, "176x144", "-pix_fmt", "yuv420p", "-bf", "0")
	last := -1
	decodeAll(t, H264, append(aus, append(plain, plain...)...), func(p Decoded) {
		last = p.Geometry.Rotation
		n++
	})
	if last != 0 {
		t.Errorf("after two sequences that say nothing of a turn it is still %d degrees", last)
	}
}

func TestFingerprintIgnoresWhatCamerasChangeWithoutMeaning(t *testing.T) {
	g := Geometry{Kind: H264, Profile: 77, AspectW: 1, AspectH: 1, Depth: 8, Chroma: "4:2:0"}
	same := g
	same.FullRange = true
	other := []Geometry{g, g, g, g, g}
	other[0].Kind, other[1].Rotation, other[2].CropLeft, other[3].AspectW, other[4].Shown.Width = H265, 90, 2, 2, 5
	if same.Fingerprint() != g.Fingerprint() {
		t.Error("the range changes the fingerprint")
	}
	for i, o := range other {
		if o.Fingerprint() == g.Fingerprint() {
			t.Errorf("change %d does not change the fingerprint", i)
		}
	}
}
