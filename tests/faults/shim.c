/* Counts every operation that changes a file below one folder, and records, kills or refuses the n-th one.
 *
 * Preloaded before libc, so that it also sees what Python's own hooks do not: sqlite, safetensors, sendfile. Armed by
 * `arm` after a fork; unarmed it only passes calls on. Paths that hold one of the excluded words are not counted.
 * A record is a text line `kind TAB path TAB second path TAB offset TAB length` and, for a write, its bytes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, RECORD, KILL, TEAR, REFUSE, STAY };
static struct {
    int mode, errnum, log;
    long at, count;
    char root[PATH_MAX], words[256], kinds[256];
} armed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = dlsym(RTLD_NEXT, #name)

/* mode 1 record, 2 kill before, 3 kill in the middle of a write, 4 refuse once, 5 refuse from then on.
 * words: not counted, separated by '|'. kinds: counted kinds, "" for all, separated by '|'. */
void arm(int mode, const char *root, const char *words, const char *kinds, long at, int errnum, int log) {
    snprintf(armed.root, sizeof armed.root, "%s", root);
    snprintf(armed.words, sizeof armed.words, "|%s|", words);
    snprintf(armed.kinds, sizeof armed.kinds, "|%s|", kinds);
    armed.at = at, armed.errnum = errnum, armed.log = log, armed.count = 0;
    armed.mode = mode;
}

long counted(void) { return armed.count; }

static int excluded(const char *path) {
    char copy[256], *save = NULL;
    snprintf(copy, sizeof copy, "%s", armed.words);
    for (char *w = strtok_r(copy, "|", &save); w; w = strtok_r(NULL, "|", &save))
        if (strstr(path, w)) return 1;
    return 0;
}

static int watched(const char *path) {
    size_t n = strlen(armed.root);
    return path && !strncmp(path, armed.root, n) && (path[n] == '/' || !path[n]) && !excluded(path);
}

static int of_kind(const char *kind) {
    char wanted[64];
    if (!strcmp(armed.kinds, "||")) return 1;
    snprintf(wanted, sizeof wanted, "|%s|", kind);
    return strstr(armed.kinds, wanted) != NULL;
}

static const char *full(int dirfd, const char *path, char *out) {
    char link[64];
    ssize_t n;
    if (path && path[0] == '/') return path;
    if (dirfd == AT_FDCWD) {
        if (!getcwd(out, PATH_MAX)) return NULL;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
        if ((n = readlink(link, out, PATH_MAX - 1)) < 0) return NULL;
        out[n] = 0;
    }
    if (path) {
        n = strlen(out);
        snprintf(out + n, PATH_MAX - n, "/%s", path);
    }
    return out;
}

static void note(const char *kind, const char *a, const char *b, long off, const void *data, long len) {
    char line[3 * PATH_MAX];
    int n = snprintf(line, sizeof line, "%s\t%s\t%s\t%ld\t%ld\n", kind, a, b ? b : "", off, len);
    syscall(SYS_write, armed.log, line, n);
    if (data) syscall(SYS_write, armed.log, data, len);
}

/* What is to be done with an operation: 0 carry out, 1 refuse (errno is set), 2 carry out half of it and die. */
static int before(const char *kind, const char *a, const char *b, long off, const void *data, long len) {
    int verdict = 0;
    if (armed.mode == OFF || !(watched(a) || (b && watched(b))) || !of_kind(kind)) return 0;
    pthread_mutex_lock(&lock);
    long n = ++armed.count;
    if (armed.mode == RECORD) note(kind, a, b, off, data, len);
    if (armed.mode == KILL && n == armed.at) kill(getpid(), SIGKILL);
    if (armed.mode == TEAR && n == armed.at) verdict = 2;
    if ((armed.mode == REFUSE && n == armed.at) || (armed.mode == STAY && n >= armed.at)) errno = armed.errnum, verdict = 1;
    pthread_mutex_unlock(&lock);
    return verdict;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    pause();
}

