/* Preloaded into a process under chaos: its wall clock jumps and its disk is slow, as two numbers in a file say.
 *
 * NNPM_CHAOS_SHIM names a file of two int64: nanoseconds that CLOCK_REALTIME is off, and microseconds that fsync and
 * fdatasync take longer. The file is mapped, so that a change is seen at once. CLOCK_MONOTONIC stays as it is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *told;

__attribute__((constructor)) static void look(void) {
    const char *path = getenv("NNPM_CHAOS_SHIM");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, 16, PROT_READ, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    if (mapped != MAP_FAILED) told = mapped;
}

static int is_wall_clock(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, at);
    if (!failed && told && told[0] && is_wall_clock(clock)) {
        int64_t ns = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec + told[0];
        at->tv_sec = ns / 1000000000;
        at->tv_nsec = ns % 1000000000;
    }
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

static void dawdle(void) {
    if (told && told[1]) usleep((useconds_t)told[1]);
}

int fsync(int file) {
    dawdle();
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    dawdle();
    return (int)syscall(SYS_fdatasync, file);
}
