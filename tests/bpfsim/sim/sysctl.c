/*
 * The net.bpf tree: its numbers, and bpf_stats_sysctl().
 */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int bpf_zerocopy_enable = 1;	/* 0 on a FreeBSD that nobody has changed */
int bpf_maxbufsize = BPF_MAXBUFSIZE;
int bpf_bufsize = 4096;
int bpf_maxinsns = BPF_MAXINSNS;
static int bpf_optimize_writers;

static const struct {
	const char	*name;
	int		*value;
} numbers[] = {
	{ "net.bpf.zerocopy_enable", &bpf_zerocopy_enable },
	{ "net.bpf.maxbufsize", &bpf_maxbufsize },
	{ "net.bpf.bufsize", &bpf_bufsize },
	{ "net.bpf.maxinsns", &bpf_maxinsns },
	{ "net.bpf.optimize_writers", &bpf_optimize_writers },
};

static int *
number(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (strcmp(numbers[i].name, name) == 0)
			return (numbers[i].value);
	}
	return (NULL);
}

/* bpfstats_fill_xbpf() */
static void
fill(struct xbpf_d *x, struct bpf_d *d)
{
	memset(x, 0, sizeof(*x));
	pthread_mutex_lock(&d->bd_lock);
	x->bd_structsize = sizeof(*x);
	x->bd_immediate = (u_char)d->bd_immediate;
	x->bd_promisc = (u_char)d->bd_promisc;
	x->bd_hdrcmplt = d->bd_hdrcmplt;
	x->bd_direction = d->bd_direction;
	x->bd_feedback = d->bd_feedback;
	x->bd_async = d->bd_async;
	x->bd_rcount = d->bd_rcount;
	x->bd_dcount = d->bd_dcount;
	x->bd_fcount = d->bd_fcount;
	x->bd_sig = d->bd_sig;
	x->bd_slen = (int)d->bd_slen;
	x->bd_hlen = (int)d->bd_hlen;
	x->bd_bufsize = (int)d->bd_bufsize;
	x->bd_pid = d->bd_pid;
	memcpy(x->bd_ifname, d->bd_bif->bif_ifp->if_xname, IFNAMSIZ);
	x->bd_locked = d->bd_locked;
	x->bd_wcount = d->bd_wcount;
	x->bd_wdcount = d->bd_wdcount;
	x->bd_wfcount = d->bd_wfcount;
	x->bd_zcopy = d->bd_zcopy;
	x->bd_bufmode = (int)d->bd_bufmode;
	pthread_mutex_unlock(&d->bd_lock);
}

/*
 * bpf_stats_sysctl(): the descriptors that have an interface, those that only
 * write included.  Returns how many there are; fills in as many as fit.
 */
static size_t
stats(struct xbpf_d *x, size_t room)
{
	struct ifnet *ifp;
	struct bpf_if *bp;
	struct bpf_d *d;
	size_t n = 0;

	LIST_FOREACH(ifp, &sim_ifs, if_next) {
		for (bp = ifp->if_bpf; bp != NULL; bp = bp->bif_more) {
			LIST_FOREACH(d, &bp->bif_wlist, bd_next) {
				if (n++ < room)
					fill(&x[n - 1], d);
			}
			LIST_FOREACH(d, &bp->bif_dlist, bd_next) {
				if (n++ < room)
					fill(&x[n - 1], d);
			}
		}
	}
	return (n);
}

/* bpf_zero_counters() */
static void
zero_counters(void)
{
	struct bpf_d *d;

	LIST_FOREACH(d, &sim_ds, d_all) {
		pthread_mutex_lock(&d->bd_lock);
		d->bd_rcount = d->bd_dcount = d->bd_fcount = 0;
		d->bd_wcount = d->bd_wfcount = d->bd_zcopy = 0;
		pthread_mutex_unlock(&d->bd_lock);
	}
}

static int
stats_sysctl(void *old, size_t *oldlen, const void *new, size_t newlen)
{
	static const struct xbpf_d zeros;
	size_t n, room;
	int error = 0;

	sim_lock();
	if (new != NULL) {
		if (newlen != sizeof(zeros) || memcmp(new, &zeros, sizeof(zeros)) != 0)
			error = EINVAL;
		else
			zero_counters();
	} else if (oldlen != NULL) {
		room = old == NULL ? 0 : *oldlen / sizeof(zeros);
		n = stats(old, room);
		if (old != NULL && n > room)
			error = ENOMEM;
		else
			*oldlen = n * sizeof(zeros);
	}
	sim_unlock();
	return (error);
}

EXPORT int
bpfsim_sysctlbyname(const char *name, void *old, size_t *oldlen, const void *new, size_t newlen)
{
	int *value = number(name), error = 0;

	if (strcmp(name, "net.bpf.stats") == 0)
		error = stats_sysctl(old, oldlen, new, newlen);
	else if (value == NULL)
		error = ENOENT;
	else {
		if (old != NULL && oldlen != NULL) {
			if (*oldlen < sizeof(int))
				error = ENOMEM;
			else
				memcpy(old, value, sizeof(int));
		}
		if (oldlen != NULL)
			*oldlen = sizeof(int);
		if (error == 0 && new != NULL) {
			if (newlen != sizeof(int))
				error = EINVAL;
			else
				memcpy(value, new, sizeof(int));
		}
	}
	if (error != 0) {
		errno = error;
		return (-1);
	}
	return (0);
}

EXPORT int
bpfsim_set_sysctl(const char *name, int value)
{
	int *v = number(name);

	if (v == NULL) {
		errno = ENOENT;
		return (-1);
	}
	*v = value;
	return (0);
}