static long place(int fd) {
    int flags = fcntl(fd, F_GETFL);
    struct stat st;
    if (flags >= 0 && (flags & O_APPEND) && !fstat(fd, &st)) return st.st_size;
    return lseek(fd, 0, SEEK_CUR);
}

static int writable(int flags) { return (flags & O_ACCMODE) != O_RDONLY && (flags & (O_CREAT | O_TRUNC)); }

static int opening(int dirfd, const char *path, int flags) {
    char buf[PATH_MAX];
    const char *p;
    struct stat st;
    if (armed.mode == OFF || !writable(flags) || !(p = full(dirfd, path, buf))) return 0;
    if (!stat(p, &st)) { /* already there: only a truncation changes anything */
        if (!(flags & O_TRUNC) || (flags & O_EXCL) || !st.st_size) return 0;
        return before("truncate", p, NULL, 0, NULL, 0);
    }
    return before("create", p, NULL, 0, NULL, 0);
}

#define OPEN(name, head, call, dirfd, path) \
    int name head { \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list ap; \
            va_start(ap, flags); \
            mode = va_arg(ap, mode_t); \
            va_end(ap); \
        } \
        int todo = opening(dirfd, path, flags); \
        if (todo == 1) return -1; \
        if (todo == 2) die(); \
        return syscall(SYS_openat, dirfd, path, flags | O_LARGEFILE, mode); \
    }
OPEN(open, (const char *p, int flags, ...), , AT_FDCWD, p)
OPEN(open64, (const char *p, int flags, ...), , AT_FDCWD, p)
OPEN(openat, (int d, const char *p, int flags, ...), , d, p)
OPEN(openat64, (int d, const char *p, int flags, ...), , d, p)

static int on_fd(const char *kind, int fd, long off, const void *data, long len) {
    char buf[PATH_MAX];
    const char *p;
    int keep = errno;
    if (armed.mode == OFF || fd == armed.log || !(p = full(fd, NULL, buf))) {
        errno = keep;
        return 0;
    }
    return before(kind, p, NULL, off == -2 ? place(fd) : off, data, len);
}

ssize_t write(int fd, const void *data, size_t len) {
    REAL(ssize_t, write, int, const void *, size_t);
    int todo = len ? on_fd("write", fd, -2, data, len) : 0;
    if (todo == 1) return -1;
    if (todo == 2) real(fd, data, len / 2), die();
    return real(fd, data, len);
}

#define PWRITE(name) \
    ssize_t name(int fd, const void *data, size_t len, off_t off) { \
        REAL(ssize_t, name, int, const void *, size_t, off_t); \
        int todo = on_fd("write", fd, off, data, len); \
        if (todo == 1) return -1; \
        if (todo == 2) real(fd, data, len / 2, off), die(); \
        return real(fd, data, len, off); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t writev(int fd, const struct iovec *v, int n) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    size_t len = 0, at = 0;
    for (int i = 0; i < n; i++) len += v[i].iov_len;
    char *all = malloc(len ? len : 1);
    for (int i = 0; i < n; i++) memcpy(all + at, v[i].iov_base, v[i].iov_len), at += v[i].iov_len;
    int todo = on_fd("write", fd, -2, all, len);
    free(all);
    if (todo == 1) return -1;
    if (todo == 2) real(fd, v, n / 2), die();
    return real(fd, v, n);
}

/* The bytes that a copy inside the kernel is about to write, for the record. */
static int copying(int out, int in, const off_t *from, size_t len) {
    off_t at = from ? *from : lseek(in, 0, SEEK_CUR);
    char *data = malloc(len ? len : 1);
    ssize_t n = pread(in, data, len, at);
    int todo = n > 0 ? on_fd("write", out, -2, data, n) : 0;
    free(data);
    return todo;
}

