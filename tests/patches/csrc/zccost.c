/*
 * zccost: hand packets to a callback in C, and nothing else, to see what
 * that costs under callgrind: collect in pcap_dispatch() or pcap_zc_next().
 *
 *	zccost read FILE
 *	zccost live DEVICE SEND-DEVICE PACKETS dispatch|lent [ROUNDS]
 *
 * "live" sends packets of 64 bytes into a ring that has room for all of them,
 * and then takes them out, so that nobody has to keep pace with anybody; and
 * so on.  Prints how many came out.  (zcbench is for time.)
 */
#define _GNU_SOURCE
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pcap/pcap.h>
#if __has_include(<pcap/zc.h>)
#include <pcap/zc.h>
#endif

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "zccost: %s: %s\n", what, why);
	exit(1);
}

static uint64_t count, bytes_seen;

static void
callback(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	(void)user; (void)bytes;
	count++;
	bytes_seen += h->caplen;
}

static void
take(pcap_t *p, int lent)
{
	int status;

#ifdef PCAP_ZC_ABI
	if (lent) {
		struct pcap_zc_block b;

		status = pcap_zc_next(p, &b, 1000);
		if (status < 0)
			fail("pcap_zc_next", pcap_geterr(p));
		if (status == 1) {
			count += b.count;
			pcap_zc_release(p, &b);
		}
		return;
	}
#else
	if (lent)
		fail("lent", "not with this libpcap");
#endif
	status = pcap_dispatch(p, -1, callback, NULL);
	if (status < 0)
		fail("pcap_dispatch", pcap_geterr(p));
}

static void
fill(const char *device, uint64_t packets)
{
	static const u_char frame[64] =
	    "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x88\xb5";
	struct sockaddr_ll to;
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	memset(&to, 0, sizeof(to));
	to.sll_family = AF_PACKET;
	to.sll_ifindex = (int)if_nametoindex(device);
	to.sll_halen = 6;
	while (packets-- > 0)
		if (sendto(fd, frame, sizeof(frame), 0, (struct sockaddr *)&to,
		    sizeof(to)) != (ssize_t)sizeof(frame))
			fail(device, "cannot send");
	close(fd);
}

int
main(int argc, char **argv)
{
	char errbuf[PCAP_ERRBUF_SIZE];
	uint64_t packets = 0;
	pcap_t *p;
	uint64_t wanted = 0;
	int lent, tries, rounds;

	if (argc == 3 && strcmp(argv[1], "read") == 0) {
		p = pcap_open_offline(argv[2], errbuf);
		if (p == NULL)
			fail(argv[2], errbuf);
		take(p, 0);
	} else if (argc >= 6 && strcmp(argv[1], "live") == 0) {
		packets = strtoull(argv[4], NULL, 10);
		lent = strcmp(argv[5], "lent") == 0;
		rounds = argc > 6 ? atoi(argv[6]) : 1;
		p = pcap_create(argv[2], errbuf);
		if (p == NULL)
			fail(argv[2], errbuf);
		pcap_set_snaplen(p, 65535);
		pcap_set_timeout(p, 50);
		pcap_set_buffer_size(p, (int)(packets * 256 + (4 << 20)));
		if (pcap_activate(p) < 0)
			fail(argv[2], pcap_geterr(p));
		for (; rounds > 0; rounds--) {
			fill(argv[3], packets);
			usleep(100000);	/* the last block is retired */
			wanted += packets;
			for (tries = 0; count < wanted && tries < 1000; tries++)
				take(p, lent);
		}
	} else
		fail("usage", "read FILE | "
		    "live DEVICE SEND-DEVICE PACKETS dispatch|lent [ROUNDS]");
	printf("%llu packets\n", (unsigned long long)count);
	pcap_close(p);
	return (count != wanted && wanted != 0);
}
