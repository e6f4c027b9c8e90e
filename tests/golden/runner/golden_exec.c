/* Running a command with a deadline and collecting what it prints. */
#define _GNU_SOURCE
#include "golden.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_OUTPUT = 64 << 20 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void child(const char *command, const char *dir, const int out[2], const int err[2]) {
    setpgid(0, 0);
    int null = open("/dev/null", O_RDONLY);
    if (chdir(dir) != 0 || null < 0 || dup2(null, 0) < 0 || dup2(out[1], 1) < 0 ||
        dup2(err[1], 2) < 0)
        _exit(126);
    close(null);
    close(out[0]), close(out[1]), close(err[0]), close(err[1]);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* Takes what is there to read; false once the stream has ended. */
static bool drain(int fd, struct golden_text *text) {
    char chunk[65536];
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n > 0 && text->size < MAX_OUTPUT) golden_append(text, chunk, (size_t)n);
    return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

/* Reads both streams until they end or the deadline passes; true if they ended. */
static bool collect(struct golden_run *run, int out, int err, double deadline) {
    struct pollfd fds[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        double left = deadline - now();
        if (left <= 0) return false;
        if (poll(fds, 2, (int)(left * 1000) + 1) <= 0) continue;
        if (fds[0].revents && !drain(out, &run->out)) fds[0].fd = -1;
        if (fds[1].revents && !drain(err, &run->err)) fds[1].fd = -1;
    }
    return true;
}

void golden_exec(struct golden_run *run, const char *command, const char *dir, int timeout) {
    int out[2], err[2];
    golden_append(&run->out, "", 0);
    golden_append(&run->err, "", 0);
    if (pipe(out) != 0 || pipe(err) != 0) {
        perror("golden: pipe");
        exit(2);
    }
    pid_t pid = fork();
    if (pid < 0) {
        perror("golden: fork");
        exit(2);
    }
    if (pid == 0) child(command, dir, out, err);
    setpgid(pid, pid);
    close(out[1]), close(err[1]);
    double deadline = now() + timeout;
    run->timed_out = !collect(run, out[0], err[0], deadline);
    int status = 0;
    /* Both streams can be closed by a process that still runs. */
    while (!run->timed_out && waitpid(pid, &status, WNOHANG) == 0) {
        run->timed_out = now() > deadline;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    kill(-pid, SIGKILL);
    if (run->timed_out) waitpid(pid, &status, 0);
    close(out[0]), close(err[0]);
    run->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    run->signal = WIFSIGNALED(status) && !run->timed_out ? WTERMSIG(status) : 0;
    /* The shell reports a signal of its command as 128 + number. */
    if (run->exit_status > 128 && run->exit_status < 128 + 32) run->signal = run->exit_status - 128;
}
