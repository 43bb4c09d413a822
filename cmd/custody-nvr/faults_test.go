package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"custody-nvr/configs"
	"custody-nvr/nvr"
	"custody-nvr/privacy/camera/fakecamera"
	"custody-nvr/recorder/live"
)

// What cameras do differently and is no fault: not one frame is missing, obscured or in another run.
func TestQuirksOfCamerasCostNothing(t *testing.T) {
	const lasts = 20 * time.Second
	rows := []faultRow{
		{name: "F-25 a time stamp hours out of line", fault: func(c *faultCase) {
			c.cam.JumpOnce(-9800 * time.Second)
			wait(5 * time.Second)
			c.cam.JumpOnce(37600 * time.Second)
		}},
		{name: "F-27 RTP time wraps", script: func(s *fakecamera.Script) { s.StartRTP = 1<<32 - 8*90000 }},
		{name: "F-29 B-frames", film: film{extra: "-bf 2 -x264-params bframes=2"}},
		{name: "F-30 fewer pictures than declared", script: func(s *fakecamera.Script) { s.Clock = 0.84 }, check: wallAnchored},
		{name: "F-31 a clock that is 2 % fast", script: func(s *fakecamera.Script) { s.Clock = 1.02 }, check: wallAnchored},
		{name: "F-32 parameter sets in the stream alone", script: func(s *fakecamera.Script) { s.NoParameters = true }},
		{name: "F-33 marker on parameter sets", script: func(s *fakecamera.Script) { s.Markers = fakecamera.MarkerOnParameter }},
		{name: "F-34 zeros after parameter sets", script: func(s *fakecamera.Script) { s.TrailingZero = true }},
		{name: "F-35 parameter sets that change without meaning", fault: func(c *faultCase) {
			for range 4 {
				switchTo(c.t, c.cam, sameShape)
				wait(2 * time.Second)
				switchTo(c.t, c.cam, film{})
				wait(2 * time.Second)
			}
		}},
		{name: "F-39 garbage between the packets", fault: func(c *faultCase) {
			for range 5 {
				c.cam.Garbage(777)
				wait(time.Second)
			}
		}},
		{name: "F-40 whole units as fragments, empty last ones", script: func(s *fakecamera.Script) { s.WholeFU, s.EmptyFU = true, true }},
		{name: "F-41 four slices", film: film{extra: "-x264-params slices=4"}},
		{name: "F-45 keep-alive within two seconds by OPTIONS", script: func(s *fakecamera.Script) {
			s.Timeout, s.Enforce, s.Public = 2, true, "OPTIONS, DESCRIBE, SETUP, PLAY"
		}},
		{name: "F-51 sender reports of 1970", script: func(s *fakecamera.Script) { s.RTCP = -56 * 365 * 24 * time.Hour }, check: wallAnchored},
		{name: "UDP, packets twice and out of order", script: func(s *fakecamera.Script) { s.Duplicate, s.Reorder = true, true },
			camera: func(c *configs.Camera) { c.Transport, c.UDPReason = "udp", "the camera knows nothing else" }},
	}
	sameShape.clip(t)
	for i := range rows {
		rows[i].lasts = lasts
	}
	runFaults(t, rows)
}

// sameShape is another stream of the same picture: other quantiser, other timing and colour in the
// parameter sets.
var sameShape = film{extra: "-crf 27 -r 12 -color_primaries bt709 -color_trc bt709 -colorspace bt709"}

// wallAnchored requires that frames are placed by the recorder's clock, whatever the camera's says.
func wallAnchored(c *faultCase) {
	worst := time.Duration(0)
	now, mono := c.rig.main.Clock.Wall(), c.now()
	for _, s := range c.book.of(c.id) {
		off := s.utc.Sub(now.Add(s.arrived - mono))
		worst = max(worst, off, -off)
	}
	c.figure("placed within %v of arrival", worst.Round(time.Millisecond))
	// A second of disagreement, for three seconds until it is believed, at 16 % of drift.
	if worst > c.book.allow(2*time.Second) {
		c.errorf("a frame stands %v away from when it arrived", worst)
	}
}

