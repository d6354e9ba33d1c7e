/*
 * The entry points of the device: sys/net/bpf.c's bpfopen(), bpf_dtor(),
 * bpfread(), bpfwrite() and bpfpoll(), and the files in front of them.
 *
 * A file is one end of a socket pair.  The device has the other end, which
 * hangs up when all duplicates, in forked children too, are closed: that is
 * when the kernel calls bpf_dtor().
 */
#define _GNU_SOURCE
#include "sim.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The descriptor behind a file, which bpf_unlookup() gives back. */
struct bpf_d *
bpf_lookup(int fd)
{
	struct stat st;
	struct bpf_d *d;

	if (fd < 0)
		return (NULL);
	sim_lock();
	LIST_FOREACH(d, &sim_ds, d_all) {
		if (d->d_fd == fd && !d->d_gone)
			break;
	}
	if (d != NULL)
		d->d_refs++;
	sim_unlock();
	/* Somebody may have closed it and opened something else. */
	if (d != NULL && (fstat(fd, &st) < 0 || st.st_ino != d->d_inode)) {
		bpf_unlookup(d);
		d = NULL;
	}
	return (d);
}

/* bpf_dtor(), bpf_freed() */
static void
bpf_dtor(struct bpf_d *d)
{
	bpf_detachd(d);
	buf_free(d->bd_sbuf);
	buf_free(d->bd_hbuf);
	buf_free(d->bd_fbuf);
	free(d->bd_rfilter);
	free(d->bd_wfilter);
	if (!d->d_foreign)
		(void)__real_close(d->d_peer);
	LIST_REMOVE(d, d_all);
	pthread_mutex_destroy(&d->bd_lock);
	free(d);
}

/* With the last user the closed device goes. */
void
bpf_unlookup(struct bpf_d *d)
{
	sim_lock();
	if (--d->d_refs == 0 && d->d_gone)
		bpf_dtor(d);
	sim_unlock();
}

static int
hung_up(const struct bpf_d *d)
{
	struct pollfd p = { d->d_peer, 0, 0 };

	return (__real_poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)));
}

/*
 * All files are closed, it seems; with sim_lock held.  Looks for itself: the
 * number of the other end may belong to another device by now.
 */
void
bpf_hangup(struct bpf_d *d)
{
	if (d->d_gone || !hung_up(d))
		return;
	__atomic_store_n(&d->d_gone, 1, __ATOMIC_RELAXED);
	if (d->d_refs == 0)
		bpf_dtor(d);
}

/* close(2) of one file */
int
bpf_close(struct bpf_d *d, int fd)
{
	int r;

	r = __real_close(fd);
	sim_lock();
	if (!d->d_gone && (d->d_foreign || hung_up(d)))
		__atomic_store_n(&d->d_gone, 1, __ATOMIC_RELAXED);
	sim_unlock();
	return (r);
}

/* bpfopen(), of a device that only one may open or (-1) the cloning one */
int
bpf_open(int minor, int flags)
{
	struct bpf_d *d;
	struct stat st;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return (-1);
	if ((flags & O_CLOEXEC) == 0)
		(void)__real_fcntl(ends[0], F_SETFD, 0);
	if (flags & O_NONBLOCK)
		(void)__real_fcntl(ends[0], F_SETFL, O_NONBLOCK);
	d = calloc(1, sizeof(*d));
	if (d == NULL || fstat(ends[0], &st) < 0)
		abort();
	d->d_fd = ends[0];
	d->d_peer = ends[1];
	d->d_inode = st.st_ino;
	d->d_oflags = flags;
	d->d_minor = minor;
	LIST_INIT(&d->d_sleepers);
	sim_mutex_init(&d->bd_lock);
	d->bd_bufsize = (u_int)bpf_bufsize;	/* bpf_buffer_init() */
	d->bd_writer = (flags & O_ACCMODE) == O_WRONLY ? 2 : 0;
	d->bd_bufmode = BPF_BUFMODE_BUFFER;
	d->bd_sig = SIGIO;
	d->bd_direction = BPF_D_INOUT;
	d->bd_pid = getpid();
	d->bd_callout = NEVER;
	d->d_out_deadline = NEVER;
	sim_lock();
	LIST_INSERT_HEAD(&sim_ds, d, d_all);
	sim_unlock();
	clock_before(0);
	return (d->d_fd);
}

