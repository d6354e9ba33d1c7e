/*
 * fork(2).  On FreeBSD parent and child share open descriptors, and private
 * memory becomes copy-on-write, wired pages included: the kernel keeps the page
 * that was there, and whoever writes first after the fork writes to a copy.
 * When the child goes (or calls execve) before that, nothing is copied.
 *
 * Here the kernel lives in the process that opened the descriptor.  A child
 * that uses it asks the parent over a socket; that the socket hangs up tells
 * the parent that the child is gone, with all who descend from it.
 *
 * vfork(2), and posix_spawn(3), which uses it, copy nothing and need nothing.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CHILDREN	64
#define MAX_PAYLOAD	(4 * 1024 * 1024)

struct request {
	int	op;
	ino_t	inode;			/* which descriptor */
	u_long	cmd;
	size_t	in, out;		/* bytes that follow, bytes wanted */
};

struct reply {
	long	result;
	int	error;
	size_t	out;
};

static int children[MAX_CHILDREN];	/* sockets, protected by sim_lock */
static int nchildren;			/* atomic */
static int pending[2] = { -1, -1 };	/* of the fork that is under way */
static int parent_fd = -1;		/* in a child */
static int64_t child_calls;		/* atomic */

static int
receive(int fd, void *to, size_t len)
{
	u_char *p = to;
	ssize_t n;

	while (len > 0) {
		n = recv(fd, p, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (0);
		p += n;
		len -= (size_t)n;
	}
	return (1);
}

static int
transmit(int fd, const void *from, size_t len)
{
	const u_char *p = from;
	ssize_t n;

	while (len > 0) {
		n = send(fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (0);
		p += n;
		len -= (size_t)n;
	}
	return (1);
}

static void
for_buffers(void (*act)(struct buf *))
{
	struct bpf_d *d;

	LIST_FOREACH(d, &sim_ds, d_all) {
		act(d->bd_sbuf);
		act(d->bd_hbuf);
		act(d->bd_fbuf);
	}
}

static void
lock_all(void)
{
	struct bpf_d *d;

	sim_lock_fork();
	LIST_FOREACH(d, &sim_ds, d_all)
		pthread_mutex_lock(&d->bd_lock);
	net_lock();
	calls_lock();
}

static void
unlock_all(void)
{
	struct bpf_d *d;

	calls_unlock();
	net_unlock();
	LIST_FOREACH(d, &sim_ds, d_all)
		pthread_mutex_unlock(&d->bd_lock);
	sim_unlock_fork();
}

/* A child is gone, by the socket to it; with sim_lock held. */
static void
child_gone(int fd)
{
	struct bpf_d *d;
	int i;

	for (i = 0; i < nchildren && children[i] != fd; i++)
		continue;
	if (i == nchildren)
		return;
	children[i] = children[nchildren - 1];
	__atomic_store_n(&nchildren, nchildren - 1, __ATOMIC_RELAXED);
	if (nchildren > 0)
		return;
	LIST_FOREACH(d, &sim_ds, d_all)
		pthread_mutex_lock(&d->bd_lock);
	for_buffers(zbuf_rejoin);
	LIST_FOREACH(d, &sim_ds, d_all)
		pthread_mutex_unlock(&d->bd_lock);
}

/*
 * Before the user's next call: who has waited for his child must find it gone,
 * whether or not the thread that serves it has noticed.
 */
void
fork_reap(void)
{
	struct pollfd p;
	int i;

	if (__atomic_load_n(&nchildren, __ATOMIC_RELAXED) == 0)
		return;
	sim_lock();
	for (i = nchildren - 1; i >= 0; i--) {
		p = (struct pollfd){ children[i], 0, 0 };
		if (__real_poll(&p, 1, 0) == 1 && (p.revents & POLLHUP))
			child_gone(children[i]);
	}
	sim_unlock();
}

static struct bpf_d *
lookup_inode(ino_t inode)
{
	struct bpf_d *d;

	sim_lock();
	LIST_FOREACH(d, &sim_ds, d_all) {
		if (!d->d_gone && !d->d_foreign && d->d_inode == inode)
			break;
	}
	if (d != NULL)
		d->d_refs++;
	sim_unlock();
	return (d);
}

/* What a child asks, done for it: the result, with errno. */
static long
serve(struct bpf_d *d, const struct request *rq, u_char *data)
{
	struct bpf_program program;
	int error;

	switch (rq->op) {

	case CHILD_IOCTL:
		if (rq->cmd == BIOCSETF || rq->cmd == BIOCSETFNR || rq->cmd == BIOCSETWF) {
			program.bf_insns = (struct bpf_insn *)(void *)data;
			program.bf_len = (u_int)(rq->in / sizeof(struct bpf_insn));
			error = bpf_ioctl(d, rq->cmd, &program);
		} else
			error = bpf_ioctl(d, rq->cmd, data);
		errno = error;
		return (error == 0 ? 0 : -1);

	case CHILD_READ:
		return (bpf_read(d, data, rq->out));

	case CHILD_WRITE:
		return (bpf_write(d, data, rq->in));

	case CHILD_POLL:
		return (bpf_poll(d, (int)rq->cmd));
	}
	errno = EINVAL;
	return (-1);
}

static void *
serve_child(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct request rq;
	struct reply rp;
	struct bpf_d *d;
	u_char *data;

	while (receive(fd, &rq, sizeof(rq)) && rq.in <= MAX_PAYLOAD && rq.out <= MAX_PAYLOAD) {
		data = calloc(1, (rq.in > rq.out ? rq.in : rq.out) + 64);
		if (data == NULL || !receive(fd, data, rq.in)) {
			free(data);
			break;
		}
		(void)__atomic_fetch_add(&child_calls, 1, __ATOMIC_RELAXED);
		memset(&rp, 0, sizeof(rp));
		rp.result = -1;
		rp.error = EBADF;
		d = lookup_inode(rq.inode);
		if (d != NULL) {
			rp.result = serve(d, &rq, data);
			rp.error = errno;
			bpf_unlookup(d);
		}
		rp.out = rp.result < 0 ? 0 : rq.op == CHILD_READ ? (size_t)rp.result : rq.out;
		if (!transmit(fd, &rp, sizeof(rp)) || !transmit(fd, data, rp.out)) {
			free(data);
			break;
		}
		free(data);
	}
	sim_lock();
	child_gone(fd);
	sim_unlock();
	(void)__real_close(fd);
	return (NULL);
}

/* In a child: one call, done by the parent. */
long
child_call(struct bpf_d *d, int op, u_long cmd, void *arg, size_t len)
{
	const struct bpf_program *program = arg;
	struct request rq = { .op = op, .inode = d->d_inode, .cmd = cmd };
	struct reply rp;
	const void *from = arg;

	switch (op) {

	case CHILD_IOCTL:
		/* These point into our memory, where the parent cannot write. */
		if (cmd == BIOCGDLTLIST || cmd == BIOCSETZBUF) {
			errno = EOPNOTSUPP;
			return (-1);
		}
		if (cmd == BIOCSETF || cmd == BIOCSETFNR || cmd == BIOCSETWF) {
			from = program->bf_insns;
			rq.in = program->bf_len * sizeof(struct bpf_insn);
			break;
		}
		len = cmd == FIONREAD ? sizeof(int) : IOCPARM_LEN(cmd);
		rq.in = (cmd & BSD_IOC_IN) ? len : 0;
		rq.out = cmd == FIONREAD || (cmd & BSD_IOC_OUT) ? len : 0;
		break;

	case CHILD_READ:
		rq.out = len;
		break;

	case CHILD_WRITE:
		rq.in = len;
		break;
	}
	if (parent_fd < 0 || !transmit(parent_fd, &rq, sizeof(rq)) ||
	    !transmit(parent_fd, from, rq.in) ||
	    !receive(parent_fd, &rp, sizeof(rp)) || !receive(parent_fd, arg, rp.out)) {
		errno = EIO;
		return (-1);
	}
	errno = rp.error;
	return (rp.result);
}

EXPORT int64_t
bpfsim_child_calls(void)
{
	return (__atomic_load_n(&child_calls, __ATOMIC_RELAXED));
}

/* Only those who have descriptors have something to share. */
static void
prepare(void)
{
	lock_all();
	if (LIST_EMPTY(&sim_ds) || nchildren == MAX_CHILDREN)
		return;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pending) < 0) {
		pending[0] = pending[1] = -1;
		return;
	}
	for_buffers(zbuf_fork);
}