// A camera that stops giving pictures is NOT LIVE within three seconds and says why, and comes back
// by itself within five once it can.
func TestLostCamerasComeBack(t *testing.T) {
	thaw := func(c *faultCase) { c.cam.Thaw() }
	rows := []faultRow{
		{name: "F-22 no data", fault: func(c *faultCase) { c.cam.Freeze() }, says: nvr.CameraLost, words: "no picture", lasts: 6 * time.Second, mend: thaw},
		{name: "F-22 half-open", fault: func(c *faultCase) { c.cam.BlackHole() }, says: nvr.CameraLost, words: "no picture", lasts: 20 * time.Second, mend: thaw},
		{name: "F-23 RTCP and nothing else", fault: func(c *faultCase) { c.cam.RTCPOnly() }, says: nvr.CameraLost, words: "no picture", lasts: 6 * time.Second, mend: thaw},
		{name: "F-23 SSRC changes", fault: changeSSRC, says: nvr.CameraLost, words: "camera changes SSRC", mend: func(*faultCase) {}, back: 2 * time.Second},
		{name: "F-26 time stamps from zero in a new session", fault: func(c *faultCase) { c.cam.Disconnect() }, says: nvr.CameraLost, words: "closed the connection", mend: func(*faultCase) {}},
		{name: "F-26 the camera's clock is set", fault: func(c *faultCase) { c.cam.JumpRTP(-3 * time.Hour) }, says: nvr.CameraLost, words: "clock of the camera jumped", mend: func(*faultCase) {}},
		{name: "F-46 a reboot of 18 s", fault: func(c *faultCase) { c.cam.Stop() }, says: nvr.CameraLost, words: "check the camera's power and cable",
			within: 8 * time.Second, lasts: 18 * time.Second, mend: func(c *faultCase) { c.cam.StartAgain() }},
		{name: "F-47 absent at our start", broken: true, fault: func(c *faultCase) { c.cam.Stop() }, says: nvr.CameraLost, words: "connection refused",
			within: 8 * time.Second, lasts: 12 * time.Second, mend: func(c *faultCase) { c.cam.StartAgain() }},
		{name: "F-48 back with sound only", fault: func(c *faultCase) {
			c.cam.Change(func(s *fakecamera.Script) { s.NoVideo, s.Audio = true, true })
			c.cam.Disconnect()
		}, says: nvr.CameraLost, words: "audio PCMA/8000", within: 10 * time.Second, lasts: 10 * time.Second, mend: func(c *faultCase) {
			c.cam.Change(func(s *fakecamera.Script) { s.NoVideo = false })
		}},
		{name: "F-54 masker hangs", fault: hang, says: nvr.MaskerFault, words: "no sign of life", mend: func(*faultCase) {}},
		{name: "F-54 masker killed, in a camera of one session", script: func(s *fakecamera.Script) { s.MaxSessions = 1 },
			fault: func(c *faultCase) { c.rig.killMasker(c.id) }, says: nvr.MaskerFault, words: "SIGKILL", mend: func(*faultCase) {}},
	}
	runFaults(t, rows)
}

// changeSSRC changes it four times; each time the picture must be back soon, and then it must be said.
func changeSSRC(c *faultCase) {
	for i := range 4 {
		at := c.now()
		c.cam.ChangeSSRC()
		var gone, first shot
		c.until("a new run", 12*time.Second, func() bool {
			gone, _ = c.book.lastBefore(c.id, at)
			for _, s := range c.book.of(c.id) {
				if s.arrived > at && s.run != gone.run && s.obscured == nvr.Recorded {
					first = s
					return true
				}
			}
			return false
		})
		took := first.arrived - at
		c.figure("change %d: back after %v", i+1, took.Round(time.Millisecond))
		// Half a second to be sure of it, the new session, and up to a second to its key picture.
		if took > c.book.allow(2500*time.Millisecond) {
			c.errorf("after change %d of SSRC the picture came back after %v", i+1, took)
		}
	}
	c.hurt = c.now() - 3*time.Second // what is said of the last one
}

