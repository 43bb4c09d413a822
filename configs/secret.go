package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"unicode/utf8"

	"custody-nvr/nvr"
)

// A Secret is a password that cannot be printed, logged or marshalled by accident. The zero Secret
// is that of a camera without log-in.
type Secret struct {
	// A pointer, because fmt prints the fields of a Secret that lies in an unexported field of
	// another struct without asking its methods: then an address is all there is to see.
	text *string
}

const hidden = "[secret]"

// errSecret is what every encoder gets.
var errSecret = errors.New("a secret is never written anywhere")

// NewSecret wraps a password, for tests and for what is typed at a prompt.
func NewSecret(password string) Secret { return Secret{&password} }

// Reveal returns the password. Only the message that hands it to the masker needs it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

func (s Secret) String() string                 { return hidden }
func (s Secret) GoString() string               { return hidden }
func (s Secret) Format(f fmt.State, _ rune)     { io.WriteString(f, hidden) }
func (s Secret) LogValue() slog.Value           { return slog.StringValue(hidden) }
func (s Secret) MarshalJSON() ([]byte, error)   { return nil, errSecret }
func (s Secret) MarshalText() ([]byte, error)   { return nil, errSecret }
func (s Secret) MarshalYAML() ([]byte, error)   { return nil, errSecret }
func (s Secret) MarshalBinary() ([]byte, error) { return nil, errSecret }

// maxSecret is the largest password file in bytes.
const maxSecret = 1024

// secretsFolder is the folder of camera passwords in the state folder.
const secretsFolder = "secrets"

// Password reads the password of a camera from where the suite file says: a file, an environment
// variable, else the systemd credential with the camera's id, else STATE/secrets/ID. A camera
// without user has none. Errors say what to do and never hold the password.
func (s *Suite) Password(id nvr.CameraID) (Secret, error) {
	cam, ok := s.CameraByID(id)
	if !ok {
		return Secret{}, fmt.Errorf("password of camera %s: no such camera", id)
	}
	secret, err := s.password(&cam)
	if err != nil {
		return Secret{}, fmt.Errorf("password of camera %s: %w", id, err)
	}
	return secret, nil
}

func (s *Suite) password(cam *Camera) (Secret, error) {
	switch {
	case cam.User == "":
		return Secret{}, nil
	case cam.PasswordFile != "":
		dir, err := os.OpenRoot(filepath.Dir(cam.PasswordFile))
		if err != nil {
			return Secret{}, err
		}
		defer dir.Close()
		return readSecret(dir, filepath.Base(cam.PasswordFile), cam.PasswordFile, true)
	case cam.PasswordEnv != "":
		v, ok := os.LookupEnv(cam.PasswordEnv)
		if !ok {
			return Secret{}, fmt.Errorf("environment variable %s is not set", cam.PasswordEnv)
		}
		return secretOf([]byte(v), "environment variable "+cam.PasswordEnv)
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		// systemd made this folder for this service alone; the modes of its files are its business.
		secret, err := secretIn(dir, string(cam.ID), false)
		if !errors.Is(err, fs.ErrNotExist) {
			return secret, err
		}
	}
	secret, err := secretIn(filepath.Join(s.State, secretsFolder), string(cam.ID), true)
	if errors.Is(err, fs.ErrNotExist) {
		return Secret{}, fmt.Errorf("%w; put the password into that file with mode 0600, or name password_file or password_env in the suite file", err)
	}
	return secret, err
}

// secretIn reads the file name in the folder dir, which no symbolic link can lead out of.
func secretIn(dir, name string, private bool) (Secret, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Secret{}, err
	}
	defer root.Close()
	full := filepath.Join(dir, name)
	if private {
		st, err := root.Stat(".")
		if err != nil {
			return Secret{}, err
		}
		if st.Mode().Perm()&0o077 != 0 {
			return Secret{}, fmt.Errorf("%s is open to other users (mode %04o); run: chmod 700 %s", dir, st.Mode().Perm(), dir)
		}
	}
	return readSecret(root, name, full, private)
}

// readSecret reads one password file; full is its name for people.
func readSecret(root *os.Root, name, full string, private bool) (Secret, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not make it wait
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = &fs.PathError{Op: p.Op, Path: full, Err: p.Err}
		}
		return Secret{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return Secret{}, err
	case !st.Mode().IsRegular():
		return Secret{}, fmt.Errorf("%s is not a plain file", full)
	case private && st.Mode().Perm()&0o077 != 0:
		return Secret{}, fmt.Errorf("%s is open to other users (mode %04o); run: chmod 600 %s (and change the password if others may have read it)", full, st.Mode().Perm(), full)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return Secret{}, err
	}
	return secretOf(data, full)
}

// secretOf checks a password and takes off one line end.
func secretOf(data []byte, from string) (Secret, error) {
	if len(data) > maxSecret {
		return Secret{}, fmt.Errorf("%s holds more than %d bytes: it must hold the password and nothing else", from, maxSecret)
	}
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	switch {
	case len(data) == 0:
		return Secret{}, fmt.Errorf("%s is empty", from)
	case bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Secret{}, fmt.Errorf("%s holds several lines or a control character: it must hold the password and nothing else", from)
	case !utf8.Valid(data):
		return Secret{}, fmt.Errorf("%s is not UTF-8 text", from)
	}
	return NewSecret(string(data)), nil
}
