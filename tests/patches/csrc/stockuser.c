/*
 * stockuser: a program that knows nothing of the patch.
 *
 *	stockuser DEVICE SEND-DEVICE SAVEFILE
 *
 * Uses what programs use, and prints what came of it.
 */
#define _GNU_SOURCE
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pcap/pcap.h>

#define CHECK(c) do { if (!(c)) { \
	printf("line %d: %s is false\n", __LINE__, #c); \
	return (1); } } while (0)

static void
callback(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	unsigned *sum = (unsigned *)user;

	sum[0]++;
	sum[1] += h->caplen + h->len + bytes[h->caplen - 1];
}

int
main(int argc, char **argv)
{
	char errbuf[PCAP_ERRBUF_SIZE];
	unsigned sum[2] = { 0, 0 }, i;
	struct bpf_program prog;
	struct pcap_pkthdr *h;
	struct pcap_stat st;
	struct sockaddr_ll to;
	const u_char *bytes;
	u_char frame[200];
	pcap_if_t *devices;
	pcap_t *p;
	int fd, n;

	CHECK(argc == 4);
	p = pcap_open_offline(argv[3], errbuf);
	CHECK(p != NULL);
	printf("%d %d %d %d\n", pcap_datalink(p), pcap_snapshot(p),
	    pcap_is_swapped(p), pcap_major_version(p));
	CHECK(pcap_compile(p, &prog, "greater 100", 1, 0) == 0);
	CHECK(pcap_setfilter(p, &prog) == 0);
	pcap_freecode(&prog);
	CHECK(pcap_next_ex(p, &h, &bytes) == 1);
	CHECK(pcap_dispatch(p, 10, callback, (u_char *)sum) == 10);
	CHECK(pcap_loop(p, -1, callback, (u_char *)sum) == 0);
	printf("%u packets, sum %u\n", sum[0], sum[1]);
	pcap_close(p);

	CHECK(pcap_findalldevs(&devices, errbuf) == 0);
	for (pcap_if_t *d = devices; d != NULL; d = d->next)
		printf("%s %x\n", d->name, d->flags);
	pcap_freealldevs(devices);

	p = pcap_open_live(argv[1], 100, 1, 50, errbuf);
	CHECK(p != NULL);
	to = (struct sockaddr_ll){ .sll_family = AF_PACKET, .sll_halen = 6,
	    .sll_ifindex = (int)if_nametoindex(argv[2]) };
	fd = socket(AF_PACKET, SOCK_RAW, 0);
	memset(frame, 7, sizeof(frame));
	memcpy(frame, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x88\xb5", 14);
	for (i = 0; i < 50; i++)
		CHECK(sendto(fd, frame, 60 + i, 0, (struct sockaddr *)&to,
		    sizeof(to)) == (ssize_t)(60 + i));
	sum[0] = sum[1] = 0;
	for (n = 0; sum[0] < 50 && n < 200; n++)
		CHECK(pcap_dispatch(p, -1, callback, (u_char *)sum) >= 0);
	CHECK(pcap_stats(p, &st) == 0);
	printf("%u packets, sum %u, received %u, dropped %u\n", sum[0], sum[1],
	    st.ps_recv, st.ps_drop);
	CHECK(pcap_inject(p, frame, 60) == 60);
	pcap_breakloop(p);
	CHECK(pcap_loop(p, -1, callback, (u_char *)sum) == PCAP_ERROR_BREAK);
	CHECK(pcap_getnonblock(p, errbuf) == 0);
	CHECK(pcap_setdirection(p, PCAP_D_IN) == 0);
	pcap_close(p);
	close(fd);
	printf("ok\n");
	return (0);
}
