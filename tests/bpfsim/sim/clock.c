/*
 * The kernel's clock: a thread that runs callouts, wakes those who sleep with
 * a deadline, notices that files are closed, and keeps descriptors readable
 * for those who poll them outside of this library.
 *
 * It sleeps until something is due.  Only while the user holds a buffer, which
 * he gives back without a call, does it look every millisecond (a few, when he
 * takes long).
 */
#define _GNU_SOURCE
#include "sim.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MS		1000000ULL
#define MAX_PEERS	512

static pthread_t clock_thread;
static int clock_fd = -1;		/* eventfd: look again */
static uint64_t clock_next = NEVER;	/* atomic: when it looks by itself */

uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec);
}

/* Something is due at that time; 0: now. */
void
clock_before(uint64_t when)
{
	static const uint64_t one = 1;

	if (when == NEVER || when >= __atomic_load_n(&clock_next, __ATOMIC_RELAXED))
		return;
	if (clock_fd >= 0)
		(void)!__real_write(clock_fd, &one, sizeof(one));
}

/*
 * What bpfpoll() would say to somebody outside who always waits: the read
 * timeout starts for him as soon as there is nothing to read.
 */
static int
outside_ready(const struct bpf_d *d)
{
	return (d->bd_bif == NULL || bpf_ready(d) ||
	    (d->bd_slen != 0 && d->d_out_state == BPF_TIMED_OUT));
}

/* Whether the user may take back its being ready without a call. */
static int
gives_back_silently(const struct bpf_d *d)
{
	return (d->bd_hbuf != NULL && d->bd_hbuf->b_header != NULL);
}

/* Make the user's end readable or not, with bd_lock held. */
void
outside_update(struct bpf_d *d)
{
	int ready = outside_ready(d);
	char byte = 0;

	if (!ready && d->d_out_state == BPF_IDLE && d->bd_rtout > 0) {
		d->d_out_state = BPF_WAITING;
		d->d_out_deadline = now_ns() + d->bd_rtout * (1000000000ULL / SIM_HZ);
		clock_before(d->d_out_deadline);
	}
	if (!ready || !gives_back_silently(d))
		d->d_held_since = 0;
	else if (d->d_held_since == 0) {
		d->d_held_since = now_ns();
		clock_before(d->d_held_since + MS);
	}
	if (ready == d->d_signaled || __atomic_load_n(&d->d_gone, __ATOMIC_RELAXED))
		return;
	d->d_signaled = ready;
	if (ready)
		(void)send(d->d_peer, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		(void)recv(d->d_fd, &byte, 1, MSG_DONTWAIT);
}

/* An ioctl or a read: as bd_state, so the state outside. */
void
outside_reset(struct bpf_d *d)
{
	d->d_out_state = BPF_IDLE;
	d->d_out_deadline = NEVER;
}

static uint64_t
earlier(uint64_t a, uint64_t b)
{
	return (a < b ? a : b);
}

/* What is due of one descriptor; when to look again. */
static uint64_t
run_descriptor(struct bpf_d *d, uint64_t now)
{
	struct sleeper *s;
	uint64_t next = NEVER;

	if (d->bd_callout <= now)
		bpf_timed_out(d);
	next = earlier(next, d->bd_callout);
	if (d->d_out_deadline <= now) {
		d->d_out_deadline = NEVER;
		d->d_out_state = BPF_TIMED_OUT;
	}
	next = earlier(next, d->d_out_deadline);
	LIST_FOREACH(s, &d->d_sleepers, s_next) {
		if (s->s_deadline <= now && !s->s_timed_out) {
			s->s_timed_out = 1;
			waiter_fire(s->s_waiter);
		} else if (!s->s_timed_out)
			next = earlier(next, s->s_deadline);
	}
	outside_update(d);
	if (d->d_held_since != 0)
		next = earlier(next, now + (now - d->d_held_since > 1000 * MS ? 4 : 1) * MS);
	return (next);
}

/* One turn: the descriptors to watch, and when to look again. */
static int
run_all(struct pollfd *p)
{
	struct bpf_d *d;
	uint64_t next = NEVER;
	int n = 0;

	sim_lock();
	/* Whoever has something for later writes to clock_fd, until we know. */
	__atomic_store_n(&clock_next, NEVER, __ATOMIC_RELAXED);
	LIST_FOREACH(d, &sim_ds, d_all) {
		if (d->d_gone || d->d_foreign)
			continue;
		pthread_mutex_lock(&d->bd_lock);
		next = earlier(next, run_descriptor(d, now_ns()));
		pthread_mutex_unlock(&d->bd_lock);
		if (n < MAX_PEERS)
			p[n++] = (struct pollfd){ d->d_peer, 0, 0 };
	}
	__atomic_store_n(&clock_next, next, __ATOMIC_RELAXED);
	sim_unlock();
	return (n);
}

static void
hang_up(int peer)
{
	struct bpf_d *d;

	sim_lock();
	LIST_FOREACH(d, &sim_ds, d_all) {
		if (d->d_peer == peer)
			break;
	}
	if (d != NULL)
		bpf_hangup(d);
	sim_unlock();
}

static void *
clock_main(void *arg)
{
	static struct pollfd p[MAX_PEERS + 1];
	struct timespec ts;
	uint64_t next, now, v;
	int i, n;

	(void)arg;
	for (;;) {
		n = run_all(p);
		p[n] = (struct pollfd){ clock_fd, POLLIN, 0 };
		next = __atomic_load_n(&clock_next, __ATOMIC_RELAXED);
		now = now_ns();
		next = next > now ? next - now : 0;
		ts.tv_sec = (time_t)(next / 1000000000ULL);
		ts.tv_nsec = (long)(next % 1000000000ULL);
		if (ts.tv_sec > 3600)
			ts.tv_sec = 3600;
		if (__real_ppoll(p, (nfds_t)n + 1, &ts, NULL) <= 0)
			continue;
		if (p[n].revents)
			(void)!__real_read(clock_fd, &v, sizeof(v));
		for (i = 0; i < n; i++) {
			if (p[i].revents & (POLLHUP | POLLERR))
				hang_up(p[i].fd);
		}
	}
	return (NULL);
}

void
clock_start(void)
{
	clock_fd = eventfd(0, EFD_CLOEXEC);
	if (clock_fd < 0)
		abort();
	sim_thread(&clock_thread, clock_main, NULL);
}

/* In a forked child there is no such thread. */
void
clock_fork_child(void)
{
	if (clock_fd >= 0)
		(void)__real_close(clock_fd);
	clock_fd = -1;
}
