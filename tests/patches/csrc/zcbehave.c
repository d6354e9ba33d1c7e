/*
 * zcbehave: how lending blocks behaves, case by case.
 *
 *	zcbehave CASE...|all|list
 *
 * To be run as root in a network namespace that has a veth pair, zca and
 * zcb, with nothing else on it.
 *
 * What has to be at once may take up to SOON, as other programs may need
 * the processors; what must not be at once would take much longer than that.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pcap/pcap.h>
#include <pcap/zc.h>

/* in seconds */
#define SOON	2.0
#define LATE	20

static const char *current;
#define CHECK(c) do { if (!(c)) { \
	fprintf(stderr, "%s: line %d: %s is false\n", current, __LINE__, #c); \
	exit(1); } } while (0)
#define CHECK_EQ(a, b) do { long long a_ = (a), b_ = (b); if (a_ != b_) { \
	fprintf(stderr, "%s: line %d: %s is %lld, not %lld\n", current, \
	    __LINE__, #a, a_, b_); exit(1); } } while (0)

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (ts.tv_sec + ts.tv_nsec / 1e9);
}

static double
cpu(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (r.ru_utime.tv_sec + r.ru_utime.tv_usec / 1e6 +
	    r.ru_stime.tv_sec + r.ru_stime.tv_usec / 1e6);
}

static int
option(const char *variable, int otherwise)
{
	const char *value = getenv(variable);

	return (value != NULL ? atoi(value) : otherwise);
}

static int
count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return (n);
}

static int send_fd = -1;
static struct sockaddr_ll to;

