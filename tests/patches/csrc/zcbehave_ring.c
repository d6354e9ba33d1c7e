/*
 * zcbehave: blocks in any order, in any thread, and beyond the end of their handle
 * or their interface.
 */
#include "zcbehave.h"

void
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

void
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

void
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

void
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

void
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
