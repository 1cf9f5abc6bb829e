/*
 * taskq-guest: what taskq runs inside a sandbox. One static program without dependencies, Linux only.
 *
 *   taskq-guest serve               run commands for the host, which speaks the protocol of protocol.py on fds 0 and 1
 *   taskq-guest hold [PORT SOCKET]  keep the sandbox alive until fd 0 ends; with PORT and SOCKET, relay connections
 *                                   from 127.0.0.1:PORT to the unix socket SOCKET
 *   taskq-guest dial PORT           join fds 0 and 1 with a connection to 127.0.0.1:PORT
 *   taskq-guest --version           say which one this is
 *
 * serve guarantees:
 *   - one answer (`ended` or `failed`) for each `run`, and only when no process is left that the command started,
 *     however it hides: new sessions, double forks, processes that fork and flee without end;
 *   - when the host goes away (fd 0 ends, fd 1 cannot be written) or breaks the protocol, everything is ended at once;
 *   - memory is bounded: while the host does not read, commands wait in their own pipes, but time limits hold;
 *   - a command of the same user can neither trace it nor open its memory, environment or descriptors.
 * It needs /proc. A command of the same user can still kill or stop it; the host notices both.
 *
 * hold guarantees: it listens on the loopback address only; half-closes are passed on; at most 64 KiB wait in each
 * direction of at most 128 connections, later ones wait in the backlog.
 *
 * dial guarantees: it ends once the server has finished and all that it said is written, which is how an engine's exec
 * shows an end. The end of fd 0 is passed on as a half-close; as it may as well mean that nobody is there any more, the
 * server has 5 seconds from then on.
 *
 * Exit status: 0 when fd 0 has ended (hold: also on SIGTERM; dial: also when the server has finished), 1 when it cannot
 * work here or nobody listens, 2 for wrong usage or input.
 * Build: cc -O2 -static -o taskq-guest taskq-guest.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    VERSION = 2,
    HEADER = 5,                 /* a frame: its type, the size of its payload (big-endian, as all numbers), payload */
    CHUNK_LIMIT = 64 << 10,     /* payload of stdin, stdout, stderr */
    REQUEST_LIMIT = 4 << 20,    /* payload of run */
    REQUEST_FIXED = 16,         /* of it: time limit in ms (8), number of arguments (4), of variables (4) */
    SIZE = 4,                   /* of a terminal: rows (2), columns (2) */
    OUTGOING_LIMIT = 256 << 10, /* output of a command that may wait for the host */
    ANSWERS = 1 << 10,          /* room beside it for all other frames */
    SMALLEST_READ = 4 << 10,    /* with less room than this, output waits in its pipe */
    TERMINAL_HOLDS = 1 << 20,   /* more than can wait in a terminal */
    CHASES = 2000,
    PID_COUNT = 4 << 20, /* the kernel's own limit */
};
static const uint64_t LONGEST_MS = UINT64_C(1) << 40; /* longer time limits are this long: 35 years */

enum { RUN = 'R', TERMINAL = 'T', RESIZE = 'W', STDIN = 'I', END = 'E' };                 /* frames from the host */
enum { HELLO = 'h', TAKEN = 'a', STDOUT = 'o', STDERR = 'e', ENDED = 'x', FAILED = 'f' }; /* frames to the host */
enum { TRIED_CWD = 'c', TRIED_PROGRAM = 'p', TRIED_PROCESS = 's' };                       /* what `failed` names */
enum { TIMED_OUT = 1, END_ASKED = 2 };                                                    /* flags of `ended` */
enum { FEED, OUTPUT, ERRORS, REPORT, PIPES };                                             /* a command's pipes */

static struct {
    unsigned char bytes[HEADER + REQUEST_LIMIT];
    size_t have;
} incoming;

static struct {
    unsigned char bytes[OUTGOING_LIMIT + ANSWERS];
    size_t start, end;
} outgoing;

