/*
 * zcbehave: modes, geometry, snapshot lengths, filters, and arguments that make
 * no sense.
 */
#include "zcbehave.h"

void
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

void
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

void
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

void
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

void
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

void
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