// hang stops the masker as a hanging decoder would: it must be dead within two seconds.
func hang(c *faultCase) {
	pid := c.rig.main.maskers[c.id].State().PID
	at := c.now()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		c.fatalf("stop masker: %v", err)
	}
	c.until("the end of the masker", 20*time.Second, func() bool { return syscall.Kill(pid, 0) != nil })
	took := c.now() - at
	c.figure("dead after %v", took.Round(time.Millisecond))
	if took > c.book.allow(2*time.Second) {
		c.errorf("a hanging masker lived for %v, at most 2 s", took)
	}
}

// A camera that can not be used says why in words that tell what to do, disturbs nobody, and is not
// asked so often that it locks us out.
func TestUnusableCamerasSayWhy(t *testing.T) {
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	withPassword := func(c *configs.Camera) { c.User, c.PasswordFile = "admin", password }
	auth := func(a fakecamera.Auth) func(*fakecamera.Script) {
		a.User = "admin"
		return func(s *fakecamera.Script) { s.Auth = a }
	}
	sdp := func(lines string) func(*fakecamera.Script) {
		return func(s *fakecamera.Script) { s.SDP = func(string) string { return "v=0\r\ns=x\r\n" + lines } }
	}
	status := func(method, line string) func(*fakecamera.Script) {
		return func(s *fakecamera.Script) { s.Status = map[string]string{method: line} }
	}
	fewLogIns := func(c *faultCase) {
		n := c.cam.Counters()
		c.figure("%d log-ins in %v", n.LogIns, (c.now() - c.hurt).Round(time.Second))
		if n.LogIns > 2 {
			c.errorf("%d log-ins in %v, at most 2", n.LogIns, c.now()-c.hurt)
		}
	}
	rows := []faultRow{
		{name: "wrong password", script: auth(fakecamera.Auth{Password: "another"}), camera: withPassword, words: "refuses this user name and password (401", check: fewLogIns},
		{name: "F-43 401 for ever", script: auth(fakecamera.Auth{Password: "hunter2", Always: true}), camera: withPassword, words: "401", check: fewLogIns},
		{name: "F-42 a log-in that we do not know", script: auth(fakecamera.Auth{Password: "hunter2", Offers: []string{`Digest realm="r", nonce="NONCE", algorithm=SHA-512-256`}}), camera: withPassword, words: "SHA-512-256", check: fewLogIns},
		{name: "F-44 no session left", script: status("SETUP", "453 Not Enough Bandwidth"), words: "no session or bandwidth left (453"},
		{name: "wrong path", camera: func(c *configs.Camera) { c.URL += "-not" }, words: "no stream of this name (404"},
		{name: "wrong address", camera: func(c *configs.Camera) { c.URL = "rtsp://127.0.0.1:1/stream" }, words: "check the camera's power and cable"},
		{name: "no video track", script: func(s *fakecamera.Script) { s.NoVideo, s.Metadata = true, true }, words: "vnd.onvif.metadata"},
		{name: "Motion JPEG", script: sdp("m=video 0 RTP/AVP 26\r\n"), words: "Motion JPEG"},
		{name: "MPEG-4", script: sdp("m=video 0 RTP/AVP 96\r\na=rtpmap:96 MP4V-ES/90000\r\n"), words: "MP4V-ES"},
		{name: "F-49 redirects elsewhere", script: func(s *fakecamera.Script) { s.Redirect = "rtsp://192.0.2.7/stream" }, words: "192.0.2.7"},
		{name: "F-53 10,000 NAL units in one picture", fault: func(c *faultCase) {
			units := film{}.clip(c.t).Units
			many := [][]byte{}
			for range 10_000 {
				many = append(many, []byte{0x09, 0x10}) // delimiters
			}
			crowded := mapNALs(units, func(nal []byte) []byte { return nal })
			for i := range crowded {
				crowded[i] = append(append([][]byte{}, many...), crowded[i]...)
			}
			c.cam.Change(func(s *fakecamera.Script) { s.Units = crowded })
		}, words: "more than 4096 NAL units", within: 8 * time.Second},
		{name: "F-53 a picture of 17 MB", fault: func(c *faultCase) {
			huge := mapNALs(film{}.clip(c.t).Units, func(nal []byte) []byte {
				if nalType(nal) == 5 {
					return append(append([]byte{}, nal...), bytes.Repeat([]byte{0x55}, 17<<20)...)
				}
				return nal
			})
			c.cam.Change(func(s *fakecamera.Script) { s.Units, s.FPS = huge[:1], 2 })
		}, words: "16 MiB", within: 12 * time.Second, check: littleMemory},
		{name: "F-53 parameter sets of 16384x16384", fault: lyingCamera(1024, 1024), words: "16384x16384", within: 8 * time.Second, check: littleMemory},
		{name: "parameter sets that lie: twice the size", fault: lyingCamera(40, 22), says: nvr.ObscuredDamaged, words: "waiting for a clean key picture"},
	}
	for i := range rows {
		rows[i].broken = true
		if rows[i].says == nvr.Recorded {
			rows[i].says = nvr.CameraLost
		}
		rows[i].lasts = 20 * time.Second
		if rows[i].within == 0 {
			rows[i].within = 8 * time.Second // from the start of the recorder
		}
	}
	runFaults(t, rows)
}