static struct {
    enum { IDLE, RUNNING, DRAINING } phase;
    pid_t child; /* 0 once its status is known */
    int status, flags;
    int ours[PIPES];    /* our ends; -1 when closed */
    size_t left[PIPES]; /* while draining: how much of OUTPUT and ERRORS is still to be forwarded */
    bool has_terminal;  /* in place of the first three pipes; both of our ends are the same */
    bool input_is_over; /* the host has no more stdin */
    unsigned char chunk[CHUNK_LIMIT];
    size_t chunk_start, chunk_end;
    int64_t began, deadline; /* microseconds of the monotonic clock */
} job;

struct failure {
    int tried, number;
};

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static uint64_t get_number(const unsigned char *from, int size) {
    uint64_t number = 0;
    for (int i = 0; i < size; i++)
        number = number << 8 | from[i];
    return number;
}

static void put_number(unsigned char *to, uint64_t number, int size) {
    for (int i = size; i-- > 0; number >>= 8)
        to[i] = (unsigned char)number;
}

static void close_it(int *descriptor) {
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

static void make_nonblocking(int descriptor) {
    fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
}

static bool is_transient(void) {
    return errno == EAGAIN || errno == EINTR;
}

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "taskq-guest: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Read the first line of a file in /proc; an empty one when it is gone. */
static void read_line(const char *path, char *line, size_t size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, line, size - 1);
    close_it(&file);
    line[got < 0 ? 0 : got] = '\0';
}

/* --- The death of a tree. --- */

static unsigned char doomed[PID_COUNT / 8];

static bool is_doomed(pid_t pid) {
    return pid > 0 && pid < PID_COUNT && doomed[pid / 8] >> pid % 8 & 1;
}

/* Kill the process and its group if its parent is doomed; then so is it. A group dies in one step that no fork
   escapes. All groups below us are in sessions that were made below us, so no stranger can be in one; between fork and
   setsid a child is still in our own. */
static void kill_if_ours(pid_t pid) {
    char path[64], line[512];
    pid_t parent, group;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    read_line(path, line, sizeof line);
    const char *name_end = strrchr(line, ')'); /* the name itself may hold anything */
    if (!name_end || sscanf(name_end + 1, " %*c %d %d", &parent, &group) != 2 || !is_doomed(parent) || pid >= PID_COUNT)
        return;
    doomed[pid / 8] |= (unsigned char)(1 << pid % 8);
    kill(pid, SIGKILL);
    if (group > 1 && group != getpgrp())
        kill(-group, SIGKILL);
}

/* Return the pid that was given out last in our PID namespace. */
static pid_t last_pid(void) {
    char line[256];
    read_line("/proc/loadavg", line, sizeof line);
    const char *last = strrchr(line, ' ');
    return last ? atoi(last + 1) : 0;
}

/* Kill our descendants, then chase those that were born meanwhile: a process that forks, leaves its session and exits,
   again and again, outruns a look at all of /proc, but not one at the newest pids only. /proc is in the order of pids,
   so children mostly come after their parents; who is missed is found by the caller's next call. */
static void kill_descendants(void) {
    pid_t newest = last_pid(), ourselves = getpid();
    memset(doomed, 0, sizeof doomed);
    doomed[ourselves / 8] |= (unsigned char)(1 << ourselves % 8);
    DIR *folder = opendir("/proc");
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            kill_if_ours(atoi(entry->d_name));
    if (folder)
        closedir(folder);
    for (int chase = 0; chase < CHASES; chase++) {
        pid_t first = newest + 1;
        if ((newest = last_pid()) < first)
            return;
        for (pid_t pid = first; pid <= newest; pid++)
            kill_if_ours(pid);
    }
}

/* Take the statuses of the dead; return whether any child is left. */
static bool reap(void) {
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
        if (pid <= 0)
            return pid == 0;
        if (pid == job.child) {
            job.status = status;
            job.child = 0;
        }
    }
}

