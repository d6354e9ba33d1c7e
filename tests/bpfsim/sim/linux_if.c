/*
 * Packets of a Linux device: a packet socket in place of a driver.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define ROOM	65536			/* for a packet */
#define FRONT	8			/* and for a tag in front of it */
#define SOCKET_BUFFER (64 * 1024 * 1024)
#define BSD_AF_INET	2
#define BSD_AF_INET6	28

/* With sim_lock held: 0 or an errno. */
int
linux_attach(struct ifnet *ifp, const char *device)
{
	struct sockaddr_ll sll;
	int one = 1, size = SOCKET_BUFFER, fd, error;
	unsigned int index = if_nametoindex(device);

	if (index == 0)
		return (ENXIO);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return (errno);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	(void)setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one));
	memset(&sll, 0, sizeof(sll));
	sll.sll_family = AF_PACKET;
	sll.sll_protocol = htons(ETH_P_ALL);
	sll.sll_ifindex = (int)index;
	if (bind(fd, (struct sockaddr *)&sll, sizeof(sll)) < 0) {
		error = errno;
		(void)__real_close(fd);
		return (error);
	}
	linux_detach(ifp);
	ifp->if_fd = fd;
	ifp->if_index = (int)index;
	ifp->if_linux_down = 0;
	(void)snprintf(ifp->if_linux, sizeof(ifp->if_linux), "%s", device);
	ifp->if_linux_loopback = strcmp(device, "lo") == 0;
	linux_promisc(ifp, ifp->if_pcount > 0);
	net_kick();
	return (0);
}

void
linux_detach(struct ifnet *ifp)
{
	if (ifp->if_fd >= 0)
		(void)__real_close(ifp->if_fd);
	ifp->if_fd = -1;
}

/* Two processes that read from one socket would share its packets. */
void
linux_fork_child(void)
{
	char device[IFNAMSIZ];
	struct ifnet *ifp;

	sim_lock();
	LIST_FOREACH(ifp, &sim_ifs, if_next) {
		if (ifp->if_fd < 0)
			continue;
		memcpy(device, ifp->if_linux, sizeof(device));
		linux_detach(ifp);
		(void)linux_attach(ifp, device);
	}
	sim_unlock();
}

void
linux_promisc(struct ifnet *ifp, int on)
{
	struct packet_mreq mr;

	if (ifp->if_fd < 0)
		return;
	memset(&mr, 0, sizeof(mr));
	mr.mr_ifindex = ifp->if_index;
	mr.mr_type = PACKET_MR_PROMISC;
	(void)setsockopt(ifp->if_fd, SOL_PACKET,
	    on ? PACKET_ADD_MEMBERSHIP : PACKET_DROP_MEMBERSHIP, &mr, sizeof(mr));
}

/*
 * ether_vlan_mtap(): Linux has taken the tag off, listeners see it in its
 * place.  Returns where the packet starts now.
 */
static u_char *
put_tag_back(struct msghdr *msg, u_char *p, u_int *len)
{
	struct tpacket_auxdata aux;
	struct cmsghdr *c;
	uint16_t tag[2];

	for (c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		if ((aux.tp_status & TP_STATUS_VLAN_VALID) == 0 || *len < 12)
			break;
		tag[0] = htons((aux.tp_status & TP_STATUS_VLAN_TPID_VALID) ? aux.tp_vlan_tpid : ETH_P_8021Q);
		tag[1] = htons(aux.tp_vlan_tci);
		memmove(p - 4, p, 12);
		memcpy(p + 8, tag, 4);
		*len += 4;
		return (p - 4);
	}
	return (p);
}

/* Linux' loopback has Ethernet headers, FreeBSD's an address family. */
static u_char *
to_null(u_char *p, u_int *len)
{
	uint16_t type;
	uint32_t family;

	if (*len < 14)
		return (NULL);
	memcpy(&type, p + 12, sizeof(type));
	if (type == htons(ETH_P_IP))
		family = BSD_AF_INET;
	else if (type == htons(ETH_P_IPV6))
		family = BSD_AF_INET6;
	else
		return (NULL);
	memcpy(p + 10, &family, sizeof(family));
	*len -= 10;
	return (p + 10);
}