// lyingCamera claims a picture that its slices are not of.
func lyingCamera(wide, high uint) func(*faultCase) {
	return func(c *faultCase) {
		units := withSPS(film{}.clip(c.t).Units, lyingSPS(wide, high))
		c.cam.Change(func(s *fakecamera.Script) { s.Units = units })
	}
}

// littleMemory holds a masker to what a hostile camera may make it use (F-53).
func littleMemory(c *faultCase) {
	kib := c.book.peak(c.id)
	c.figure("masker at most %d MiB resident", kib>>10)
	if kib == 0 || kib > 512<<10 {
		c.errorf("the masker had %d MiB resident, at most 512", kib>>10)
	}
}

// A stream that is damaged, or of another picture than the mask was drawn on, is obscured whole and
// says so; the picture is back by itself when the stream is clean, or when the right one is back.
func TestDoubtfulPicturesAreObscured(t *testing.T) {
	plainAgain := func(c *faultCase) { switchTo(c.t, c.cam, film{}) }
	to := func(f film) func(*faultCase) {
		f.clip(t) // made now, not when time counts
		return func(c *faultCase) { switchTo(c.t, c.cam, f) }
	}
	// No frame of the bright picture may come out plain: the mask lies elsewhere on it.
	neverBright := func(c *faultCase) {
		for _, s := range c.book.of(c.id) {
			if s.obscured == nvr.Recorded && s.luma > 190 {
				c.errorf("frame %d of run %s shows the other picture", s.seq, s.run)
				return
			}
		}
	}
	rows := []faultRow{
		{name: "F-28 sequence reset", fault: func(c *faultCase) { c.cam.ResetSequence() }, says: nvr.ObscuredDamaged, mend: func(*faultCase) {}, back: 2 * time.Second},
		{name: "F-36 another size", film: film{}, fault: to(film{source: "color=white:s=640x360:r=10,noise=alls=8:allf=t"}), says: nvr.ObscuredWrongSize, words: "640x360", lasts: 3 * time.Second, mend: plainAgain, check: neverBright},
		{name: "F-36 another crop", fault: to(film{source: bright, extra: "-bsf:v h264_metadata=crop_left=16:crop_right=16"}), says: nvr.ObscuredWrongSize, words: "288x180", lasts: 3 * time.Second, mend: plainAgain, check: neverBright},
		{name: "F-36 the same size out of another crop", fault: to(film{source: "color=white:s=336x180:r=10,noise=alls=8:allf=t", extra: "-bsf:v h264_metadata=crop_left=16"}), says: nvr.ObscuredViewMoved, words: "look at it, then accept it. It is h264 profile 100 coded 336x192p at 16,0", lasts: 3 * time.Second, mend: plainAgain, check: neverBright},
		{name: "F-36 another shape of pixels", fault: to(film{source: bright, extra: "-bsf:v h264_metadata=sample_aspect_ratio=16/11"}), says: nvr.ObscuredWrongSize, words: "pixel aspect is 16:11", lasts: 3 * time.Second, mend: plainAgain, check: neverBright},
		{name: "F-36 turned upside down", fault: to(film{source: bright, extra: "-bsf:v h264_metadata=display_orientation=insert:rotate=180"}), says: nvr.ObscuredWrongSize, words: "turned by 180 degrees", lasts: 3 * time.Second, mend: plainAgain, check: neverBright},
		{name: "F-36 another coding", fault: to(film{source: bright, kind: "h265"}), says: nvr.ObscuredViewMoved, words: "another camera, or set differently", within: 12 * time.Second, lasts: 3 * time.Second, mend: func(c *faultCase) {
			switchTo(c.t, c.cam, film{})
			c.cam.Disconnect()
		}, back: 6 * time.Second, check: neverBright},
		{name: "F-36 another size from the start", broken: true, film: film{source: "color=white:s=640x360:r=10,noise=alls=8:allf=t"}, says: nvr.ObscuredWrongSize, words: "640x360, the mask was drawn on 320x180", within: 10 * time.Second, lasts: 8 * time.Second, mend: plainAgain, check: neverBright},
		{name: "F-37 no key picture for minutes", broken: true, fault: func(c *faultCase) {
			c.cam.Change(func(s *fakecamera.Script) { s.Units = withoutKeys(s.Units) })
		}, says: nvr.ObscuredDamaged, words: "waiting for a clean key picture", within: 10 * time.Second, lasts: 20 * time.Second, mend: plainAgain, check: noMaskerFault},
		{name: "F-32 no parameter sets at all", broken: true, fault: func(c *faultCase) {
			c.cam.Change(func(s *fakecamera.Script) {
				s.Units = mapNALs(s.Units, func(nal []byte) []byte {
					if typ := nalType(nal); typ == 7 || typ == 8 {
						return nil
					}
					return nal
				})
			})
		}, says: nvr.ObscuredDamaged, words: "waiting for a clean key picture", within: 12 * time.Second, lasts: 12 * time.Second, mend: plainAgain, check: noMaskerFault},
		{name: "F-38 a tenth of the packets lost", fault: func(c *faultCase) { c.cam.Drop(10) }, says: nvr.ObscuredDamaged, words: "waiting for a clean key picture", lasts: 10 * time.Second, mend: func(c *faultCase) { c.cam.Drop(0) }},
		{name: "F-38 a third of the packets lost", fault: func(c *faultCase) { c.cam.Drop(30) }, says: nvr.ObscuredDamaged, words: "waiting for a clean key picture", lasts: 10 * time.Second, mend: func(c *faultCase) { c.cam.Drop(0) }},
		{name: "parameter sets that lie: slices of another size", fault: func(c *faultCase) {
			small := film{source: "testsrc2=s=160x96:r=10"}.clip(c.t).Units
			var sps []byte
			mapNALs(film{}.clip(c.t).Units, func(nal []byte) []byte {
				if nalType(nal) == 7 {
					sps = nal
				}
				return nal
			})
			c.cam.SwitchTo("h264", withSPS(small, sps))
		}, says: nvr.ObscuredDamaged, lasts: 6 * time.Second, mend: plainAgain},
		{name: "F-53 a burst of 240 pictures a second", fault: func(c *faultCase) { c.cam.Change(func(s *fakecamera.Script) { s.FPS = 240 }) },
			lasts: 5 * time.Second, mend: func(c *faultCase) { c.cam.Change(func(s *fakecamera.Script) { s.FPS = 10 }) }, check: littleMemory},
	}
	film{source: "testsrc2=s=160x96:r=10"}.clip(t)
	runFaults(t, rows)
}

