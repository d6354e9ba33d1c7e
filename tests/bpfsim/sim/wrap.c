/*
 * The system calls of libpcap's objects, which are linked with --wrap: those
 * on our descriptors stay here, the others go on to Linux.  All are counted.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <sys/mman.h>
#include <sys/select.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind { OPEN, CLOSE, IOCTL, READ, WRITE, POLL, SELECT, FCNTL, MMAP, MUNMAP, KINDS };

static const char *const kind_names[KINDS] = {
	"open", "close", "ioctl", "read", "write", "poll", "select", "fcntl", "mmap", "munmap",
};
static int64_t counts[KINDS];		/* atomic */

#define MAX_COMMANDS	128

/* By ioctl: how often it was called, and how it is to fail. */
static struct command {
	u_long	number;
	int64_t	count;
	int	error, times;
} commands[MAX_COMMANDS];
static int ncommands, open_error, open_times, minors = -1;
static pthread_mutex_t commands_lock = PTHREAD_MUTEX_INITIALIZER;

static void
count(enum kind kind)
{
	(void)__atomic_fetch_add(&counts[kind], 1, __ATOMIC_RELAXED);
}

static struct command *
command_of(u_long number)
{
	int i;

	for (i = 0; i < ncommands; i++) {
		if (commands[i].number == number)
			return (&commands[i]);
	}
	if (ncommands == MAX_COMMANDS)
		return (NULL);
	commands[ncommands].number = number;
	return (&commands[ncommands++]);
}

/* Whether it is one of the failures to come. */
static int
fails(int *error, int *times)
{
	if (*times == 0)
		return (0);
	if (*times > 0)
		--*times;
	return (*error);
}

static int
count_ioctl(u_long number, int counted)
{
	struct command *c;
	int error = 0;

	if (counted)
		count(IOCTL);
	pthread_mutex_lock(&commands_lock);
	c = command_of(number);
	if (c != NULL) {
		c->count += counted;
		error = fails(&c->error, &c->times);
	}
	pthread_mutex_unlock(&commands_lock);
	return (error);
}

static int
result(int error)
{
	if (error == 0)
		return (0);
	errno = error;
	return (-1);
}

/* Which device a path is, if there is one: devfs and make_dev(). */
static int
open_device(const char *path, int flags)
{
	struct bpf_d *d;
	int error, minor = strcmp(path, "/dev/bpf") == 0 ? -1 : atoi(path + strlen("/dev/bpf"));

	pthread_mutex_lock(&commands_lock);
	error = fails(&open_error, &open_times);
	/* /dev/bpf0 is another name of the cloning device. */
	if (error == 0 && (minors < 0 ? minor > 0 : minor < 0 || minor >= minors))
		error = ENOENT;
	pthread_mutex_unlock(&commands_lock);
	if (error == 0 && minors >= 0) {
		sim_lock();
		LIST_FOREACH(d, &sim_ds, d_all) {
			if (!d->d_gone && d->d_minor == minor)
				error = EBUSY;
		}
		sim_unlock();
	}
	if (error != 0)
		return (result(error));
	sim_start();
	return (bpf_open(minors >= 0 ? minor : -1, flags));
}

EXPORT int
bpfsim_open(const char *path, int flags)
{
	if (strncmp(path, "/dev/bpf", strlen("/dev/bpf")) == 0)
		return (open_device(path, flags));
	return (__real_open(path, flags, 0));
}

EXPORT int
bpfsim_close(int fd)
{
	struct bpf_d *d;
	int r;

	d = bpf_lookup(fd);
	if (d == NULL)
		return (__real_close(fd));
	r = bpf_close(d, fd);
	bpf_unlookup(d);
	return (r);
}

static int
device_ioctl(int fd, u_long cmd, void *arg, int counted, int *answer)
{
	struct bpf_d *d;
	int error;

	d = bpf_lookup(fd);
	if (d == NULL) {
		if (!sim_socket_ioctl(cmd, arg, &error))
			return (0);
		*answer = result(error);
		return (1);
	}
	fork_reap();
	if (d->d_foreign)
		*answer = (int)child_call(d, CHILD_IOCTL, cmd, arg, 0);
	else {
		error = count_ioctl(cmd, counted);
		*answer = result(error != 0 ? error : bpf_ioctl(d, cmd, arg));
	}
	bpf_unlookup(d);
	return (1);
}

