/*
 * zcbehave: packets that are shown when they have just been found.
 */
#include "zcbehave.h"
#include "zcview.h"

static void
break_and_view(u_char *user, const struct pcap_zc_view *v)
{
	pcap_breakloop(shared);
	view(user, v);
}

void
t_viewed(void)
{
	struct setup s = DEFAULT;
	struct viewed seen = { .count = 0 };
	struct pcap_zc_block b;
	pcap_t *p;
	int n = 0;

	p = make(&s, 0);
	CHECK_EQ(pcap_zc_next_viewed(p, NULL, 0, view, (u_char *)&seen),
	    PCAP_ERROR);
	CHECK_EQ(pcap_zc_next_viewed(p, &b, 0, view, (u_char *)&seen), 0);
	CHECK_EQ(seen.views, 0);
	/* some at a time, and no more than that */
	send_n(100, 100, 1);
	CHECK_EQ(pcap_zc_next_viewed(p, &b, 1000, view, (u_char *)&seen), 1);
	CHECK_EQ(b.count, 100);
	CHECK(seen.views >= 100 / 32);
	CHECK_EQ(seen.left, 0);
	CHECK(view_ends(&seen, 1, &b) == NULL);
	CHECK_EQ(pcap_zc_release(p, &b), 0);
	/* the viewer is that call's alone */
	send_n(3, 100, 1);
	CHECK_EQ(pcap_zc_next(p, &b, 1000), 1);
	CHECK_EQ(pcap_zc_release(p, &b), 0);
	CHECK_EQ(seen.views, 0);
	/* of a block that pcap_dispatch() has begun, what remains */
	send_n(50, 100, 1);
	CHECK_EQ(pcap_dispatch(p, 7, count_cb, (u_char *)&n), 7);
	CHECK_EQ(pcap_zc_next_viewed(p, &b, 1000, view, (u_char *)&seen), 1);
	CHECK_EQ(b.count, 43);
	CHECK(view_ends(&seen, 1, &b) == NULL);
	CHECK_EQ(pcap_zc_release(p, &b), 0);
	/* a viewer that wants to stop: the next call does */
	shared = p;
	send_n(40, 100, 1);
	CHECK_EQ(pcap_zc_next_viewed(p, &b, 1000, break_and_view,
	    (u_char *)&seen), 1);
	CHECK_EQ(b.count, 40);
	CHECK(view_ends(&seen, 1, &b) == NULL);
	CHECK_EQ(pcap_zc_next_viewed(p, &b, 1000, view, (u_char *)&seen),
	    PCAP_ERROR_BREAK);
	pcap_close(p);
	/* a filter in userland passes some, and blocks of which it passes none */
	s.dev = "any";
	s.promisc = 0;
	s.timeout = 2;
	p = make(&s, 0);
	set_filter(p, 5, 99);
	send_n(30, 100, 1);
	usleep(20000);
	CHECK_EQ(pcap_zc_next_viewed(p, &b, 0, view, (u_char *)&seen), 0);
	CHECK_EQ(seen.views, 0);
	pcap_close(p);
}
