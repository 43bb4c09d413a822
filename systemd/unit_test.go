package systemd

import (
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// unit is the [Service] and other sections of a unit file: "Section.Key" to its lines in order.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok || section == "" {
				t.Fatalf("%s: %q is no directive", name, line)
			}
			got[section+"."+key] = append(got[section+"."+key], value)
		}
	}
	return got
}

// hard is what the service must say, and why.
var hard = []struct{ key, want, why string }{
	{"Service.User", "custody-nvr", "nothing of it runs as root"},
	{"Service.NoNewPrivileges", "yes", "seccomp and Landlock need it, and no setuid program helps an intruder"},
	{"Service.CapabilityBoundingSet", "", "it needs no right of root"},
	{"Service.AmbientCapabilities", "", "it needs no right of root"},
	{"Service.ProtectSystem", "strict", "it writes its state and its volumes, nothing else"},
	{"Service.ProtectHome", "yes", "people's files are not its business"},
	{"Service.PrivateTmp", "yes", "nobody looks into its temporary files"},
	{"Service.PrivateDevices", "yes", "no disk and no memory device is opened raw"},
	{"Service.PrivateUsers", "yes", "root outside is nobody inside"},
	{"Service.ProtectClock", "yes", "the clock decides on retention: it is not ours to set"},
	{"Service.ProtectKernelTunables", "yes", "the kernel's settings are not its business"},
	{"Service.ProtectKernelModules", "yes", "the kernel's code is not its business"},
	{"Service.ProtectKernelLogs", "yes", "the kernel's log is not its business"},
	{"Service.ProtectControlGroups", "yes", "it cannot lift its own limits"},
	{"Service.ProtectHostname", "yes", "the name stands in exhibits"},
	{"Service.ProtectProc", "invisible", "other processes are not its business"},
	{"Service.MemorySwapMax", "0", "unmasked pictures never go to a disk by way of swap"},
	{"Service.LimitCORE", "0", "unmasked pictures never go to a disk by way of a core"},
	{"Service.UMask", "0077", "footage and keys are nobody else's"},
	{"Service.StateDirectoryMode", "0700", "keys and passwords are nobody else's"},
	{"Service.RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX", "no raw, netlink or packet socket"},
	{"Service.IPAddressDeny", "any", "footage cannot be sent to the internet"},
	{"Service.RestrictNamespaces", "yes", "namespaces are a way round walls"},
	{"Service.RestrictSUIDSGID", "yes", "it makes no program that runs as another"},
	{"Service.RestrictRealtime", "yes", "it cannot starve the machine"},
	{"Service.LockPersonality", "yes", "old kernel modes are a way round walls"},
	{"Service.MemoryDenyWriteExecute", "yes", "no code is made at run time"},
	{"Service.SystemCallArchitectures", "native", "32-bit calls are a way round the filter"},
	{"Service.SystemCallErrorNumber", "EPERM", "a masker's probe must be told no, not be killed"},
	{"Service.Restart", "always", "an occupied suite needs its recorder"},
	{"Unit.StartLimitIntervalSec", "0", "it is restarted without limit"},
}

