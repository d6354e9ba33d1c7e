/*
 * poll(2) and select(2) over descriptors of ours and of Linux: selrecord(),
 * and what kern_poll() and kern_select() do around it.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <sys/eventfd.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_key_t waiter_key;
static pthread_once_t waiter_once = PTHREAD_ONCE_INIT;
static __thread struct waiter mine = { -1, 0 };

static void
waiter_close(void *arg)
{
	struct waiter *w = arg;

	if (w->w_fd >= 0)
		(void)__real_close(w->w_fd);
	w->w_fd = -1;
}

static void
waiter_init(void)
{
	if (pthread_key_create(&waiter_key, waiter_close) != 0)
		abort();
}

/* What this thread sleeps on. */
struct waiter *
waiter_mine(void)
{
	if (mine.w_fd < 0) {
		(void)pthread_once(&waiter_once, waiter_init);
		mine.w_fd = eventfd(0, EFD_CLOEXEC);
		if (mine.w_fd < 0)
			abort();
		mine.w_fired = 0;
		(void)pthread_setspecific(waiter_key, &mine);
	}
	return (&mine);
}

void
waiter_fire(struct waiter *w)
{
	static const uint64_t one = 1;

	if (__atomic_exchange_n(&w->w_fired, 1, __ATOMIC_RELAXED) == 0)
		(void)!__real_write(w->w_fd, &one, sizeof(one));
}

/* Nobody can fire it any more. */
void
waiter_drain(struct waiter *w)
{
	uint64_t v;

	if (__atomic_exchange_n(&w->w_fired, 0, __ATOMIC_RELAXED) == 0)
		return;
	while (__real_read(w->w_fd, &v, sizeof(v)) < 0 && errno == EINTR)
		continue;
}

/* The eventfd is shared with the parent: not for the child. */
void
waiter_fork_child(void)
{
	waiter_close(&mine);
	mine.w_fired = 0;
}

/* A child looks at its parent's descriptors that often. */
#define FOREIGN_TURN	2000000ULL

/* One file of a poll(). */
struct polled {
	struct bpf_d	*d;		/* ours, or NULL */
	struct sleeper	s;
};

static void
begin_sleep(struct polled *of, nfds_t n, struct waiter *w)
{
	nfds_t i;

	for (i = 0; i < n; i++) {
		if (of[i].d == NULL || of[i].d->d_foreign)
			continue;
		of[i].s = (struct sleeper){ .s_waiter = w, .s_deadline = NEVER };
		pthread_mutex_lock(&of[i].d->bd_lock);
		LIST_INSERT_HEAD(&of[i].d->d_sleepers, &of[i].s, s_next);
		pthread_mutex_unlock(&of[i].d->bd_lock);
	}
}

static void
end_sleep(struct polled *of, nfds_t n, struct waiter *w)
{
	nfds_t i;

	for (i = 0; i < n; i++) {
		if (of[i].d == NULL || of[i].d->d_foreign)
			continue;
		pthread_mutex_lock(&of[i].d->bd_lock);
		LIST_REMOVE(&of[i].s, s_next);
		pthread_mutex_unlock(&of[i].d->bd_lock);
	}
	waiter_drain(w);
}

/*
 * One look, and a sleep until the deadline if nothing is ready: how many are
 * ready, 0 for a wake-up that says to look again, -1 with errno.
 */
