// Package systemd holds the unit, user and folders of the installed recorder.
//
// It has no code: packaging copies the files, and its test asserts that the unit stays as hard as it
// is and still lets maskers build their own walls. Nothing imports it.
package systemd
