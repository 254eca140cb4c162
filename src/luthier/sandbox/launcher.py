"""Runs inside the new process (`python -I -S launcher.py FD`): builds the walls, then executes the code behind them.

One decision: nothing is executed unless every wall stands. Namespaces (user, mount, pid, network, ipc, uts), a root of read-only
libraries and one small tmpfs, no capability, an allow-list of system calls without fork, exec and socket, and resource limits; the
first step that fails is reported and ends the process. Standard library alone: this file is not imported by Luthier.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import sys
import traceback

NEW_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000  # mount uts ipc user pid net
MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_RDONLY = 2, 4, 32, 4096, 16384, 1 << 18, 1
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE = 1, 38, 4
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/usr/share/zoneinfo")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
ALLOWED = [
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "preadv",
    "pwritev",
    "open",
    "openat",
    "openat2",
    "close",
    "close_range",
    "fstat",
    "stat",
    "lstat",
    "newfstatat",
    "statx",
    "fstatfs",
    "statfs",
    "lseek",
    "mmap",
    "munmap",
    "mprotect",
    "mremap",
    "madvise",
    "brk",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "rt_sigtimedwait",
    "rt_sigsuspend",
    "futex",
    "futex_waitv",
    "get_robust_list",
    "set_robust_list",
    "rseq",
    "set_tid_address",
    "arch_prctl",
    "getrandom",
    "clock_gettime",
    "clock_getres",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    "times",
    "getrusage",
    "alarm",
    "setitimer",
    "getitimer",
    "pause",
    "getdents",
    "getdents64",
    "ioctl",
    "fcntl",
    "flock",
    "dup",
    "dup2",
    "dup3",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "eventfd",
    "eventfd2",
    "timerfd_create",
    "timerfd_settime",
    "timerfd_gettime",
    "socketpair",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "shutdown",
    "getsockopt",
    "setsockopt",
    "getsockname",
    "getpeername",
    "getcwd",
    "chdir",
    "fchdir",
    "mkdir",
    "mkdirat",
    "rmdir",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "readlink",
    "readlinkat",
    "access",
    "faccessat",
    "faccessat2",
    "truncate",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "utime",
    "utimes",
    "utimensat",
    "chmod",
    "fchmod",
    "fchmodat",
    "umask",
    "copy_file_range",
    "sendfile",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getresuid",
    "getresgid",
    "getgroups",
    "getpid",
    "getppid",
    "gettid",
    "getpgrp",
    "getpgid",
    "getsid",
    "uname",
    "sysinfo",
    "getrlimit",
    "prlimit64",
    "sched_yield",
    "sched_getaffinity",
    "getcpu",
    "wait4",
    "waitid",
    "kill",
    "tgkill",
    "exit",
    "exit_group",
    "restart_syscall",
    "membarrier",
]
KILL, ALLOW, ERRNO_EPERM, NOT_A_CALL = 0x80000000, 0x7FFF0000, 0x00050001, -1


class Refused(Exception):
    """A wall could not be built."""


def main() -> None:
    """Read what to run from the file descriptor in argv, report on the one that it names, and run it."""
    with os.fdopen(int(sys.argv[1]), "rb") as f:
        job = json.load(f)
    report = job["report"]
    try:
        libc, seccomp = ctypes.CDLL(None, use_errno=True), load_seccomp()
        call(libc, "prctl", PR_SET_PDEATHSIG, 9)
        if os.getppid() != job["parent"]:
            raise Refused("the process that asked is gone")
        enter_namespaces(libc)
        first = os.fork()
        if first:
            os.close(report)
            os.waitpid(first, 0)
            os._exit(0)
        be_init(libc, seccomp, job)
    except (Refused, OSError) as err:
        say(report, {"refused": str(err)})
        os._exit(1)


def load_seccomp() -> ctypes.CDLL:
    """libseccomp, which turns names of system calls into a filter on every architecture."""
    try:
        lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        raise Refused("libseccomp.so.2 is not installed (Debian: libseccomp2)") from None
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = [ctypes.c_uint32]
    lib.seccomp_rule_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint]
    lib.seccomp_load.argtypes = [ctypes.c_void_p]
    lib.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    return lib


def enter_namespaces(libc: ctypes.CDLL) -> None:
    """New namespaces, with this user as user 1000 of the new one."""
    uid, gid = os.geteuid(), os.getegid()
    call(libc, "unshare", NEW_NAMESPACES)
    for name, text in (("setgroups", "deny"), ("uid_map", f"1000 {uid} 1"), ("gid_map", f"1000 {gid} 1")):
        try:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as f:
                f.write(text)
        except OSError as err:
            raise Refused(f"/proc/self/{name}: {err.strerror}") from None


def be_init(libc: ctypes.CDLL, seccomp: ctypes.CDLL, job: dict) -> None:
    """Process 1 of the new pid namespace: builds the root, starts the code in process 2 and reports how it ended."""
    report = job["report"]
    call(libc, "prctl", PR_SET_PDEATHSIG, 9)
    build_root(libc, job)
    second = os.fork()
    if second == 0:
        try:
            drop_everything(libc, seccomp, job)
        except (Refused, OSError) as err:
            say(report, {"refused": str(err)})
            os._exit(1)
        execute(job["programs"], job["token"], report)
    for fd in (0, 1, 2):
        os.close(fd)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == second:
            break
    code = os.waitstatus_to_exitcode(status)
    say(report, {"exit": code})
    os._exit(0)


def build_root(libc: ctypes.CDLL, job: dict) -> None:
    """A root with read-only libraries, three devices, and /work: a tmpfs of `work_mb`."""
    root = job["root"]
    mount(libc, None, "/", None, MS_REC | MS_PRIVATE, None)
    mount(libc, "none", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for path in sorted({*LIBRARIES, *DEVICES, os.path.join(sys.base_prefix, "lib")}):
        place(libc, path, root)
    work = root + "/work"
    os.mkdir(work)
    mount(libc, "none", work, "tmpfs", MS_NOSUID | MS_NODEV, f"size={job['work_mb']}m,nr_inodes=4096,mode=700")
    os.symlink("work", root + "/tmp")
    mount(libc, None, root, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, None)
    os.chdir(root)
    machine = platform.machine()
    if machine not in PIVOT_ROOT:
        raise Refused(f"x86_64 and aarch64 are known, this machine is {machine}")
    call(libc, "syscall", PIVOT_ROOT[machine], b".", b".")
    call(libc, "umount2", b".", 2)
    os.chdir("/work")


def place(libc: ctypes.CDLL, path: str, root: str) -> None:
    """Show `path` of the machine at the same place in the new root, read-only; what is not there stays away."""
    at = root + path
    if os.path.lexists(at) or not os.path.exists(path):
        return
    os.makedirs(os.path.dirname(at), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), at)
        return
    if os.path.isdir(path):
        os.mkdir(at)
    else:
        with open(at, "wb"):
            pass
    mount(libc, path, at, None, MS_BIND | MS_REC, None)
    attributes = (ctypes.c_uint64 * 4)(ATTR_RDONLY | ATTR_NOSUID | (0 if path in DEVICES else ATTR_NODEV), 0, 0, 0)
    call(libc, "syscall", MOUNT_SETATTR, AT_FDCWD, at.encode(), AT_RECURSIVE, ctypes.byref(attributes), ctypes.c_size_t(32))


def drop_everything(libc: ctypes.CDLL, seccomp: ctypes.CDLL, job: dict) -> None:
    """Limits, no capability, no new rights, and the filter of system calls; only standard streams and the report stay open."""
    os.setsid()
    os.environ.clear()
    os.environ.update({"HOME": "/work", "PATH": "/nowhere", "TMPDIR": "/work", "LANG": "C.UTF-8"})
    report = job["report"]
    os.closerange(3, report)
    os.closerange(report + 1, 4096)
    memory, size = job["memory_mb"] << 20, job["work_mb"] << 20
    hard = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: size,
        resource.RLIMIT_NOFILE: max(64, report + 1),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    for what, limit in hard.items():
        resource.setrlimit(what, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_seconds"], job["cpu_seconds"] + 1))  # SIGXCPU first, which says what it was
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    call(libc, "capset", ctypes.byref(header), ctypes.byref(none))
    call(libc, "prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call(libc, "prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    context = seccomp.seccomp_init(ERRNO_EPERM)
    if not context:
        raise Refused("seccomp_init gave nothing")
    for name in ALLOWED:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number != NOT_A_CALL and (failed := seccomp.seccomp_rule_add(context, ALLOW, number, 0)) < 0:
            raise Refused(f"seccomp rule for {name}: {os.strerror(-failed)}")
    if (failed := seccomp.seccomp_load(context)) < 0:
        raise Refused(f"seccomp_load: {os.strerror(-failed)}")


def execute(programs: list[str], token: str, report: int) -> None:
    """Run the programs one after the other in one namespace; the token is reported when the last one has come to its end."""
    say(report, {"started": True})
    code, names = 0, {"__name__": "__main__", "__builtins__": __builtins__}
    try:
        for number, program in enumerate(programs, 1):
            exec(compile(program, f"program {number}", "exec"), names)
    except SystemExit as err:
        code = err.code if isinstance(err.code, int) else int(err.code is not None)
        token = ""
    except BaseException as err:  # noqa: BLE001 - the edge of this process: what the code raised is printed and reported
        traceback.print_exception(type(err), err, err.__traceback__.tb_next if err.__traceback__ else None, limit=-4)
        code, token = 1, ""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 1
    if token:
        say(report, {"token": token})
    os._exit(code & 0xFF)


def mount(libc: ctypes.CDLL, source: str | None, at: str, kind: str | None, flags: int, options: str | None) -> None:
    """mount(2)."""
    texts = [None if t is None else t.encode() for t in (source, at, kind)]
    what = f"mount {kind or 'bind'} at {at}"
    call(libc, "mount", *texts, ctypes.c_ulong(flags), None if options is None else options.encode(), what=what)


def call(libc: ctypes.CDLL, name: str, *arguments: object, what: str = "") -> None:
    """A C function that gives -1 when it fails. Raises Refused with its name and the reason."""
    if getattr(libc, name)(*arguments) == -1:
        raise Refused(f"{what or name}: {os.strerror(ctypes.get_errno())}")


def say(report: int, words: dict) -> None:
    """One line on the report; a report that nobody reads any more changes nothing."""
    try:
        os.write(report, (json.dumps(words) + "\n").encode())
    except OSError:
        return


if __name__ == "__main__":
    main()
