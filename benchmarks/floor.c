/* The least that sampling can cost: COUNT files read PERIOD_US apart for SECONDS, kept as rows in mapped memory.
 *
 *     floor SECONDS PERIOD_US FILE...
 *
 * Each file is held open and read from its start, its text becomes an integer, and a row has two times and the values.
 * Printed are rows and CPU nanoseconds of the whole process, but for its start. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int files = argc - 3, fd[64];
    int64_t period_ns = atoll(argv[2]) * 1000, rows = (int64_t)(atof(argv[1]) * 1e9) / period_ns, words = files + 2;
    if (files > 64)
        return 2;
    for (int i = 0; i < files; i++)
        if ((fd[i] = open(argv[3 + i], O_RDONLY | O_CLOEXEC)) < 0)
            return perror(argv[3 + i]), 1;
    int64_t *table = mmap(0, rows * words * 8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED)
        return perror("mmap"), 1;
    prctl(PR_SET_TIMERSLACK, 1);
    int64_t cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID), due = now_ns(CLOCK_MONOTONIC);
    for (int64_t row = 0; row < rows; row++) {
        int64_t *to = table + row * words;
        char text[32];
        due += period_ns;
        struct timespec t = {due / 1000000000, due % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0);
        to[0] = now_ns(CLOCK_MONOTONIC);
        for (int i = 0; i < files; i++) {
            ssize_t length = pread(fd[i], text, sizeof text - 1, 0);
            text[length > 0 ? length : 0] = 0;
            to[2 + i] = strtoll(text, 0, 10);
        }
        to[1] = now_ns(CLOCK_MONOTONIC);
    }
    printf("%lld %lld\n", (long long)rows, (long long)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns));
    return 0;
}
