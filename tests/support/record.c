/* Records what a program writes below $RECORD_DIR into $RECORD_FILE, in the order in which it happened. For LD_PRELOAD.
 *
 * A record: kind (1 byte), length of the path (4, little-endian), path, offset (8), length of the data (4), data.
 * Kinds: c create, w write, t truncate (offset is the length), r rename (data is the new path), u unlink, s sync, m mkdir.
 * The path is the one that the file was opened by; the reader follows renames. One record is one write(2) with O_APPEND,
 * so that several processes may record into one file.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096
static char *paths[FDS];
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int ours(const char *path) {
    const char *dir = getenv("RECORD_DIR");
    return dir && path && strncmp(path, dir, strlen(dir)) == 0 && !strstr(path, "lock.mdb");
}

static void note(char kind, const char *path, uint64_t offset, const void *data, uint32_t len) {
    if (log_fd < 0) log_fd = REAL(open)(getenv("RECORD_FILE"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    uint32_t path_len = strlen(path);
    size_t total = 1 + 4 + path_len + 8 + 4 + len;
    char *record = malloc(total), *at = record;
    *at++ = kind;
    memcpy(at, &path_len, 4), at += 4;
    memcpy(at, path, path_len), at += path_len;
    memcpy(at, &offset, 8), at += 8;
    memcpy(at, &len, 4), at += 4;
    if (len) memcpy(at, data, len);
    if (REAL(write)(log_fd, record, total) != (ssize_t)total) abort();
    free(record);
}

static void opened(int fd, const char *path, int flags, int existed) {
    if (fd < 0 || fd >= FDS) return;
    free(paths[fd]);
    paths[fd] = ours(path) ? strdup(path) : NULL;
    if (!paths[fd]) return;
    if (!existed && (flags & O_CREAT)) note('c', path, 0, NULL, 0);
    else if (flags & O_TRUNC) note('t', path, 0, NULL, 0);
}

#define OPEN(name)                                                                              \
    int name(const char *path, int flags, ...) {                                                \
        mode_t mode = 0;                                                                        \
        if (flags & (O_CREAT | O_TMPFILE)) { va_list v; va_start(v, flags); mode = va_arg(v, mode_t); va_end(v); } \
        pthread_mutex_lock(&turn);                                                              \
        int existed = access(path, F_OK) == 0, fd = REAL(name)(path, flags, mode);              \
        opened(fd, path, flags, existed);                                                       \
        pthread_mutex_unlock(&turn);                                                            \
        return fd;                                                                              \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    pthread_mutex_lock(&turn);
    if (fd >= 0 && fd < FDS) { free(paths[fd]); paths[fd] = NULL; }
    int result = REAL(close)(fd);
    pthread_mutex_unlock(&turn);
    return result;
}

/* A file that is appended to is written at its end. */
static uint64_t position(int fd) {
    if (fcntl(fd, F_GETFL) & O_APPEND) return lseek(fd, 0, SEEK_END);
    return lseek(fd, 0, SEEK_CUR);
}

#define TRACKED(fd) ((fd) >= 0 && (fd) < FDS && paths[fd])

ssize_t write(int fd, const void *data, size_t len) {
    pthread_mutex_lock(&turn);
    uint64_t at = TRACKED(fd) ? position(fd) : 0;
    ssize_t done = REAL(write)(fd, data, len);
    if (TRACKED(fd) && done > 0) note('w', paths[fd], at, data, done);
    pthread_mutex_unlock(&turn);
    return done;
}

static ssize_t noted(int fd, const void *data, ssize_t done, uint64_t at) {
    if (TRACKED(fd) && done > 0) note('w', paths[fd], at, data, done);
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at) {
    pthread_mutex_lock(&turn);
    return noted(fd, data, REAL(pwrite)(fd, data, len, at), at);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at) {
    pthread_mutex_lock(&turn);
    return noted(fd, data, REAL(pwrite64)(fd, data, len, at), at);
}

static ssize_t noted_parts(int fd, const struct iovec *parts, int count, ssize_t done, uint64_t at) {
    ssize_t left = done;
    for (int n = 0; n < count && left > 0 && TRACKED(fd); n++) {
        size_t len = parts[n].iov_len < (size_t)left ? parts[n].iov_len : (size_t)left;
        note('w', paths[fd], at, parts[n].iov_base, len);
        at += len, left -= len;
    }
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    pthread_mutex_lock(&turn);
    uint64_t at = TRACKED(fd) ? position(fd) : 0;
    return noted_parts(fd, parts, count, REAL(writev)(fd, parts, count), at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    pthread_mutex_lock(&turn);
    return noted_parts(fd, parts, count, REAL(pwritev)(fd, parts, count, at), at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    pthread_mutex_lock(&turn);
    return noted_parts(fd, parts, count, REAL(pwritev64)(fd, parts, count, at), at);
}

#define ON_FD(name, kind, offset, parameters, arguments)                 \
    int name parameters {                                                \
        pthread_mutex_lock(&turn);                                       \
        int result = REAL(name) arguments;                               \
        if (result == 0 && TRACKED(fd)) note(kind, paths[fd], offset, NULL, 0); \
        pthread_mutex_unlock(&turn);                                     \
        return result;                                                   \
    }
ON_FD(ftruncate, 't', len, (int fd, off_t len), (fd, len))
ON_FD(ftruncate64, 't', len, (int fd, off64_t len), (fd, len))
ON_FD(fsync, 's', 0, (int fd), (fd))
ON_FD(fdatasync, 's', 0, (int fd), (fd))

int rename(const char *from, const char *to) {
    pthread_mutex_lock(&turn);
    int result = REAL(rename)(from, to);
    if (result == 0 && ours(from)) note('r', from, 0, to, strlen(to));
    pthread_mutex_unlock(&turn);
    return result;
}

int unlink(const char *path) {
    pthread_mutex_lock(&turn);
    int result = REAL(unlink)(path);
    if (result == 0 && ours(path)) note('u', path, 0, NULL, 0);
    pthread_mutex_unlock(&turn);
    return result;
}

int mkdir(const char *path, mode_t mode) {
    pthread_mutex_lock(&turn);
    int result = REAL(mkdir)(path, mode);
    if (result == 0 && ours(path)) note('m', path, 0, NULL, 0);
    pthread_mutex_unlock(&turn);
    return result;
}