/* Kill until the kernel says that there are no children: orphans come to us, so then there are no descendants. */
static void end_tree(void) {
    sigset_t none;
    sigemptyset(&none);
    while (reap()) {
        kill_descendants();
        ppoll(NULL, 0, &(struct timespec){.tv_nsec = 20000000}, &none);
    }
}

static _Noreturn void leave(void) {
    end_tree();
    exit(0);
}

static _Noreturn void refuse(const char *why) {
    end_tree();
    fprintf(stderr, "taskq-guest: malformed input: %s\n", why);
    exit(2);
}

/* --- Frames to the host. --- */

/* Return where the payload of the next frame goes; `size` bytes of it fit. */
static unsigned char *begin_frame(size_t size) {
    if (outgoing.end + HEADER + size > sizeof outgoing.bytes) {
        outgoing.end -= outgoing.start;
        memmove(outgoing.bytes, outgoing.bytes + outgoing.start, outgoing.end);
        outgoing.start = 0;
    }
    if (outgoing.end + HEADER + size > sizeof outgoing.bytes)
        refuse("more requests than answers were read");
    return outgoing.bytes + outgoing.end + HEADER;
}

static void end_frame(int type, size_t size) {
    outgoing.bytes[outgoing.end] = (unsigned char)type;
    put_number(outgoing.bytes + outgoing.end + 1, size, 4);
    outgoing.end += HEADER + size;
}

static void flush(void) {
    if (outgoing.start == outgoing.end)
        return;
    ssize_t written = write(1, outgoing.bytes + outgoing.start, outgoing.end - outgoing.start);
    if (written < 0 && !is_transient())
        leave();
    outgoing.start += written > 0 ? (size_t)written : 0;
    if (outgoing.start == outgoing.end)
        outgoing.start = outgoing.end = 0;
}

static void say_byte(int type, int value) {
    *begin_frame(1) = (unsigned char)value;
    end_frame(type, 1);
}

static void say_failed(int tried, int number) {
    const char *text = strerror(number);
    size_t size = strnlen(text, 128);
    unsigned char *to = begin_frame(13 + size);
    to[0] = (unsigned char)tried;
    put_number(to + 1, (uint64_t)number, 4);
    put_number(to + 5, (uint64_t)(now() - job.began), 8);
    memcpy(to + 13, text, size);
    end_frame(FAILED, 13 + size);
}

static void say_ended(void) {
    bool is_signal = WIFSIGNALED(job.status);
    unsigned char *to = begin_frame(11);
    to[0] = (unsigned char)job.flags;
    to[1] = is_signal;
    to[2] = (unsigned char)(is_signal ? WTERMSIG(job.status) : WEXITSTATUS(job.status));
    put_number(to + 3, (uint64_t)(now() - job.began), 8);
    end_frame(ENDED, 11);
}

/* --- The command. --- */

/* Execute as execvp(3) does, but with the PATH of the command's own environment and without a shell for what is no
   program; return what went wrong. */
static int execute(char **arguments, char **variables) {
    const char *path = "/bin:/usr/bin";
    int wrong = ENOENT;
    if (strchr(arguments[0], '/')) {
        execve(arguments[0], arguments, variables);
        return errno;
    }
    for (char **each = variables; *each; each++)
        if (strncmp(*each, "PATH=", 5) == 0)
            path = *each + 5;
    for (;; path++) {
        char full[PATH_MAX];
        int size = (int)strcspn(path, ":");
        int needed = snprintf(full, sizeof full, "%.*s%s%s", size, path, size ? "/" : "", arguments[0]);
        if (needed > 0 && needed < (int)sizeof full)
            execve(full, arguments, variables);
        else
            errno = ENAMETOOLONG;
        if (errno != ENOENT && errno != ENOTDIR && wrong == ENOENT)
            wrong = errno;
        path += size;
        if (!*path)
            return wrong;
    }
}

