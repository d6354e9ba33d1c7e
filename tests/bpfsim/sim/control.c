/*
 * What a test may change: see bpfsim.h.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <net/if_arp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int sim_outside_poller;

/* The fixed link-layer header, which bpfattach() is told. */
static u_int
header_of(int dlt)
{
	switch (dlt) {

	case DLT_EN10MB:
		return (14);

	case DLT_NULL:
	case DLT_LOOP:
	case DLT_PPP:
		return (4);

	case DLT_IEEE802_11:
		return (24);
	}
	return (0);
}

static struct ifnet *
if_new(const char *name, int mtu)
{
	static u_char last;
	struct ifnet *ifp;

	ifp = calloc(1, sizeof(*ifp));
	if (ifp == NULL)
		abort();
	(void)snprintf(ifp->if_xname, sizeof(ifp->if_xname), "%s", name);
	ifp->if_up = 1;
	ifp->if_mtu = (u_int)mtu;
	ifp->if_fd = -1;
	ifp->if_seq = 1;
	memcpy(ifp->if_lladdr, "\x02\x62\x70\x66\x00\x00", 6);
	ifp->if_lladdr[5] = ++last;
	LIST_INSERT_HEAD(&sim_ifs, ifp, if_next);
	return (ifp);
}

/* bpfattach2() */
EXPORT int
bpfsim_add_interface(const char *name, int dlt, int mtu)
{
	struct bpf_if *bp, **tail;
	struct ifnet *ifp;

	if (name == NULL || *name == '\0' || strlen(name) >= IFNAMSIZ || mtu <= 0) {
		errno = EINVAL;
		return (-1);
	}
	bp = calloc(1, sizeof(*bp));
	if (bp == NULL)
		abort();
	bp->bif_dlt = (u_int)dlt;
	bp->bif_hdrlen = header_of(dlt);
	LIST_INIT(&bp->bif_dlist);
	LIST_INIT(&bp->bif_wlist);
	sim_lock();
	ifp = if_find(name);
	if (ifp == NULL)
		ifp = if_new(name, mtu);
	for (tail = &ifp->if_bpf; *tail != NULL; tail = &(*tail)->bif_more) {
		if ((*tail)->bif_dlt == (u_int)dlt) {
			sim_unlock();
			free(bp);
			errno = EEXIST;
			return (-1);
		}
	}
	bp->bif_ifp = ifp;
	*tail = bp;
	sim_unlock();
	return (0);
}

static void
detach_and_wake(struct bpf_d *d)
{
	bpf_detachd(d);
	pthread_mutex_lock(&d->bd_lock);
	bpf_wakeup(d);
	pthread_mutex_unlock(&d->bd_lock);
}

/* bpfdetach(), with sim_lock held */
void
if_remove(struct ifnet *ifp)
{
	struct ifnet *other;
	struct bpf_if *bp;
	struct bpf_d *d;

	linux_detach(ifp);
	LIST_REMOVE(ifp, if_next);
	LIST_FOREACH(other, &sim_ifs, if_next) {
		if (other->if_peer == ifp)
			other->if_peer = NULL;
	}
	while ((bp = ifp->if_bpf) != NULL) {
		while ((d = LIST_FIRST(&bp->bif_dlist)) != NULL)
			detach_and_wake(d);
		while ((d = LIST_FIRST(&bp->bif_wlist)) != NULL)
			detach_and_wake(d);
		ifp->if_bpf = bp->bif_more;
		free(bp);
	}
	free(ifp);
}

static int
no_such_interface(void)
{
	errno = ENXIO;
	return (-1);
}

EXPORT int
bpfsim_remove_interface(const char *name)
{
	struct ifnet *ifp;

	sim_lock();
	ifp = if_find(name);
	if (ifp != NULL)
		if_remove(ifp);
	sim_unlock();
	return (ifp == NULL ? no_such_interface() : 0);
}

EXPORT int
bpfsim_set_up(const char *name, int up)
{
	struct ifnet *ifp;

	sim_lock();
	ifp = if_find(name);
	if (ifp != NULL)
		ifp->if_up = up;
	sim_unlock();
	return (ifp == NULL ? no_such_interface() : 0);
}

