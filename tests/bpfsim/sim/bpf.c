/*
 * sys/net/bpf.c: what happens to a packet, and the states of a descriptor.
 * Each function says which one of the kernel's it follows.
 */
#include "sim.h"

#include <string.h>

/* bpf_canfreebuf(), bpf_zerocopy_canfreebuf() */
int
bpf_canfreebuf(const struct bpf_d *d)
{
	struct bpf_zbuf_header *header;

	if (d->bd_bufmode != BPF_BUFMODE_ZBUF || d->bd_hbuf == NULL)
		return (0);
	header = d->bd_hbuf->b_header;
	/* Equality is the test: any other value means that it is in use. */
	return (__atomic_load_n(&header->bzh_user_gen, __ATOMIC_ACQUIRE) ==
	    __atomic_load_n(&header->bzh_kernel_gen, __ATOMIC_RELAXED));
}

/* bpf_canwritebuf(), bpf_zerocopy_canwritebuf() */
int
bpf_canwritebuf(const struct bpf_d *d)
{
	if (d->bd_bufmode != BPF_BUFMODE_ZBUF || d->bd_sbuf == NULL)
		return (1);
	return (!d->bd_sbuf->b_assigned);
}

/*
 * ROTATE_BUFFERS() with bpf_bufheld() and bpf_zerocopy_bufheld(): the store
 * buffer becomes the hold buffer, which hands a shared one to the user, if
 * bpf_buffull() has not done so before.
 */
void
bpf_rotate(struct bpf_d *d)
{
	d->bd_hbuf = d->bd_sbuf;
	d->bd_hlen = d->bd_slen;
	d->bd_sbuf = d->bd_fbuf;
	d->bd_slen = 0;
	d->bd_fbuf = NULL;
	if (d->bd_bufmode == BPF_BUFMODE_ZBUF)
		zbuf_hand_over(d->bd_hbuf, d->bd_hlen);
}

/* The hold buffer becomes the free one: bpf_buf_reclaimed() and its callers. */
void
bpf_reclaim(struct bpf_d *d)
{
	d->bd_fbuf = d->bd_hbuf;
	d->bd_hbuf = NULL;
	d->bd_hlen = 0;
	d->bd_fbuf->b_assigned = 0;
}

/* bpf_wakeup(): those who sleep in read() or poll() look again. */
void
bpf_wakeup(struct bpf_d *d)
{
	struct sleeper *s;

	if (d->bd_state == BPF_WAITING) {
		d->bd_callout = NEVER;
		d->bd_state = BPF_IDLE;
	}
	LIST_FOREACH(s, &d->d_sleepers, s_next)
		waiter_fire(s->s_waiter);
	outside_update(d);
}

/* bpf_timed_out(): the callout that bpfpoll() started has run out. */
void
bpf_timed_out(struct bpf_d *d)
{
	d->bd_callout = NEVER;
	if (d->bd_state != BPF_WAITING)
		return;
	d->bd_state = BPF_TIMED_OUT;
	if (d->bd_slen != 0)
		bpf_wakeup(d);
}

/* bpf_ready() */
int
bpf_ready(const struct bpf_d *d)
{
	if (d->bd_hlen != 0 && !bpf_canfreebuf(d))
		return (1);
	return (d->bd_slen != 0 &&
	    (d->bd_immediate || d->bd_state == BPF_TIMED_OUT));
}

/*
 * reset_d(): throws away what is not the user's.  An acknowledged hold buffer
 * is freed here too; the generations stay as they are.
 */
void
reset_d(struct bpf_d *d)
{
	if (d->bd_hbuf != NULL &&
	    (d->bd_bufmode != BPF_BUFMODE_ZBUF || bpf_canfreebuf(d)))
		bpf_reclaim(d);
	if (bpf_canwritebuf(d))
		d->bd_slen = 0;
	d->bd_rcount = d->bd_dcount = d->bd_fcount = 0;
	d->bd_wcount = d->bd_wfcount = d->bd_wdcount = 0;
	d->bd_zcopy = 0;
	outside_update(d);
}

/* bpf_attachd(), with sim_lock held */
void
bpf_attachd(struct bpf_d *d, struct bpf_if *bp)
{
	bpf_detachd(d);
	pthread_mutex_lock(&d->bd_lock);
	d->bd_bif = bp;
	if (d->bd_writer) {
		/* Opened for writing only: hears nothing until it sets a filter. */
		LIST_INSERT_HEAD(&bp->bif_wlist, d, bd_next);
		d->bd_writer = 2;
	} else
		LIST_INSERT_HEAD(&bp->bif_dlist, d, bd_next);
	pthread_mutex_unlock(&d->bd_lock);
}

/* bpf_detachd_locked(), with sim_lock held */
void
bpf_detachd(struct bpf_d *d)
{
	struct ifnet *ifp;
	int promisc;

	pthread_mutex_lock(&d->bd_lock);
	if (d->bd_bif == NULL) {
		pthread_mutex_unlock(&d->bd_lock);
		return;
	}
	LIST_REMOVE(d, bd_next);
	ifp = d->bd_bif->bif_ifp;
	d->bd_bif = NULL;
	promisc = d->bd_promisc;
	d->bd_promisc = 0;
	pthread_mutex_unlock(&d->bd_lock);
	if (promisc)
		(void)if_promisc(ifp, 0);
}

