/*
 * What the simulation starts with.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * Who waits holds the gate, so the next turn is his: the thread that delivers
 * packets has the lock nearly all the time under a flood, and would take it
 * again before he is awake.
 */
static pthread_mutex_t gate = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
static pthread_mutex_t lock = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
struct iflist sim_ifs = LIST_HEAD_INITIALIZER(sim_ifs);
struct dlist sim_ds = LIST_HEAD_INITIALIZER(sim_ds);

/* ThreadSanitizer follows addresses, so it needs the user's and ours to be one. */
#ifdef __SANITIZE_THREAD__
int sim_alias = 0;
#else
int sim_alias = 1;
#endif

#define MAX_THREADS	2

static pthread_once_t started = PTHREAD_ONCE_INIT;
static pthread_t threads[MAX_THREADS];
static int nthreads;

void
sim_lock(void)
{
	pthread_mutex_lock(&gate);
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&gate);
}

void
sim_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

/* A child that is forked now finds nobody at the gate. */
void
sim_lock_fork(void)
{
	pthread_mutex_lock(&gate);
	pthread_mutex_lock(&lock);
}

void
sim_unlock_fork(void)
{
	pthread_mutex_unlock(&lock);
	pthread_mutex_unlock(&gate);
}

/* The threads spin a little: whoever has the lock gives it back soon. */
void
sim_mutex_init(pthread_mutex_t *m)
{
	pthread_mutexattr_t attr;

	if (pthread_mutexattr_init(&attr) != 0 ||
	    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP) != 0 ||
	    pthread_mutex_init(m, &attr) != 0)
		abort();
	(void)pthread_mutexattr_destroy(&attr);
}

/* A thread of the kernel's: no signal of the program's ends up in it. */
void
sim_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, old;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_attr_init(&attr) != 0 ||
	    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) != 0 ||
	    pthread_create(thread, &attr, run, arg) != 0)
		abort();
	(void)pthread_attr_destroy(&attr);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (nthreads < MAX_THREADS)
		threads[nthreads++] = *thread;
}

static void
start(void)
{
	clock_start();
	net_start();
}

/* The threads start with the first descriptor or packet. */
void
sim_start(void)
{
	(void)pthread_once(&started, start);
}

/* A forked child has none, until it needs them. */
void
sim_fork_child(void)
{
	static const pthread_once_t fresh = PTHREAD_ONCE_INIT;

	memcpy(&started, &fresh, sizeof(started));
	nthreads = 0;
}

EXPORT int64_t
bpfsim_kernel_cpu_ns(void)
{
	struct timespec ts;
	clockid_t clock;
	int64_t sum = 0;
	int i;

	for (i = 0; i < nthreads; i++) {
		if (pthread_getcpuclockid(threads[i], &clock) == 0 &&
		    clock_gettime(clock, &ts) == 0)
			sum += ts.tv_sec * 1000000000LL + ts.tv_nsec;
	}
	return (sum);
}

/* One entry of BPFSIM_INTERFACES: NAME, or NAME=LINUX-DEVICE */
static void
configure_interface(char *entry)
{
	char *device = strchr(entry, '=');

	if (device != NULL)
		*device++ = '\0';
	if (strcmp(entry, "lo0") != 0 && bpfsim_add_interface(entry, DLT_EN10MB, 1500) < 0)
		fprintf(stderr, "bpfsim: BPFSIM_INTERFACES: %s: %s\n", entry, strerror(errno));
	if (device != NULL && bpfsim_attach_device(entry, device) < 0)
		fprintf(stderr, "bpfsim: BPFSIM_INTERFACES: %s=%s: %s\n", entry, device, strerror(errno));
}

/*
 * lo0, and what the environment asks for: BPFSIM_INTERFACES="em0=veth0,em1",
 * BPFSIM_ZEROCOPY=0 for a system with net.bpf.zerocopy_enable=0 and
 * BPFSIM_OUTSIDE_POLLER=1.
 */
void
sim_configure(void)
{
	const char *list = getenv("BPFSIM_INTERFACES");
	const char *zerocopy = getenv("BPFSIM_ZEROCOPY");
	const char *poller = getenv("BPFSIM_OUTSIDE_POLLER");
	char *copy, *entry, *rest;

	bpf_zerocopy_enable = zerocopy == NULL || atoi(zerocopy) != 0;
	sim_outside_poller = poller != NULL && atoi(poller) != 0;
	bpf_bufsize = 4096;
	bpf_maxbufsize = BPF_MAXBUFSIZE;
	bpf_maxinsns = BPF_MAXINSNS;
	(void)bpfsim_add_interface("lo0", DLT_NULL, 16384);
	if (list == NULL)
		return;
	copy = strdup(list);
	for (entry = strtok_r(copy, ", ", &rest); entry != NULL; entry = strtok_r(NULL, ", ", &rest))
		configure_interface(entry);
	free(copy);
}

__attribute__((constructor)) static void
load(void)
{
	sim_configure();
}
