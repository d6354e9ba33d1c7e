/*
 * sys/net/bpf.c: bpfioctl() but for what sets a filter.
 */
#include "sim.h"

#include <sys/ioctl.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* FreeBSD's numbers of some ioctls that Linux has under others. */
#define BSD_FIONREAD	BSD_IOR('f', 127, 4)
#define BSD_FIONBIO	BSD_IOW('f', 126, 4)
#define BSD_FIOASYNC	BSD_IOW('f', 125, 4)

/* What BIOCLOCK leaves. */
static int
allowed_when_locked(u_long cmd)
{
	switch (cmd) {

	case BIOCGBLEN:
	case BIOCFLUSH:
	case BIOCGDLT:
	case BIOCGDLTLIST:
	case BIOCGETIF:
	case BIOCGRTIMEOUT:
	case BIOCGSTATS:
	case BIOCVERSION:
	case BIOCGRSIG:
	case BIOCGHDRCMPLT:
	case BIOCSTSTAMP:
	case BIOCFEEDBACK:
	case BIOCLOCK:
	case BIOCSRTIMEOUT:
	case BIOCIMMEDIATE:
	case BIOCROTZBUF:
	case FIONREAD:
	case BSD_FIONREAD:
		return (1);
	}
	return (0);
}

/* bpf_getdltlist(), with sim_lock held */
static int
bpf_getdltlist(struct bpf_d *d, struct bpf_dltlist *list)
{
	struct bpf_if *bp;
	u_int n = 0;

	for (bp = d->bd_bif->bif_ifp->if_bpf; bp != NULL; bp = bp->bif_more)
		n++;
	if (list->bfl_list != NULL) {
		if (n > list->bfl_len)
			return (ENOMEM);
		n = 0;
		for (bp = d->bd_bif->bif_ifp->if_bpf; bp != NULL; bp = bp->bif_more)
			list->bfl_list[n++] = bp->bif_dlt;
	}
	list->bfl_len = n;
	return (0);
}

/* bpf_setdlt(), with sim_lock held: throws away what was captured */
static int
bpf_setdlt(struct bpf_d *d, u_int dlt)
{
	struct bpf_if *bp;
	int promisc;

	if (d->bd_bif->bif_dlt == dlt)
		return (0);
	for (bp = d->bd_bif->bif_ifp->if_bpf; bp != NULL; bp = bp->bif_more) {
		if (bp->bif_dlt == dlt)
			break;
	}
	if (bp == NULL)
		return (EINVAL);
	promisc = d->bd_promisc;
	bpf_attachd(d, bp);
	pthread_mutex_lock(&d->bd_lock);
	reset_d(d);
	if (promisc && if_promisc(bp->bif_ifp, 1) == 0)
		d->bd_promisc = 1;
	pthread_mutex_unlock(&d->bd_lock);
	return (0);
}

/* BIOCSETIF with bpf_setif() */
static int
bpf_setif(struct bpf_d *d, const char *arg)
{
	char name[IFNAMSIZ];
	struct ifnet *ifp;
	u_int size;
	int alloc, error = 0;

	(void)snprintf(name, sizeof(name), "%.*s", IFNAMSIZ - 1, arg);
	pthread_mutex_lock(&d->bd_lock);
	alloc = d->bd_bufmode == BPF_BUFMODE_BUFFER && d->bd_sbuf == NULL;
	size = d->bd_bufsize;
	pthread_mutex_unlock(&d->bd_lock);
	if (alloc) {
		error = bpf_buffer_sblen(d, &size);
		if (error != 0)
			return (error);
	}
	sim_lock();
	ifp = if_find(name);
	pthread_mutex_lock(&d->bd_lock);
	if (ifp == NULL)
		error = ENXIO;
	else if (d->bd_sbuf == NULL)
		error = EINVAL;
	pthread_mutex_unlock(&d->bd_lock);
	if (error == 0) {
		/* An interface's first type, unless this is one of its others. */
		if (d->bd_bif != ifp->if_bpf)
			bpf_attachd(d, ifp->if_bpf);
		pthread_mutex_lock(&d->bd_lock);
		reset_d(d);
		pthread_mutex_unlock(&d->bd_lock);
	}
	sim_unlock();
	return (error);
}