/* bpf_hdrlen(): the packet behind the link-layer header is aligned. */
static u_int
bpf_hdrlen(const struct bpf_d *d)
{
	u_int link = d->bd_bif->bif_hdrlen, own;

	if (d->bd_tstamp == BPF_T_NONE ||
	    BPF_T_FORMAT(d->bd_tstamp) == BPF_T_MICROTIME)
		own = offsetof(struct bpf_hdr, bh_hdrlen) + sizeof(u_short);
	else
		own = offsetof(struct bpf_xhdr, bh_hdrlen) + sizeof(u_short);
	return ((u_int)BPF_WORDALIGN(link + own) - link);
}

/*
 * bpf_gettime() and bpf_bintime2ts(): the time in the format asked for.  All
 * formats go through a struct bintime, and lose the same digits there.
 */
static void
bpf_gettime(u_int tstype, struct bpf_ts *out)
{
	struct timespec ts;
	struct timeval tv;
	struct bintime bt;

	memset(out, 0, sizeof(*out));
	if (tstype == BPF_T_NONE)
		return;
	clock_gettime((tstype & BPF_T_MONOTONIC) ? CLOCK_MONOTONIC : CLOCK_REALTIME, &ts);
	bt.sec = ts.tv_sec;
	/* Rounded up, so that the nanosecond comes back out of it. */
	bt.frac = ((((uint64_t)ts.tv_nsec << 32) + 999999999) / 1000000000) << 32;
	out->bt_sec = bt.sec;
	switch (BPF_T_FORMAT(tstype)) {

	case BPF_T_MICROTIME:
		bintime2timeval(&bt, &tv);
		out->bt_frac = (uint64_t)tv.tv_usec;
		break;

	case BPF_T_NANOTIME:
		bintime2timespec(&bt, &ts);
		out->bt_frac = (uint64_t)ts.tv_nsec;
		break;

	case BPF_T_BINTIME:
		out->bt_frac = bt.frac;
		break;
	}
}

/*
 * catchpacket(), with bd_lock held.  struct bpf_hdr and struct bpf_xhdr are
 * laid out alike on 64-bit systems, so one serves for both.
 */
static void
catchpacket(struct bpf_d *d, const u_char *pkt, u_int pktlen, u_int snaplen)
{
	struct bpf_xhdr hdr;
	u_int curlen, hdrlen, totlen;
	int wakeup = 0;

	/*
	 * The only place where an acknowledged hold buffer becomes free: when
	 * the next packet passes the filter.
	 */
	if (d->bd_fbuf == NULL && bpf_canfreebuf(d))
		bpf_reclaim(d);

	hdrlen = bpf_hdrlen(d);
	totlen = hdrlen + (snaplen < pktlen ? snaplen : pktlen);
	if (totlen > d->bd_bufsize)
		totlen = d->bd_bufsize;

	curlen = (u_int)BPF_WORDALIGN(d->bd_slen);
	if (curlen + totlen > d->bd_bufsize || !bpf_canwritebuf(d)) {
		if (d->bd_fbuf == NULL) {
			/* bpf_buffull(): the store buffer is the user's too. */
			if (d->bd_bufmode == BPF_BUFMODE_ZBUF)
				zbuf_hand_over(d->bd_sbuf, d->bd_slen);
			d->bd_dcount++;
			return;
		}
		bpf_rotate(d);
		wakeup = 1;
		curlen = 0;
	} else if (d->bd_immediate || d->bd_state == BPF_TIMED_OUT)
		wakeup = 1;

	memset(&hdr, 0, sizeof(hdr));
	bpf_gettime(d->bd_tstamp, &hdr.bh_tstamp);
	hdr.bh_datalen = pktlen;
	hdr.bh_hdrlen = (u_short)hdrlen;
	hdr.bh_caplen = totlen - hdrlen;
	buf_append_header(d, d->bd_sbuf, curlen, &hdr);
	buf_append(d, d->bd_sbuf, curlen + hdrlen, pkt, hdr.bh_caplen);
	d->bd_slen = curlen + totlen;
	if (wakeup)
		bpf_wakeup(d);
	else
		outside_update(d);
}

/*
 * bpf_mtap() with BPF_CHECK_DIRECTION(), and sim_lock held: every descriptor
 * that listens to this link-layer type sees the packet.
 */
void
bpf_tap(struct bpf_if *bp, const u_char *pkt, u_int pktlen, int outgoing)
{
	struct bpf_d *d;
	u_int slen;

	LIST_FOREACH(d, &bp->bif_dlist, bd_next) {
		pthread_mutex_lock(&d->bd_lock);
		if (d->bd_direction == (outgoing ? BPF_D_IN : BPF_D_OUT)) {
			pthread_mutex_unlock(&d->bd_lock);
			continue;
		}
		d->bd_rcount++;
		slen = bpf_run(d->bd_rfilter, pkt, pktlen);
		if (slen != 0) {
			d->bd_fcount++;
			catchpacket(d, pkt, pktlen, slen);
		}
		pthread_mutex_unlock(&d->bd_lock);
	}
}