/* Turn this forked child into the command: `text` holds the folder, the arguments and the variables, one after the
   other. Nothing of ours stays open in it: our stdio is replaced, all else closes on exec. */
static _Noreturn void become(char *text, size_t arguments, size_t variables, int theirs[PIPES], pid_t parent) {
    struct failure failure = {.tried = TRIED_PROCESS};
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    for (int i = FEED; i <= ERRORS; i++)
        dup2(theirs[i], i);
    if (job.has_terminal)
        ioctl(FEED, TIOCSCTTY, 0);
    char **vector = calloc(arguments + variables + 2, sizeof *vector);
    if (vector) {
        failure.tried = TRIED_CWD;
        if (chdir(text) == 0) {
            for (size_t i = 0; i < arguments + variables; i++) {
                text += strlen(text) + 1;
                vector[i + (i >= arguments)] = text;
            }
            failure.tried = TRIED_PROGRAM;
            errno = execute(vector, vector + arguments + 1);
        }
    }
    failure.number = errno;
    _exit(write(theirs[REPORT], &failure, sizeof failure) < 0 ? 126 : 127);
}

static size_t count_strings(const unsigned char *text, size_t size) {
    size_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += text[i] == '\0';
    return count;
}

static int copy_of(int descriptor) {
    return fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
}

static void resize(const unsigned char *size) {
    struct winsize wanted = {.ws_row = (uint16_t)get_number(size, 2), .ws_col = (uint16_t)get_number(size + 2, 2)};
    ioctl(job.ours[OUTPUT], TIOCSWINSZ, &wanted);
}

/* Make what joins us with a command; return whether all of it was made. */
static bool make_pipes(int theirs[PIPES]) {
    for (int i = 0; i < PIPES; i++)
        theirs[i] = job.ours[i] = -1;
    for (int i = job.has_terminal ? REPORT : FEED; i < PIPES; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC))
            return false;
        theirs[i] = ends[i != FEED];
        job.ours[i] = ends[i == FEED];
    }
    if (job.has_terminal) {
        char name[64];
        int master = job.ours[OUTPUT] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (master < 0 || unlockpt(master) || ptsname_r(master, name, sizeof name) ||
            (theirs[FEED] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0 ||
            (theirs[OUTPUT] = copy_of(theirs[FEED])) < 0 || (theirs[ERRORS] = copy_of(theirs[FEED])) < 0 ||
            (job.ours[FEED] = copy_of(master)) < 0)
            return false;
    }
    for (int i = 0; i < PIPES; i++)
        if (job.ours[i] >= 0)
            make_nonblocking(job.ours[i]);
    return true;
}

/* Start the command that a request describes; either it is running then, or `failed` is said. `terminal` is the size of
   the one that it wants, or NULL. */
static void start(const unsigned char *terminal, unsigned char *payload, size_t size) {
    uint64_t timeout = get_number(payload, 8);
    uint64_t arguments = get_number(payload + 8, 4), variables = get_number(payload + 12, 4);
    unsigned char *text = payload + REQUEST_FIXED;
    size -= REQUEST_FIXED;
    if (arguments < 1 || text[size - 1] != '\0' || count_strings(text, size) != 1 + arguments + variables)
        refuse("a request whose strings are not as many as it says");
    job.began = now();
    job.deadline = job.began + (int64_t)(timeout < LONGEST_MS ? timeout : LONGEST_MS) * 1000;
    job.status = job.flags = 0;
    job.chunk_start = job.chunk_end = 0;
    job.input_is_over = false;
    job.has_terminal = terminal != NULL;
    int theirs[PIPES];
    bool is_made = make_pipes(theirs);
    if (is_made && terminal)
        resize(terminal);
    pid_t ourselves = getpid();
    pid_t child = is_made ? fork() : -1;
    int number = errno;
    if (child == 0)
        become((char *)text, (size_t)arguments, (size_t)variables, theirs, ourselves);
    for (int i = 0; i < PIPES; i++) {
        close_it(&theirs[i]);
        if (child < 0)
            close_it(&job.ours[i]);
    }
    if (child < 0) {
        say_failed(TRIED_PROCESS, number);
        return;
    }
    job.child = child;
    job.phase = RUNNING;
}