static void
send_n(int n, int len, u_char mark)
{
	u_char f[9014];
	int i;

	if (send_fd == -1) {
		send_fd = socket(AF_PACKET, SOCK_RAW, 0);
		memset(&to, 0, sizeof(to));
		to.sll_family = AF_PACKET;
		to.sll_ifindex = if_nametoindex("zca");
		to.sll_halen = 6;
	}
	memset(f, mark, sizeof(f));
	memcpy(f, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x88\xb5", 14);
	for (i = 0; i < n; i++)
		CHECK_EQ(sendto(send_fd, f, len, 0, (struct sockaddr *)&to,
		    sizeof(to)), len);
}

struct setup {
	const char *dev;
	int snaplen, timeout, buffer, immediate, mode, block_timeout;
	u_int block;
	int nonblock;
	int promisc;
};
#define DEFAULT { "zcb", 262144, 100, 8*256*1024, 0, PCAP_ZC_MODE_AUTO, 0, 0, 0, 1 }

static pcap_t *
make(const struct setup *s, int expect)
{
	char errbuf[PCAP_ERRBUF_SIZE];
	pcap_t *p = pcap_create(s->dev, errbuf);
	int status;

	CHECK(p != NULL);
	pcap_set_snaplen(p, s->snaplen);
	pcap_set_promisc(p, s->promisc);
	pcap_set_timeout(p, s->timeout);
	pcap_set_buffer_size(p, s->buffer);
	pcap_set_immediate_mode(p, s->immediate);
	if (s->mode != PCAP_ZC_MODE_AUTO)
		CHECK_EQ(pcap_zc_set_mode(p, s->mode), 0);
	if (s->block != 0)
		CHECK_EQ(pcap_zc_set_block_size(p, s->block), 0);
	if (s->block_timeout != 0)
		CHECK_EQ(pcap_zc_set_block_timeout(p, s->block_timeout), 0);
	if (s->nonblock)
		pcap_setnonblock(p, 1, errbuf);
	status = pcap_activate(p);
	if (status != expect)
		fprintf(stderr, "activate: %s\n", pcap_geterr(p));
	CHECK_EQ(status, expect);
	return (p);
}

static struct pcap_zc_info
info_of(pcap_t *p)
{
	struct pcap_zc_info i;

	memset(&i, 0xa5, sizeof(i));
	i.size = sizeof(i);
	CHECK_EQ(pcap_zc_info(p, &i), 0);
	CHECK_EQ(i.size, sizeof(i));
	CHECK_EQ(i.abi, pcap_zc_abi());
	return (i);
}

static void
t_mode(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_info i;
	struct pcap_zc_block b;
	char errbuf[PCAP_ERRBUF_SIZE];
	pcap_t *p;

	CHECK_EQ(pcap_zc_abi(), PCAP_ZC_ABI);
	p = pcap_create("zcb", errbuf);
	i = info_of(p);
	CHECK_EQ(i.lent, 0);
	CHECK(strstr(i.reason, "activated") != NULL);
	CHECK_EQ(pcap_zc_set_mode(p, 7), PCAP_ERROR);
	CHECK(strstr(pcap_geterr(p), "7") != NULL);
	CHECK_EQ(pcap_zc_set_mode(p, -1), PCAP_ERROR);
	CHECK_EQ(pcap_zc_set_mode(p, PCAP_ZC_MODE_REQUIRED), 0);
	CHECK_EQ(pcap_zc_next(p, &b, 0), PCAP_ERROR_NOT_ACTIVATED);
	pcap_close(p);

	p = make(&s, 0);
	CHECK_EQ(pcap_zc_set_mode(p, PCAP_ZC_MODE_AUTO), PCAP_ERROR_ACTIVATED);
	CHECK_EQ(pcap_zc_set_block_size(p, 1), PCAP_ERROR_ACTIVATED);
	CHECK_EQ(pcap_zc_set_block_timeout(p, 1), PCAP_ERROR_ACTIVATED);
	i = info_of(p);
	CHECK_EQ(i.mechanism, PCAP_ZC_MECH_TPACKET_V3);
	CHECK_EQ(i.lent, 1);
	CHECK_EQ(i.shared, 1);
	CHECK_EQ(i.kernel_version, 2);
	CHECK_EQ(i.mapped, (uint64_t)i.block_size * i.block_count);
	CHECK_EQ(i.reason[0], 0);
	/* a caller that knows less, one that knows more, one that's wrong */
	memset(&i, 0xa5, sizeof(i));
	i.size = sizeof(i) - 100;
	CHECK_EQ(pcap_zc_info(p, &i), 0);
	CHECK_EQ(i.size, sizeof(i) - 100);
	CHECK_EQ((u_char)i.reason[255], 0xa5);
	CHECK_EQ(i.reason[155], 0);
	i.size = 1 << 20;
	CHECK_EQ(pcap_zc_info(p, &i), 0);
	CHECK_EQ(i.size, sizeof(i));
	i.size = 8;
	CHECK_EQ(pcap_zc_info(p, &i), PCAP_ERROR);
	CHECK_EQ(pcap_zc_info(p, NULL), PCAP_ERROR);
	CHECK_EQ(pcap_zc_info(NULL, &i), PCAP_ERROR);
	pcap_close(p);

	s.mode = PCAP_ZC_MODE_BUFFERED;
	p = make(&s, 0);
	i = info_of(p);
	CHECK_EQ(i.lent, 0);
	CHECK(strstr(i.reason, "BUFFERED") != NULL);
	CHECK_EQ(pcap_zc_next(p, &b, 0), PCAP_ERROR_ZC_NOTSUP);
	CHECK(strstr(pcap_geterr(p), "BUFFERED") != NULL);
	pcap_close(p);

	p = pcap_open_dead(DLT_EN10MB, 100);
	i = info_of(p);
	CHECK_EQ(i.lent, 0);
	CHECK_EQ(pcap_zc_next(p, &b, 0), PCAP_ERROR_ZC_NOTSUP);
	CHECK_EQ(pcap_zc_release(p, &b), PCAP_ERROR);
	CHECK_EQ(pcap_zc_wakeup(p), 0);
	pcap_close(p);
}

static void
t_geometry(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_info i;
	struct pcap_zc_block b;
	char errbuf[PCAP_ERRBUF_SIZE];
	double t;
	pcap_t *p;

	s.block = 40000; s.buffer = 1 << 20; s.timeout = LATE * 1000;
	s.block_timeout = 7;
	p = make(&s, 0);
	i = info_of(p);
	CHECK_EQ(i.block_size, 65536);
	CHECK_EQ(i.block_count, 16);
	CHECK_EQ(i.block_timeout, 7);
	t = now();
	send_n(3, 60, 1);
	CHECK_EQ(pcap_zc_next(p, &b, LATE * 1000), 1);
	CHECK_EQ(b.count, 3);
	CHECK(now() - t < SOON);
	pcap_zc_release(p, &b);
	pcap_close(p);

	s.block = 1; s.buffer = 1;
	p = make(&s, 0);
	i = info_of(p);
	CHECK_EQ(i.block_size, getpagesize());
	CHECK_EQ(i.block_count, 2);
	send_n(1, 9014, 1);		/* larger than a block: cut off */
	CHECK_EQ(pcap_zc_next(p, &b, 2000), 1);
	CHECK_EQ(b.count, 1);
	CHECK_EQ(b.index[0].wirelen, 9014);
	CHECK(b.index[0].caplen > 3800 && b.index[0].caplen < 4096);
	pcap_zc_release(p, &b);
	pcap_close(p);

	p = pcap_create("zcb", errbuf);
	CHECK_EQ(pcap_zc_set_block_size(p, 0xffffffffU), PCAP_ERROR);
	CHECK_EQ(pcap_zc_set_block_timeout(p, -5), PCAP_ERROR);
	CHECK_EQ(pcap_zc_set_block_size(p, 0), 0);
	CHECK_EQ(pcap_zc_set_block_size(NULL, 0), PCAP_ERROR);
	CHECK_EQ(pcap_zc_set_block_timeout(NULL, 0), PCAP_ERROR);
	pcap_close(p);

	/* unless asked, all is as ever */
	struct setup d = DEFAULT;
	p = make(&d, 0);
	i = info_of(p);
	CHECK_EQ(i.block_size, 262144);
	CHECK_EQ(i.block_count, 8);
	CHECK_EQ(i.block_timeout, 100);
	pcap_close(p);
}

static void
t_immediate(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_info i;
	struct pcap_zc_block b;
	double t;
	pcap_t *p;

	s.immediate = 1;
	p = make(&s, 0);
	i = info_of(p);
	CHECK_EQ(i.lent, 0);
	CHECK_EQ(i.mechanism, PCAP_ZC_MECH_NONE);
	CHECK(strstr(i.reason, "immediate") != NULL);
	CHECK_EQ(pcap_zc_next(p, &b, 0), PCAP_ERROR_ZC_NOTSUP);
	pcap_close(p);

	s.mode = PCAP_ZC_MODE_REQUIRED;
	s.timeout = LATE * 1000;
	p = make(&s, 0);
	i = info_of(p);
	CHECK_EQ(i.lent, 1);
	CHECK_EQ(i.block_timeout, 1);
	t = now();
	send_n(1, 60, 1);
	CHECK_EQ(pcap_zc_next(p, &b, LATE * 1000), 1);
	CHECK(now() - t < SOON);
	pcap_zc_release(p, &b);
	pcap_close(p);

	s.mode = PCAP_ZC_MODE_AUTO;
	s.block_timeout = 5;
	p = make(&s, 0);
	CHECK_EQ(info_of(p).block_timeout, 5);
	CHECK_EQ(info_of(p).lent, 1);
	pcap_close(p);
}

static void
t_snaplen(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_block b;
	struct pcap_stat st;
	pcap_t *p;
	u_int i;

	s.snaplen = 64;
	p = make(&s, 0);
	send_n(100, 1500, 3);
	CHECK_EQ(pcap_zc_next(p, &b, 2000), 1);
	CHECK_EQ(b.count, 100);
	for (i = 0; i < 100; i++) {
		CHECK_EQ(b.index[i].caplen, 64);
		CHECK_EQ(b.index[i].wirelen, 1500);
	}
	/* cut off by the kernel: they take up no more room than that */
	CHECK(b.length < 100 * 300);
	CHECK_EQ(pcap_stats(p, &st), 0);
	CHECK_EQ(st.ps_recv, 100);
	CHECK_EQ(st.ps_drop, 0);
	pcap_zc_release(p, &b);
	pcap_close(p);
}

/*
 * A filter that passes packets whose 20th byte is the given one; in cooked
 * mode one that the kernel can't do, if it looks at the 5th.
 */
static void
set_filter(pcap_t *p, int offset, int value)
{
	struct bpf_insn insns[] = {
		{ BPF_LD|BPF_B|BPF_ABS, 0, 0, offset },
		{ BPF_JMP|BPF_JEQ|BPF_K, 0, 1, value },
		{ BPF_RET|BPF_K, 0, 0, 262144 },
		{ BPF_RET|BPF_K, 0, 0, 0 }
	};
	struct bpf_program prog = { 4, insns };

	CHECK_EQ(pcap_setfilter(p, &prog), 0);
}

static void
count_cb(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	(void)h; (void)bytes;
	++*(int *)user;
}

static void
t_refilter(void)
{
	struct setup s = DEFAULT;
	pcap_t *p;
	int n = 0, i;

	/*
	 * The first one goes into the kernel; the second one can't, and
	 * matches nothing (there's no address that long).
	 */
	s.dev = "any";
	s.timeout = 2;
	s.promisc = 0;
	p = make(&s, 0);
	set_filter(p, 16 + 20, 1);
	set_filter(p, 5, 99);
	for (i = 0; i < 40; i++) {
		send_n(1, 100, 1);
		usleep(5000);
		CHECK(pcap_dispatch(p, -1, count_cb, (u_char *)&n) >= 0);
	}
	CHECK_EQ(n, 0);
	pcap_close(p);
}

static void
t_misuse(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_block b, c, old;
	pcap_t *p, *q;

	p = make(&s, 0);
	q = make(&s, 0);
	memset(&b, 0, sizeof(b));
	CHECK_EQ(pcap_zc_release(p, &b), PCAP_ERROR);	/* nothing lent yet */
	send_n(5, 100, 1);
	CHECK_EQ(pcap_zc_next(p, &b, 1000), 1);
	CHECK_EQ(pcap_zc_next(q, &c, 1000), 1);
	CHECK_EQ(pcap_zc_release(q, &b), PCAP_ERROR);	/* another handle's */
	CHECK(strstr(pcap_geterr(q), "not lent by this") != NULL);
	CHECK_EQ(pcap_zc_release(p, NULL), PCAP_ERROR);
	CHECK_EQ(pcap_zc_release(NULL, &b), PCAP_ERROR);
	CHECK_EQ(pcap_zc_next(p, NULL, 0), PCAP_ERROR);
	CHECK_EQ(pcap_zc_next(NULL, &c, 0), PCAP_ERROR);
	CHECK_EQ(pcap_zc_wakeup(NULL), PCAP_ERROR);
	old = b;
	CHECK_EQ(pcap_zc_next(p, &(struct pcap_zc_block){0}, -2), PCAP_ERROR);
	CHECK(strstr(pcap_geterr(p), "-2") != NULL);
	b.slot = 100000;
	CHECK_EQ(pcap_zc_release(p, &b), PCAP_ERROR);
	b = old;
	b.cookie ^= 4;
	CHECK_EQ(pcap_zc_release(p, &b), PCAP_ERROR);
	b = old;
	CHECK_EQ(pcap_zc_release(p, &b), 0);
	CHECK(b.base == NULL);
	CHECK_EQ(pcap_zc_release(p, &b), PCAP_ERROR);	/* twice */
	b = old;
	CHECK_EQ(pcap_zc_release(p, &b), PCAP_ERROR);	/* by a copy */
	CHECK(strstr(pcap_geterr(p), "not lent any more") != NULL);
	/* by a copy, when the same slot is lent again */
	for (int i = 0; i < 8; i++) {
		send_n(1, 100, 1);
		CHECK_EQ(pcap_zc_next(p, &b, 1000), 1);
		if (b.slot == old.slot)
			break;
		CHECK_EQ(pcap_zc_release(p, &b), 0);
	}
	CHECK_EQ(b.slot, old.slot);
	CHECK_EQ(pcap_zc_release(p, &old), PCAP_ERROR);
	CHECK_EQ(pcap_zc_release(p, &b), 0);
	CHECK_EQ(info_of(p).held, 0);
	pcap_zc_release(q, &c);
	pcap_close(p);
	pcap_close(q);
}

static void
t_deadline(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_block b;
	pcap_t *p;
	double t, c;
	int nb;

	for (nb = 0; nb < 2; nb++) {
		s.nonblock = nb;
		p = make(&s, 0);
		t = now();
		CHECK_EQ(pcap_zc_next(p, &b, 0), 0);
		CHECK(now() - t < SOON);
		CHECK(b.base == NULL);
		t = now(); c = cpu();
		CHECK_EQ(pcap_zc_next(p, &b, 300), 0);
		t = now() - t;
		CHECK(t >= 0.3 && t < 0.3 + SOON);
		CHECK(cpu() - c < 0.1);
		send_n(2, 100, 1);
		CHECK_EQ(pcap_zc_next(p, &b, -1), 1);
		CHECK_EQ(b.count, 2);
		pcap_zc_release(p, &b);
		pcap_close(p);
	}
	/* a filter in userland that passes nothing of what comes */
	s.nonblock = 0;
	s.dev = "any";
	s.promisc = 0;
	s.timeout = 2;
	p = make(&s, 0);
	set_filter(p, 5, 99);
	if (fork() == 0) {
		for (int i = 0; i < 200; i++) {
			send_n(1, 100, 1);
			usleep(5000);
		}
		_exit(0);
	}
	t = now();
	CHECK_EQ(pcap_zc_next(p, &b, 300), 0);
	t = now() - t;
	CHECK(t >= 0.3 && t < 0.3 + SOON);
	CHECK_EQ(info_of(p).held, 0);
	wait(NULL);
	pcap_close(p);
}

static pcap_t *shared;
static void
on_alarm(int sig)
{
	(void)sig;
	pcap_zc_wakeup(shared);
}
static void
on_alarm_break(int sig)
{
	(void)sig;
	pcap_breakloop(shared);
}
static void
on_alarm_nothing(int sig)
{
	(void)sig;
}
static void *
wake_later(void *arg)
{
	usleep(100000);
	if (arg != NULL)
		pcap_breakloop(shared);
	else
		pcap_zc_wakeup(shared);
	return (NULL);
}

static void
t_wakeup(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_block b;
	pthread_t th;
	double t;
	int i, n = 0;
	void (*handlers[3])(int) = { on_alarm, on_alarm_break, on_alarm_nothing };

	shared = make(&s, 0);
	/* before the first pcap_zc_next() */
	CHECK_EQ(pcap_zc_wakeup(shared), 0);
	CHECK_EQ(pcap_zc_next(shared, &b, 1000), PCAP_ERROR_BREAK);
	CHECK_EQ(pcap_zc_next(shared, &b, 50), 0);
	for (i = 0; i < 3; i++) {
		struct itimerval it = { {0, 0}, {0, 100000} };

		signal(SIGALRM, handlers[i]);	/* SA_RESTART */
		setitimer(ITIMER_REAL, &it, NULL);
		t = now();
		CHECK_EQ(pcap_zc_next(shared, &b, LATE * 1000),
		    PCAP_ERROR_BREAK);
		t = now() - t;
		CHECK(t > 0.09 && t < SOON);
		/* and only once */
		CHECK_EQ(pcap_zc_next(shared, &b, 50), 0);
	}
	signal(SIGALRM, SIG_DFL);
	for (i = 0; i < 2; i++) {
		pthread_create(&th, NULL, wake_later, i ? &s : NULL);
		t = now();
		CHECK_EQ(pcap_zc_next(shared, &b, -1), PCAP_ERROR_BREAK);
		t = now() - t;
		CHECK(t > 0.09 && t < SOON);
		pthread_join(th, NULL);
		CHECK_EQ(pcap_zc_next(shared, &b, 50), 0);
	}
	/* sticky, and beats a block that's ready */
	send_n(3, 100, 1);
	usleep(300000);
	for (i = 0; i < 100; i++)
		pcap_zc_wakeup(shared);
	CHECK_EQ(pcap_zc_next(shared, &b, 1000), PCAP_ERROR_BREAK);
	CHECK_EQ(pcap_zc_next(shared, &b, 1000), 1);
	CHECK_EQ(b.count, 3);
	/* with a block lent */
	pthread_create(&th, NULL, wake_later, NULL);
	CHECK_EQ(pcap_zc_next(shared, &(struct pcap_zc_block){0}, -1),
	    PCAP_ERROR_BREAK);
	pthread_join(th, NULL);
	pcap_zc_release(shared, &b);
	/* it isn't for pcap_dispatch(), which pcap_breakloop() is for */
	send_n(1, 100, 1);
	usleep(300000);
	pcap_zc_wakeup(shared);
	CHECK_EQ(pcap_dispatch(shared, -1, count_cb, (u_char *)&n), 1);
	pcap_close(shared);
}

static void
t_held(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_block b[8], c;
	struct pcap_stat st;
	pcap_t *p;
	double t, u;
	int i, n = 0;

	p = make(&s, 0);
	for (i = 0; i < 8; i++) {
		send_n(10, 100, i);
		CHECK_EQ(pcap_zc_next(p, &b[i], 1000), 1);
		CHECK_EQ(b[i].count, 10);
		CHECK_EQ(b[i].base[b[i].index[9].offset + 50], i);
	}
	CHECK_EQ(info_of(p).held, 8);
	t = now();
	CHECK_EQ(pcap_zc_next(p, &c, LATE * 1000), PCAP_ERROR_ZC_HELD);
	CHECK_EQ(pcap_dispatch(p, -1, count_cb, (u_char *)&n), PCAP_ERROR_ZC_HELD);
	CHECK(now() - t < SOON);
	CHECK(strstr(pcap_geterr(p), "lent") != NULL);
	/* the kernel has nowhere to put these, and says so */
	send_n(50, 100, 9);
	CHECK_EQ(pcap_stats(p, &st), 0);
	CHECK_EQ(st.ps_drop, 50);
	/* nothing is written into what's lent */
	for (i = 0; i < 8; i++)
		CHECK_EQ(b[i].base[b[i].index[9].offset + 50], i);
	/* one that isn't next is of no use */
	CHECK_EQ(pcap_zc_release(p, &b[3]), 0);
	CHECK_EQ(pcap_zc_next(p, &c, 5000), PCAP_ERROR_ZC_HELD);
	CHECK_EQ(pcap_zc_release(p, &b[0]), 0);
	u = now();
	CHECK_EQ(pcap_zc_next(p, &c, 100), 0);
	CHECK(now() - u >= 0.1);
	send_n(4, 100, 10);
	CHECK_EQ(pcap_zc_next(p, &c, 1000), 1);
	CHECK_EQ(c.count, 4);
	CHECK_EQ(c.base[c.index[3].offset + 50], 10);
	CHECK_EQ(pcap_zc_release(p, &c), 0);
	CHECK_EQ(pcap_zc_next(p, &c, 100), PCAP_ERROR_ZC_HELD);	/* b[1] */
	for (i = 1; i < 8; i++)
		if (i != 3)
			CHECK_EQ(pcap_zc_release(p, &b[i]), 0);
	CHECK_EQ(info_of(p).held, 0);
	for (i = 0; i < 30; i++) {
		send_n(1, 100, i);
		CHECK_EQ(pcap_zc_next(p, &c, 1000), 1);
		CHECK_EQ(c.count, 1);
		CHECK_EQ(c.base[c.index[0].offset + 50], i);
		CHECK_EQ(pcap_zc_release(p, &c), 0);
	}
	pcap_close(p);
}

static void
t_idle(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_block b, c;
	pcap_t *p;
	double t, u;
	int n = 0, i;

	p = make(&s, 0);
	for (i = 0; i < 3; i++) {
		/* with none, with one, and with two lent: no spinning */
		u = cpu(); t = now();
		CHECK_EQ(pcap_zc_next(p, &c, 1000), 0);
		CHECK(now() - t >= 1.0);
		CHECK(cpu() - u < 0.2);
		send_n(1, 100, 1);
		t = now();
		CHECK_EQ(pcap_zc_next(p, i ? &c : &b, LATE * 1000), 1);
		CHECK(now() - t < SOON);
	}
	/* nor in pcap_dispatch() */
	signal(SIGALRM, on_alarm_break);
	shared = p;
	alarm(1);
	u = cpu();
	CHECK_EQ(pcap_loop(p, -1, count_cb, (u_char *)&n), PCAP_ERROR_BREAK);
	CHECK(cpu() - u < 0.2);
	signal(SIGALRM, SIG_DFL);
	pcap_zc_release(p, &b);
	pcap_close(p);		/* c and its predecessor are still lent */
	pcap_zc_release(p, &c);
}

static void
t_order(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_block b[8];
	pcap_t *p;
	struct pcap_stat st;
	int i, j, n = 0;
	u_int k, drops = 0;

	s.block = 4096; s.buffer = 16 * 4096; s.block_timeout = 1;
	p = make(&s, 0);
	srand(5);
	for (i = 0; i < 2000; i++) {
		send_n(1 + rand() % 3, 100, i & 0x7f);
		if (n == 8) {
			j = rand() % 8;
			CHECK_EQ(pcap_zc_release(p, &b[j]), 0);
			b[j] = b[--n];
		}
		j = pcap_zc_next(p, &b[n], 50);
		if (j == PCAP_ERROR_ZC_HELD) {
			/* the oldest one has to come back */
			while (n > 0)
				CHECK_EQ(pcap_zc_release(p, &b[--n]), 0);
			continue;
		}
		if (j == 0) {
			/* dropped, while the kernel waited for one of ours */
			CHECK_EQ(pcap_stats(p, &st), 0);
			CHECK(st.ps_drop > drops);
			drops = st.ps_drop;
			continue;
		}
		CHECK_EQ(j, 1);
		for (k = 0; k < b[n].count; k++)
			CHECK_EQ(b[n].base[b[n].index[k].offset + 50],
			    b[n].base[b[n].index[k].offset + 99]);
		n++;
	}
	while (n > 0)
		CHECK_EQ(pcap_zc_release(p, &b[--n]), 0);
	pcap_close(p);
}

static void
next_in_cb(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	struct pcap_zc_block b;

	(void)h; (void)bytes;
	++*(int *)user;
	CHECK_EQ(pcap_zc_next(shared, &b, 0), PCAP_ERROR);
	CHECK(strstr(pcap_geterr(shared), "callback") != NULL);
}

static void
t_mix(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_block b, c;
	struct pcap_pkthdr *h;
	const u_char *bytes;
	pcap_t *p;
	int n = 0;

	p = make(&s, 0);
	send_n(10, 100, 1);
	/* pcap_dispatch() stops in the middle; the remainder is lent */
	CHECK_EQ(pcap_dispatch(p, 3, count_cb, (u_char *)&n), 3);
	CHECK_EQ(pcap_next_ex(p, &h, &bytes), 1);
	CHECK_EQ(pcap_zc_next(p, &b, 1000), 1);
	CHECK_EQ(b.count, 6);
	CHECK(b.index[0].offset > 4 * 100);
	CHECK_EQ(pcap_zc_next(p, &c, 50), 0);
	/* pcap_dispatch() goes on after what's lent */
	send_n(5, 100, 2);
	CHECK_EQ(pcap_next_ex(p, &h, &bytes), 1);
	CHECK_EQ(bytes[50], 2);
	CHECK_EQ(pcap_dispatch(p, 2, count_cb, (u_char *)&n), 2);
	CHECK_EQ(pcap_zc_next(p, &c, 1000), 1);
	CHECK_EQ(c.count, 2);
	CHECK_EQ(pcap_zc_release(p, &c), 0);
	CHECK_EQ(pcap_zc_release(p, &b), 0);
	/* a new filter with packets waiting and a block lent */
	send_n(4, 100, 7);
	CHECK_EQ(pcap_zc_next(p, &b, 1000), 1);
	send_n(4, 100, 8);
	send_n(4, 100, 9);
	set_filter(p, 50, 9);
	send_n(4, 100, 8);
	send_n(4, 100, 9);
	for (n = 0; n < 8; ) {
		CHECK_EQ(pcap_zc_next(p, &c, 1000), 1);
		n += c.count;
		for (u_int i = 0; i < c.count; i++)
			CHECK_EQ(c.base[c.index[i].offset + 50], 9);
		CHECK_EQ(pcap_zc_release(p, &c), 0);
	}
	CHECK_EQ(n, 8);
	CHECK_EQ(pcap_zc_next(p, &c, 50), 0);
	CHECK_EQ(b.base[b.index[3].offset + 50], 7);
	CHECK_EQ(pcap_zc_release(p, &b), 0);
	/* not in a callback */
	shared = p;
	n = 0;
	send_n(2, 100, 9);
	CHECK_EQ(pcap_dispatch(p, -1, next_in_cb, (u_char *)&n), 2);
	pcap_close(p);
}

static int
promiscuous(const char *dev)
{
	char command[200], buf[32] = "";
	FILE *f;
	int got;

	/* /sys/class/net shows IFF_PROMISC only for what was set by hand */
	snprintf(command, sizeof(command), "ip -d link show dev %s | "
	    "sed -n 's/.*promiscuity \\([0-9]*\\).*/\\1/p'", dev);
	f = popen(command, "r");
	CHECK(f != NULL);
	got = fgets(buf, sizeof(buf), f) != NULL;
	pclose(f);
	CHECK(got);
	return (atoi(buf));
}

static int
packet_sockets(void)
{
	FILE *f = fopen("/proc/net/packet", "r");
	char line[300];
	int n = -1, running;

	while (fgets(line, sizeof(line), f) != NULL) {
		/* sk RefCnt Type Proto Iface R ... */
		if (n == -1 || (sscanf(line, "%*s %*s %*s %*s %*s %d",
		    &running) == 1 && running))
			n++;
	}
	fclose(f);
	return (n);
}

static void
t_close(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_block b[3], c;
	struct pcap_zc_info info;
	struct pcap_pkthdr *h;
	const u_char *bytes;
	struct bpf_program prog;
	char errbuf[PCAP_ERRBUF_SIZE];
	pcap_t *p;
	int fds, i, n = 0, sockets;

	send_n(1, 100, 1);		/* opens its socket */
	fds = count_fds();
	sockets = packet_sockets();
	CHECK_EQ(promiscuous("zcb"), 0);
	p = make(&s, 0);
	CHECK_EQ(promiscuous("zcb"), 1);
	CHECK_EQ(packet_sockets(), sockets + 1);
	for (i = 0; i < 3; i++) {
		send_n(10, 100, i);
		CHECK_EQ(pcap_zc_next(p, &b[i], 1000), 1);
	}
	CHECK_EQ(pcap_zc_next(p, &c, 30), 0);	/* opens the epoll descriptor */
	pcap_close(p);
	CHECK_EQ(count_fds(), fds);
	CHECK_EQ(promiscuous("zcb"), 0);
	CHECK_EQ(packet_sockets(), sockets);
	/* nothing else may be called, but as long as it's there it says so */
	CHECK_EQ(pcap_zc_next(p, &c, 100), PCAP_ERROR);
	CHECK(strstr(pcap_geterr(p), "closed") != NULL);
	CHECK(pcap_dispatch(p, -1, count_cb, (u_char *)&n) < 0);
	CHECK(strstr(pcap_geterr(p), "closed") != NULL);
	CHECK(pcap_next_ex(p, &h, &bytes) < 0);
	CHECK(pcap_activate(p) < 0);
	CHECK(pcap_setnonblock(p, 1, errbuf) < 0);
	CHECK(pcap_getnonblock(p, errbuf) < 0);
	CHECK(pcap_setdirection(p, PCAP_D_IN) < 0);
	CHECK(pcap_compile(p, &prog, "tcp", 1, 0) == 0);
	CHECK(pcap_setfilter(p, &prog) < 0);
	pcap_freecode(&prog);
	CHECK_EQ(pcap_fileno(p), -1);
	CHECK_EQ(pcap_get_selectable_fd(p), -1);
	CHECK_EQ(pcap_zc_wakeup(p), PCAP_ERROR);
	CHECK(pcap_inject(p, "x", 1) < 0);
	pcap_breakloop(p);
	pcap_close(p);
	info.size = sizeof(info);
	CHECK_EQ(pcap_zc_info(p, &info), 0);
	CHECK_EQ(info.held, 3);
	CHECK_EQ(info.lent, 0);
	send_n(100, 100, 99);
	/* what's lent is still there */
	for (i = 0; i < 3; i++) {
		CHECK_EQ(b[i].count, 10);
		CHECK_EQ(b[i].base[b[i].index[9].offset + 50], i);
	}
	CHECK_EQ(pcap_zc_release(p, &b[1]), 0);
	CHECK_EQ(b[2].base[b[2].index[9].offset + 50], 2);
	CHECK_EQ(pcap_zc_release(p, &b[0]), 0);
	CHECK_EQ(b[2].base[b[2].index[9].offset + 50], 2);
	CHECK_EQ(pcap_zc_release(p, &b[2]), 0);
	/* and on "any" */
	s.dev = "any";
	s.promisc = 0;
	p = make(&s, 0);
	send_n(3, 100, 1);
	CHECK_EQ(pcap_zc_next(p, &b[0], 1000), 1);
	pcap_close(p);
	CHECK_EQ(packet_sockets(), sockets);
	CHECK_EQ(pcap_zc_release(p, &b[0]), 0);
	CHECK_EQ(count_fds(), fds);
	/* opening many, with blocks lent, leaves nothing */
	for (i = 0; i < 50; i++) {
		s.dev = "zcb";
		p = make(&s, 0);
		send_n(3, 100, 1);
		CHECK_EQ(pcap_zc_next(p, &b[0], 1000), 1);
		if (i & 1)
			pcap_close(p);
		CHECK_EQ(pcap_zc_release(p, &b[0]), 0);
		if (!(i & 1))
			pcap_close(p);
	}
	CHECK_EQ(count_fds(), fds);
	CHECK_EQ(packet_sockets(), sockets);
}

#define QUEUE 64
static struct pcap_zc_block queue[QUEUE];
static int qhead, qtail, qstop;
static pthread_mutex_t qlock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t released;

static void *
releaser(void *arg)
{
	struct pcap_zc_block b;
	unsigned r = (unsigned)(uintptr_t)arg;
	int got;

	for (;;) {
		pthread_mutex_lock(&qlock);
		got = qhead != qtail;
		if (got)
			b = queue[qhead++ % QUEUE];
		else if (qstop) {
			pthread_mutex_unlock(&qlock);
			return (NULL);
		}
		pthread_mutex_unlock(&qlock);
		if (!got) {
			usleep(100);
			continue;
		}
		if (rand_r(&r) % 4 == 0)
			usleep(rand_r(&r) % 300);
		for (u_int i = 0; i < b.count; i++)
			CHECK_EQ(b.base[b.index[i].offset + 50],
			    b.base[b.index[i].offset + 99]);
		__atomic_add_fetch(&released, b.count, __ATOMIC_RELAXED);
		CHECK_EQ(pcap_zc_release(shared, &b), 0);
	}
}

static void *
sender(void *arg)
{
	int i, bursts = *(int *)arg;

	for (i = 0; i < bursts; i++) {
		send_n(20, 100, i);
		usleep(100);
	}
	return (NULL);
}

static void *
waker(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&qstop, __ATOMIC_RELAXED)) {
		usleep(1000);
		pcap_zc_wakeup(shared);
	}
	return (NULL);
}

