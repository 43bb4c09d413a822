package nvr

import "testing"

func TestFingerprintsHaveOneForm(t *testing.T) {
	const good = "h264 profile 100 coded 1920x1088p at 0,0 shown 1920x1080 pixel 1:1 turn 0 depth 8 chroma 4:2:0"
	cases := []struct {
		text string
		ok   bool
	}{
		{good, true},
		{good + ` from "Media Presentation"`, true},
		{good + ` from "say \"hello\""`, true},
		{"", false},
		{"garbage", false},
		{"h264 high 1280x720 sar 1:1", false},
		{good + "\n", false},
		{good + ` from "a` + "\n" + `b"`, false},
	}
	for _, c := range cases {
		t.Run(c.text, func(t *testing.T) {
			if err := ValidFingerprint(c.text); (err == nil) != c.ok {
				t.Errorf("%v, want ok=%t", err, c.ok)
			}
		})
	}
}