/* Write what waits for the command's stdin; say so when all of it is taken, or nobody reads it any more. */
static void feed(void) {
    ssize_t written = write(job.ours[FEED], job.chunk + job.chunk_start, job.chunk_end - job.chunk_start);
    if (written < 0 && is_transient())
        return;
    job.chunk_start = written < 0 ? job.chunk_end : job.chunk_start + (size_t)written;
    if (written < 0)
        close_it(&job.ours[FEED]);
    if (job.chunk_start == job.chunk_end)
        say_byte(TAKEN, written >= 0);
}

/* Return how much of a command's output may be read now. */
static size_t room(void) {
    size_t used = outgoing.end - outgoing.start + HEADER;
    size_t left = used < OUTGOING_LIMIT ? OUTGOING_LIMIT - used : 0;
    return left < SMALLEST_READ ? 0 : left < CHUNK_LIMIT ? left : CHUNK_LIMIT;
}

/* Forward one portion of output, at most `limit` bytes; return how many, 0 when there is none (now, or ever again). */
static size_t forward(int which, size_t limit) {
    ssize_t got = read(job.ours[which], begin_frame(limit), limit);
    if (got > 0)
        end_frame(which == OUTPUT ? STDOUT : STDERR, (size_t)got);
    else if (got == 0 || !is_transient())
        close_it(&job.ours[which]);
    return got > 0 ? (size_t)got : 0;
}

/* The command is over: end its tree. What the dead have left in the pipes is still to be forwarded, and no more than
   that, should somebody outside of the tree hold an end. A terminal cannot say how much that is before it is read. */
static void finish(void) {
    end_tree();
    close_it(&job.ours[FEED]);
    for (int which = OUTPUT; which <= ERRORS; which++) {
        int left = 0;
        if (job.has_terminal)
            left = which == OUTPUT && job.ours[which] >= 0 ? TERMINAL_HOLDS : 0;
        else if (job.ours[which] >= 0)
            ioctl(job.ours[which], FIONREAD, &left);
        job.left[which] = (size_t)left;
    }
    job.phase = DRAINING;
}

/* Forward what is left as far as there is room; after the last of it comes the answer. */
static void drain(void) {
    for (int which = OUTPUT; which <= ERRORS; which++) {
        while (job.left[which] && room()) {
            size_t got = forward(which, job.left[which] < room() ? job.left[which] : room());
            job.left[which] = got ? job.left[which] - got : 0;
        }
        if (job.left[which])
            return;
        close_it(&job.ours[which]);
    }
    struct failure failure;
    if (read(job.ours[REPORT], &failure, sizeof failure) == sizeof failure)
        say_failed(failure.tried, failure.number);
    else
        say_ended();
    close_it(&job.ours[REPORT]);
    job.phase = IDLE;
}

/* --- Frames from the host. --- */

/* Take stdin for the command. The host may have sent it before it heard that the command is over: then it is void. */
static void take_input(const unsigned char *payload, size_t size) {
    if (job.phase != RUNNING)
        return;
    if (job.input_is_over || job.chunk_start != job.chunk_end)
        refuse("stdin out of turn");
    if (size == 0) {
        job.input_is_over = true;
        close_it(&job.ours[FEED]);
    } else if (job.ours[FEED] < 0) {
        say_byte(TAKEN, 0);
    } else {
        memcpy(job.chunk, payload, size);
        job.chunk_start = 0;
        job.chunk_end = size;
        feed();
    }
}

