// Package e2e tests the Debian package where it lives: on a real systemd, in a
// container, with Pebble as the CA. Its tests need root and the tag e2e:
//
//	make e2e
//	make e2e DEBIAN=trixie
package e2e