EXPORT int
bpfsim_set_mtu(const char *name, int mtu)
{
	struct ifnet *ifp;

	sim_lock();
	ifp = if_find(name);
	if (ifp != NULL)
		ifp->if_mtu = (u_int)mtu;
	sim_unlock();
	return (ifp == NULL ? no_such_interface() : 0);
}

EXPORT int
bpfsim_set_peer(const char *name, const char *peer)
{
	struct ifnet *ifp, *other;

	sim_lock();
	ifp = if_find(name);
	other = if_find(peer);
	if (ifp != NULL && other != NULL) {
		ifp->if_peer = other;
		other->if_peer = ifp;
	}
	sim_unlock();
	return (ifp == NULL || other == NULL ? no_such_interface() : 0);
}

EXPORT int
bpfsim_attach_device(const char *name, const char *linux_device)
{
	struct ifnet *ifp;
	int error = ENXIO;

	sim_start();
	sim_lock();
	ifp = if_find(name);
	if (ifp != NULL)
		error = linux_attach(ifp, linux_device);
	sim_unlock();
	if (error != 0) {
		errno = error;
		return (-1);
	}
	return (0);
}

EXPORT int
bpfsim_promiscuous(const char *name)
{
	struct ifnet *ifp;
	int n = -1;

	sim_lock();
	ifp = if_find(name);
	if (ifp != NULL)
		n = ifp->if_pcount;
	sim_unlock();
	return (n < 0 ? no_such_interface() : n);
}

EXPORT int
bpfsim_set_sequence(const char *name, uint32_t next)
{
	struct ifnet *ifp;

	sim_lock();
	ifp = if_find(name);
	if (ifp != NULL)
		ifp->if_seq = next;
	sim_unlock();
	return (ifp == NULL ? no_such_interface() : 0);
}

EXPORT int64_t
bpfsim_sequence(const char *name)
{
	struct ifnet *ifp;
	int64_t next = -1;

	sim_lock();
	ifp = if_find(name);
	if (ifp != NULL)
		next = ifp->if_seq;
	sim_unlock();
	return (next < 0 ? no_such_interface() : next);
}

EXPORT int
bpfsim_open_descriptors(void)
{
	struct bpf_d *d;
	int n = 0;

	sim_lock();
	LIST_FOREACH(d, &sim_ds, d_all)
		n += !d->d_gone;
	sim_unlock();
	return (n);
}

EXPORT int
bpfsim_set_outside_poller(int on)
{
	sim_outside_poller = on;
	return (0);
}

EXPORT int
bpfsim_set_alias(int on)
{
	sim_alias = on;
	return (0);
}

EXPORT int
bpfsim_reset(void)
{
	struct ifnet *ifp;

	(void)bpfsim_stop_flood();
	(void)bpfsim_drain(10000);
	sim_lock();
	while ((ifp = LIST_FIRST(&sim_ifs)) != NULL)
		if_remove(ifp);
	sim_unlock();
	sim_forget_failures();
	(void)bpfsim_reset_counts();
	sim_configure();
	return (0);
}

/* minherit(2): what a fork makes of the user's side of shared buffers */
EXPORT int
bpfsim_minherit(void *addr, size_t len, int inherit)
{
	struct bpf_d *d;
	struct buf *b[3];
	int i;

	if (inherit < 0 || inherit > 2) {
		errno = EINVAL;
		return (-1);
	}
	sim_lock();
	LIST_FOREACH(d, &sim_ds, d_all) {
		pthread_mutex_lock(&d->bd_lock);
		b[0] = d->bd_sbuf;
		b[1] = d->bd_hbuf;
		b[2] = d->bd_fbuf;
		for (i = 0; i < 3; i++) {
			if (b[i] != NULL && b[i]->b_uaddr == addr && b[i]->b_size == len)
				b[i]->b_inherit = inherit;
		}
		pthread_mutex_unlock(&d->bd_lock);
	}
	sim_unlock();
	if (inherit == 2)
		return (madvise(addr, len, MADV_DONTFORK));
	return (0);
}