/*
 * msleep() of bpfread(), with bd_lock held: 0, EWOULDBLOCK or EINTR.  It blocks
 * in a read(2) that Linux restarts after signals as FreeBSD would restart this
 * one, so the clock has to wake it when the time is up.
 */
static int
bpf_msleep(struct bpf_d *d, u_long ticks)
{
	struct waiter *w = waiter_mine();
	struct sleeper s = { .s_waiter = w, .s_deadline = NEVER };
	uint64_t v;
	int error = 0;

	if (ticks != 0)
		s.s_deadline = now_ns() + ticks * (1000000000ULL / SIM_HZ);
	LIST_INSERT_HEAD(&d->d_sleepers, &s, s_next);
	pthread_mutex_unlock(&d->bd_lock);
	clock_before(s.s_deadline);
	if (__real_read(w->w_fd, &v, sizeof(v)) < 0)
		error = errno;
	pthread_mutex_lock(&d->bd_lock);
	LIST_REMOVE(&s, s_next);
	if (error == 0)
		__atomic_store_n(&w->w_fired, 0, __ATOMIC_RELAXED);
	else
		waiter_drain(w);
	if (error == 0 && s.s_timed_out)
		error = EWOULDBLOCK;
	return (error);
}

/* The waiting half of bpfread(): 0 with something in the hold buffer, or not. */
static int
bpf_read_wait(struct bpf_d *d, int non_block, int timed_out)
{
	int error;

	while (d->bd_hbuf == NULL) {
		if (d->bd_slen != 0 && (d->bd_immediate || non_block || timed_out)) {
			bpf_rotate(d);
			break;
		}
		if (d->bd_bif == NULL)
			return (ENXIO);
		if (non_block)
			return (EWOULDBLOCK);
		error = bpf_msleep(d, d->bd_rtout);
		if (error == EWOULDBLOCK) {
			if (d->bd_hbuf != NULL)
				break;
			if (d->bd_slen == 0)
				return (0);
			bpf_rotate(d);
		} else if (error != 0)
			return (error);
	}
	return (0);
}

/*
 * bpfread().  The copy is made under the lock: packets that arrive meanwhile
 * wait instead of going into the store buffer (bd_hbuf_in_use).
 */
ssize_t
bpf_read(struct bpf_d *d, void *to, size_t len)
{
	ssize_t n = -1;
	int error, non_block, timed_out;

	non_block = (__real_fcntl(d->d_fd, F_GETFL) & O_NONBLOCK) != 0;
	pthread_mutex_lock(&d->bd_lock);
	if ((d->d_oflags & O_ACCMODE) == O_WRONLY)
		error = EBADF;
	else if (len != d->bd_bufsize)
		error = EINVAL;
	else if (d->bd_bufmode != BPF_BUFMODE_BUFFER)
		error = EOPNOTSUPP;
	else {
		d->bd_pid = getpid();
		d->bd_callout = NEVER;
		timed_out = d->bd_state == BPF_TIMED_OUT ||
		    (sim_outside_poller && d->d_out_state == BPF_TIMED_OUT);
		d->bd_state = BPF_IDLE;
		outside_reset(d);
		error = bpf_read_wait(d, non_block, timed_out);
	}
	if (error == 0) {
		n = 0;
		if (d->bd_hbuf != NULL) {
			n = (ssize_t)d->bd_hlen;
			memcpy(to, d->bd_hbuf->b_data, d->bd_hlen);
			bpf_reclaim(d);
		}
		outside_update(d);
	}
	pthread_mutex_unlock(&d->bd_lock);
	if (error != 0)
		errno = error;
	return (n);
}

