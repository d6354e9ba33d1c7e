/*
 * The inside of the simulated /dev/bpf.
 *
 * The names of FreeBSD's structures and functions are kept where one of ours
 * does the same thing (sys/net/bpf.c, bpf_buffer.c and bpf_zerocopy.c of 13.2),
 * so that both can be read side by side.
 */
#ifndef BPFSIM_SIM_H
#define BPFSIM_SIM_H

#include <sys/types.h>
#include <sys/queue.h>
#include <sys/select.h>
#include <sys/time.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>

#include <net/bpf.h>
#include <net/bpfdesc.h>

#include "bpfsim.h"

#define EXPORT		__attribute__((visibility("default")))
#define SIM_HZ		1000	/* kern.hz */
#define BPF_MAX_PAGES	512	/* of a shared buffer: bpf_zerocopy.c */
#define MJUMPAGESIZE	4096	/* m_get2() gives no more in one piece */
#define NEVER		UINT64_MAX

/* What the objects of libpcap call in truth; see wrap.c. */
extern int __real_open(const char *, int, ...);
extern int __real_close(int);
extern int __real_ioctl(int, unsigned long, ...);
extern ssize_t __real_read(int, void *, size_t);
extern ssize_t __real_write(int, const void *, size_t);
extern int __real_poll(struct pollfd *, nfds_t, int);
extern int __real_ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
extern int __real_fcntl(int, int, ...);
extern void *__real_mmap(void *, size_t, int, int, int, off_t);
extern int __real_munmap(void *, size_t);

/*
 * A buffer of a descriptor: allocated (bpf_buffer.c), or a user's pages
 * (struct zbuf in bpf_zerocopy.c).
 */
struct buf {
	u_char		*b_data;	/* where records go */
	size_t		b_size;		/* all of it, a zbuf's header included */
	struct bpf_zbuf_header *b_header; /* NULL: not shared */
	int		b_assigned;	/* ZBUF_FLAG_ASSIGNED */
	u_char		*b_uaddr;	/* the user's address */
	u_char		*b_kva;		/* ours */
	int		b_memfd;	/* what backs private memory, or -1 */
	int		b_inherit;	/* minherit(): 0 share, 1 copy, 2 none */
	int		b_private;	/* the user's side is copied on write now */
};

/* A thread that sleeps until a descriptor has something for it. */
struct waiter {
	int		w_fd;		/* an eventfd */
	int		w_fired;	/* atomic */
};

struct sleeper {			/* its entry in one descriptor's list */
	struct waiter	*s_waiter;
	uint64_t	s_deadline;
	int		s_timed_out;
	LIST_ENTRY(sleeper) s_next;
};

struct bpf_if;

struct ifnet {
	char		if_xname[IFNAMSIZ];
	int		if_up;
	u_int		if_mtu;
	u_char		if_lladdr[6];
	int		if_pcount;	/* who wants promiscuous mode */
	struct bpf_if	*if_bpf;	/* the first link-layer type */
	struct ifnet	*if_peer;
	int		if_fd;		/* packet socket, or -1 */
	int		if_index;	/* of the Linux device */
	int		if_linux_loopback;
	int		if_linux_down;	/* perhaps on its way out */
	char		if_linux[IFNAMSIZ];
	int64_t		if_fd_drops;
	uint32_t	if_seq;
	LIST_ENTRY(ifnet) if_next;
};

enum { BPF_IDLE, BPF_WAITING, BPF_TIMED_OUT };

struct bpf_d {
	/* Of the file. */
	int		d_fd;		/* the user's end of a socket pair */
	int		d_peer;		/* ours: hangs up when all of theirs are closed */
	ino_t		d_inode;	/* tells whether d_fd still is what it was */
	int		d_oflags;
	int		d_minor;	/* a device of its own, or -1 */
	int		d_refs;		/* protected by sim_lock */
	int		d_gone;		/* atomic: closed, waiting for its last user */
	int		d_foreign;	/* inherited: the parent's kernel has it */
	LIST_ENTRY(bpf_d) d_all;
	LIST_HEAD(, sleeper) d_sleepers;
	int		d_signaled;	/* the user's end is readable */
	int		d_out_state;	/* the read timeout as seen from outside */
	uint64_t	d_out_deadline;
	uint64_t	d_held_since;	/* since when an acknowledgement may come, or 0 */

	/* struct bpf_d, protected by bd_lock. */
	pthread_mutex_t	bd_lock;
	struct buf	*bd_sbuf, *bd_hbuf, *bd_fbuf;
	u_int		bd_slen, bd_hlen, bd_bufsize;
	struct bpf_if	*bd_bif;
	LIST_ENTRY(bpf_d) bd_next;
	u_long		bd_rtout;	/* in ticks */
	struct bpf_insn	*bd_rfilter, *bd_wfilter;
	uint64_t	bd_rcount, bd_dcount, bd_fcount;
	uint64_t	bd_wcount, bd_wfcount, bd_wdcount, bd_zcopy;
	int		bd_promisc, bd_state, bd_immediate, bd_writer;
	int		bd_hdrcmplt, bd_direction, bd_feedback, bd_async;
	int		bd_sig, bd_locked;
	u_int		bd_tstamp, bd_bufmode;
	pid_t		bd_pid;
	uint64_t	bd_callout;	/* when bpf_timed_out() is due, or NEVER */
};