static void obey(int type, unsigned char *payload, size_t size) {
    if ((type == RUN || type == TERMINAL) && job.phase != IDLE)
        refuse("a request while a command runs");
    if (type == RUN)
        start(NULL, payload, size);
    else if (type == TERMINAL)
        start(payload, payload + SIZE, size - SIZE);
    else if (type == STDIN)
        take_input(payload, size);
    else if (job.phase == RUNNING && type == END)
        job.flags = END_ASKED;
    else if (job.phase == RUNNING && job.has_terminal)
        resize(payload);
}

static void check_header(int type, size_t size) {
    size_t least = 0, most = 0;
    switch (type) {
    case RUN:
        least = REQUEST_FIXED + 1;
        most = REQUEST_LIMIT;
        break;
    case TERMINAL:
        least = SIZE + REQUEST_FIXED + 1;
        most = REQUEST_LIMIT;
        break;
    case RESIZE:
        least = most = SIZE;
        break;
    case STDIN:
        most = CHUNK_LIMIT;
        break;
    case END:
        break;
    default:
        refuse("a frame of an unknown type");
    }
    if (size < least || size > most)
        refuse("a frame of a size that its type cannot have");
}

/* Read as much as belongs to one frame, header first; obey it when it is whole. */
static void receive(void) {
    size_t size = incoming.have < HEADER ? 0 : (size_t)get_number(incoming.bytes + 1, 4);
    ssize_t got = read(0, incoming.bytes + incoming.have, HEADER + size - incoming.have);
    if (got < 0 && is_transient())
        return;
    if (got <= 0 && incoming.have > 0)
        refuse("it ends inside of a frame");
    if (got <= 0)
        leave();
    incoming.have += (size_t)got;
    if (incoming.have < HEADER)
        return;
    size = (size_t)get_number(incoming.bytes + 1, 4);
    check_header(incoming.bytes[0], size);
    if (incoming.have == HEADER + size) {
        incoming.have = 0;
        obey(incoming.bytes[0], incoming.bytes + HEADER, size);
    }
}

/* --- serve --- */

static void wake(int number) {
    (void)number; /* ppoll returns, that is all */
}

/* Become the parent of all orphans below us, deaf to what a terminal or a command may send, and closed to commands of
   the same user: without "dumpable" they cannot trace us, and /proc/<pid>/{fd,mem,environ} is closed to them, so that
   none can speak to the host in our name. */
static void prepare_to_serve(void) {
    static const int deaf_to[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGPIPE};
    sigset_t child;
    for (size_t i = 0; i < sizeof deaf_to / sizeof *deaf_to; i++)
        signal(deaf_to[i], SIG_IGN);
    signal(SIGCHLD, wake);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL); /* it comes only while we wait */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1L) || prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) || prctl(PR_SET_DUMPABLE, 0L))
        fail("prctl");
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}))
        fail("setrlimit");
    if (access("/proc/self/stat", R_OK))
        fail("/proc is needed");
    make_nonblocking(0);
    make_nonblocking(1);
}

/* Wait until something can be done; what is not of interest now is not looked at. */
static void wait_for(struct pollfd polled[5]) {
    bool runs = job.phase == RUNNING, reads = runs && room();
    int64_t left = job.deadline > now() ? job.deadline - now() : 0;
    struct timespec timeout = {.tv_sec = left / 1000000, .tv_nsec = left % 1000000 * 1000};
    sigset_t none;
    sigemptyset(&none);
    polled[0] = (struct pollfd){.fd = 0, .events = POLLIN};
    polled[1] = (struct pollfd){.fd = outgoing.start < outgoing.end ? 1 : -1, .events = POLLOUT};
    polled[2] = (struct pollfd){.fd = reads ? job.ours[OUTPUT] : -1, .events = POLLIN};
    polled[3] = (struct pollfd){.fd = reads ? job.ours[ERRORS] : -1, .events = POLLIN};
    polled[4] = (struct pollfd){.fd = runs && job.chunk_start < job.chunk_end ? job.ours[FEED] : -1, .events = POLLOUT};
    if (ppoll(polled, 5, runs ? &timeout : NULL, &none) < 0)
        for (int i = 0; i < 5; i++)
            polled[i].revents = 0;
}