// withoutKeys leaves parameter sets and all pictures but the key ones.
func withoutKeys(units [][][]byte) [][][]byte {
	return mapNALs(units, func(nal []byte) []byte {
		if nalType(nal) == 5 {
			return nil
		}
		return nal
	})
}

// noMaskerFault requires that a poor stream is not taken for a fault of our own.
func noMaskerFault(c *faultCase) {
	if m, ok := c.book.said(c.id, 0, func(s live.State) bool { return s.Cause == nvr.MaskerFault }); ok {
		c.errorf("the tile said %q: %s", m.Cause, m.Detail)
	}
	if n := c.rig.main.maskers[c.id].State().Faults; n > 0 {
		c.errorf("%d masker faults", n)
	}
}

// A camera that sends one picture for ever says PICTURE NOT CHANGING by 15 s, and the picture stays;
// a quiet cell does not (F-55).
func TestFrozenPictureIsSaid(t *testing.T) {
	still := film{source: quiet}.clip(t).Units[:1]
	notChanging := func(s live.State) bool { return s.Cause == nvr.Recorded && s.NotChanging }
	rows := []faultRow{
		{name: "F-55 the same picture again and again", film: film{source: quiet}, fault: func(c *faultCase) {
			c.cam.SwitchTo("h264", still)
			at := c.now()
			var m moment
			c.until("PICTURE NOT CHANGING", 40*time.Second, func() (ok bool) {
				m, ok = c.book.said(c.id, at, notChanging)
				return ok
			})
			c.figure("said after %v", (m.at - at).Round(time.Millisecond))
			if m.at-at > c.book.allow(15*time.Second) {
				c.errorf("it was said after %v, at most 15 s", m.at-at)
			}
			c.cam.SwitchTo("h264", film{source: quiet}.clip(c.t).Units)
			c.until("the end of PICTURE NOT CHANGING", 10*time.Second, func() bool { return !c.rig.main.hub.State(c.id).NotChanging })
		}},
		{name: "F-55 a still picture that the camera codes anew", film: film{source: "color=gray:s=320x180:r=10", extra: "-qp 26"}, fault: func(c *faultCase) {
			c.until("PICTURE NOT CHANGING", 40*time.Second, func() bool {
				_, ok := c.book.said(c.id, 0, notChanging)
				return ok
			})
		}},
		{name: "a quiet cell at night", film: film{source: quiet}, lasts: 25 * time.Second, check: func(c *faultCase) {
			if m, ok := c.book.said(c.id, 0, func(s live.State) bool { return s.NotChanging }); ok {
				c.errorf("%v after its first picture a quiet cell was said not to change", m.at-c.book.of(c.id)[0].arrived)
			}
		}},
	}
	runFaults(t, rows)
}