#define SENDFILE(name) \
    ssize_t name(int out, int in, off_t *from, size_t len) { \
        REAL(ssize_t, name, int, int, off_t *, size_t); \
        struct stat st; \
        if (armed.mode != OFF && !fstat(in, &st) && (size_t)st.st_size < len) len = st.st_size; \
        int todo = armed.mode == OFF ? 0 : copying(out, in, from, len); \
        if (todo == 1) return -1; \
        if (todo == 2) real(out, in, from, len / 2), die(); \
        return real(out, in, from, len); \
    }
SENDFILE(sendfile)
SENDFILE(sendfile64)

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t len, unsigned flags) {
    (void)in, (void)from, (void)out, (void)to, (void)len, (void)flags;
    errno = ENOSYS; /* callers fall back to read and write, which are seen */
    return -1;
}

#define ON_FD(name, kind) \
    int name(int fd) { \
        REAL(int, name, int); \
        int todo = on_fd(kind, fd, 0, NULL, 0); \
        if (todo == 1) return -1; \
        if (todo == 2) die(); \
        return real(fd); \
    }
ON_FD(fsync, "fsync")
ON_FD(fdatasync, "fsync")

#define TRUNCATE(name) \
    int name(int fd, off_t size) { \
        REAL(int, name, int, off_t); \
        int todo = on_fd("truncate", fd, size, NULL, 0); \
        if (todo == 1) return -1; \
        if (todo == 2) die(); \
        return real(fd, size); \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

static int on_path(const char *kind, int d1, const char *a, int d2, const char *b) {
    char buf1[PATH_MAX], buf2[PATH_MAX];
    if (armed.mode == OFF) return 0;
    const char *p = full(d1, a, buf1), *q = b ? full(d2, b, buf2) : NULL;
    int todo = p ? before(kind, p, q, 0, NULL, 0) : 0;
    if (todo == 2) die();
    return todo;
}

int rename(const char *a, const char *b) {
    REAL(int, rename, const char *, const char *);
    return on_path("rename", AT_FDCWD, a, AT_FDCWD, b) ? -1 : real(a, b);
}

int renameat(int d, const char *a, int e, const char *b) {
    REAL(int, renameat, int, const char *, int, const char *);
    return on_path("rename", d, a, e, b) ? -1 : real(d, a, e, b);
}

int mkdir(const char *p, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    char parent[PATH_MAX];
    struct stat st;
    snprintf(parent, sizeof parent, "%s", p);
    char *slash = strrchr(parent, '/');
    if (slash && slash != parent) *slash = 0;
    if (!stat(p, &st) || (slash && stat(parent, &st))) return real(p, mode); /* will fail by itself */
    return on_path("mkdir", AT_FDCWD, p, 0, NULL) ? -1 : real(p, mode);
}

int unlink(const char *p) {
    REAL(int, unlink, const char *);
    struct stat st;
    if (lstat(p, &st)) return real(p);
    return on_path("unlink", AT_FDCWD, p, 0, NULL) ? -1 : real(p);
}

int unlinkat(int d, const char *p, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    struct stat st;
    if (fstatat(d, p, &st, AT_SYMLINK_NOFOLLOW)) return real(d, p, flags);
    return on_path(flags & AT_REMOVEDIR ? "rmdir" : "unlink", d, p, 0, NULL) ? -1 : real(d, p, flags);
}

int rmdir(const char *p) {
    REAL(int, rmdir, const char *);
    return on_path("rmdir", AT_FDCWD, p, 0, NULL) ? -1 : real(p);
}

int symlink(const char *target, const char *p) {
    REAL(int, symlink, const char *, const char *);
    char buf[PATH_MAX];
    const char *at = full(AT_FDCWD, p, buf);
    int todo = at ? before("symlink", at, NULL, 0, target, strlen(target)) : 0;
    if (todo == 2) die();
    return todo ? -1 : real(target, p);
}