/* What needs to know the interface, with sim_lock held. */
static int
ioctl_interface(struct bpf_d *d, u_long cmd, void *arg)
{
	struct ifnet *ifp;
	int error;

	if (d->bd_bif == NULL)
		return (EINVAL);
	ifp = d->bd_bif->bif_ifp;
	switch (cmd) {

	case BIOCPROMISC:
		if (d->bd_promisc)
			return (0);
		error = if_promisc(ifp, 1);
		if (error == 0)
			d->bd_promisc = 1;
		return (error);

	case BIOCGDLT:
		*(u_int *)arg = d->bd_bif->bif_dlt;
		return (0);

	case BIOCGDLTLIST:
		return (bpf_getdltlist(d, arg));

	case BIOCSDLT:
		return (bpf_setdlt(d, *(u_int *)arg));

	default:
		memcpy(((struct ifreq *)arg)->ifr_name, ifp->if_xname, IFNAMSIZ);
		return (0);
	}
}

/* BIOCSETBUFMODE: as long as there is neither buffer nor interface */
static int
ioctl_setbufmode(struct bpf_d *d, u_int mode)
{
	if (mode != BPF_BUFMODE_BUFFER &&
	    (mode != BPF_BUFMODE_ZBUF || !bpf_zerocopy_enable))
		return (EINVAL);
	if (d->bd_sbuf != NULL || d->bd_hbuf != NULL || d->bd_fbuf != NULL ||
	    d->bd_bif != NULL)
		return (EBUSY);
	d->bd_bufmode = mode;
	return (0);
}

/* BIOCSRTIMEOUT: itimerfix(), tvtohz() and one tick less */
static int
ioctl_srtimeout(struct bpf_d *d, const struct timeval *tv)
{
	const long tick = 1000000 / SIM_HZ;

	if (tv->tv_sec < 0 || tv->tv_usec < 0 || tv->tv_usec >= 1000000)
		return (EINVAL);
	if (tv->tv_sec >= INT_MAX / SIM_HZ)
		d->bd_rtout = INT_MAX - 1;
	else
		d->bd_rtout = (u_long)tv->tv_sec * SIM_HZ + (u_long)((tv->tv_usec + tick - 1) / tick);
	return (0);
}

/* What reads or sets one number, with bd_lock held. */
static int
ioctl_number(struct bpf_d *d, u_long cmd, u_int *v)
{
	switch (cmd) {

	case BIOCGBLEN:
		*v = d->bd_bufsize;
		break;
	case BIOCIMMEDIATE:
		d->bd_immediate = (int)*v;
		break;
	case BIOCGHDRCMPLT:
		*v = (u_int)d->bd_hdrcmplt;
		break;
	case BIOCSHDRCMPLT:
		d->bd_hdrcmplt = *v ? 1 : 0;
		break;
	case BIOCGDIRECTION:
		*v = (u_int)d->bd_direction;
		break;
	case BIOCSDIRECTION:
		if (*v != BPF_D_IN && *v != BPF_D_INOUT && *v != BPF_D_OUT)
			return (EINVAL);
		d->bd_direction = (int)*v;
		break;
	case BIOCGTSTAMP:
		*v = d->bd_tstamp;
		break;
	case BIOCSTSTAMP:
		if (!BPF_T_VALID(*v))
			return (EINVAL);
		d->bd_tstamp = *v;
		break;
	case BIOCFEEDBACK:
		d->bd_feedback = (int)*v;
		break;
	case BIOCSRSIG:
		if (*v >= NSIG)
			return (EINVAL);
		d->bd_sig = (int)*v;
		break;
	case BIOCGRSIG:
		*v = (u_int)d->bd_sig;
		break;
	case BIOCGETBUFMODE:
		*v = d->bd_bufmode;
		break;
	case BIOCSETBUFMODE:
		return (ioctl_setbufmode(d, *v));
	default:
		return (EINVAL);
	}
	return (0);
}