static _Noreturn void serve(void) {
    prepare_to_serve();
    say_byte(HELLO, VERSION);
    for (;;) {
        struct pollfd polled[5];
        wait_for(polled);
        if (polled[2].revents)
            forward(OUTPUT, room());
        if (polled[3].revents && room())
            forward(ERRORS, room());
        if (polled[4].revents)
            feed();
        if (polled[0].revents)
            receive();
        if (job.phase == RUNNING) {
            reap();
            job.flags = !job.child ? 0 : job.flags ? job.flags : now() >= job.deadline ? TIMED_OUT : 0;
            if (!job.child || job.flags)
                finish();
        }
        if (job.phase == DRAINING)
            drain();
        flush();
    }
}

/* --- Connections. --- */

enum { CONNECTIONS = 128, BACKLOG = 1024, FAREWELL_MS = 5000 };

struct direction {
    int from, to;
    bool has_ended, is_over; /* nothing more comes; nothing more goes */
    size_t start, end;
    unsigned char bytes[64 << 10];
};

static struct connection {
    bool is_used;
    struct direction there, back;
} connections[CONNECTIONS];

/* Move what can be moved one way. A side that takes no more ends this way only: it may still have something to say. */
static void carry(struct direction *way) {
    if (!way->has_ended && way->end == 0) {
        ssize_t got = read(way->from, way->bytes, sizeof way->bytes);
        way->has_ended = got == 0 || (got < 0 && !is_transient());
        way->end = got > 0 ? (size_t)got : 0;
    }
    if (way->start < way->end) {
        ssize_t sent = write(way->to, way->bytes + way->start, way->end - way->start);
        way->is_over = sent < 0 && !is_transient();
        way->start += sent > 0 ? (size_t)sent : 0;
        if (way->start == way->end)
            way->start = way->end = 0;
    }
    if (way->has_ended && way->end == 0 && !way->is_over) {
        shutdown(way->to, SHUT_WR);
        way->is_over = true;
    }
}

/* Say what one way waits for: the reader while something is held, else the writer. */
static struct pollfd interest(const struct direction *way, bool is_used) {
    int descriptor = way->end ? way->to : way->from;
    return (struct pollfd){.fd = is_used && !way->is_over ? descriptor : -1, .events = way->end ? POLLOUT : POLLIN};
}

static void serve_connection(struct connection *each, const struct pollfd polled[2]) {
    if (polled[0].revents)
        carry(&each->there);
    if (polled[1].revents)
        carry(&each->back);
    if (each->is_used && each->there.is_over && each->back.is_over) {
        close(each->there.from);
        close(each->there.to);
        each->is_used = false;
    }
}

static void open_way(struct direction *way, int from, int to) {
    way->from = from;
    way->to = to;
    way->has_ended = way->is_over = false;
    way->start = way->end = 0;
}

/* --- hold --- */

static void accept_one(int listener, const struct sockaddr_un *target, struct connection *slot) {
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int server = client < 0 ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server < 0 || connect(server, (const struct sockaddr *)target, sizeof *target)) {
        close_it(&client);
        close_it(&server);
        return;
    }
    open_way(&slot->there, client, server);
    open_way(&slot->back, server, client);
    slot->is_used = true;
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) ||
        bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, BACKLOG))
        fail("cannot listen");
    return listener;
}

/* Return the port that is spelled, or 0. */
static int port_of(const char *text) {
    char *end;
    long number = strtol(text, &end, 10);
    return *end || number < 1 || number > 65535 ? 0 : (int)number;
}

static void end_now(int number) {
    (void)number;
    _exit(0);
}