// A camera that speaks nonsense at every level ends nobody but its own masker (F-52, T-10).
func TestHostileCamerasDisturbNobody(t *testing.T) {
	var rows []faultRow
	for _, seed := range []uint64{3, 17, 101, 4711} {
		rows = append(rows, faultRow{name: "F-52 hostile camera", says: nvr.Recorded, mend: nil, broken: true,
			script: func(s *fakecamera.Script) { s.Hostile = seed }})
	}
	runHostile(t, rows)
}

// runHostile only requires that the witnesses are well and that words stand on the tile.
func runHostile(t *testing.T, rows []faultRow) {
	t.Helper()
	t.Parallel()
	film := film{}
	well := fakecamera.Start(t, film.script(t))
	cams := []rigCamera{filmed(well.URL(), nil)}
	for _, row := range rows {
		s := film.script(t)
		row.script(&s)
		cams = append(cams, filmed(fakecamera.Start(t, s).URL(), nil))
	}
	r := startRig(t, cams...)
	book := r.follow()
	began := r.main.Clock.Wall().UTC()
	r.waitState("cell-01", nvr.Recorded, 60*time.Second)
	wait(20 * time.Second)
	if wrong := book.unbroken("cell-01"); wrong != "" {
		t.Errorf("the witness lost pictures: %s", wrong)
	}
	for id := range r.main.maskers {
		spans, err := book.coverage(id, began, r.main.Clock.Wall().UTC().Add(-3*time.Second))
		if err != nil {
			t.Error(err)
			continue
		}
		if wrong := book.sound(id, spans, time.Second); wrong != "" {
			t.Errorf("coverage of %s: %s\n%s%s", id, wrong, book.history(id), spanText(spans))
		}
		if kib := book.peak(id); kib > 512<<10 {
			t.Errorf("the masker of %s had %d MiB resident", id, kib>>10)
		}
		var said []string
		for _, m := range book.moments(id) {
			if m.Cause.IsMissing() && m.Detail == "" {
				t.Errorf("the tile of %s said %q without a word why", id, m.Cause)
			}
			if !strings.Contains(strings.Join(said, "; "), m.Detail) {
				said = append(said, m.Detail)
			}
		}
		t.Logf("%s said: %s", id, strings.Join(said, "; "))
	}
}