func TestUnitIsHardened(t *testing.T) {
	u := unit(t, "custody-nvr.service")
	for _, h := range hard {
		if got := u[h.key]; len(got) != 1 || got[0] != h.want {
			t.Errorf("%s is %q, must be %q once: %s", h.key, got, h.want, h.why)
		}
	}
	for _, word := range u["Service.IPAddressAllow"] {
		for net := range strings.FieldsSeq(word) {
			if !slices.Contains([]string{"localhost", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"}, net) {
				t.Errorf("IPAddressAllow lets %s pass: the unit as shipped reaches private networks only", net)
			}
		}
	}
	for key := range u {
		for _, bad := range []string{"Service.PermissionsStartOnly", "Service.RootDirectoryStartOnly", "Service.SecureBits", "Service.DeviceAllow", "Service.SupplementaryGroups"} {
			if key == bad {
				t.Errorf("%s: the unit as shipped needs none", key)
			}
		}
	}
	if start := u["Service.ExecStart"]; len(start) != 1 || strings.ContainsAny(start[0][:1], "+!-@:") {
		t.Errorf("ExecStart is %q: no prefix may lift what stands above", start)
	}
}

// called are the system calls that the recorder and its maskers make and that a filter is apt to
// take away; forbidden are those that nothing of it may make.
var (
	called = []string{
		"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp", "prctl", "prlimit64", // a masker's walls
		"clone3", "clone", "execve", "pidfd_open", "pidfd_send_signal", "waitid", "socketpair", "sendmsg", "recvmsg", "kill", "tgkill", // the parent of maskers
		"openat", "openat2", "renameat2", "unlinkat", "fsync", "fdatasync", "syncfs", "statfs", "flock", "fallocate", "ftruncate", "mmap", // the archive
		"socket", "connect", "bind", "listen", "accept4", "epoll_pwait", "futex", "getrandom", "clock_gettime", "sched_getaffinity", "rt_sigaction",
	}
	forbidden = []string{
		"mount", "umount2", "pivot_root", "chroot", "swapon", "reboot", "init_module", "kexec_load", "bpf", "perf_event_open",
		"ptrace", "clock_settime", "settimeofday", "setuid", "setgroups", "chown", "fchownat", "add_key", "mlockall",
	}
)

func TestUnitLetsMaskersBuildTheirWalls(t *testing.T) {
	analyze := analyzer(t)
	sets := callSets(t, analyze)
	allowed := map[string]bool{}
	for i, line := range unit(t, "custody-nvr.service")["Service.SystemCallFilter"] {
		words, deny := strings.CutPrefix(line, "~")
		if deny && i == 0 {
			t.Fatal("the first SystemCallFilter denies: all other calls would be allowed")
		}
		for word := range strings.FieldsSeq(words) {
			for _, call := range expand(t, sets, word) {
				if deny {
					delete(allowed, call)
				} else {
					allowed[call] = true
				}
			}
		}
	}
	for _, call := range expand(t, sets, "@default") { // systemd allows it always
		allowed[call] = true
	}
	for _, call := range called {
		if !allowed[call] {
			t.Errorf("%s is refused, and the recorder or a masker needs it", call)
		}
	}
	for _, call := range forbidden {
		if allowed[call] {
			t.Errorf("%s is allowed, and nothing of the recorder needs it", call)
		}
	}
	if len(allowed) < 150 || len(allowed) > 400 {
		t.Errorf("%d calls are allowed: the sets were not read right", len(allowed))
	}
}

// callSets asks systemd which calls its sets hold.
func callSets(t *testing.T, analyze string) map[string][]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), analyze, "--no-pager", "syscall-filter").Output()
	if err != nil {
		t.Fatal(err)
	}
	sets := map[string][]string{}
	set := ""
	for line := range strings.Lines(string(out)) {
		word := strings.TrimSpace(line)
		switch {
		case word == "" || strings.HasPrefix(word, "#"):
		case !strings.HasPrefix(line, " "):
			set = word
		default:
			sets[set] = append(sets[set], word)
		}
	}
	return sets
}

func expand(t *testing.T, sets map[string][]string, word string) []string {
	t.Helper()
	if !strings.HasPrefix(word, "@") {
		return []string{word}
	}
	if sets[word] == nil {
		t.Fatalf("systemd does not know the set %s; it knows %v", word, slices.Sorted(maps.Keys(sets)))
	}
	var calls []string
	for _, w := range sets[word] {
		calls = append(calls, expand(t, sets, w)...)
	}
	return calls
}

func TestExposureIsAtMostOnePointFive(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), analyzer(t), "--no-pager", "security", "--offline=true", "--threshold=15", "custody-nvr.service").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "Overall exposure level") {
		t.Fatalf("systemd-analyze said nothing of the exposure:\n%s", out)
	}
}

// analyzer finds systemd-analyze.
func analyzer(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed: the unit cannot be weighed (apt-get install systemd)")
	}
	return path
}

// TestFoldersBelongToTheRecorder: nothing that is created at boot is open to others or cleaned by age.
func TestFoldersBelongToTheRecorder(t *testing.T) {
	text, err := os.ReadFile("custody-nvr.tmpfiles")
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]string{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) != 6 || f[0] != "d" || f[5] != "-" || !strings.HasSuffix(f[2], "0") {
			t.Errorf("%q: want d, path, mode without rights for others, user, group and no age", line)
			continue
		}
		folders[f[1]] = strings.Join(f[2:5], " ")
	}
	want := map[string]string{
		"/etc/custody-nvr":             "0750 root custody-nvr",
		"/var/lib/custody-nvr":         "0700 custody-nvr custody-nvr",
		"/var/lib/custody-nvr/secrets": "0700 custody-nvr custody-nvr",
		"/srv/custody-nvr":             "0750 custody-nvr custody-nvr",
	}
	if !maps.Equal(folders, want) {
		t.Errorf("got %v, want %v", folders, want)
	}
	users, err := os.ReadFile("custody-nvr.sysusers")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(users), "u custody-nvr - ") || !strings.Contains(string(users), "/usr/sbin/nologin") {
		t.Errorf("the recorder's user must be one of the system, without a shell:\n%s", users)
	}
}