struct bpf_if {
	u_int		bif_dlt, bif_hdrlen;
	struct ifnet	*bif_ifp;
	LIST_HEAD(, bpf_d) bif_dlist;
	LIST_HEAD(, bpf_d) bif_wlist;	/* those that only write so far */
	struct bpf_if	*bif_more;	/* the interface's next type */
};

/*
 * sim_lock protects the interfaces, who listens to them, and the table of
 * descriptors.  It is taken before a descriptor's bd_lock, never after it.
 */
extern void sim_lock(void);
extern void sim_unlock(void);
extern void sim_lock_fork(void);
extern void sim_unlock_fork(void);
extern LIST_HEAD(iflist, ifnet) sim_ifs;
extern LIST_HEAD(dlist, bpf_d) sim_ds;
extern int bpf_zerocopy_enable, bpf_maxbufsize, bpf_bufsize, bpf_maxinsns;
extern int sim_alias, sim_outside_poller;

/* bpf.c */
extern int bpf_canfreebuf(const struct bpf_d *);
extern int bpf_canwritebuf(const struct bpf_d *);
extern void bpf_rotate(struct bpf_d *);
extern void bpf_reclaim(struct bpf_d *);
extern void bpf_wakeup(struct bpf_d *);
extern void bpf_timed_out(struct bpf_d *);
extern int bpf_ready(const struct bpf_d *);
extern void reset_d(struct bpf_d *);
extern void bpf_attachd(struct bpf_d *, struct bpf_if *);
extern void bpf_detachd(struct bpf_d *);
extern void bpf_tap(struct bpf_if *, const u_char *, u_int, int);
/* bpf_dev.c */
extern struct bpf_d *bpf_lookup(int);
extern void bpf_unlookup(struct bpf_d *);
extern int bpf_open(int, int);
extern int bpf_close(struct bpf_d *, int);
extern void bpf_hangup(struct bpf_d *);
extern ssize_t bpf_read(struct bpf_d *, void *, size_t);
extern ssize_t bpf_write(struct bpf_d *, const void *, size_t);
extern int bpf_poll(struct bpf_d *, int);
/* bpf_ioctl.c, bpf_setf.c */
extern int bpf_ioctl(struct bpf_d *, u_long, void *);
extern u_int bpf_run(const struct bpf_insn *, const u_char *, u_int);
extern int bpf_setf(struct bpf_d *, const struct bpf_program *, u_long);
/* bpf_buffer.c */
extern int bpf_buffer_sblen(struct bpf_d *, u_int *);
extern void buf_free(struct buf *);
extern void buf_append(struct bpf_d *, struct buf *, u_int, const void *, u_int);
extern void buf_append_header(struct bpf_d *, struct buf *, u_int, const struct bpf_xhdr *);
/* bpf_zerocopy.c */
extern void zbuf_hand_over(struct buf *, u_int);
extern int bpf_zerocopy_setzbuf(struct bpf_d *, const struct bpf_zbuf *);
extern void bpf_zerocopy_rotzbuf(struct bpf_d *, struct bpf_zbuf *);
extern int zbuf_writable(const u_char *, size_t, int *);
extern void zbuf_free(struct buf *);
extern void zbuf_unmapped(u_char *, size_t);
extern void zbuf_fork(struct buf *);
extern void zbuf_rejoin(struct buf *);
/* net.c */
extern struct ifnet *if_find(const char *);
extern void if_output(struct ifnet *, u_int, const u_char *, u_int, int);
extern void if_transmit(struct ifnet *, u_int, const u_char *, u_int, int);
extern int if_promisc(struct ifnet *, int);
extern void net_kick(void);
extern void if_remove(struct ifnet *);
extern void net_start(void);
extern void net_fork_child(void);
extern void net_lock(void);
extern void net_unlock(void);
/* linux_if.c */
extern int linux_attach(struct ifnet *, const char *);
extern void linux_detach(struct ifnet *);
extern int linux_receive(struct ifnet *);
extern void linux_send(struct ifnet *, const u_char *, u_int);
extern void linux_promisc(struct ifnet *, int);
extern void linux_fork_child(void);
/* clock.c */
extern uint64_t now_ns(void);
extern void clock_start(void);
extern void clock_before(uint64_t);
extern void clock_fork_child(void);
extern void outside_update(struct bpf_d *);
extern void outside_reset(struct bpf_d *);
/* wait.c */
extern struct waiter *waiter_mine(void);
extern void waiter_fire(struct waiter *);
extern void waiter_drain(struct waiter *);
extern void waiter_fork_child(void);
extern int sim_poll(struct pollfd *, nfds_t, int64_t, const sigset_t *);
extern int sim_select(int, fd_set *, fd_set *, fd_set *, int64_t, const sigset_t *);
/* fork.c */
extern void fork_reap(void);
extern long child_call(struct bpf_d *, int, u_long, void *, size_t);
enum { CHILD_IOCTL = 1, CHILD_READ, CHILD_WRITE, CHILD_POLL };
/* sim.c */
extern void sim_start(void);
extern void sim_mutex_init(pthread_mutex_t *);
/* wrap.c, ifaddrs.c */
extern void calls_lock(void);
extern void calls_unlock(void);
extern void sim_forget_failures(void);
extern int sim_socket_ioctl(u_long, void *, int *);
extern void sim_thread(pthread_t *, void *(*)(void *), void *);
extern void sim_configure(void);
extern void sim_fork_child(void);

#endif /* BPFSIM_SIM_H */