// The system clock goes back by an hour in the middle of a stall: NOT LIVE comes as soon as ever, and so
// does the picture (F-24).
func TestClockStepHidesNoStall(t *testing.T) {
	t.Parallel()
	cam := fakecamera.Start(t, film{}.script(t))
	var back atomic.Int64
	r := startPreparedRig(t, t.TempDir(), func(m *Main) {
		m.Clock = systemClock()
		wall := m.Clock.Wall
		m.Clock.Wall = func() time.Time { return wall().Add(-time.Duration(back.Load())) }
	}, filmed(cam.URL(), nil))
	book := r.follow()
	r.waitState("cell-01", nvr.Recorded, 30*time.Second)
	wait(2 * time.Second)
	cam.Freeze()
	wait(time.Second)
	back.Store(int64(time.Hour))
	r.waitState("cell-01", nvr.CameraLost, 10*time.Second)
	last, _ := book.lastBefore("cell-01", r.main.Clock.Mono())
	if took := r.main.hub.State("cell-01").Since - last.arrived; took > book.allow(3*time.Second) {
		t.Errorf("the tile said so %v after the last picture, at most 3 s", took)
	}
	wait(2 * time.Second)
	thawed := r.main.Clock.Mono()
	cam.Thaw()
	r.waitState("cell-01", nvr.Recorded, 15*time.Second)
	if first, ok := book.firstAfter("cell-01", thawed); !ok || first.arrived-thawed > book.allow(5*time.Second) {
		t.Errorf("the picture came back %v after the camera did, at most 5 s", first.arrived-thawed)
	}
	wait(6 * time.Second)
	// A step back leaves no time between, so nothing of it stands in the coverage but both its sides.
	now := r.main.Clock.Wall().UTC()
	spans, err := r.main.archive.Coverage("cell-01", now.Add(-time.Minute), now)
	if err != nil {
		t.Fatal(err)
	}
	if wrong := onlyRecorded(spans); wrong != "" {
		t.Errorf("coverage after the step: %s\n%s", wrong, spanText(spans))
	}
	for i, s := range spans[1:] {
		if !s.From.Equal(spans[i].To) {
			t.Errorf("a hole in the coverage at %v", spans[i].To)
		}
	}
}
