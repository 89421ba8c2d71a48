// Package netns runs tests in a network namespace of their own, where ports such as 80 are free and nothing reaches the
// world.
//
// It owns the namespace's loopback device. It never installs anything: what needs the network is done before.
package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// isolated marks the process that runs in the namespace.
const isolated = "ACMED_E2E_ISOLATED"

// Main is for TestMain: it calls prepare, and then the program again, in a namespace that holds nothing but a loopback
// device. There it calls run. Whoever is not root is root in it. What is mounted in it ends with it.
func Main(run func() int, prepare func() error) int {
	if os.Getenv(isolated) != "" {
		if err := raiseLoopback(); err != nil {
			fmt.Fprintln(os.Stderr, "raising the loopback device:", err)
			return 1
		}
		return run()
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the tests:", err)
		return 1
	}
	return isolate()
}

func isolate() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), isolated+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "running the tests in isolation:", err)
		return 1
	}
	return 0
}

func raiseLoopback() error {
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return withSocket(unix.AF_INET, func(fd int) error { return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo) })
}

// AddAddress gives the loopback device an address beside ::1 and 127.0.0.0/8, all of which it has.
func AddAddress(address netip.Addr) error {
	if address.Is4() {
		return addIPv4(address)
	}
	// struct in6_ifreq of linux/ipv6.h. The loopback device is the first of every namespace.
	request := struct {
		address      [16]byte
		prefixLength uint32
		device       int32
	}{address.As16(), 128, 1}
	return withSocket(unix.AF_INET6, func(fd int) error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&request)))
		if errno != 0 {
			return fmt.Errorf("giving the loopback device %s: %w", address, errno)
		}
		return nil
	})
}

// addIPv4 uses an alias of the device, since a device has one IPv4 address by this interface. The name of the alias is
// made of the address, whose 32 bits leave room for the prefix in the 15 bytes of a name.
func addIPv4(address netip.Addr) error {
	alias, err := unix.NewIfreq(fmt.Sprintf("lo:%x", address.As4()))
	if err != nil {
		return err
	}
	add := func(fd int) error {
		if err := alias.SetInet4Addr(address.AsSlice()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, alias); err != nil {
			return err
		}
		if err := alias.SetInet4Addr([]byte{255, 255, 255, 255}); err != nil {
			return err
		}
		return unix.IoctlIfreq(fd, unix.SIOCSIFNETMASK, alias)
	}
	if err := withSocket(unix.AF_INET, add); err != nil {
		return fmt.Errorf("giving the loopback device %s: %w", address, err)
	}
	return nil
}

// withSocket lends a socket, by which the kernel is asked.
func withSocket(family int, ask func(fd int) error) error {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(ask(fd), unix.Close(fd))
}