static void
t_threads(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_block b;
	struct pcap_stat st;
	pthread_t th[3], snd, wk;
	uint64_t got = 0;
	int status, i, bursts = option("ZC_BURSTS", 3000);
	int quiet = 0, held = 0, woken = 0;

	s.block = 8192; s.buffer = 32 * 8192; s.block_timeout = 1;
	shared = make(&s, 0);
	qhead = qtail = qstop = 0;
	released = 0;
	send_n(1, 100, 0);
	for (i = 0; i < 3; i++)
		pthread_create(&th[i], NULL, releaser, (void *)(uintptr_t)(i + 1));
	pthread_create(&snd, NULL, sender, &bursts);
	pthread_create(&wk, NULL, waker, NULL);
	while (quiet < 30) {
		status = pcap_zc_next(shared, &b, 20);
		if (status == PCAP_ERROR_BREAK) {
			woken++;
			quiet += woken % 20 == 0;
			continue;
		}
		if (status == PCAP_ERROR_ZC_HELD) {
			held++;
			usleep(50);
			continue;
		}
		if (status == 0) {
			quiet += 10;
			continue;
		}
		CHECK_EQ(status, 1);
		quiet = 0;
		got += b.count;
		for (;;) {
			pthread_mutex_lock(&qlock);
			if (qtail - qhead < QUEUE) {
				queue[qtail++ % QUEUE] = b;
				pthread_mutex_unlock(&qlock);
				break;
			}
			pthread_mutex_unlock(&qlock);
		}
	}
	pthread_join(snd, NULL);
	pthread_mutex_lock(&qlock);
	__atomic_store_n(&qstop, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&qlock);
	for (i = 0; i < 3; i++)
		pthread_join(th[i], NULL);
	pthread_join(wk, NULL);
	pcap_stats(shared, &st);
	CHECK_EQ(got, released);
	if (got + st.ps_drop != 1 + 20ULL * bursts)
		fprintf(stderr, "got %llu, recv %u, drop %u, sent %llu\n",
		    (unsigned long long)got, st.ps_recv, st.ps_drop,
		    1 + 20ULL * bursts);
	CHECK_EQ(got + st.ps_drop, 1 + 20ULL * bursts);
	CHECK_EQ(info_of(shared).held, 0);
	printf("  %llu packets in %llu blocks, %u dropped, %d times held, %d times woken\n",
	    (unsigned long long)got,
	    (unsigned long long)info_of(shared).blocks, st.ps_drop, held,
	    woken);
	pcap_close(shared);
}