/*
 * Whether the device is there no more, and not just down.  The socket reports
 * the latter only, and the one before the other.
 */
static int
is_gone(const struct ifnet *ifp)
{
	struct ifreq ifr;

	memset(&ifr, 0, sizeof(ifr));
	ifr.ifr_ifindex = ifp->if_index;
	return (__real_ioctl(ifp->if_fd, SIOCGIFNAME, &ifr) < 0 && errno == ENODEV);
}

static int
is_up(const struct ifnet *ifp)
{
	struct ifreq ifr;

	memset(&ifr, 0, sizeof(ifr));
	memcpy(ifr.ifr_name, ifp->if_linux, sizeof(ifr.ifr_name));
	return (__real_ioctl(ifp->if_fd, SIOCGIFFLAGS, &ifr) == 0 && (ifr.ifr_flags & IFF_UP));
}

/*
 * All that has arrived, with sim_lock held: 0, or -1 if nothing more will
 * because the device has gone.
 */
int
linux_receive(struct ifnet *ifp)
{
	static u_char room[FRONT + ROOM];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	} control;
	struct sockaddr_ll from;
	struct iovec iov = { room + FRONT, ROOM };
	struct msghdr msg;
	u_char *p;
	u_int len, dlt = ifp->if_bpf->bif_dlt;
	ssize_t n;
	int turns;

	for (turns = 0; turns < 256; turns++) {
		memset(&msg, 0, sizeof(msg));
		msg.msg_name = &from;
		msg.msg_namelen = sizeof(from);
		msg.msg_iov = &iov;
		msg.msg_iovlen = 1;
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		n = recvmsg(ifp->if_fd, &msg, MSG_DONTWAIT);
		if (n < 0 && errno == ENETDOWN) {
			/* What came before is behind it. */
			ifp->if_linux_down = 1;
			continue;
		}
		if (n < 0) {
			if (!ifp->if_linux_down)
				return (0);
			if (is_gone(ifp))
				return (-1);
			ifp->if_linux_down = !is_up(ifp);
			return (0);
		}
		if (!ifp->if_up ||
		    (from.sll_pkttype == PACKET_OTHERHOST && ifp->if_pcount == 0))
			continue;
		/* On Linux' loopback each packet passes twice. */
		if (ifp->if_linux_loopback && from.sll_pkttype == PACKET_OUTGOING)
			continue;
		len = (u_int)n;
		p = put_tag_back(&msg, room + FRONT, &len);
		if (dlt == DLT_NULL)
			p = to_null(p, &len);
		if (p != NULL)
			if_transmit(ifp, dlt, p, len, from.sll_pkttype == PACKET_OUTGOING);
	}
	return (0);
}

void
linux_send(struct ifnet *ifp, const u_char *pkt, u_int len)
{
	struct sockaddr_ll to;

	if (ifp->if_linux_loopback)
		return;
	memset(&to, 0, sizeof(to));
	to.sll_family = AF_PACKET;
	to.sll_ifindex = ifp->if_index;
	(void)sendto(ifp->if_fd, pkt, len, 0, (struct sockaddr *)&to, sizeof(to));
}

/* What the socket had no room for since it was attached. */
EXPORT int64_t
bpfsim_device_drops(const char *name)
{
	struct tpacket_stats st;
	socklen_t size = sizeof(st);
	struct ifnet *ifp;
	int64_t drops = -1;

	sim_lock();
	ifp = if_find(name);
	if (ifp != NULL && ifp->if_fd >= 0) {
		if (getsockopt(ifp->if_fd, SOL_PACKET, PACKET_STATISTICS, &st, &size) == 0)
			ifp->if_fd_drops += st.tp_drops;
		drops = ifp->if_fd_drops;
	}
	sim_unlock();
	if (drops < 0)
		errno = ENXIO;
	return (drops);
}