static int
look(struct pollfd *fds, nfds_t n, struct polled *of, struct pollfd *real,
    uint64_t deadline, const sigset_t *mask)
{
	struct waiter *w = waiter_mine();
	struct timespec ts = { 0, 0 };
	uint64_t now, most = NEVER;
	nfds_t i;
	int r, ready = 0;

	begin_sleep(of, n, w);
	for (i = 0; i < n; i++) {
		real[i] = fds[i];
		real[i].revents = 0;
		if (of[i].d == NULL)
			continue;
		real[i].fd = -1;
		if (of[i].d->d_foreign) {
			fds[i].revents = (short)child_call(of[i].d, CHILD_POLL, (u_long)fds[i].events, NULL, 0);
			most = FOREIGN_TURN;
		} else
			fds[i].revents = (short)bpf_poll(of[i].d, fds[i].events);
		ready += fds[i].revents != 0;
	}
	real[n] = (struct pollfd){ w->w_fd, POLLIN, 0 };
	now = now_ns();
	if (deadline > now && deadline - now > most)
		deadline = now + most;
	if (ready == 0 && deadline > now) {
		ts.tv_sec = (time_t)((deadline - now) / 1000000000ULL);
		ts.tv_nsec = (long)((deadline - now) % 1000000000ULL);
	}
	r = __real_ppoll(real, n + 1, deadline == NEVER && ready == 0 ? NULL : &ts, mask);
	end_sleep(of, n, w);
	if (r < 0)
		return (-1);
	for (i = 0; i < n; i++) {
		if (of[i].d != NULL)
			continue;
		fds[i].revents = real[i].revents;
		ready += fds[i].revents != 0;
	}
	return (ready);
}

/* poll(2), in nanoseconds; a negative time is for ever */
int
sim_poll(struct pollfd *fds, nfds_t n, int64_t timeout, const sigset_t *mask)
{
	struct polled *of;
	struct pollfd *real;
	uint64_t deadline = NEVER;
	nfds_t i;
	int r, error;

	of = calloc(n + 1, sizeof(*of));
	real = calloc(n + 1, sizeof(*real));
	if (of == NULL || real == NULL)
		abort();
	for (i = 0; i < n; i++)
		of[i].d = bpf_lookup(fds[i].fd);
	if (timeout >= 0)
		deadline = now_ns() + (uint64_t)timeout;
	do {
		/* When the time is up it looks once more. */
		r = look(fds, n, of, real, deadline, mask);
	} while (r == 0 && (deadline == NEVER || now_ns() < deadline));
	error = errno;
	for (i = 0; i < n; i++) {
		if (of[i].d != NULL)
			bpf_unlookup(of[i].d);
	}
	free(of);
	free(real);
	errno = error;
	return (r);
}

#define READ_EVENTS	(POLLIN | POLLRDNORM | POLLHUP | POLLERR)
#define WRITE_EVENTS	(POLLOUT | POLLWRNORM | POLLERR)
#define EXCEPT_EVENTS	(POLLPRI | POLLRDBAND)

static int
in_set(int fd, fd_set *set)
{
	return (set != NULL && FD_ISSET(fd, set));
}

static int
take(struct pollfd *p, fd_set *set, short events)
{
	if (!in_set(p->fd, set))
		return (0);
	if (p->revents & events)
		return (1);
	FD_CLR(p->fd, set);
	return (0);
}

/* select(2): the time that is left is not written back on FreeBSD */
int
sim_select(int nfds, fd_set *r, fd_set *w, fd_set *x, int64_t timeout, const sigset_t *mask)
{
	struct pollfd *p;
	nfds_t n = 0, i;
	int fd, found, error, count = 0;

	p = calloc((size_t)nfds + 1, sizeof(*p));
	if (p == NULL)
		abort();
	for (fd = 0; fd < nfds; fd++) {
		p[n].fd = fd;
		p[n].events = (short)((in_set(fd, r) ? READ_EVENTS & ~POLLERR : 0) |
		    (in_set(fd, w) ? WRITE_EVENTS & ~POLLERR : 0) |
		    (in_set(fd, x) ? EXCEPT_EVENTS : 0));
		n += p[n].events != 0;
	}
	found = sim_poll(p, n, timeout, mask);
	error = errno;
	for (i = 0; found >= 0 && i < n; i++) {
		if (p[i].revents & POLLNVAL) {
			error = EBADF;
			found = -1;
			break;
		}
		count += take(&p[i], r, READ_EVENTS);
		count += take(&p[i], w, WRITE_EVENTS);
		count += take(&p[i], x, EXCEPT_EVENTS);
	}
	free(p);
	errno = error;
	return (found < 0 ? -1 : count);
}
