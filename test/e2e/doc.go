// Package e2e tests the Debian package where it lives: on a real systemd, in a
// container, with Pebble as the CA. Its tests need root and the tag e2e:
//
//	make e2e
//	make e2e DEBIAN=trixie
//
// They run on each release of Debian that the package is for, one after the
// other, and the output tells the time of each. Every test boots a machine of its
// own, which takes a second: the files of a release stay in .cache/e2e.
//
// The packaged program also runs on disks that lose their power, their room or
// their right to write. The figures of more power cuts than usual:
//
//	make deb && go test -tags=e2e -v -run=PowerCut ./test/e2e -powercut.times=200
package e2e