/* The others that bd_lock is enough for. */
static int
ioctl_descriptor(struct bpf_d *d, u_long cmd, void *arg)
{
	struct timeval *tv = arg;

	switch (cmd) {

	case FIONREAD:
	case BSD_FIONREAD:
		/* An acknowledged hold buffer counts until a packet frees it. */
		*(int *)arg = (int)(d->bd_slen + (d->bd_hbuf != NULL ? d->bd_hlen : 0));
		return (0);

	case BIOCFLUSH:
		reset_d(d);
		return (0);

	case BIOCSRTIMEOUT:
		return (ioctl_srtimeout(d, tv));

	case BIOCGRTIMEOUT:
		tv->tv_sec = (time_t)(d->bd_rtout / SIM_HZ);
		tv->tv_usec = (suseconds_t)(d->bd_rtout % SIM_HZ * (1000000 / SIM_HZ));
		return (0);

	case BIOCGSTATS:
		((struct bpf_stat *)arg)->bs_recv = (u_int)d->bd_rcount;
		((struct bpf_stat *)arg)->bs_drop = (u_int)d->bd_dcount;
		return (0);

	case BIOCVERSION:
		((struct bpf_version *)arg)->bv_major = BPF_MAJOR_VERSION;
		((struct bpf_version *)arg)->bv_minor = BPF_MINOR_VERSION;
		return (0);

	case BIOCLOCK:
		d->bd_locked = 1;
		return (0);

	case FIONBIO:
	case BSD_FIONBIO:
		return (0);

	case FIOASYNC:
	case BSD_FIOASYNC:
		d->bd_async = *(int *)arg;
		return (0);

	case BIOCGETZMAX:
		if (d->bd_bufmode != BPF_BUFMODE_ZBUF)
			return (EOPNOTSUPP);
		/* A size_t: eight bytes. */
		*(size_t *)arg = BPF_MAX_PAGES * (size_t)sysconf(_SC_PAGESIZE);
		return (0);
	}
	return (ioctl_number(d, cmd, arg));
}

/* With sim_lock or no lock held on entry, as each needs it. */
static int
ioctl_dispatch(struct bpf_d *d, u_long cmd, void *arg)
{
	int error;

	switch (cmd) {

	case BIOCSBLEN:
		return (bpf_buffer_sblen(d, arg));

	case BIOCSETF:
	case BIOCSETFNR:
	case BIOCSETWF:
		return (bpf_setf(d, arg, cmd));

	case BIOCSETIF:
		return (bpf_setif(d, ((const struct ifreq *)arg)->ifr_name));

	case BIOCSETZBUF:
	case BIOCROTZBUF:
		if (d->bd_bufmode != BPF_BUFMODE_ZBUF)
			return (EOPNOTSUPP);
		if (cmd == BIOCSETZBUF)
			return (bpf_zerocopy_setzbuf(d, arg));
		bpf_zerocopy_rotzbuf(d, arg);
		return (0);

	case BIOCPROMISC:
	case BIOCGDLT:
	case BIOCGDLTLIST:
	case BIOCSDLT:
	case BIOCGETIF:
		sim_lock();
		error = ioctl_interface(d, cmd, arg);
		sim_unlock();
		return (error);
	}
	pthread_mutex_lock(&d->bd_lock);
	error = ioctl_descriptor(d, cmd, arg);
	pthread_mutex_unlock(&d->bd_lock);
	return (error);
}

/*
 * bpfioctl(): an errno.  Any of them, whatever it does, stops the read timeout
 * and takes back that it ran out.
 */
int
bpf_ioctl(struct bpf_d *d, u_long cmd, void *arg)
{
	int error, locked;

	pthread_mutex_lock(&d->bd_lock);
	d->bd_pid = getpid();
	d->bd_callout = NEVER;
	d->bd_state = BPF_IDLE;
	outside_reset(d);
	locked = d->bd_locked;
	pthread_mutex_unlock(&d->bd_lock);
	if (locked && !allowed_when_locked(cmd))
		return (EPERM);
	/* copyin() and copyout() of what has an argument */
	if (arg == NULL && cmd != BIOCFLUSH && cmd != BIOCPROMISC && cmd != BIOCLOCK)
		return (EFAULT);
	error = ioctl_dispatch(d, cmd, arg);
	pthread_mutex_lock(&d->bd_lock);
	outside_update(d);
	pthread_mutex_unlock(&d->bd_lock);
	return (error);
}