static void
parent(void)
{
	int fd = pending[0];
	pthread_t thread;

	if (fd >= 0) {
		(void)__real_close(pending[1]);
		children[nchildren] = fd;
		__atomic_store_n(&nchildren, nchildren + 1, __ATOMIC_RELAXED);
		pending[0] = pending[1] = -1;
	}
	unlock_all();
	if (fd >= 0)
		sim_thread(&thread, serve_child, (void *)(intptr_t)fd);
}

/*
 * The child begins with the parent's interfaces and no threads; descriptors
 * that it inherits stay the parent's.
 */
static void
child(void)
{
	struct bpf_d *d;
	int i;

	if (parent_fd >= 0 || pending[1] < 0)
		parent_fd = -1;		/* a grandchild asks nobody */
	else {
		parent_fd = pending[1];
		(void)__real_close(pending[0]);
	}
	pending[0] = pending[1] = -1;
	for (i = 0; i < nchildren; i++)
		(void)__real_close(children[i]);
	nchildren = 0;
	LIST_FOREACH(d, &sim_ds, d_all) {
		if (!d->d_foreign)
			(void)__real_close(d->d_peer);
		d->d_foreign = 1;
		d->d_refs = 0;
		LIST_INIT(&d->d_sleepers);
		if (d->bd_bif != NULL) {
			LIST_REMOVE(d, bd_next);
			d->bd_bif->bif_ifp->if_pcount -= d->bd_promisc;
			d->bd_bif = NULL;
		}
	}
	clock_fork_child();
	waiter_fork_child();
	net_fork_child();
	sim_fork_child();
	unlock_all();
	linux_fork_child();
}

__attribute__((constructor)) static void
at_fork(void)
{
	if (pthread_atfork(prepare, parent, child) != 0)
		abort();
}
