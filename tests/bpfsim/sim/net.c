/*
 * Interfaces, and the thread that delivers packets to them: what drivers,
 * ether_output() and if_input() are in a kernel.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <sys/eventfd.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_ATTACHED	32
#define DOWN_TURN	20		/* ms between looks at a device that is down */

/* A packet on its way, or an order to make some up. */
struct job {
	struct job	*next;
	char		name[IFNAMSIZ];
	int		outgoing;
	u_int		len;
	uint64_t	count;		/* not 0: frames to be made up */
	int		min, max, gap_us, burst, pause_us;
	uint32_t	seed;
	u_char		packet[];
};

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_done = PTHREAD_COND_INITIALIZER;
static struct job *queue_head, **queue_tail = &queue_head;
static uint64_t queue_in, queue_out;
static int net_fd = -1;			/* eventfd: look at the queue */
static int flood_stop;			/* atomic */
static pthread_t net_thread;

struct ifnet *
if_find(const char *name)
{
	struct ifnet *ifp;

	LIST_FOREACH(ifp, &sim_ifs, if_next) {
		if (strcmp(ifp->if_xname, name) == 0)
			return (ifp);
	}
	return (NULL);
}

/* ifpromisc() */
int
if_promisc(struct ifnet *ifp, int on)
{
	ifp->if_pcount += on ? 1 : -1;
	linux_promisc(ifp, ifp->if_pcount > 0);
	return (0);
}

/* A packet of one link-layer type passes, with sim_lock held. */
void
if_transmit(struct ifnet *ifp, u_int dlt, const u_char *pkt, u_int len, int outgoing)
{
	struct bpf_if *bp;

	for (bp = ifp->if_bpf; bp != NULL; bp = bp->bif_more) {
		if (bp->bif_dlt == dlt)
			bpf_tap(bp, pkt, len, outgoing);
	}
}

/*
 * if_output of what bpfwrite() hands down: it passes the taps unless it is
 * hidden, and arrives at the other end.  On a loopback interface what goes out
 * comes in (if_simloop()), and is shown once.
 */
void
if_output(struct ifnet *ifp, u_int dlt, const u_char *pkt, u_int len, int hide)
{
	if (!hide)
		if_transmit(ifp, dlt, pkt, len, dlt != DLT_NULL);
	if (ifp->if_fd >= 0)
		linux_send(ifp, pkt, len);
	if (ifp->if_peer != NULL && ifp->if_peer->if_up)
		if_transmit(ifp->if_peer, dlt, pkt, len, 0);
}

/* The frames that bpfsim_flood() promises. */
static u_int
make_frame(u_char *frame, uint32_t number, u_int len)
{
	u_int i;

	memset(frame, 0xff, 6);
	memset(frame + 6, 2, 6);
	frame[12] = 0x88;
	frame[13] = 0xb5;
	frame[14] = (u_char)(number >> 24);
	frame[15] = (u_char)(number >> 16);
	frame[16] = (u_char)(number >> 8);
	frame[17] = (u_char)number;
	for (i = 18; i < len; i++)
		frame[i] = (u_char)(number + i);
	return (len);
}

EXPORT int
bpfsim_flood_length(uint32_t seed, uint32_t number, int min, int max)
{
	uint32_t x = (number + 1) * 2654435761U ^ seed;

	if (max <= min)
		return (min);
	x ^= x >> 16;
	x *= 0x7feb352dU;
	x ^= x >> 15;
	return (min + (int)(x % (uint32_t)(max - min + 1)));
}

static void
pause_us(int us)
{
	struct timespec ts = { us / 1000000, us % 1000000 * 1000L };

	if (us > 0)
		(void)nanosleep(&ts, NULL);
}

static int
next_number(const char *name, uint32_t *number)
{
	struct ifnet *ifp;

	sim_lock();
	ifp = if_find(name);
	if (ifp != NULL)
		*number = ifp->if_seq++;
	sim_unlock();
	return (ifp != NULL);
}

