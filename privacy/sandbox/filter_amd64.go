package sandbox

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// archRules are calls that only this processor has.
var archRules = []uintptr{unix.SYS_EPOLL_WAIT, unix.SYS_POLL, unix.SYS_TIME}
