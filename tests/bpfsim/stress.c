/*
 * The simulated device under load from many threads at once, to be run with
 * ThreadSanitizer: a flood; a consumer of shared buffers whose acknowledgements
 * come from another thread; readers; callers of ioctls; a poller; descriptors
 * that come and go; an interface that does.
 *
 *	stress SECONDS
 *	stress race
 *
 * The second looks at a packet in the store buffer before it may: to see that
 * ThreadSanitizer notices.
 *
 * Prints what was captured; exits with 1 if a packet is missing that was not
 * counted as dropped, came twice, or is damaged.
 */
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <net/if.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <net/bpf.h>
#include <net/bpfdesc.h>
#include <machine/atomic.h>

#include "bpfsim.h"

#define SIZE	(16 * 4096)
#define WAITING	8

static int done;				/* atomic */
static int shared_fd = -1;

static int
is_done(void)
{
	return (__atomic_load_n(&done, __ATOMIC_ACQUIRE));
}

static void
must(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "stress: %s: %s\n", what, strerror(errno));
		exit(2);
	}
}

static void
bind_to(int fd, const char *name)
{
	struct ifreq ifr;

	memset(&ifr, 0, sizeof(ifr));
	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	must(bpfsim_ioctl(fd, BIOCSETIF, &ifr) == 0, "BIOCSETIF");
}

/* Buffers on their way back, from the consumer to the thread that gives them. */
static struct {
	pthread_mutex_t	lock;
	pthread_cond_t	more;
	struct bpf_zbuf_header *header[WAITING];
	int		n;
} back = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, { NULL }, 0 };

static void *
give_back(void *arg)
{
	struct bpf_zbuf_header *h;

	for (;;) {
		pthread_mutex_lock(&back.lock);
		while (back.n == 0 && !is_done())
			pthread_cond_wait(&back.more, &back.lock);
		h = back.n > 0 ? back.header[--back.n] : NULL;
		pthread_mutex_unlock(&back.lock);
		if (h == NULL)
			return (arg);
		atomic_store_rel_int(&h->bzh_user_gen, h->bzh_kernel_gen);
	}
}

struct seen {
	uint64_t	got, lost, bad;
	uint32_t	next;
};

/* The frames of bpfsim_flood() */
static void
look_at(struct seen *s, const u_char *p, u_int len)
{
	const struct bpf_hdr *h;
	const u_char *end = p + len, *d;
	uint32_t number;

	for (; p < end; p += BPF_WORDALIGN(h->bh_hdrlen + h->bh_caplen)) {
		h = (const struct bpf_hdr *)(const void *)p;
		d = p + h->bh_hdrlen;
		number = (uint32_t)d[14] << 24 | (uint32_t)d[15] << 16 | (uint32_t)d[16] << 8 | d[17];
		if (s->got == 0)
			s->next = number;	/* the flood began before us */
		if (number < s->next || h->bh_caplen != h->bh_datalen ||
		    d[h->bh_caplen - 1] != (u_char)(number + h->bh_caplen - 1))
			s->bad++;
		s->lost += number - s->next;
		s->next = number + 1;
		s->got++;
	}
}

static int
open_shared(u_char **a, u_char **b)
{
	u_int mode = BPF_BUFMODE_ZBUF;
	struct bpf_zbuf bz;
	int fd;

	*a = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*b = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fd = bpfsim_open("/dev/bpf", O_RDWR);
	must(fd >= 0, "open");
	must(bpfsim_ioctl(fd, BIOCSETBUFMODE, &mode) == 0, "BIOCSETBUFMODE");
	bz = (struct bpf_zbuf){ *a, *b, SIZE };
	must(bpfsim_ioctl(fd, BIOCSETZBUF, &bz) == 0, "BIOCSETZBUF");
	bind_to(fd, "em0");
	return (fd);
}

/* Takes the buffers in turn; the other thread gives them back. */
static int
consume(void)
{
	struct seen s = { 0, 0, 0, 0 };
	struct pollfd p;
	struct bpf_zbuf bz;
	struct bpf_stat st;
	u_char *buffer[2];
	struct bpf_zbuf_header *h;
	u_int taken[2] = { 0, 0 };
	int turn = 0, fd, idle = 0;

	fd = open_shared(&buffer[0], &buffer[1]);
	__atomic_store_n(&shared_fd, fd, __ATOMIC_RELEASE);
	while (idle < 20) {
		h = (struct bpf_zbuf_header *)(void *)buffer[turn];
		if (atomic_load_acq_int(&h->bzh_kernel_gen) == taken[turn]) {
			p = (struct pollfd){ fd, POLLIN, 0 };
			(void)bpfsim_poll(&p, 1, 10);
			must(bpfsim_ioctl(fd, BIOCROTZBUF, &bz) == 0, "BIOCROTZBUF");
		}
		if (atomic_load_acq_int(&h->bzh_kernel_gen) == taken[turn]) {
			idle = is_done() ? idle + 1 : 0;
			if (idle > 0)
				(void)bpfsim_flood("em0", 1, 60, 60, 0, 0);
			continue;
		}
		taken[turn]++;
		look_at(&s, buffer[turn] + sizeof(*h), h->bzh_kernel_len);
		if (is_done())
			atomic_store_rel_int(&h->bzh_user_gen, h->bzh_kernel_gen);
		else {
			pthread_mutex_lock(&back.lock);
			back.header[back.n++] = h;
			pthread_cond_signal(&back.more);
			pthread_mutex_unlock(&back.lock);
		}
		turn ^= 1;
	}
	(void)bpfsim_drain(10000);
	must(bpfsim_ioctl(fd, BIOCGSTATS, &st) == 0, "BIOCGSTATS");
	printf("shared: got %llu, lost %llu, dropped %u of %u, damaged %llu\n",
	    (unsigned long long)s.got, (unsigned long long)s.lost, st.bs_drop, st.bs_recv,
	    (unsigned long long)s.bad);
	(void)bpfsim_close(fd);
	return (s.bad == 0 && s.got > 0 && s.got + s.lost <= st.bs_recv && s.lost <= st.bs_drop);
}