EXPORT int
bpfsim_ioctl(int fd, unsigned long cmd, void *arg)
{
	int answer;

	if (device_ioctl(fd, cmd, arg, 0, &answer))
		return (answer);
	return (__real_ioctl(fd, cmd, arg));
}

EXPORT ssize_t
bpfsim_read(int fd, void *to, size_t len)
{
	struct bpf_d *d = bpf_lookup(fd);
	ssize_t n;

	if (d == NULL)
		return (__real_read(fd, to, len));
	if (d->d_foreign)
		n = child_call(d, CHILD_READ, 0, to, len);
	else
		n = bpf_read(d, to, len);
	bpf_unlookup(d);
	return (n);
}

EXPORT ssize_t
bpfsim_write(int fd, const void *from, size_t len)
{
	struct bpf_d *d = bpf_lookup(fd);
	ssize_t n;

	if (d == NULL)
		return (__real_write(fd, from, len));
	if (d->d_foreign)
		n = child_call(d, CHILD_WRITE, 0, (void *)(uintptr_t)from, len);
	else
		n = bpf_write(d, from, len);
	bpf_unlookup(d);
	return (n);
}

static int64_t
timespec_ns(const struct timespec *ts)
{
	return (ts == NULL ? -1 : ts->tv_sec * 1000000000LL + ts->tv_nsec);
}

static int64_t
timeval_ns(const struct timeval *tv)
{
	return (tv == NULL ? -1 : tv->tv_sec * 1000000000LL + tv->tv_usec * 1000LL);
}

EXPORT int
bpfsim_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	fork_reap();
	return (sim_poll(fds, n, timeout < 0 ? -1 : timeout * 1000000LL, NULL));
}

EXPORT int
bpfsim_select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *tv)
{
	fork_reap();
	return (sim_select(n, r, w, x, timeval_ns(tv), NULL));
}

EXPORT int
bpfsim_munmap(void *addr, size_t len)
{
	zbuf_unmapped(addr, len);
	return (__real_munmap(addr, len));
}

extern int __wrap_open(const char *, int, ...);
extern int __wrap_open64(const char *, int, ...);
extern int __wrap_close(int);
extern int __wrap_ioctl(int, unsigned long, ...);
extern ssize_t __wrap_read(int, void *, size_t);
extern ssize_t __wrap_write(int, const void *, size_t);
extern int __wrap_poll(struct pollfd *, nfds_t, int);
extern int __wrap_ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
extern int __wrap_select(int, fd_set *, fd_set *, fd_set *, struct timeval *);
extern int __wrap_pselect(int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *);
extern int __wrap_fcntl(int, int, ...);
extern int __wrap_fcntl64(int, int, ...);
extern void *__wrap_mmap(void *, size_t, int, int, int, off_t);
extern void *__wrap_mmap64(void *, size_t, int, int, int, off_t);
extern int __wrap_munmap(void *, size_t);

int
__wrap_open(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	count(OPEN);
	if (strncmp(path, "/dev/bpf", strlen("/dev/bpf")) == 0)
		return (open_device(path, flags));
	va_start(ap, flags);
	mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(ap, int) : 0;
	va_end(ap);
	return (__real_open(path, flags, mode));
}

int
__wrap_open64(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(ap, int) : 0;
	va_end(ap);
	return (__wrap_open(path, flags, mode));
}

int
__wrap_close(int fd)
{
	count(CLOSE);
	return (bpfsim_close(fd));
}

int
__wrap_ioctl(int fd, unsigned long cmd, ...)
{
	va_list ap;
	void *arg;
	int answer;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (device_ioctl(fd, cmd, arg, 1, &answer))
		return (answer);
	(void)count_ioctl(cmd, 1);
	return (__real_ioctl(fd, cmd, arg));
}

ssize_t
__wrap_read(int fd, void *to, size_t len)
{
	count(READ);
	return (bpfsim_read(fd, to, len));
}