/* bpf_movein(): how much of a frame is link-layer header, or -1 */
static int
link_header(u_int dlt)
{
	switch (dlt) {

	case DLT_EN10MB:
		return (14);

	case DLT_NULL:
	case DLT_PPP:
		return (4);

	case DLT_RAW:
	case DLT_SLIP:
	case DLT_FDDI:
	case DLT_IEEE802_11:
		return (0);
	}
	return (-1);
}

/* bpf_movein(): checks and copies a frame */
static int
bpf_movein(struct bpf_d *d, const struct bpf_if *bp, const u_char *from, size_t len, u_char *frame)
{
	int hlen = link_header(bp->bif_dlt);

	if (hlen < 0)
		return (EIO);
	if (len < (size_t)hlen || len - (size_t)hlen > bp->bif_ifp->if_mtu)
		return (EMSGSIZE);
	if (len > MJUMPAGESIZE)
		return (EIO);
	memcpy(frame, from, len);
	if (bpf_run(d->bd_wfilter, frame, (u_int)len) == 0)
		return (EPERM);
	if (bp->bif_dlt == DLT_EN10MB && !d->bd_hdrcmplt)
		memcpy(frame + 6, bp->bif_ifp->if_lladdr, 6);
	return (0);
}

/*
 * bpfwrite().  With BIOCFEEDBACK the frame also comes in; unless this
 * descriptor sees only one direction, the one that goes out is not shown then
 * (M_PROMISC).
 */
ssize_t
bpf_write(struct bpf_d *d, const void *from, size_t len)
{
	static __thread u_char frame[MJUMPAGESIZE];
	struct bpf_if *bp;
	int error = 0, feedback, hide;

	if ((d->d_oflags & O_ACCMODE) == O_RDONLY) {
		errno = EBADF;
		return (-1);
	}
	sim_lock();
	pthread_mutex_lock(&d->bd_lock);
	d->bd_pid = getpid();
	d->bd_wcount++;
	feedback = d->bd_feedback;
	hide = feedback && d->bd_direction == BPF_D_INOUT;
	bp = d->bd_bif;
	if (bp == NULL)
		error = ENXIO;
	else if (!bp->bif_ifp->if_up)
		error = ENETDOWN;
	else if (len != 0)
		error = bpf_movein(d, bp, from, len, frame);
	if (error == 0 && len != 0)
		d->bd_wfcount++;
	else
		d->bd_wdcount++;
	pthread_mutex_unlock(&d->bd_lock);
	if (error == 0 && len != 0) {
		if_output(bp->bif_ifp, bp->bif_dlt, frame, (u_int)len, hide);
		if (feedback)
			if_transmit(bp->bif_ifp, bp->bif_dlt, frame, (u_int)len, 0);
	}
	sim_unlock();
	if (error != 0) {
		errno = error;
		return (-1);
	}
	return ((ssize_t)len);
}

/*
 * bpfpoll(): what is ready of these events, POLLHUP only if it is asked for.
 * When nothing is, the read timeout starts.
 */
int
bpf_poll(struct bpf_d *d, int events)
{
	uint64_t due = NEVER;
	int revents;

	pthread_mutex_lock(&d->bd_lock);
	if (d->bd_bif == NULL) {
		pthread_mutex_unlock(&d->bd_lock);
		return (events & (POLLHUP | POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM));
	}
	revents = events & (POLLOUT | POLLWRNORM);
	d->bd_pid = getpid();
	if (events & (POLLIN | POLLRDNORM)) {
		if (bpf_ready(d))
			revents |= events & (POLLIN | POLLRDNORM);
		else if (d->bd_rtout > 0 && d->bd_state == BPF_IDLE) {
			due = now_ns() + d->bd_rtout * (1000000000ULL / SIM_HZ);
			d->bd_callout = due;
			d->bd_state = BPF_WAITING;
		}
	}
	pthread_mutex_unlock(&d->bd_lock);
	clock_before(due);
	return (revents);
}