static void *
read_packets(void *arg)
{
	struct timeval tv = { 0, 20000 };
	u_char room[4096];
	struct seen s = { 0, 0, 0, 0 };
	ssize_t n;
	int fd = bpfsim_open("/dev/bpf", O_RDWR);

	must(fd >= 0, "open");
	bind_to(fd, "em0");
	must(bpfsim_ioctl(fd, BIOCSRTIMEOUT, &tv) == 0, "BIOCSRTIMEOUT");
	while (!is_done()) {
		n = bpfsim_read(fd, room, sizeof(room));
		must(n >= 0, "read");
		look_at(&s, room, (u_int)n);
	}
	printf("read: got %llu, damaged %llu\n", (unsigned long long)s.got, (unsigned long long)s.bad);
	(void)bpfsim_close(fd);
	return (s.bad == 0 ? arg : NULL);
}

static void *
call(void *arg)
{
	static struct bpf_insn all = { BPF_RET | BPF_K, 0, 0, 65535 };
	struct bpf_program program = { 1, &all };
	struct xbpf_d *x = malloc(1 << 16);
	struct bpf_stat st;
	size_t size;
	int fd, n;

	while (!is_done()) {
		fd = __atomic_load_n(&shared_fd, __ATOMIC_ACQUIRE);
		if (fd < 0)
			continue;
		must(bpfsim_ioctl(fd, FIONREAD, &n) == 0, "FIONREAD");
		must(bpfsim_ioctl(fd, BIOCGSTATS, &st) == 0, "BIOCGSTATS");
		must(bpfsim_ioctl(fd, BIOCSETFNR, &program) == 0, "BIOCSETFNR");
		size = 1 << 16;
		must(bpfsim_sysctlbyname("net.bpf.stats", x, &size, NULL, 0) == 0, "net.bpf.stats");
		(void)usleep(200);
	}
	free(x);
	return (arg);
}

/* Descriptors on an interface that comes and goes under them. */
static void *
come_and_go(void *arg)
{
	struct pollfd p;
	int fd, turn;

	for (turn = 0; !is_done(); turn++) {
		must(bpfsim_add_interface("em1", DLT_EN10MB, 1500) == 0, "em1");
		fd = bpfsim_open("/dev/bpf", O_RDWR | O_NONBLOCK);
		must(fd >= 0, "open");
		bind_to(fd, "em1");
		(void)bpfsim_queue("em1", "0123456789abcdef", 16, 60);
		p = (struct pollfd){ fd, POLLIN, 0 };
		(void)bpfsim_poll(&p, 1, 1);
		if (turn % 2)
			(void)bpfsim_close(fd);
		(void)bpfsim_remove_interface("em1");
		if (turn % 2 == 0)
			(void)bpfsim_close(fd);
	}
	return (arg);
}

/* Ends it all after a while. */
static void *
stop_later(void *arg)
{
	(void)sleep((unsigned)*(int *)arg);
	(void)bpfsim_stop_flood();
	(void)bpfsim_drain(10000);
	__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
	pthread_mutex_lock(&back.lock);
	pthread_cond_broadcast(&back.more);
	pthread_mutex_unlock(&back.lock);
	return (arg);
}

/* Reads what it was neither handed nor told of by FIONREAD. */
static int
race(void)
{
	const volatile u_char *packet;
	u_char *a, *b;
	int fd = open_shared(&a, &b);
	unsigned sum = 0;

	packet = a + sizeof(struct bpf_zbuf_header) + sizeof(struct bpf_hdr);
	must(bpfsim_flood("em0", 10, 60, 60, 1, 1000) == 0, "flood");
	while ((sum += packet[0]) == 0)
		continue;
	(void)bpfsim_close(fd);
	return (0);
}

int
main(int argc, char **argv)
{
	static void *(*const others[])(void *) = {
		give_back, call, come_and_go, read_packets, stop_later,
	};
	enum { N = sizeof(others) / sizeof(others[0]) };
	pthread_t threads[N];
	int seconds = argc > 1 ? atoi(argv[1]) : 2, i, ok;
	void *said;

	(void)alarm((unsigned)seconds * 20 + 60);
	must(bpfsim_add_interface("em0", DLT_EN10MB, 1500) == 0, "em0");
	if (argc > 1 && strcmp(argv[1], "race") == 0)
		return (race());
	must(bpfsim_flood("em0", 1000000000, 60, 1514, 1, 20) == 0, "flood");
	for (i = 0; i < N; i++)
		must(pthread_create(&threads[i], NULL, others[i], &seconds) == 0, "thread");
	ok = consume();
	for (i = 0; i < N; i++) {
		(void)pthread_join(threads[i], &said);
		ok = ok && said != NULL;
	}
	printf("%s\n", ok ? "ok" : "FAILED");
	return (ok ? 0 : 1);
}