static void
flood(const struct job *job)
{
	static u_char frame[65536 + 18];
	struct ifnet *ifp;
	uint32_t number;
	uint64_t i;
	u_int len;

	for (i = 0; i < job->count && !__atomic_load_n(&flood_stop, __ATOMIC_RELAXED); i++) {
		if (!next_number(job->name, &number))
			break;
		len = (u_int)bpfsim_flood_length(job->seed, number, job->min, job->max);
		len = make_frame(frame, number, len);
		sim_lock();
		ifp = if_find(job->name);
		if (ifp != NULL && ifp->if_up)
			if_transmit(ifp, ifp->if_bpf->bif_dlt, frame, len, 0);
		sim_unlock();
		pause_us(job->gap_us);
		if (job->burst > 0 && (i + 1) % (uint64_t)job->burst == 0)
			pause_us(job->pause_us);
	}
}

static void
deliver(const struct job *job)
{
	struct ifnet *ifp;

	if (job->count != 0) {
		flood(job);
		return;
	}
	sim_lock();
	ifp = if_find(job->name);
	if (ifp != NULL && ifp->if_up)
		if_transmit(ifp, ifp->if_bpf->bif_dlt, job->packet, job->len, job->outgoing);
	sim_unlock();
}

/* All that is in the queue. */
static void
work_off(void)
{
	struct job *job;

	for (;;) {
		pthread_mutex_lock(&queue_lock);
		job = queue_head;
		if (job != NULL && (queue_head = job->next) == NULL)
			queue_tail = &queue_head;
		pthread_mutex_unlock(&queue_lock);
		if (job == NULL)
			return;
		deliver(job);
		free(job);
		pthread_mutex_lock(&queue_lock);
		queue_out++;
		(void)pthread_cond_broadcast(&queue_done);
		pthread_mutex_unlock(&queue_lock);
	}
}

static void *
net_main(void *arg)
{
	struct pollfd p[MAX_ATTACHED + 1];
	struct ifnet *ifp, *next;
	uint64_t v;
	nfds_t n;
	int down;

	(void)arg;
	for (;;) {
		n = 0;
		down = 0;
		p[n++] = (struct pollfd){ net_fd, POLLIN, 0 };
		sim_lock();
		LIST_FOREACH(ifp, &sim_ifs, if_next) {
			if (ifp->if_fd >= 0 && n <= MAX_ATTACHED)
				p[n++] = (struct pollfd){ ifp->if_fd, POLLIN, 0 };
			down |= ifp->if_linux_down;
		}
		sim_unlock();
		if (__real_poll(p, n, down ? DOWN_TURN : -1) < 0)
			continue;
		if (p[0].revents)
			(void)!__real_read(net_fd, &v, sizeof(v));
		work_off();
		sim_lock();
		for (ifp = LIST_FIRST(&sim_ifs); ifp != NULL; ifp = next) {
			next = LIST_NEXT(ifp, if_next);
			if (ifp->if_fd >= 0 && linux_receive(ifp) < 0)
				if_remove(ifp);
		}
		sim_unlock();
	}
	return (NULL);
}

void
net_kick(void)
{
	static const uint64_t one = 1;

	if (net_fd >= 0)
		(void)!__real_write(net_fd, &one, sizeof(one));
}

void
net_start(void)
{
	net_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (net_fd < 0)
		abort();
	sim_thread(&net_thread, net_main, NULL);
}

void
net_lock(void)
{
	pthread_mutex_lock(&queue_lock);
}

void
net_unlock(void)
{
	pthread_mutex_unlock(&queue_lock);
}

/* What the parent has queued arrives at the parent's. */
void
net_fork_child(void)
{
	queue_head = NULL;
	queue_tail = &queue_head;
	queue_out = queue_in;
	if (net_fd >= 0)
		(void)__real_close(net_fd);
	net_fd = -1;
}

static struct job *
job_new(const char *name, const void *packet, size_t len, size_t wirelen)
{
	size_t size = wirelen > len ? wirelen : len;
	struct job *job;

	sim_start();
	job = calloc(1, sizeof(*job) + size);
	if (job == NULL)
		abort();
	(void)snprintf(job->name, sizeof(job->name), "%s", name);
	if (packet != NULL)
		memcpy(job->packet, packet, len);
	job->len = (u_int)size;
	return (job);
}

