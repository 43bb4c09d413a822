package configs

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/goccy/go-yaml"

	"custody-nvr/nvr"
)

const password = "hunter 2§"

func TestSecretNeverPrints(t *testing.T) {
	type open struct{ S Secret }
	type closed struct{ s Secret }
	s := NewSecret(password)
	var b bytes.Buffer
	for _, v := range []any{s, &s, open{s}, &open{s}, closed{s}, &closed{s}, []Secret{s}, map[string]Secret{"a": s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
	}
	fmt.Fprintln(&b, fmt.Errorf("x: %v", s))
	for _, form := range []string{password, fmt.Sprintf("%x", password), fmt.Sprintf("%X", password), fmt.Sprintf("%q", password), "hunter"} {
		if strings.Contains(b.String(), form) {
			t.Errorf("the password was printed as %q:\n%s", form, b.String())
		}
	}
	if got := fmt.Sprintf("%s %v %q", s, s, s); got != "[secret] [secret] [secret]" {
		t.Errorf("got %q", got)
	}
	if s.Reveal() != password {
		t.Error("the password is lost")
	}
}

func TestSecretIsNeverMarshalled(t *testing.T) {
	type holder struct{ S Secret }
	v := holder{NewSecret(password)}
	encoders := map[string]func() ([]byte, error){
		"json": func() ([]byte, error) { return json.Marshal(v) },
		"xml":  func() ([]byte, error) { return xml.Marshal(v) },
		"yaml": func() ([]byte, error) { return yaml.Marshal(v) },
		"gob":  func() ([]byte, error) { var b bytes.Buffer; err := gob.NewEncoder(&b).Encode(v); return b.Bytes(), err },
	}
	for name, encode := range encoders {
		t.Run(name, func(t *testing.T) {
			if got, err := encode(); err == nil || bytes.Contains(got, []byte("hunter")) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// suiteWith makes a suite with one camera and a state folder with its secrets folder.
func suiteWith(t *testing.T, cam Camera) *Suite {
	t.Helper()
	cam.ID, cam.Cell, cam.URL = "cell-01", "cell-01", "rtsp://192.0.2.1/"
	state := t.TempDir()
	if err := os.Mkdir(filepath.Join(state, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	return &Suite{Name: "x", State: state, Cameras: []Camera{cam}}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestPasswordIsReadFromWhereTheSuiteFileSays(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pw")
	write(t, file, password+"\n", 0o600)
	cases := []struct {
		name    string
		cam     Camera
		prepare func(t *testing.T, s *Suite)
		want    string
	}{
		{"no user, no password", Camera{}, func(*testing.T, *Suite) {}, ""},
		{"file", Camera{User: "a", PasswordFile: file}, func(*testing.T, *Suite) {}, password},
		{"environment", Camera{User: "a", PasswordEnv: "CUSTODY_TEST_PW"}, func(t *testing.T, _ *Suite) { t.Setenv("CUSTODY_TEST_PW", password) }, password},
		{"secrets folder", Camera{User: "a"}, func(t *testing.T, s *Suite) {
			write(t, filepath.Join(s.State, "secrets", "cell-01"), password+"\r\n", 0o600)
		}, password},
		{"systemd credential before secrets folder", Camera{User: "a"}, func(t *testing.T, s *Suite) {
			write(t, filepath.Join(s.State, "secrets", "cell-01"), "other", 0o600)
			d := t.TempDir()
			write(t, filepath.Join(d, "cell-01"), password, 0o440)
			t.Setenv("CREDENTIALS_DIRECTORY", d)
		}, password},
		{"secrets folder where systemd has no such credential", Camera{User: "a"}, func(t *testing.T, s *Suite) {
			write(t, filepath.Join(s.State, "secrets", "cell-01"), password, 0o600)
			t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
		}, password},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := suiteWith(t, c.cam)
			c.prepare(t, s)
			got, err := s.Password("cell-01")
			if err != nil || got.Reveal() != c.want {
				t.Errorf("got %q, %v", got.Reveal(), err)
			}
		})
	}
}

func TestPasswordIsRefusedWithWhatToDo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pw")
	at := Camera{User: "a", PasswordFile: file}
	put := func(text string, mode os.FileMode) func(*testing.T, *Suite) {
		return func(t *testing.T, _ *Suite) { write(t, file, text, mode) }
	}
	cases := []struct {
		name    string
		camera  nvr.CameraID
		cam     Camera
		prepare func(t *testing.T, s *Suite)
		want    string
	}{
		{"another camera", "cell-02", at, put("x", 0o600), "no such camera"},
		{"readable by the group", "cell-01", at, put(password, 0o640), "chmod 600 " + file},
		{"readable by all", "cell-01", at, put(password, 0o604), "chmod 600 " + file},
		{"empty", "cell-01", at, put("\n", 0o600), "is empty"},
		{"two lines", "cell-01", at, put(password+"\nx\n", 0o600), "several lines"},
		{"large", "cell-01", at, put(strings.Repeat("hunter", 1000), 0o600), "more than 1024 bytes"},
		{"not UTF-8", "cell-01", at, put("hunter\xff", 0o600), "not UTF-8"},
		{"missing", "cell-01", Camera{User: "a", PasswordFile: file + "x"}, put("", 0o600), file + "x: no such file"},
		{"folder", "cell-01", Camera{User: "a", PasswordFile: dir}, put("", 0o600), "is not a plain file"},
		{"FIFO", "cell-01", Camera{User: "a", PasswordFile: file + ".fifo"}, func(t *testing.T, _ *Suite) {
			if err := syscall.Mkfifo(file+".fifo", 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is not a plain file"},
		{"environment not set", "cell-01", Camera{User: "a", PasswordEnv: "CUSTODY_TEST_NONE"}, put("", 0o600), "CUSTODY_TEST_NONE is not set"},
		{"no secret", "cell-01", Camera{User: "a"}, put("", 0o600), "secrets/cell-01: no such file or directory; put the password into that file with mode 0600"},
		{"open secrets folder", "cell-01", Camera{User: "a"}, func(t *testing.T, s *Suite) {
			if err := os.Chmod(filepath.Join(s.State, "secrets"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "run: chmod 700"},
		{"link out of the secrets folder", "cell-01", Camera{User: "a"}, func(t *testing.T, s *Suite) {
			write(t, file, password, 0o600)
			if err := os.Symlink(file, filepath.Join(s.State, "secrets", "cell-01")); err != nil {
				t.Fatal(err)
			}
		}, "path escapes from parent"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := suiteWith(t, c.cam)
			c.prepare(t, s)
			got, err := s.Password(c.camera)
			if err == nil || !strings.Contains(err.Error(), c.want) || got.Reveal() != "" {
				t.Errorf("got %q, %v, want %q", got.Reveal(), err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}