/* Return whether our input is still open; what it says is of no interest. */
static bool is_held(void) {
    char ignored[4096];
    ssize_t got = read(0, ignored, sizeof ignored);
    return got > 0 || (got < 0 && is_transient());
}

static int hold(int listener, const struct sockaddr_un *target) {
    static struct pollfd polled[2 + 2 * CONNECTIONS];
    signal(SIGTERM, end_now);
    signal(SIGPIPE, SIG_IGN);
    if (write(1, "ready\n", 6) < 0)
        fail("cannot say ready");
    for (;;) {
        struct connection *unused = NULL;
        for (int i = 0; i < CONNECTIONS; i++) {
            polled[2 + 2 * i] = interest(&connections[i].there, connections[i].is_used);
            polled[3 + 2 * i] = interest(&connections[i].back, connections[i].is_used);
            unused = connections[i].is_used ? unused : &connections[i];
        }
        polled[0] = (struct pollfd){.fd = 0, .events = POLLIN};
        polled[1] = (struct pollfd){.fd = unused ? listener : -1, .events = POLLIN};
        if (poll(polled, 2 + 2 * CONNECTIONS, -1) < 0)
            continue;
        if (polled[0].revents && !is_held())
            return 0;
        for (int i = 0; i < CONNECTIONS; i++)
            serve_connection(&connections[i], &polled[2 + 2 * i]);
        if (polled[1].revents)
            accept_one(listener, target, unused);
    }
}

static int hold_and_relay(const char *port, const char *path) {
    struct sockaddr_un target = {.sun_family = AF_UNIX};
    int number = port_of(port);
    if (!number || strlen(path) >= sizeof target.sun_path) {
        fprintf(stderr, "taskq-guest: not a port, or too long a path: %s %s\n", port, path);
        return 2;
    }
    strcpy(target.sun_path, path);
    return hold(listen_on(number), &target);
}

/* --- dial --- */

static int dial(int port) {
    static struct direction there, back;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (prctl(PR_SET_DUMPABLE, 0L)) /* what the agent runs has the same user, and none of it may write to our streams */
        fail("prctl");
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (server < 0 || connect(server, (const struct sockaddr *)&address, sizeof address))
        fail("cannot connect");
    signal(SIGPIPE, SIG_IGN);
    for (int descriptor = 0; descriptor <= 1; descriptor++)
        make_nonblocking(descriptor);
    make_nonblocking(server);
    open_way(&there, 0, server);
    open_way(&back, server, 1);
    for (int64_t ends = 0; !back.is_over;) {
        struct pollfd polled[2] = {interest(&there, true), interest(&back, true)};
        if (there.is_over && !ends)
            ends = now() + FAREWELL_MS * INT64_C(1000);
        int left = ends ? (int)((ends - now()) / 1000) : -1;
        if (ends && left <= 0)
            break;
        if (poll(polled, 2, left) < 0)
            continue;
        if (polled[0].revents)
            carry(&there);
        if (polled[1].revents)
            carry(&back);
    }
    return 0;
}

int main(int count, char **arguments) {
    int descriptor;
    while ((descriptor = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0 && descriptor <= 2)
        ; /* so that no descriptor of ours takes the place of one that was closed */
    close_it(&descriptor);
    if (count == 2 && strcmp(arguments[1], "serve") == 0)
        serve();
    if (count == 2 && strcmp(arguments[1], "hold") == 0)
        return hold(-1, NULL);
    if (count == 4 && strcmp(arguments[1], "hold") == 0)
        return hold_and_relay(arguments[2], arguments[3]);
    if (count == 3 && strcmp(arguments[1], "dial") == 0 && port_of(arguments[2]))
        return dial(port_of(arguments[2]));
    if (count == 2 && strcmp(arguments[1], "--version") == 0)
        return printf("taskq-guest %d\n", VERSION) < 0;
    fprintf(stderr, "usage: taskq-guest serve | hold [PORT SOCKET] | dial PORT | --version\n");
    return 2;
}