/* Into the queue; with `wait` until it has been seen. */
static int
job_enqueue(struct job *job, int wait)
{
	uint64_t number;
	int known;

	sim_lock();
	known = if_find(job->name) != NULL;
	sim_unlock();
	if (!known) {
		free(job);
		errno = ENXIO;
		return (-1);
	}
	pthread_mutex_lock(&queue_lock);
	*queue_tail = job;
	queue_tail = &job->next;
	number = ++queue_in;
	pthread_mutex_unlock(&queue_lock);
	net_kick();
	if (wait) {
		pthread_mutex_lock(&queue_lock);
		while (queue_out < number)
			(void)pthread_cond_wait(&queue_done, &queue_lock);
		pthread_mutex_unlock(&queue_lock);
	}
	return (1);
}

EXPORT int
bpfsim_send(const char *name, const void *packet, size_t len, size_t wirelen)
{
	return (job_enqueue(job_new(name, packet, len, wirelen), 1));
}

EXPORT int
bpfsim_send_outgoing(const char *name, const void *packet, size_t len)
{
	struct job *job = job_new(name, packet, len, len);

	job->outgoing = 1;
	return (job_enqueue(job, 1));
}

EXPORT int
bpfsim_queue(const char *name, const void *packet, size_t len, size_t wirelen)
{
	return (job_enqueue(job_new(name, packet, len, wirelen), 0));
}

EXPORT int
bpfsim_send_many(const char *name, const void *packets, const uint32_t *lengths, int count)
{
	const u_char *p = packets;
	int i;

	for (i = 0; i < count; i++) {
		if (job_enqueue(job_new(name, p, lengths[i], lengths[i]), i == count - 1) < 0)
			return (-1);
		p += lengths[i];
	}
	return (count);
}

EXPORT int
bpfsim_flood(const char *name, uint64_t count, int min, int max, uint32_t seed, int gap_us)
{
	struct job *job;

	if (min < 18 || max > 65536 || min > max || count == 0) {
		errno = EINVAL;
		return (-1);
	}
	job = job_new(name, NULL, 0, 0);
	job->count = count;
	job->min = min;
	job->max = max;
	job->seed = seed;
	job->gap_us = gap_us;
	__atomic_store_n(&flood_stop, 0, __ATOMIC_RELAXED);
	return (job_enqueue(job, 0) < 0 ? -1 : 0);
}

EXPORT int
bpfsim_bursts(const char *name, uint64_t count, int len, int burst, int gap_us, int pause)
{
	struct job *job;

	if (len < 18 || len > 65536 || count == 0) {
		errno = EINVAL;
		return (-1);
	}
	job = job_new(name, NULL, 0, 0);
	job->count = count;
	job->min = job->max = len;
	job->gap_us = gap_us;
	job->burst = burst;
	job->pause_us = pause;
	__atomic_store_n(&flood_stop, 0, __ATOMIC_RELAXED);
	return (job_enqueue(job, 0) < 0 ? -1 : 0);
}

EXPORT int
bpfsim_stop_flood(void)
{
	__atomic_store_n(&flood_stop, 1, __ATOMIC_RELAXED);
	return (0);
}

EXPORT int
bpfsim_drain(int timeout_ms)
{
	struct timespec ts;
	uint64_t number;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += timeout_ms / 1000;
	ts.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (ts.tv_nsec >= 1000000000L) {
		ts.tv_nsec -= 1000000000L;
		ts.tv_sec++;
	}
	pthread_mutex_lock(&queue_lock);
	number = queue_in;
	while (queue_out < number && r == 0)
		r = pthread_cond_timedwait(&queue_done, &queue_lock, &ts);
	pthread_mutex_unlock(&queue_lock);
	if (r != 0) {
		errno = r;
		return (-1);
	}
	return (0);
}
