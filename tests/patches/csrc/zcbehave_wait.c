/*
 * zcbehave: deadlines, wake-ups, and what happens when all is lent.
 */
#include "zcbehave.h"

void
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

void
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

void
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

void
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
