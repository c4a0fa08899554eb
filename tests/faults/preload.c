/* What some machines do to their processes; LD_PRELOAD has it in all that a command starts.
 *
 * FAULT_STEP is the path of a file: once it is there, the clocks named in it are ahead, as "CLOCK NANOSECONDS" says.
 * FAULT_NO_LOCKS, FAULT_NO_MAPPING are directories: files in them can't be locked, or mapped. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long ahead_ns(clockid_t clock) {
    const char *path = getenv("FAULT_STEP");
    char text[64] = "";
    char *rest;
    if (path == NULL) return 0;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    return strtol(text, &rest, 10) == clock ? strtoll(rest, NULL, 10) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int saved = errno;
    if (syscall(SYS_clock_gettime, clock, now) != 0) return -1;
    if (clock == CLOCK_REALTIME || clock == CLOCK_BOOTTIME) {
        long long t_ns = now->tv_sec * 1000000000LL + now->tv_nsec + ahead_ns(clock);
        now->tv_sec = t_ns / 1000000000LL;
        now->tv_nsec = t_ns % 1000000000LL;
    }
    errno = saved;
    return 0;
}

static int is_in(int fd, const char *variable) {
    const char *directory = getenv(variable);
    char link[64], path[4096] = "";
    if (directory == NULL || fd < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof path - 1) < 0) return 0;
    size_t length = strlen(directory);
    return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static int refused(int code) {
    errno = code;
    return -1;
}

int flock(int fd, int how) {
    return is_in(fd, "FAULT_NO_LOCKS") ? refused(ENOLCK) : (int)syscall(SYS_flock, fd, how);
}

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    if (!(flags & MAP_ANONYMOUS) && is_in(fd, "FAULT_NO_MAPPING")) {
        refused(ENODEV);
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap(at, length, protection, flags, fd, offset);
}
