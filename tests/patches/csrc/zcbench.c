/*
 * zcbench: what a packet costs, in time, with two libpcaps next to each other.
 *
 *	zcbench STOCK.so PATCHED.so DEVICE SEND-DEVICE PACKETS ROUNDS
 *
 * Three handles capture the same packets of 64 bytes: one of the stock
 * library and one of the patched one, which hand them to a callback that
 * does nothing, and one of the patched library that lends blocks.  A round
 * fills their rings with PACKETS packets, and then empties one after the
 * other, another one first each time.  Nobody sends while the clock runs.
 *
 * Prints, after two rounds that don't count because they touch the rings for
 * the first time, how many nanoseconds a packet takes in each of the three
 * ways.  For lent blocks that's pcap_zc_next(), which makes the index, and
 * pcap_zc_release().
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <pcap/pcap.h>
#include <pcap/zc.h>

#define WARM_ROUNDS	2
#define BATCH		64
#define WAYS		3

struct way {
	const char *name;
	pcap_t	*p;
	pcap_t	*(*create)(const char *, char *);
	int	(*set_timeout)(pcap_t *, int);
	int	(*set_buffer_size)(pcap_t *, int);
	int	(*activate)(pcap_t *);
	int	(*setnonblock)(pcap_t *, int, char *);
	int	(*dispatch)(pcap_t *, int, pcap_handler, u_char *);
	char	*(*geterr)(pcap_t *);
	void	(*close)(pcap_t *);
	int	(*zc_next)(pcap_t *, struct pcap_zc_block *, int);
	int	(*zc_release)(pcap_t *, struct pcap_zc_block *);
	uint64_t packets;		/* in all */
	uint64_t ns;			/* in the rounds that count */
};

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "zcbench: %s: %s\n", what, why);
	exit(1);
}

static uint64_t
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec);
}

static void
callback(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	(void)user; (void)h; (void)bytes;
}

static void *
sym(void *so, const char *name)
{
	void *p = dlsym(so, name);

	if (p == NULL)
		fail(name, dlerror());
	return (p);
}

static void
load(struct way *w, const char *name, const char *path, int lent)
{
	void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (so == NULL)
		fail(path, dlerror());
	w->name = name;
#define GET(m)	*(void **)&w->m = sym(so, "pcap_" #m)
	GET(create); GET(set_timeout); GET(set_buffer_size); GET(activate);
	GET(setnonblock); GET(dispatch); GET(geterr); GET(close);
	if (lent) {
		GET(zc_next); GET(zc_release);
	}
}

static void
open_live(struct way *w, const char *device, uint64_t packets)
{
	char errbuf[PCAP_ERRBUF_SIZE];

	w->p = w->create(device, errbuf);
	if (w->p == NULL)
		fail(device, errbuf);
	w->set_timeout(w->p, 50);
	/* A packet of 64 bytes takes less than 256 in the ring. */
	w->set_buffer_size(w->p, (int)(packets * 256 + (4 << 20)));
	if (w->activate(w->p) < 0)
		fail(device, w->geterr(w->p));
	if (w->setnonblock(w->p, 1, errbuf) < 0)
		fail(device, errbuf);
}

/*
 * Send packets; they're in the rings when that returns, as a veth pair
 * hands them over in the context of the sender.
 */
static void
fill(const char *device, uint64_t packets)
{
	static u_char frame[64] = "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x88\xb5";
	static struct mmsghdr messages[BATCH];
	struct iovec part = { frame, sizeof(frame) };
	struct sockaddr_ll to;
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	int i, sent;

	memset(&to, 0, sizeof(to));
	to.sll_family = AF_PACKET;
	to.sll_ifindex = (int)if_nametoindex(device);
	to.sll_halen = 6;
	for (i = 0; i < BATCH; i++) {
		messages[i].msg_hdr.msg_name = &to;
		messages[i].msg_hdr.msg_namelen = sizeof(to);
		messages[i].msg_hdr.msg_iov = &part;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while (packets > 0) {
		sent = sendmmsg(fd, messages,
		    packets < BATCH ? (u_int)packets : BATCH, 0);
		if (sent <= 0)
			fail(device, "cannot send");
		packets -= (uint64_t)sent;
	}
	close(fd);
}

/*
 * Take all packets out of a ring, in which they are already; returns how long
 * that took.
 */
static uint64_t
empty(struct way *w, uint64_t wanted)
{
	struct pcap_zc_block block;
	uint64_t began = now();
	int status;

	while (w->packets < wanted) {
		if (w->zc_next == NULL) {
			status = w->dispatch(w->p, -1, callback, NULL);
			if (status > 0)
				w->packets += (u_int)status;
		} else {
			status = w->zc_next(w->p, &block, 0);
			if (status == 1) {
				w->packets += block.count;
				w->zc_release(w->p, &block);
			}
		}
		if (status < 0)
			fail(w->name, w->geterr(w->p));
		if (now() - began > 10000000000ULL)
			fail(w->name, "packets are missing");
	}
	if (w->packets != wanted)
		fail(w->name, "there are more packets than were sent");
	return (now() - began);
}

int
main(int argc, char **argv)
{
	struct way ways[WAYS] = { 0 }, *w;
	uint64_t packets, wanted = 0, ns;
	int round, rounds, i;

	if (argc != 7)
		fail("usage",
		    "STOCK.so PATCHED.so DEVICE SEND-DEVICE PACKETS ROUNDS");
	packets = strtoull(argv[5], NULL, 10);
	rounds = atoi(argv[6]);
	if (packets == 0 || packets > 10000000 || rounds <= 0)
		fail("usage", "PACKETS: 1 to 10000000; ROUNDS: 1 or more");
	load(&ways[0], "stock", argv[1], 0);
	load(&ways[1], "patched", argv[2], 0);
	load(&ways[2], "lent", argv[2], 1);
	for (i = 0; i < WAYS; i++)
		open_live(&ways[i], argv[3], packets);

	for (round = 0; round < WARM_ROUNDS + rounds; round++) {
		fill(argv[4], packets);
		wanted += packets;
		usleep(120000);	/* the last block is retired */
		for (i = 0; i < WAYS; i++) {
			w = &ways[(round + i) % WAYS];
			ns = empty(w, wanted);
			if (round >= WARM_ROUNDS)
				w->ns += ns;
		}
	}
	for (i = 0; i < WAYS; i++) {
		printf("%s %.3f\n", ways[i].name, (double)ways[i].ns /
		    (double)(packets * (uint64_t)rounds));
		ways[i].close(ways[i].p);
	}
	return (0);
}
