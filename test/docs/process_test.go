package docs_test

import "syscall"

// ownGroup starts a process in a group of its own.
var ownGroup = &syscall.SysProcAttr{Setpgid: true}

// killGroup ends a process that was started so, and those that it has started.
func killGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGKILL) }