/*
 * The interface goes away: first what was captured, then the error.
 */
#define PLUG	"ip link add zcx type veth peer name zcy && " \
		"ip link set zcx up && ip link set zcy up"

static void
t_departure(void)
{
	struct setup s = DEFAULT;
	struct pcap_zc_block b, c;
	pcap_t *p;
	double t;
	int nb, n;

	for (nb = 0; nb < 3; nb++) {
		CHECK_EQ(system(PLUG), 0);
		s.dev = "zcx";
		s.timeout = 300;
		p = make(&s, 0);
		if (nb != 2) {
			struct sockaddr_ll x;
			u_char f[100] = { 2 };
			int fd = socket(AF_PACKET, SOCK_RAW, 0);

			memset(&x, 0, sizeof(x));
			x.sll_family = AF_PACKET;
			x.sll_ifindex = if_nametoindex("zcy");
			x.sll_halen = 6;
			for (n = 0; n < 5; n++)
				CHECK_EQ(sendto(fd, f, 100, 0, (struct sockaddr *)&x, sizeof(x)), 100);
			close(fd);
		}
		if (nb == 1) {
			CHECK_EQ(pcap_zc_next(p, &c, 1000), 1);
			CHECK_EQ(c.count, 5);
		}
		CHECK_EQ(system("ip link del zcx"), 0);
		t = now();
		if (nb == 0) {
			CHECK_EQ(pcap_zc_next(p, &b, 5000), 1);
			CHECK_EQ(b.count, 5);
			pcap_zc_release(p, &b);
		}
		CHECK_EQ(pcap_zc_next(p, &b, LATE * 1000), PCAP_ERROR);
		CHECK(strstr(pcap_geterr(p), "disappeared") != NULL);
		CHECK(now() - t < LATE / 2);
		CHECK_EQ(pcap_zc_next(p, &b, 5000), PCAP_ERROR);
		CHECK(strstr(pcap_geterr(p), "disappeared") != NULL);
		if (nb == 1) {
			CHECK_EQ(c.index[4].caplen, 100);
			CHECK_EQ(pcap_zc_release(p, &c), 0);
		}
		pcap_close(p);
	}
	/* pcap_dispatch(), too */
	CHECK_EQ(system(PLUG), 0);
	p = make(&s, 0);
	CHECK_EQ(system("ip link del zcx"), 0);
	n = 0;
	CHECK_EQ(pcap_loop(p, -1, count_cb, (u_char *)&n), PCAP_ERROR);
	CHECK(strstr(pcap_geterr(p), "disappeared") != NULL);
	pcap_close(p);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "mode", t_mode }, { "geometry", t_geometry },
	{ "immediate", t_immediate }, { "snaplen", t_snaplen },
	{ "refilter", t_refilter }, { "misuse", t_misuse },
	{ "deadline", t_deadline }, { "wakeup", t_wakeup },
	{ "held", t_held }, { "idle", t_idle }, { "order", t_order },
	{ "mix", t_mix }, { "close", t_close }, { "threads", t_threads },
	{ "departure", t_departure },
};

int
main(int argc, char **argv)
{
	size_t i, n = sizeof(cases) / sizeof(cases[0]);
	int j, status, failed = 0, ran = 0;

	for (j = 1; j < argc; j++) {
		if (strcmp(argv[j], "list") == 0) {
			for (i = 0; i < n; i++)
				printf("%s\n", cases[i].name);
			return (0);
		}
		for (i = 0; i < n; i++) {
			if (strcmp(argv[j], "all") != 0 &&
			    strcmp(argv[j], cases[i].name) != 0)
				continue;
			ran++;
			current = cases[i].name;
			fflush(stdout);
			if (fork() == 0) {
				alarm(option("ZC_ALARM", 60));
				cases[i].run();
				if (send_fd != -1)
					close(send_fd);
				fflush(stdout);
				exit(0);
			}
			wait(&status);
			printf("%-10s %s\n", current,
			    status == 0 ? "ok" : "FAILED");
			failed |= status != 0;
		}
	}
	return (failed || !ran);
}