ssize_t
__wrap_write(int fd, const void *from, size_t len)
{
	count(WRITE);
	return (bpfsim_write(fd, from, len));
}

int
__wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	count(POLL);
	return (bpfsim_poll(fds, n, timeout));
}

int
__wrap_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask)
{
	count(POLL);
	fork_reap();
	return (sim_poll(fds, n, timespec_ns(ts), mask));
}

int
__wrap_select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *tv)
{
	count(SELECT);
	return (bpfsim_select(n, r, w, x, tv));
}

int
__wrap_pselect(int n, fd_set *r, fd_set *w, fd_set *x, const struct timespec *ts, const sigset_t *mask)
{
	count(SELECT);
	fork_reap();
	return (sim_select(n, r, w, x, timespec_ns(ts), mask));
}

/* O_NONBLOCK and FD_CLOEXEC are flags of the socket that stands for the file. */
int
__wrap_fcntl(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	count(FCNTL);
	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	return (__real_fcntl(fd, cmd, arg));
}

int
__wrap_fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	return (__wrap_fcntl(fd, cmd, arg));
}

/* On FreeBSD MAP_ANON alone means private memory; Linux wants to be told. */
void *
__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	count(MMAP);
	if ((flags & (MAP_SHARED | MAP_PRIVATE)) == 0)
		flags |= MAP_PRIVATE;
	return (__real_mmap(addr, len, prot, flags, fd, offset));
}

void *
__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return (__wrap_mmap(addr, len, prot, flags, fd, offset));
}

int
__wrap_munmap(void *addr, size_t len)
{
	count(MUNMAP);
	return (bpfsim_munmap(addr, len));
}

EXPORT int
bpfsim_fail(unsigned long number, int error, int times)
{
	struct command *c;

	pthread_mutex_lock(&commands_lock);
	c = command_of(number);
	if (c != NULL) {
		c->error = error;
		c->times = times;
	}
	pthread_mutex_unlock(&commands_lock);
	return (c == NULL ? result(ENOMEM) : 0);
}

EXPORT int
bpfsim_fail_open(int error, int times)
{
	pthread_mutex_lock(&commands_lock);
	open_error = error;
	open_times = times;
	pthread_mutex_unlock(&commands_lock);
	return (0);
}

EXPORT int
bpfsim_set_minors(int n)
{
	pthread_mutex_lock(&commands_lock);
	minors = n;
	pthread_mutex_unlock(&commands_lock);
	return (0);
}

void
calls_lock(void)
{
	pthread_mutex_lock(&commands_lock);
}

void
calls_unlock(void)
{
	pthread_mutex_unlock(&commands_lock);
}

void
sim_forget_failures(void)
{
	int i;

	(void)bpfsim_fail_open(0, 0);
	(void)bpfsim_set_minors(-1);
	pthread_mutex_lock(&commands_lock);
	for (i = 0; i < ncommands; i++)
		commands[i].times = 0;
	pthread_mutex_unlock(&commands_lock);
}

EXPORT int64_t
bpfsim_count(const char *kind, unsigned long number)
{
	int64_t n = 0;
	int i;

	if (strcmp(kind, "ioctl") == 0 && number != 0) {
		pthread_mutex_lock(&commands_lock);
		for (i = 0; i < ncommands; i++) {
			if (commands[i].number == number)
				n = commands[i].count;
		}
		pthread_mutex_unlock(&commands_lock);
		return (n);
	}
	for (i = 0; i < KINDS; i++) {
		if (strcmp(kind, "all") == 0 || strcmp(kind, kind_names[i]) == 0)
			n += __atomic_load_n(&counts[i], __ATOMIC_RELAXED);
	}
	return (n);
}

EXPORT int
bpfsim_reset_counts(void)
{
	int i;

	for (i = 0; i < KINDS; i++)
		__atomic_store_n(&counts[i], 0, __ATOMIC_RELAXED);
	pthread_mutex_lock(&commands_lock);
	for (i = 0; i < ncommands; i++)
		commands[i].count = 0;
	pthread_mutex_unlock(&commands_lock);
	return (0);
}
