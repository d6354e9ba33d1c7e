/*
 * What else libpcap asks of a system: its interfaces, and its name.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <arpa/inet.h>
#include <net/if_media.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

/* One allocation for each entry. */
struct entry {
	struct ifaddrs		ifa;
	char			name[IFNAMSIZ];
	struct sockaddr_in	addr, mask;
};

extern int __wrap_getifaddrs(struct ifaddrs **);
extern void __wrap_freeifaddrs(struct ifaddrs *);
extern int __wrap_uname(struct utsname *);

static short
flags_of(const struct ifnet *ifp)
{
	int loopback = ifp->if_bpf->bif_dlt == DLT_NULL;

	return ((short)((ifp->if_up ? IFF_UP | IFF_RUNNING : 0) | IFF_MULTICAST |
	    (loopback ? IFF_LOOPBACK : IFF_BROADCAST)));
}

/* A loopback interface has 127.0.0.1, the others have none. */
static int
address_of(const struct ifnet *ifp, struct sockaddr_in *addr, struct sockaddr_in *mask)
{
	memset(addr, 0, sizeof(*addr));
	memset(mask, 0, sizeof(*mask));
	addr->sin_family = mask->sin_family = AF_INET;
	addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	mask->sin_addr.s_addr = htonl(0xff000000);
	return (ifp->if_bpf->bif_dlt == DLT_NULL);
}

int
__wrap_getifaddrs(struct ifaddrs **list)
{
	struct ifnet *ifp;
	struct entry *e;

	*list = NULL;
	sim_lock();
	LIST_FOREACH(ifp, &sim_ifs, if_next) {
		e = calloc(1, sizeof(*e));
		if (e == NULL)
			abort();
		memcpy(e->name, ifp->if_xname, sizeof(e->name));
		e->ifa.ifa_name = e->name;
		e->ifa.ifa_flags = (unsigned)(unsigned short)flags_of(ifp);
		if (address_of(ifp, &e->addr, &e->mask)) {
			e->ifa.ifa_addr = (struct sockaddr *)&e->addr;
			e->ifa.ifa_netmask = (struct sockaddr *)&e->mask;
		}
		e->ifa.ifa_next = *list;
		*list = &e->ifa;
	}
	sim_unlock();
	return (0);
}

void
__wrap_freeifaddrs(struct ifaddrs *list)
{
	struct ifaddrs *next;

	for (; list != NULL; list = next) {
		next = list->ifa_next;
		free(list);
	}
}

int
__wrap_uname(struct utsname *u)
{
	memset(u, 0, sizeof(*u));
	strcpy(u->sysname, "FreeBSD");
	strcpy(u->nodename, "bpfsim");
	strcpy(u->release, "13.2-RELEASE");
	strcpy(u->version, "FreeBSD 13.2-RELEASE");
	strcpy(u->machine, "amd64");
	return (0);
}

/* Wired Ethernet, with a link while it is up; loopback has no media. */
static int
media_of(const struct ifnet *ifp, struct ifmediareq *req)
{
	const int wired = IFM_ETHER | IFM_AUTO;

	if (ifp->if_bpf->bif_dlt == DLT_NULL)
		return (EINVAL);
	req->ifm_current = req->ifm_active = wired;
	req->ifm_mask = 0;
	req->ifm_status = IFM_AVALID | (ifp->if_up ? IFM_ACTIVE : 0);
	if (req->ifm_ulist != NULL && req->ifm_count > 0)
		req->ifm_ulist[0] = wired;
	req->ifm_count = 1;
	return (0);
}

/*
 * An interface ioctl on a socket: 1 if it is one, with its errno or 0 in
 * *error.
 */
int
sim_socket_ioctl(u_long cmd, void *arg, int *error)
{
	struct sockaddr_in addr, mask;
	struct ifreq *ifr = arg;
	struct ifnet *ifp;

	switch (cmd) {

	case SIOCGIFADDR:
	case SIOCGIFNETMASK:
	case SIOCGIFFLAGS:
	case SIOCGIFMTU:
	case SIOCGIFMEDIA:
		break;

	case SIOCSIFMEDIA:
	case SIOCIFCREATE2:
	case SIOCIFDESTROY:
		*error = EINVAL;
		return (1);

	default:
		return (0);
	}
	*error = 0;
	sim_lock();
	ifp = if_find(ifr->ifr_name);
	if (ifp == NULL)
		*error = ENXIO;
	else if (cmd == SIOCGIFMEDIA)
		*error = media_of(ifp, arg);
	else if (cmd == SIOCGIFFLAGS)
		ifr->ifr_flags = flags_of(ifp);
	else if (cmd == SIOCGIFMTU)
		ifr->ifr_mtu = (int)ifp->if_mtu;
	else if (!address_of(ifp, &addr, &mask))
		*error = EADDRNOTAVAIL;
	else if (cmd == SIOCGIFADDR)
		memcpy(&ifr->ifr_addr, &addr, sizeof(addr));
	else
		memcpy(&ifr->ifr_addr, &mask, sizeof(mask));
	sim_unlock();
	return (1);
}
