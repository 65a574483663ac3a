package rootfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tools puts programs of our own before those of this machine.
func tools(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range scripts {
		put1(t, dir, name, "#!/bin/sh\n"+text, 0o755)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// One system of which there are many: nothing in it says which machine it is, nor where it was made.
func TestDebianBecomesASystemForManyMachines(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv("LOG", log)
	tools(t, map[string]string{
		"mmdebstrap": `echo "mmdebstrap $* INITRD=$INITRD" >> $LOG
for last; do :; done
eval "dir=\${$(($# - 1))}"
mkdir -p $dir/etc/systemd/system $dir/root $dir/usr/bin
echo this-machine > $dir/etc/hostname; echo "nameserver 192.0.2.1" > $dir/etc/resolv.conf
echo "enabled by somebody" > $dir/etc/systemd/system/fstrim.timer
echo "I: installing packages" >&2`,
		"chroot": `echo "chroot $*" >> $LOG; case "$2" in chpasswd) sed 's/^/input /' >> $LOG;; esac`,
	})
	d := Debian{Suite: "bookworm", Mirrors: []string{"http://192.0.2.9/debian"}, Kernel: "linux-image-cloud-amd64", Include: []string{"curl", "udev"},
		Login: Login{Password: "a secret", Keys: []string{"ssh-ed25519 AAAA one"}}}
	dir := t.TempDir()
	var said []string
	if err := d.Make(t.Context(), dir, func(s string) { said = append(said, s) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(said, []string{"I: installing packages"}) {
		t.Errorf("said %q", said)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	for name, want := range map[string]string{
		"etc/hostname": "", "etc/machine-id": "", "root/.ssh/authorized_keys": "ssh-ed25519 AAAA one\n",
		"etc/systemd/system/fstrim.timer": "enabled by somebody\n",
	} {
		if got := read(name); got != want {
			t.Errorf("%s has %q", name, got)
		}
	}
	if got := read("etc/systemd/network/80-ethernet.network"); !strings.Contains(got, "\nKeepConfiguration=yes\n") || !strings.Contains(got, "\nClientIdentifier=mac\n") {
		t.Errorf("the network:\n%s", got)
	}
	for name, want := range map[string]os.FileMode{"root/.ssh": 0o700, "root/.ssh/authorized_keys": 0o600, "etc/machine-id": 0o444} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
	for name, want := range map[string]string{"etc/systemd/system/apt-daily.timer": "/dev/null", "etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf"} {
		if got, err := os.Readlink(filepath.Join(dir, name)); got != want {
			t.Errorf("%s leads to %q, %v", name, got, err)
		}
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	want := "mmdebstrap --mode=root --variant=minbase --format=directory --include=systemd-sysv,udev,kmod,dbus,iproute2,systemd-resolved," +
		"linux-image-cloud-amd64,openssh-server,curl bookworm " + dir + " http://192.0.2.9/debian INITRD=No\n" +
		"chroot " + dir + " systemctl enable systemd-networkd.service systemd-resolved.service\nchroot " + dir + " chpasswd\ninput root:a secret\n"
	if string(b) != want {
		t.Errorf("run:\n%s\nwant:\n%s", b, want)
	}
	if got := (Debian{Suite: "bullseye"}).packages(); slices.Contains(got, "systemd-resolved") || !slices.Contains(got, StandardKernel()) {
		t.Errorf("an old suite: %v", got)
	}
}

func TestProblemsOfAnInstallationAreNamedBeforeItBegins(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	all := strings.Join(Debian{Suite: "--help", Include: []string{"a b", "vim"}}.Problems(), "\n")
	for _, want := range []string{`"--help" is not the name of a release`, `"a b" is not the name of a package`, "nobody could log in"} {
		if !strings.Contains(all, want) {
			t.Errorf("does not say %q:\n%s", want, all)
		}
	}
	if got := missing(Tool{"no-such-program-anywhere", "some-package"}); len(got) != 1 || !strings.Contains(got[0], "install the package some-package") {
		t.Error(got)
	}
	for _, l := range []Login{{None: true}, {Password: "x"}, {Keys: []string{"k"}}} {
		if got := l.problems(); got != nil {
			t.Errorf("%+v: %v", l, got)
		}
	}
	if got := (Login{None: true, Password: "x"}).problems(); len(got) != 1 {
		t.Error(got)
	}
}

func TestSecretsAreReadFromFilesThatAreWhatTheySeem(t *testing.T) {
	dir := t.TempDir()
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ5dGVzIHRoYXQgYXJlIG5vIHJlYWwga2V5IGF0IGFs me@here"
	put1(t, dir, "pw", "pass word\r\nsecond line\n", 0o600)
	put1(t, dir, "open", "x\n", 0o644)
	put1(t, dir, "empty", "\n", 0o600)
	put1(t, dir, "keys", "# mine\n"+key+"\n\nfrom=\"192.0.2.0/24\" "+key+"\n", 0o644)
	put1(t, dir, "private", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", 0o600)
	if got, err := ReadPassword(filepath.Join(dir, "pw")); got != "pass word" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := ReadKeys(filepath.Join(dir, "keys")); len(got) != 2 || got[0] != key || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for name, want := range map[string]string{"open": "chmod 600", "empty": "no password", "none": "no such file"} {
		if _, err := ReadPassword(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]string{"private": "must not leave", "pw": "no public SSH key", "empty": "no public SSH key"} {
		if _, err := ReadKeys(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Ctrl-C ends the programs, those too that take no notice of it, and its error is that of the context.
func TestAnInterruptedProgramLeavesNoOther(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	child := ""
	c := command{name: "/bin/sh", args: []string{"-c", "sleep 1000 & echo $!; wait"}, line: func(s string) { child = s; stop() }}
	if err := c.run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	pid, err := strconv.Atoi(child)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return // gone
	}
	if err != nil {
		t.Skip("pidfd_open: ", err)
	}
	defer unix.Close(fd)
	// A killed process needs a moment to end; one that is not killed sleeps for 1000 s.
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20_000); n != 1 || err != nil {
		t.Errorf("process %d is still there: %v", pid, err)
	}
}

func TestTheLastWordsOfAProgramAreInItsError(t *testing.T) {
	err := command{name: "/bin/sh", args: []string{"-c", "yes noise | head -n 5000; echo E: the reason >&2; exit 3"}}.run(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), "E: the reason") || !strings.Contains(err.Error(), "exit status 3") || len(err.Error()) > maxSaid+200 {
		t.Errorf("%.300v", err)
	}
}
